// What a process leaves behind that is killed. Also for what runs in lab machines.
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';

/** Options of Node's that go on to processes: what lab machines say. */
export const flags = process.execArgv.filter((flag) => flag === '--jitless');

export function marked(mark) {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((pid) => {
      try {
        if (!readFileSync(`/proc/${pid}/environ`, 'latin1').includes(`GMEM_TEST_MARK=${mark}\0`)) return [];
        return [`${pid} ${readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').slice(0, 200)}`];
      } catch {
        return []; // it has ended, or is somebody else's
      }
    });
}

/** Every name below a folder, which others may be removing meanwhile. */
function namesBelow(folder) {
  let entries;
  try {
    entries = readdirSync(folder, { withFileTypes: true });
  } catch {
    return [];
  }
  return entries.flatMap((entry) => {
    const path = `${folder}/${entry.name}`;
    return [path, ...(entry.isDirectory() ? namesBelow(path) : [])];
  });
}

/**
 * Starts `node` with arguments, ends it some milliseconds later, or when something is so, and looks at what is left: processes
 * of all that it has started, whoever their parent is by now, and names in folders, but for those that are `fine`. What takes
 * more than `patience` milliseconds to go was left.
 */
export async function kill(
  args,
  { after, signal = 'SIGKILL', env = {}, folders = [], stdio = 'ignore', fine = /^$/, patience = 20_000 },
) {
  const mark = randomBytes(8).toString('hex');
  const before = new Set(folders.flatMap(namesBelow));
  const child = spawn(process.execPath, [...flags, ...args], {
    stdio,
    detached: true,
    env: { ...process.env, NODE_OPTIONS: '', ...env, GMEM_TEST_MARK: mark },
  });
  const ended = new Promise((done, fail) => child.on('error', fail).on('exit', (code, how) => done(how ?? `${code}`)));
  if (typeof after === 'number') await Promise.race([delay(after), ended]);
  else while (!after() && child.exitCode === null) await delay(5);
  // Ctrl-C reaches every process of the terminal.
  if ((child.exitCode ?? child.signalCode) === null) process.kill(signal === 'SIGINT' ? -child.pid : child.pid, signal);
  const how = await ended;
  const left = () => [
    ...marked(mark),
    ...folders.flatMap(namesBelow).filter((name) => !before.has(name) && !fine.test(name)),
  ];
  for (const begin = performance.now(); left().length > 0 && performance.now() - begin < patience; ) await delay(20);
  return { how, left: left() };
}
