import { randomBytes } from 'node:crypto';
import { mkdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { removedAtEnd } from '../system/removed-at-end.ts';

/** A folder for as long as something is done. */
export interface Scratch {
  readonly path: string;
  /** Removes it with all that is in it. */
  remove(): void;
}

/** Makes a folder that is gone when this process is, however that ends. */
export function makeScratch(prefix: string): Scratch {
  const path = join(tmpdir(), `${prefix}${randomBytes(6).toString('hex')}`);
  const release = removedAtEnd(path);
  mkdirSync(path, { mode: 0o700 });
  const remove = () => {
    process.off('exit', remove);
    rmSync(path, { recursive: true, force: true });
    release();
  };
  process.on('exit', remove);
  return { path, remove };
}
