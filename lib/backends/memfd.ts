import { FileSeal, MemfdFlag } from '../kvm/constants.ts';
import { MemoryFile } from '../kvm/memory-file.ts';
import { type Allocation, mapFlags, placeOf, refusedBy, requireWholePages, type Undo } from './allocation.ts';
import { BackendError } from './error.ts';
import { hugePools } from './host.ts';
import type { MemoryBackendOptions } from './properties.ts';
import { formatSize } from './values.ts';

const hugeSizeShift = 26;
const seals = FileSeal.GROW | FileSeal.SHRINK | FileSeal.SEAL;

type MemfdOptions = Extract<MemoryBackendOptions, { 'qom-type': 'memory-backend-memfd' }>;

/** memory-backend-memfd: memfd_create, ftruncate, seals, mmap. */
export function allocateMemfd(options: MemfdOptions, undo: Undo): Allocation {
  const { size, hugetlb = false, hugetlbsize, seal = true } = options;
  const exponent = hugetlb && hugetlbsize ? BigInt(hugetlbsize).toString(2).length - 1 : 0;
  const flags = (seal ? MemfdFlag.ALLOW_SEALING : 0) | (hugetlb ? MemfdFlag.HUGETLB : 0);
  const file = undo.close(
    refusedBy(
      hugetlb ? (hugetlbsize ? 'hugetlbsize' : 'hugetlb') : 'qom-type',
      hugetlb ? (hugetlbsize ?? true) : options['qom-type'],
      () => MemoryFile.memfd({ name: 'memory-backend-memfd', flags: (flags | (exponent << hugeSizeShift)) >>> 0 }),
      (code) => {
        if (!hugetlb || (code !== 'ENODEV' && code !== 'EINVAL')) return undefined;
        const sizes = hugePools().map((pool) => formatSize(pool.size));
        return `This kernel has huge pages of ${sizes.join(', ') || 'no size'}`;
      },
    ),
  );
  const pageSize = Number(file.stat().blockSize);
  requireWholePages(size, pageSize);
  refusedBy('size', size, () => file.resize(size));
  if (seal) refusedBy('seal', true, () => file.addSeals(seals));
  const mapping = refusedBy(
    hugetlb ? 'hugetlb' : 'size',
    hugetlb ? true : size,
    () => file.map({ length: size, flags: mapFlags(options), ...placeOf(size, pageSize) }),
    (code) => {
      if (code !== 'ENOMEM') return undefined;
      const pool = hugetlb && hugePools().find((one) => one.size === pageSize);
      if (!pool) return 'There is not so much memory or address space; use less, or reserve=off';
      const needed = BigInt(size) / BigInt(pageSize);
      return `It takes ${needed} huge pages of ${formatSize(pageSize)}, and ${pool.free} are free; reserve more in ${pool.path}`;
    },
  );
  return { mapping, file, pageSize };
}

/** @internal A refusal for huge pages that ran out while they were allocated, which the kernel tells as EFAULT. */
export function hugePagesRanOut(pageSize: number, offset: number, cause: unknown): BackendError {
  const pool = hugePools().find((one) => one.size === pageSize);
  return new BackendError(`the huge pages ran out at offset ${formatSize(offset)}`, {
    property: 'prealloc',
    value: true,
    remedy: pool ? `Reserve more in ${pool.path}` : undefined,
    cause,
  });
}
