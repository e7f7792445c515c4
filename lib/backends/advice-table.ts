import type {
  MemoryBackendFileProperties,
  MemoryBackendMemfdProperties,
  MemoryBackendProperties,
} from './properties.ts';
import type { MemoryBackendType } from './types.ts';

/** How well a type serves a need. */
export type Fit = 'yes' | 'partly' | 'no';

/** What a type is for a need, and why. */
export interface AdviceCell {
  readonly fit: Fit;
  readonly reason: string;
  /** True for the one to take among several that serve. */
  readonly best?: true;
  /** What the backend must be given for it. */
  readonly properties?: Partial<MemoryBackendProperties & MemoryBackendFileProperties & MemoryBackendMemfdProperties>;
  /** The first release where that is more than the type itself needs; null where none has it. */
  readonly kernel?: string | null;
  readonly qemu?: string | null;
}

export interface AdviceRow {
  readonly need: string;
  readonly documentation: string;
  readonly cells: Readonly<Record<MemoryBackendType, AdviceCell>>;
}

const yes = (reason: string, more: Omit<AdviceCell, 'fit' | 'reason'> = {}): AdviceCell => ({
  fit: 'yes',
  reason,
  ...more,
});
const partly = (reason: string, more: Omit<AdviceCell, 'fit' | 'reason'> = {}): AdviceCell => ({
  fit: 'partly',
  reason,
  ...more,
});
const no = (reason: string): AdviceCell => ({ fit: 'no', reason });

const sgxOnly = no('enclave pages serve SGX in the guest and nothing else');

/** Columns in the order in which they are preferred when they serve equally well. */
function row(
  need: string,
  documentation: string,
  ram: AdviceCell,
  memfd: AdviceCell,
  file: AdviceCell,
  shm: AdviceCell,
  guestMemfd: AdviceCell,
  epc: AdviceCell = sgxOnly,
) {
  return {
    need,
    documentation,
    cells: {
      'memory-backend-ram': ram,
      'memory-backend-memfd': memfd,
      'memory-backend-file': file,
      'memory-backend-shm': shm,
      'memory-backend-epc': epc,
      'memory-backend-guest-memfd': guestMemfd,
    },
  } as const satisfies AdviceRow;
}

/**
 * Which memory backend serves which need: the answer to "when to use which". The first row holds for every guest.
 */
