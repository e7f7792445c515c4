import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { linked } from '../../lib/lab/initramfs.ts';

/** Why faults cannot be put in here, or undefined where they can. */
export function withoutStrace(): string | undefined {
  const version = spawnSync('strace', ['-V'], { encoding: 'utf8' });
  if (version.error) return 'strace is not installed (Debian: apt-get install strace)';
  if (!/stack-trace=/.test(version.stdout)) return 'this strace was built without -k, which tells whose call it is';
  const sleeper = spawn('sleep', ['60'], { stdio: 'ignore' });
  try {
    // Attaches, sees a signal and is gone.
    const { status, stderr } = spawnSync(
      'timeout',
      ['-s', 'INT', '-k', '5', '1', 'strace', '-p', String(sleeper.pid)],
      { encoding: 'utf8' },
    );
    return /attached/.test(stderr) ? undefined : `strace may not attach: ${stderr.trim() || `exit status ${status}`}`;
  } finally {
    sleeper.kill('SIGKILL');
  }
}

/** A program with its libraries, as files of a lab machine. */
export function filesOfProgram(name: string): [string, string][] {
  const path = execFileSync('sh', ['-c', `command -v ${name}`], { encoding: 'utf8' }).trim();
  return [[`bin/${name}`, path], ...librariesOf(path)];
}

/** What a program or an addon is linked to, as files of a lab machine. */
export function librariesOf(path: string): [string, string][] {
  return [...linked([path])];
}

/** The part of all faults that GMEM_FAULTS asks for, to be written into docs/faults.md: [1, 1] for `all`. */
export function partOfFaults(): [number, number] | undefined {
  const text = process.env['GMEM_FAULTS'];
  if (text === undefined) return undefined;
  const [, part, parts] = /^(\d+)\/(\d+)$/.exec(text === 'all' ? '1/1' : text) ?? [];
  if (!part || !parts) throw new Error(`GMEM_FAULTS is "all" or I/N, not "${text}"`);
  return [Number(part), Number(parts)];
}
