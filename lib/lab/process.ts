import {
  type ChildProcess,
  type ExecFileSyncOptions,
  execFileSync,
  type SpawnOptions,
  spawn,
} from 'node:child_process';

/** The exit status of a shell for a program that is not there. */
const notThere = 127;

const alone = 'exec "$@"';
const withGroup = `trap 'trap : TERM; kill -TERM 0' TERM; "$@" & wait $!`;

/** A command that ends with this process, also where that ends by SIGKILL, which no handler sees. */
export function bound(
  signal: 'KILL' | 'TERM',
  program: string,
  args: readonly string[],
  how = alone,
): [string, string[]] {
  // The shell looks whether we are still there: nobody sends the signal where we ended before it was asked for.
  const script = `[ "$PPID" = "$0" ] || exit; ${how}`;
  return ['setpriv', ['--pdeathsig', signal, 'sh', '-c', script, String(process.pid), program, ...args]];
}

/**
 * Starts a program that ends with this process, and with it whatever it has started itself: by SIGTERM to a process group
 * of its own, at which apt notes how far a download is and make removes half-written files.
 */
export function spawnBound(program: string, args: readonly string[], options: SpawnOptions): ChildProcess {
  const child = spawn(...bound('TERM', program, args, withGroup), { ...options, detached: true });
  const end = () => {
    try {
      if (child.pid !== undefined) process.kill(-child.pid, 'SIGTERM');
    } catch {
      // it has ended
    }
  };
  process.on('exit', end);
  child.on('close', () => process.off('exit', end));
  return child;
}

/**
 * Runs a program to its end, which comes with that of this process at the latest.
 *
 * @throws what execFileSync throws, with `code` ENOENT where the program is not there
 */
export function execBound(program: string, args: readonly string[], options: ExecFileSyncOptions = {}): string {
  try {
    return String(execFileSync(...bound('TERM', program, args), { encoding: 'utf8', ...options }) ?? '');
  } catch (error) {
    if ((error as { status?: number }).status === notThere) (error as NodeJS.ErrnoException).code = 'ENOENT';
    throw error;
  }
}
