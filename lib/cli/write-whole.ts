import { randomBytes } from 'node:crypto';
import { closeSync, fsyncSync, openSync, realpathSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { removedAtEnd } from '../system/removed-at-end.ts';

/**
 * Writes a file so that its name leads to all of the new contents or to what was there before, whatever happens meanwhile: a full
 * disk, an end by SIGKILL; and that nothing else is left. What is no regular file, as /dev/stdout or a FIFO, is written to as it is.
 *
 * @throws what the calls say: ENOSPC, EACCES …
 */
export function writeWhole(file: string, text: string): void {
  const there = statSync(file, { throwIfNoEntry: false });
  if (there && !there.isFile()) {
    writeFileSync(file, text);
    return;
  }
  // A symbolic link stays one.
  const target = there ? realpathSync(file) : file;
  const partial = `${target}.${randomBytes(6).toString('hex')}.partial`;
  const release = removedAtEnd(partial);
  try {
    const fd = openSync(partial, 'wx', there ? there.mode & 0o777 : 0o666);
    try {
      writeFileSync(fd, text);
      // Without it a crash of the machine may leave the new name and none of the contents.
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    renameSync(partial, target);
  } catch (error) {
    rmSync(partial, { force: true });
    // A file that may be written in a folder that may not, or that is a mount of its own, as containers have them.
    const { code } = error as NodeJS.ErrnoException;
    if (!there || !['EACCES', 'EPERM', 'EBUSY', 'EROFS'].includes(code ?? '')) throw error;
    writeFileSync(target, text);
  } finally {
    release();
  }
}
