import { spawn } from 'node:child_process';
import { homedir } from 'node:os';
import { isAbsolute, join } from 'node:path';
import { makeDirectory } from '../system/make-directory.ts';
import { LabError } from './error.ts';

/** Where kernels and what machines boot from are kept: `$XDG_CACHE_HOME/guest-memfd`, default `~/.cache/guest-memfd`. */
export function cacheDirectory(...below: string[]): string {
  const base = process.env['XDG_CACHE_HOME'];
  // The specification says that a relative path there is to be ignored.
  return join(base && isAbsolute(base) ? base : join(homedir(), '.cache'), 'guest-memfd', ...below);
}

/** The same, made where it is missing. */
export function makeCacheDirectory(...below: string[]): string {
  const directory = cacheDirectory(...below);
  try {
    makeDirectory(directory);
  } catch (error) {
    throw new LabError(
      `the cache cannot be written: ${(error as Error).message}`,
      'Set XDG_CACHE_HOME to a folder that can',
    );
  }
  return directory;
}

/**
 * Does something while no other process does it: two runs at once fetch or build a kernel once. The lock is flock(2) on a
 * file, held by a child that ends when its standard input closes: when we are done, and also when we are killed.
 */
export async function locked<T>(name: string, waiting: () => void, action: () => Promise<T>): Promise<T> {
  const file = join(makeCacheDirectory('locks'), name);
  const hold = 'flock -n 9 || { echo waiting; flock 9; } || exit; echo locked; exec cat';
  const child = spawn('sh', ['-c', `exec 9>"$0"; ${hold}`, file], { stdio: ['pipe', 'pipe', 'pipe'] });
  try {
    await new Promise<void>((resolve, reject) => {
      let complaint = '';
      child.stderr.setEncoding('utf8').on('data', (text: string) => {
        complaint += text;
      });
      child.once('error', reject);
      child.once('close', () =>
        reject(new LabError(`${file} cannot be locked: ${complaint.trim()}`, 'flock belongs to util-linux')),
      );
      child.stdout.setEncoding('utf8').on('data', (text: string) => {
        if (text.includes('waiting')) waiting();
        if (text.includes('locked')) resolve();
      });
    });
    return await action();
  } finally {
    child.stdin.end();
  }
}