export const adviceTable = [
  row(
    'plain',
    'a guest with no special wishes',
    yes('the simplest one, with transparent huge pages'),
    yes('as good as ram; the file descriptor is not needed'),
    partly('only where the memory needs a name or a device', { properties: { 'mem-path': '/path' } }),
    partly('memfd is sealed and needs no /dev/shm; take shm where there is no memfd'),
    partly('pages of 4 KiB only, which are neither swapped nor moved; for isolation from the host, and for tests', {
      kernel: '6.18',
      qemu: null,
    }),
  ),
  row(
    'coco',
    'a confidential guest, whose private memory is a guest_memfd beside the shared memory',
    yes('as the shared side; discarded pages go back by madvise', { kernel: '6.8', qemu: '9.1' }),
    yes('as the shared side; a hole punched at conversion frees the page for everybody', {
      best: true,
      kernel: '6.8',
      qemu: '9.1',
    }),
    partly('as the shared side on tmpfs or hugetlbfs; elsewhere what is shared lands on a disk'),
    yes('as the shared side, as memfd', { kernel: '6.8', qemu: '9.1' }),
    no('KVM makes the private guest_memfd itself; this backend is for conversion in place'),
  ),
  row(
    'in-place',
    'a confidential guest that converts pages in place, at the same guest physical addresses',
    no('its private memory is a second pool, so a converted page changes its place'),
    partly('with x-guest-memfd=on it is the same guest_memfd, but used through its mapping and not bound', {
      properties: { 'x-guest-memfd': 'on' },
      kernel: null,
      qemu: null,
    }),
    no('its private memory is a second pool, so a converted page changes its place'),
    no('its private memory is a second pool, so a converted page changes its place'),
    yes('the only one whose pages are shared and private memory in turn', { kernel: null, qemu: null }),
  ),
  row(
    'vhost-user',
    'another process maps guest memory (vhost-user, virtiofsd, SPDK)',
    no('there is no file descriptor to pass, with share=on neither'),
    yes('a sealed file descriptor is passed, so that the other process cannot make this one fault', {
      properties: { share: true },
    }),
    yes('the file is opened or passed', { properties: { share: true } }),
    yes('a file descriptor is passed, without seals', { properties: { share: true } }),
    partly('it is passed and maps, but the other process dies by SIGBUS at a page that is private'),
  ),
  row(
    'vfio',
    'devices of the host are assigned (VFIO), or vhost in the kernel reads guest memory',
    yes('pages are pinned where they are'),
    yes('pages are pinned where they are'),
    yes('pages are pinned where they are, on tmpfs and hugetlbfs'),
    yes('pages are pinned where they are'),
    partly('shared pages are pinned; as long as they are, their conversion to private fails with EAGAIN'),
  ),
  row(
    'hugepages',
    'reserved huge pages (hugetlb) of 2 MiB or 1 GiB',
    no('it gets transparent huge pages only, where the kernel finds some'),
    yes('no mount is needed, and the size is chosen here', { properties: { hugetlb: true } }),
    yes('of a hugetlbfs mount', { properties: { 'mem-path': '/dev/hugepages' } }),
    no('POSIX shared memory lies on a tmpfs'),
    no('no kernel can: KVM_CREATE_GUEST_MEMFD has no flag for huge pages, and refuses those it does not know'),
  ),
  row(
    'numa',
    'memory from chosen NUMA nodes (host-nodes, policy)',
    yes("the policy is the mapping's"),
    yes("the policy is the file's, for every process"),
    partly('on tmpfs and hugetlbfs; on others a shared file accepts a policy and ignores it'),
    yes("the policy is the file's, for every process"),
    yes("the policy is the file's; up to 6.18 it is accepted and ignored", { kernel: '6.19' }),
    yes("the policy is the mapping's"),
  ),
  row(
    'migration',
    'live migration with dirty logging',
    yes('the dirty log works'),
    yes('the dirty log works'),
    yes('the dirty log works'),
    yes('the dirty log works'),
    no('a bound guest_memfd refuses KVM_MEM_LOG_DIRTY_PAGES; memory-backend-memfd,x-guest-memfd=on takes it'),
  ),
  row(
    'postcopy',
    'postcopy migration (userfaultfd)',
    yes('anonymous memory has userfaultfd'),
    yes('shared memory has userfaultfd'),
    partly('on tmpfs and hugetlbfs'),
    yes('shared memory has userfaultfd'),
    no('no released kernel has userfaultfd for guest_memfd'),
  ),
  row(
    'cpr',
    'QEMU is replaced while the guest lives (CPR)',
    no('its memory ends with the process'),
    yes('the file descriptor is handed over', { properties: { share: true } }),
    yes('the new process opens the file', { properties: { share: true } }),
    yes('the file descriptor is handed over'),
    no('it is made for one VM, and the new process makes another'),
  ),
  row(
    'template',
    'many guests start from one snapshot, and each keeps its own changes',
    no('there is no file to start from'),
    no('a memfd begins empty'),
    yes('every guest writes to pages of its own', {
      properties: { share: false, readonly: true, rom: 'off', 'mem-path': '/path' },
      qemu: '8.2',
    }),
    no('the object begins empty'),
    no('it begins empty, and is never mapped private'),
  ),
  row(
    'dax',
    'persistent memory (DAX, NVDIMM)',
    no('what is written is gone with the process'),
    no('what is written is gone with the last process'),
    yes('maps the medium itself', {
      properties: { share: true, pmem: true, align: 2 << 20, 'mem-path': '/dev/dax0.0' },
      qemu: '3.1',
    }),
    no('what is written is gone with the last process'),
    no('what is written is gone with the VM'),
  ),
  row(
    'ksm',
    'equal pages of guests are merged (KSM)',
    yes('private anonymous memory is what KSM merges', { properties: { merge: true } }),
    no('KSM passes over memory that is mapped shared; mapped private, its pages merge, and no other process sees them'),
    no('KSM passes over memory that is mapped shared'),
    no('KSM passes over memory that is mapped shared'),
    no('merge=on is accepted and nothing merges'),
  ),
  row(
    'swap',
    'the host swaps guest memory out',
    yes('anonymous memory is swapped'),
    yes('as tmpfs is'),
    yes('is written back to its file'),
    yes('as tmpfs is'),
    no('its pages are unevictable'),
  ),
  row(
    'sgx',
    'SGX enclaves in the guest',
    no('it is no enclave page cache'),
    no('it is no enclave page cache'),
    no('it is no enclave page cache'),
    no('it is no enclave page cache'),
    no('it is no enclave page cache'),
    yes('the only one with enclave pages', { kernel: '5.13', qemu: '6.2' }),
  ),
] as const;

const twice = partly(
  'shared huge pages are not given back when the guest makes memory private, so it takes memory twice',
);
const neither = no('the one or the other, not both');

/** What holds only where two needs come together. */
export const combinations: readonly (AdviceRow & { readonly both: readonly [string, string] })[] = [
  {
    both: ['coco', 'hugepages'],
    ...row('coco + hugepages', 'a confidential guest on huge pages', neither, twice, twice, neither, neither, neither),
  },
];

/** A need, by its name in the table. `plain` is everybody's. */
export type MemoryNeed = Exclude<(typeof adviceTable)[number]['need'], 'plain'>;
