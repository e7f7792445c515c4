/** What an object type is, and where it can be had. Versions are QEMU releases. */
export interface ObjectTypeRow {
  readonly name: string;
  /** The first QEMU release with it; undefined where no release has it. */
  readonly since: string | undefined;
  /** What `share` is when it is not given; undefined where the type has no such property. */
  readonly share: boolean | undefined;
  readonly documentation: string;
}

/** The object types of memory: what QEMU calls host memory backends, and the context for their preallocation threads. */
export const objectTypes = [
  {
    name: 'memory-backend-ram',
    since: '2.1',
    share: false,
    documentation: 'Anonymous memory of this process. The default: use it unless one of the others is needed.',
  },
  {
    name: 'memory-backend-memfd',
    since: '2.12',
    share: true,
    documentation:
      'A sealed anonymous file: for a second process that maps guest memory (vhost-user), for huge pages without a mount, and for confidential guests without in-place conversion. With x-guest-memfd=on the file is a guest_memfd, used through its mapping.',
  },
  {
    name: 'memory-backend-file',
    since: '2.1',
    share: false,
    documentation:
      'A file with a name: persistent memory and DAX, a snapshot or template that many guests start from, a hugetlbfs mount.',
  },
  {
    name: 'memory-backend-shm',
    since: '9.1',
    share: true,
    documentation:
      'A POSIX shared memory object without a name: what memory-backend-memfd is for, on systems that have no memfd.',
  },
  {
    name: 'memory-backend-epc',
    since: '6.2',
    share: true,
    documentation:
      'Pages of the SGX enclave page cache, from /dev/sgx_vepc. For SGX in the guest, and for nothing else.',
  },
  {
    name: 'memory-backend-guest-memfd',
    since: undefined,
    share: true,
    documentation:
      'Memory that KVM itself owns (guest_memfd), bound to its memslot: shared memory of the guest and, with in-place conversion, its private memory at the same guest physical addresses.',
  },
  {
    name: 'thread-context',
    since: '7.2',
    share: undefined,
    documentation: 'Processors for preallocation threads, to be named in prealloc-context.',
  },
] as const satisfies readonly ObjectTypeRow[];

export type ObjectType = (typeof objectTypes)[number]['name'];
export type MemoryBackendType = Exclude<ObjectType, 'thread-context'>;

export function objectType(name: string): (typeof objectTypes)[number] | undefined {
  return objectTypes.find((type) => type.name === name);
}
