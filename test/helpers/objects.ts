import { mkdtempSync, readdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createMemoryBackend, type Memdev } from '../../lib/backends/backend.ts';
import { BackendError } from '../../lib/backends/error.ts';
import { parseObjectOption } from '../../lib/backends/object-option.ts';
import { createThreadContext } from '../../lib/backends/thread-context.ts';
import { checkObjects } from '../../lib/backends/validate.ts';

const MiB = 1 << 20;

/** A folder with the files that the lines speak of. */
export function objectFolder(): { path: string; [Symbol.dispose](): void } {
  const path = mkdtempSync(join(tmpdir(), 'gmem-objects-'));
  for (const [name, size] of [
    ['small', 2 * MiB],
    ['four', 4 * MiB],
    ['empty', 0],
  ] as const) {
    writeFileSync(join(path, name), '');
    truncateSync(join(path, name), size);
  }
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }) };
}

export interface Verdict {
  /** What query-memdev tells of each, where they were accepted. */
  readonly memdevs?: readonly Memdev[];
  readonly error?: BackendError;
}

/** Reads objects and makes them on this host, as QEMU does: contexts first, then memory. */
export async function realise(texts: readonly string[]): Promise<Verdict> {
  const opened: { close(): void }[] = [];
  try {
    const objects = texts.map((text) => parseObjectOption(text));
    checkObjects(objects);
    const contexts = objects.flatMap((one) => (one['qom-type'] === 'thread-context' ? [createThreadContext(one)] : []));
    const memdevs: Memdev[] = [];
    for (const one of objects) {
      if (one['qom-type'] === 'thread-context') continue;
      const backend = await createMemoryBackend(one, { contexts });
      opened.push(backend);
      memdevs.push(backend.memdev());
    }
    return { memdevs };
  } catch (error) {
    if (error instanceof BackendError) return { error };
    throw error;
  } finally {
    for (const one of opened) one.close();
  }
}

/** What a process leaves behind if it forgets it: its file descriptors, and names in folders. */
export function held(folder: string): { fds: number; names: string[]; shm: string[] } {
  return {
    fds: readdirSync('/proc/self/fd').length,
    names: readdirSync(folder).sort(),
    shm: readdirSync('/dev/shm').filter((name) => name.startsWith('gmem-')),
  };
}
