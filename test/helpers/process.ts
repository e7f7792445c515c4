import { execFile } from 'node:child_process';
import { slowness } from './slowness.ts';

export interface Ended {
  code: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
}

function start(args: readonly string[], env: NodeJS.ProcessEnv = {}, timeout = 60_000 * slowness): Promise<Ended> {
  return new Promise((resolve) => {
    const child = execFile(
      process.execPath,
      [...args],
      { env: { ...process.env, NODE_OPTIONS: '', NO_COLOR: '1', ...env }, timeout, maxBuffer: 1 << 26 },
      (_error, stdout, stderr) => resolve({ code: child.exitCode, signal: child.signalCode, stdout, stderr }),
    );
  });
}

/** Runs node with arguments. */
export const node = (...args: string[]): Promise<Ended> => start(args);

/** Runs the gmem command of dist/. */
export const gmem = (...args: string[]): Promise<Ended> => start(['dist/cli/main.js', ...args]);

/** Runs `gmem lab`, whose machines take their time. */
export const gmemLab = (...args: string[]): Promise<Ended> =>
  start(['dist/cli/main.js', 'lab', ...args], {}, 1_200_000);

/** Runs an ES module given as text, with `g` being the library and `kvm` an open device. */
export function script(text: string, ...flags: string[]): Promise<Ended> {
  const source = `import * as g from ${JSON.stringify(new URL('../../dist/index.js', import.meta.url).href)};
const kvm = g.Kvm.open();
const shared = g.GuestMemfdFlag.MMAP | g.GuestMemfdFlag.INIT_SHARED;
${text}`;
  return start([...flags, '--input-type=module', '-e', source]);
}
