import { readdirSync, readFileSync } from 'node:fs';

/** The words of a small file of the kernel's; undefined where it is not there. */
function text(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch {
    return undefined;
  }
}

/** A list as /sys writes it: 0-3,8. */
function parseList(list: string): number[] {
  return list
    .split(',')
    .filter(Boolean)
    .flatMap((part) => {
      const [from = 0, to = from] = part.split('-').map(Number);
      return Array.from({ length: to - from + 1 }, (_, i) => from + i);
    });
}

/** The processors of NUMA nodes of this host; none for nodes that it does not have. */
export function cpusOfNodes(nodes: readonly number[]): number[] {
  return nodes.flatMap((node) => parseList(text(`/sys/devices/system/node/node${node}/cpulist`) ?? ''));
}

/** The NUMA nodes of this host that have memory; none on a kernel without NUMA. */
export function nodesWithMemory(): number[] {
  return parseList(text('/sys/devices/system/node/has_memory') ?? '');
}

/** vm.overcommit_memory: 2 means that every page is accounted for. */
export function overcommitPolicy(): number {
  return Number(text('/proc/sys/vm/overcommit_memory') ?? 0);
}

/** A pool of huge pages. */
export interface HugePool {
  /** Bytes of one page. */
  readonly size: number;
  readonly free: number;
  readonly path: string;
}

/** The pools of reserved huge pages that this kernel has, the default size first where it is known. */
export function hugePools(): HugePool[] {
  const directory = '/sys/kernel/mm/hugepages';
  let names: string[];
  try {
    names = readdirSync(directory);
  } catch {
    return [];
  }
  const standard = Number(/^Hugepagesize:\s+(\d+) kB$/m.exec(text('/proc/meminfo') ?? '')?.[1] ?? 0) * 1024;
  return names
    .map((name) => ({
      size: Number(/^hugepages-(\d+)kB$/.exec(name)?.[1] ?? 0) * 1024,
      free: Number(text(`${directory}/${name}/free_hugepages`) ?? 0),
      path: `${directory}/${name}/nr_hugepages`,
    }))
    .sort((a, b) => Number(b.size === standard) - Number(a.size === standard) || a.size - b.size);
}

/** What the kernel notes about the mapping at an address. */
export interface VmaFacts {
  /** Bytes of a page of it. */
  readonly pageSize: number;
  /** Flags of two letters: `mg` may be merged, `dd` is left out of core dumps, `dc` is not inherited. */
  readonly flags: ReadonlySet<string>;
}

/** /proc/self/smaps of the mapping that begins at `address`; undefined where there is none. */
export function vmaFacts(address: bigint): VmaFacts | undefined {
  const smaps = text('/proc/self/smaps') ?? '';
  const start = address.toString(16).padStart(8, '0');
  const from = smaps.search(new RegExp(`^${start}-`, 'm'));
  if (from === -1) return undefined;
  const entry = smaps.slice(from, smaps.indexOf('VmFlags:', from) + 400);
  return {
    pageSize: Number(/^KernelPageSize:\s+(\d+) kB$/m.exec(entry)?.[1] ?? 0) * 1024,
    flags: new Set((/^VmFlags: (.*)$/m.exec(entry)?.[1] ?? '').trim().split(' ')),
  };
}
