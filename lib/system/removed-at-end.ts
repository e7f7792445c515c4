import { spawn } from 'node:child_process';
import type { Socket } from 'node:net';
import { resolve } from 'node:path';

/**
 * Sees to it that a file or folder is gone when this process is, also where that ends by SIGKILL, which no handler sees: a child
 * waits for the end of its input and then removes it.
 *
 * @returns ends the child, for when there is nothing more to remove
 */
export function removedAtEnd(path: string): () => void {
  // In a session of its own: Ctrl-C is for us, and what we do about it may take a while.
  const keeper = spawn('sh', ['-c', 'cat; exec rm -rf "$0"', resolve(path)], {
    stdio: ['pipe', 'ignore', 'ignore'],
    detached: true,
    cwd: '/',
  });
  // Where there is no shell, or no process more, it is removed by who made it, as long as that lives.
  keeper.on('error', () => {});
  keeper.unref();
  const input = keeper.stdin as Socket | undefined;
  input?.on('error', () => {}).unref();
  return () => input?.end();
}
