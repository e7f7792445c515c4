import type { LooseOptions, MemoryBackendOptions } from './properties.ts';
import { isGuestMemfd, isShared } from './validate.ts';

/** Something about one object that is no error: without effect, or better done otherwise. */
export interface Remark {
  readonly level: 'ignored' | 'better';
  readonly property: string;
  readonly message: string;
}

type Rule = (options: LooseOptions) => Remark | false | undefined;

const ignored = (property: string, message: string): Remark => ({ level: 'ignored', property, message });
const better = (property: string, message: string): Remark => ({ level: 'better', property, message });

const rules: readonly Rule[] = [
  (one) => one.hugetlbsize !== undefined && !one.hugetlb && ignored('hugetlbsize', 'has no effect without hugetlb=on'),
  (one) =>
    one.seal === true &&
    one['x-guest-memfd'] === 'on' &&
    ignored('seal', 'a guest_memfd never changes its size, so there is nothing to seal'),
  (one) =>
    one.merge === true &&
    (isShared(one) || isGuestMemfd(one)) &&
    ignored('merge', 'KSM passes over memory that is mapped shared'),
  (one) =>
    one['prealloc-threads'] !== undefined &&
    !one.prealloc &&
    ignored('prealloc-threads', 'has no effect without prealloc=on'),
  (one) =>
    one['prealloc-context'] !== undefined &&
    !one.prealloc &&
    ignored('prealloc-context', 'has no effect without prealloc=on'),
  (one) =>
    one.pmem === true &&
    !isShared(one) &&
    ignored('pmem', 'what the guest stores reaches the medium with share=on only'),
  (one) =>
    one['discard-data'] === true &&
    !isShared(one) &&
    ignored('discard-data', "with share=off nothing of the file's contents is thrown away"),
  (one) =>
    one.reserve === false &&
    one['qom-type'] === 'memory-backend-file' &&
    isShared(one) &&
    ignored('reserve', 'a shared mapping of a file reserves nothing in any case, unless it is of huge pages'),
  (one) =>
    isGuestMemfd(one) &&
    (one.policy ?? 'default') !== 'default' &&
    ignored('policy', 'up to Linux 6.18 a guest_memfd accepts a NUMA policy and ignores it'),
  (one) =>
    one['qom-type'] === 'memory-backend-ram' &&
    isShared(one) &&
    better('share', 'no file descriptor comes of it; memory-backend-memfd has one to pass, and seals it'),
  (one) =>
    one['qom-type'] === 'memory-backend-memfd' &&
    one.seal === false &&
    better('seal', 'whoever gets the file descriptor can shrink the file, and then this process dies by SIGBUS'),
  (one) =>
    one['qom-type'] === 'memory-backend-file' &&
    one['mem-path']?.startsWith('/dev/shm') &&
    better('qom-type', 'memory-backend-memfd needs no name in /dev/shm, leaves none behind and is sealed'),
  (one) =>
    one['qom-type'] === 'memory-backend-file' &&
    one['mem-path']?.startsWith('/dev/dax') &&
    !one.align &&
    better('align', 'a DAX device is mapped at multiples of its own alignment; say align=2M'),
  (one) =>
    one.readonly === true &&
    one.share !== true &&
    (one.rom ?? 'auto') === 'auto' &&
    better(
      'rom',
      'the guest cannot write at all; for a template that it writes its own copy of, add rom=off (QEMU 8.2)',
    ),
  (one) =>
    one.hugetlb === true &&
    !one.prealloc &&
    one.reserve === false &&
    better('prealloc', 'without reserved or preallocated huge pages the guest dies by SIGBUS when they run out'),
  (one) =>
    one.policy === 'bind' &&
    !one.prealloc &&
    better(
      'prealloc',
      'with policy=bind a node that is full ends the guest when it touches a page; prealloc=on tells at once',
    ),
];

/** What is ignored in, or better than, a valid object, judged by itself. */
export function remarksOn(options: MemoryBackendOptions): Remark[] {
  return rules.flatMap((rule) => rule(options) || []);
}
