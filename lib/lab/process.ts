import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process';

/**
 * Starts a program that ends with this process, and with it whatever it has started itself: by SIGTERM to a process group
 * of its own, at which apt notes how far a download is and make removes half-written files.
 */
export function spawnBound(program: string, args: readonly string[], options: SpawnOptions): ChildProcess {
  // SIGKILL of this process, which no handler sees, must not leave the program behind either.
  const child = spawn('setpriv', ['--pdeathsig', 'TERM', program, ...args], { ...options, detached: true });
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
