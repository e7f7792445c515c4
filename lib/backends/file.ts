import { unlinkSync } from 'node:fs';
import { join } from 'node:path';
import { FileSystemMagic, MapFlag, OpenFlag, Protection } from '../kvm/constants.ts';
import { KvmError } from '../kvm/errors.ts';
import { MemoryFile } from '../kvm/memory-file.ts';
import { pageSize as systemPageSize } from '../kvm/native.ts';
import { type Allocation, mapFlags, placeOf, refusedBy, requireWholePages, type Undo } from './allocation.ts';
import { BackendError } from './error.ts';
import type { BackendNote } from './note.ts';
import type { MemoryBackendOptions } from './properties.ts';
import { formatSize } from './values.ts';

type FileOptions = Extract<MemoryBackendOptions, { 'qom-type': 'memory-backend-file' }>;

const fileMode = 0o644;
const typeMask = 0o170000n;
const regular = 0o100000n;

function isCode(error: unknown, code: string): boolean {
  return error instanceof KvmError && error.code === code;
}

/** Opens the file, makes it, or makes one without a name in a folder; what was made goes again when a later step fails. */
function openBacking(path: string, readonly: boolean, undo: Undo): { file: MemoryFile; path: string | undefined } {
  const flags = readonly ? OpenFlag.READ_ONLY : OpenFlag.READ_WRITE;
  const create = (name: string) =>
    MemoryFile.open(name, { flags: OpenFlag.READ_WRITE | OpenFlag.CREATE | OpenFlag.EXCLUSIVE, mode: fileMode });
  for (;;) {
    try {
      return { file: undo.close(MemoryFile.open(path, { flags })), path };
    } catch (error) {
      if (isCode(error, 'EISDIR')) {
        const name = join(path, `gmem-${crypto.randomUUID()}`);
        const file = undo.close(create(name));
        unlinkSync(name);
        return { file, path: undefined };
      }
      if (readonly || !isCode(error, 'ENOENT')) throw error;
    }
    try {
      const file = undo.close(create(path));
      undo.add(() => unlinkSync(path));
      return { file, path };
    } catch (error) {
      if (!isCode(error, 'EEXIST')) throw error; // made by another meanwhile: open that
    }
  }
}

function requireMultiple(property: string, value: number | bigint, pageSize: number): void {
  if (BigInt(value) % BigInt(pageSize) !== 0n)
    throw new BackendError(`the pages of this file are of ${formatSize(pageSize)}`, {
      property,
      value,
      remedy: 'Use a multiple of that',
    });
}

/** memory-backend-file: open or create, check against the file, mmap. */
export function allocateFile(options: FileOptions, undo: Undo): Allocation {
  const { size, align = 0, offset = 0, readonly = false, pmem = false } = options;
  const rom = (options.rom ?? 'auto') === 'auto' ? readonly : options.rom === 'on';
  const given = options['mem-path'];
  const { file, path } = refusedBy(
    'mem-path',
    given,
    () => openBacking(given, readonly, undo),
    (code) =>
      ({
        ENOENT: readonly ? 'With readonly=on the file must be there' : 'Make its folder first',
        EACCES: 'This user may not open it',
        EROFS: 'Its file system is mounted read-only; use readonly=on',
        ELOOP: 'Its symbolic links lead in a circle',
      })[code],
  );
  const { size: length, mode, fileSystem, blockSize } = file.stat();
  const pageSize = fileSystem === FileSystemMagic.HUGETLBFS ? Number(blockSize) : systemPageSize;
  requireMultiple('align', align, pageSize);
  requireMultiple('offset', offset, pageSize);
  requireWholePages(size, pageSize);
  const end = BigInt(offset) + BigInt(size);
  const plain = (mode & typeMask) === regular;
  if (plain && (length > 0n || readonly) && length < end)
    throw new BackendError(
      `the file holds ${formatSize(length)}, and ${formatSize(end)} are needed; one that has contents is never made longer`,
      { property: 'size', value: size, remedy: 'Use a smaller size or offset, or make the file longer yourself' },
    );
  if (plain && length === 0n) {
    refusedBy('size', size, () => file.resize(end));
    undo.add(() => file.resize(0));
  }

  const notes: BackendNote[] = [];
  const map = (flags: number) =>
    file.map({
      offset,
      length: size,
      flags,
      protection: rom ? Protection.READ : Protection.READ | Protection.WRITE,
      ...placeOf(size, BigInt(align) > BigInt(pageSize) ? align : pageSize),
    });
  const wanted = mapFlags(options);
  const mapped = () => {
    if (!pmem || !(wanted & MapFlag.SHARED)) return map(wanted);
    try {
      return map((wanted & ~MapFlag.SHARED) | MapFlag.SHARED_VALIDATE | MapFlag.SYNC);
    } catch (error) {
      if (!isCode(error, 'EOPNOTSUPP')) throw error;
      notes.push({
        kind: 'ignored',
        property: 'pmem',
        message: 'the file is not on DAX: what the guest stores may be lost when the host crashes',
      });
      return map(wanted);
    }
  };
  const mapping = refusedBy('mem-path', given, mapped, (code) =>
    code === 'ENODEV' ? 'This file cannot be mapped' : code === 'ENOMEM' ? 'There is not so much memory' : undefined,
  );
  return { mapping, file, pageSize, path, rom, fileOffset: offset, notes };
}
