import { i32, options, text, type U64, u32, u64 } from './arguments.ts';
import { FallocateMode, MapFlag, OpenFlag } from './constants.ts';
import { checked } from './errors.ts';
import { type MapOptions, Mapping } from './mapping.ts';
import { UsedMappings } from './mapping-uses.ts';
import { native, pageSize } from './native.ts';
import { FdResource, type Owned, owned } from './resource.ts';

/** What fstat, fstatfs and F_GETFD tell of a file. */
export interface FileStat {
  /** Bytes. */
  readonly size: bigint;
  /** The unit of allocation: the page size, of huge pages on hugetlbfs. */
  readonly blockSize: bigint;
  /** 512-byte blocks that are allocated. */
  readonly blocks: bigint;
  /** Distinct for each file of a file system. */
  readonly inode: bigint;
  /** File type and permission, as 0o100600. */
  readonly mode: bigint;
  /** f_type of the file system, one of {@link FileSystemMagic} or any other. */
  readonly fileSystem: bigint;
  readonly closeOnExec: boolean;
}

/** @internal What the native side tells of a file, by fields. */
export function readFacts(facts: (words: BigUint64Array) => number): FileStat {
  const words = new BigUint64Array(7);
  checked(facts(words), 'fstat');
  const [size = 0n, blockSize = 0n, blocks = 0n, inode = 0n, mode = 0n, fileSystem = 0n, closeOnExec] = words;
  return { size, blockSize, blocks, inode, mode, fileSystem, closeOnExec: closeOnExec === 1n };
}

/**
 * A file that memory is made of: a memfd, a POSIX shared memory object, a file or a device. Close-on-exec.
 *
 * @example
 * using file = MemoryFile.memfd({ flags: MemfdFlag.ALLOW_SEALING });
 * file.resize(1 << 20);
 * file.addSeals(FileSeal.GROW | FileSeal.SHRINK | FileSeal.SEAL);
 * using memory = file.map();
 */
export class MemoryFile extends FdResource {
  readonly #usedMappings = new UsedMappings();

  private constructor(handle: Owned) {
    super(handle);
  }

  /**
   * open.
   *
   * @param path without NUL
   * @param given.flags {@link OpenFlag}s, default READ_WRITE
   * @param given.mode permission of a file that is created, default 0o600
   * @throws {KvmError} ENOENT, EACCES, EISDIR …
   */
  static open(path: string, given: { flags?: number; mode?: number } = {}): MemoryFile {
    const { flags = OpenFlag.READ_WRITE, mode = 0o600 } = options('options', given);
    const args = { path: text('path', path, { nul: false }), flags: i32('flags', flags) };
    return new MemoryFile(owned(native.memoryFileOpen(path, args.flags, u32('mode', mode)), 'open', args));
  }

  /**
   * memfd_create (3.17): an anonymous file in memory, of size 0.
   *
   * @param given.flags {@link MemfdFlag}s, default 0
   * @param given.name what /proc shows, default 'gmem'
   * @throws {KvmError} EINVAL for a flag that the kernel refuses, ENODEV for a huge page size that it has not
   */
  static memfd(given: { name?: string; flags?: number } = {}): MemoryFile {
    const { name = 'gmem', flags = 0 } = options('options', given);
    const args = { name: text('name', name, { nul: false }), flags: u32('flags', flags) };
    return new MemoryFile(owned(native.memoryFileMemfd(args.name, args.flags), 'memfd_create', args));
  }

  /** shm_open: a POSIX shared memory object of size 0, whose name is removed at once. */
  static sharedMemory(): MemoryFile {
    return new MemoryFile(owned(native.memoryFileShared(), 'shm_open'));
  }

  /**
   * ftruncate. Views of mappings made by {@link map} are detached where they reach beyond the new end, where memory ends too;
   * of mappings that others have of the file, this object does not know.
   *
   * @throws {KvmError} EPERM where a seal forbids it, EINVAL for a size that the file cannot have
   */
  resize(size: U64): void {
    const args = { size: u64('size', size) };
    checked(native.memoryFileResize(this.handle, args.size), 'ftruncate', args);
    for (const mapping of this.#usedMappings.open()) {
      const pages = (BigInt(args.size) + BigInt(pageSize) - 1n) / BigInt(pageSize);
      const end = pages * BigInt(pageSize) - mapping.fileOffset;
      if (end < BigInt(mapping.length)) mapping.detachViews(end > 0n ? end : 0n);
    }
  }

  /**
   * F_ADD_SEALS (3.17).
   *
   * @param seals {@link FileSeal}s
   * @throws {KvmError} EINVAL where the file cannot be sealed, EPERM where it is sealed against more seals
   */
  addSeals(seals: number): void {
    checked(native.memoryFileAddSeals(this.handle, i32('seals', seals)), 'fcntl(F_ADD_SEALS)', { seals });
  }

  /**
   * mmap, by default shared and to the end of the file; see {@link GuestMemfd.map} for what the options mean.
   *
   * @throws {KvmError} EINVAL, ENODEV for a file that cannot be mapped, ENOMEM without huge pages for the length …
   */
  map(given: MapOptions = {}): Mapping {
    const { offset = 0, length, flags = MapFlag.SHARED } = options('options', given);
    const from = u64('offset', offset);
    const bytes = length === undefined ? Math.max(0, Number(this.stat().size) - Number(from)) : length;
    return Mapping.create(this.fd, from, bytes, flags, given, this.#usedMappings);
  }

  /**
   * fallocate with PUNCH_HOLE | KEEP_SIZE: gives the pages of a range back; they read as zero from then on.
   *
   * @throws {KvmError} EOPNOTSUPP where the file system cannot, EPERM where a seal forbids it
   */
  punchHole(offset: U64, length: U64): void {
    const mode = FallocateMode.KEEP_SIZE | FallocateMode.PUNCH_HOLE;
    const args = { mode, offset: u64('offset', offset), length: u64('length', length) };
    checked(native.memoryFileFallocate(this.handle, mode, args.offset, args.length), 'fallocate', args);
  }

  /** fstat, fstatfs and F_GETFD. */
  stat(): FileStat {
    return readFacts((words) => native.memoryFileFacts(this.handle, words));
  }
}
