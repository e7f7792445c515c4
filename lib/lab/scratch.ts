import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdirSync, rmSync } from 'node:fs';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A folder for as long as something is done. */
export interface Scratch {
  readonly path: string;
  /** Removes it with all that is in it. */
  remove(): void;
}

/**
 * Makes a folder that is gone when this process is, also where that ends by SIGKILL, which no handler sees: a child waits for the
 * end of its input and then removes it.
 */
export function makeScratch(prefix: string): Scratch {
  const path = join(tmpdir(), `${prefix}${randomBytes(6).toString('hex')}`);
  // In a session of its own: Ctrl-C is for us, and what we do about it may take a while.
  const keeper = spawn('sh', ['-c', 'cat; exec rm -rf "$0"', path], {
    stdio: ['pipe', 'ignore', 'ignore'],
    detached: true,
  });
  // Where there is no shell the folder is removed by who made it, as long as that lives.
  keeper.on('error', () => {});
  keeper.unref();
  (keeper.stdin as Socket).on('error', () => {}).unref();
  mkdirSync(path, { mode: 0o700 });
  const remove = () => {
    process.off('exit', remove);
    rmSync(path, { recursive: true, force: true });
    keeper.stdin.end();
  };
  process.on('exit', remove);
  return { path, remove };
}
