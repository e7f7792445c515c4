import { closeSync, openSync, readdirSync, readFileSync, readSync, statSync } from 'node:fs';
import { arch, release, totalmem, version } from 'node:os';
import { pageSize } from '../kvm/native.ts';
import { type KernelConfig, readKernelConfig } from './kernel-config.ts';

/** The machine. */
export interface HostFacts {
  /** As `process.arch`: 'x64' or 'arm64'. */
  readonly architecture: string;
  /** The processor's name, as in /proc/cpuinfo; 'unknown' where it has none (arm64). */
  readonly cpu: string;
  /** 'AuthenticAMD', 'GenuineIntel', or on arm64 the implementer's number; undefined where nothing tells. */
  readonly cpuVendor: string | undefined;
  /** Processors online. */
  readonly cpus: number;
  readonly memoryBytes: number;
  readonly pageSize: number;
  /** Node numbers, from /sys/devices/system/node; [0] on a kernel without NUMA. */
  readonly numaNodes: readonly number[];
  /** Those of them that have memory this process may use (Mems_allowed_list in /proc/self/status). */
  readonly allowedNumaNodes: readonly number[];
  /** 'vmx' (Intel), 'svm' (AMD); undefined where the processor shows neither, and on arm64. */
  readonly virtualisation: string | undefined;
  /** True inside a virtual machine (the processor's `hypervisor` flag, x86). */
  readonly underHypervisor: boolean;
  /** The chosen word of /sys/kernel/mm/transparent_hugepage/enabled; undefined without transparent huge pages. */
  readonly transparentHugePages: string | undefined;
}

/** The running kernel. */
export interface KernelFacts {
  readonly release: string;
  readonly version: string;
  readonly config: KernelConfig;
  /** KVM's modules under /sys/module, built in or loaded. */
  readonly modules: readonly string[];
  /** Those of their parameters that matter here, as 'kvm.tdp_mmu', with their values as text. */
  readonly parameters: Readonly<Record<string, string>>;
}

/** The device's file. */
export interface DeviceFacts {
  readonly path: string;
  readonly exists: boolean;
  /** Permission bits as four octal digits: '0660'. */
  readonly mode: string | undefined;
  /** The owner's name, or the number where /etc/passwd has none. */
  readonly owner: string | undefined;
  /** The group's name, or the number where /etc/group has none. */
  readonly group: string | undefined;
}

/** What files tell. */
export interface SystemFacts {
  readonly host: HostFacts;
  readonly kernel: KernelFacts;
  readonly device: DeviceFacts;
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'latin1').trim();
  } catch {
    return undefined;
  }
}

function entries(path: string): string[] {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
}

/** The first processor's entry: the kernel makes this file entry by entry, and asks every processor on the way. */
function firstOfCpuinfo(): string {
  try {
    const fd = openSync('/proc/cpuinfo', 'r');
    try {
      const buffer = Buffer.alloc(8192);
      return buffer.toString('latin1', 0, readSync(fd, buffer));
    } finally {
      closeSync(fd);
    }
  } catch {
    return '';
  }
}

/** Numbers of a list as the kernel writes it: '0-2,5' gives [0, 1, 2, 5]. */
export function parseNumberList(text: string): number[] {
  return [...text.matchAll(/(\d+)(?:-(\d+))?/g)].flatMap(([, from, to]) => {
    const first = Number(from);
    return Array.from({ length: Number(to ?? first) - first + 1 }, (_, i) => first + i);
  });
}

/** Name, vendor and flags of the processor, from the text of /proc/cpuinfo. */
export function parseCpuinfo(
  text: string,
): Pick<HostFacts, 'cpu' | 'cpuVendor' | 'virtualisation' | 'underHypervisor'> {
  const field = (name: string) => new RegExp(`^${name}\\s*: *(.*?) *$`, 'm').exec(text)?.[1];
  const flags = ` ${field('flags') ?? ''} `;
  return {
    cpu: field('model name') ?? 'unknown',
    cpuVendor: field('vendor_id') ?? field('CPU implementer'),
    virtualisation: ['vmx', 'svm'].find((flag) => flags.includes(` ${flag} `)),
    underHypervisor: flags.includes(' hypervisor '),
  };
}

function numaFacts(): Pick<HostFacts, 'numaNodes' | 'allowedNumaNodes'> {
  const nodes = entries('/sys/devices/system/node').flatMap((name) => /^node(\d+)$/.exec(name)?.[1] ?? []);
  const numaNodes = nodes.length > 0 ? nodes.map(Number).sort((a, b) => a - b) : [0];
  const withMemory = parseNumberList(read('/sys/devices/system/node/has_memory') ?? numaNodes.join(','));
  const allowed = /^Mems_allowed_list:\s*(\S+)$/m.exec(read('/proc/self/status') ?? '')?.[1];
  return {
    numaNodes,
    allowedNumaNodes: allowed ? parseNumberList(allowed).filter((node) => withMemory.includes(node)) : withMemory,
  };
}

const relevantParameters =
  /^(tdp_mmu|ept|npt|nested|unrestricted_guest|sev|sev_es|sev_snp|tdx|gmem_in_place_conversion|vm_memory_attributes)$/;

function parametersOf(modules: readonly string[]): Record<string, string> {
  const found: Record<string, string> = {};
  for (const module of modules) {
    const folder = `/sys/module/${module}/parameters`;
    for (const name of entries(folder)) {
      const value = relevantParameters.test(name) ? read(`${folder}/${name}`) : undefined;
      if (value !== undefined) found[`${module}.${name}`] = value;
    }
  }
  return found;
}

/** The name that belongs to a number in /etc/passwd or /etc/group. */
function nameIn(file: string, id: number): string {
  return new RegExp(`^([^:]*):[^:]*:${id}:`, 'm').exec(read(file) ?? '')?.[1] ?? String(id);
}

function deviceFacts(path: string): DeviceFacts {
  try {
    const { mode, uid, gid } = statSync(path);
    return {
      path,
      exists: true,
      mode: (mode & 0o7777).toString(8).padStart(4, '0'),
      owner: nameIn('/etc/passwd', uid),
      group: nameIn('/etc/group', gid),
    };
  } catch {
    return { path, exists: false, mode: undefined, owner: undefined, group: undefined };
  }
}

/** Reads what files tell of host, kernel and device. Nothing here opens the device, and what cannot be read is left out. */
export function systemFacts(devicePath: string): SystemFacts {
  const modules = entries('/sys/module')
    .filter((name) => /^kvm(_|$)/.test(name))
    .sort();
  return {
    host: {
      architecture: arch(),
      ...parseCpuinfo(firstOfCpuinfo()),
      cpus: parseNumberList(read('/sys/devices/system/cpu/online') ?? '0').length,
      memoryBytes: totalmem(),
      pageSize,
      ...numaFacts(),
      transparentHugePages: /\[(\w+)\]/.exec(read('/sys/kernel/mm/transparent_hugepage/enabled') ?? '')?.[1],
    },
    kernel: {
      release: release(),
      version: version(),
      config: readKernelConfig(release()),
      modules,
      parameters: parametersOf(modules),
    },
    device: deviceFacts(devicePath),
  };
}
