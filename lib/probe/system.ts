import { readdirSync, readFileSync, statSync } from 'node:fs';
import { arch, cpus, release, totalmem, version } from 'node:os';
import { pageSize } from '../kvm/native.ts';
import { type KernelConfig, readKernelConfig } from './kernel-config.ts';

/** The machine, as files tell it. */
export interface SystemFacts {
  readonly host: {
    readonly architecture: string;
    readonly cpu: string;
    readonly cpus: number;
    readonly memoryBytes: number;
    readonly pageSize: number;
    /** Node numbers; [0] on a kernel without NUMA. */
    readonly numaNodes: readonly number[];
    /** 'vmx' (Intel), 'svm' (AMD); undefined where the processor shows neither, and on arm64. */
    readonly virtualisation: string | undefined;
    /** True inside a virtual machine. */
    readonly underHypervisor: boolean;
    /** /sys/kernel/mm/transparent_hugepage/enabled, the chosen word; undefined without huge pages. */
    readonly transparentHugePages: string | undefined;
  };
  readonly kernel: {
    readonly release: string;
    readonly version: string;
    readonly config: KernelConfig;
    /** KVM's modules that are there, and those of their parameters that matter here, as 'kvm.tdp_mmu'. */
    readonly modules: readonly string[];
    readonly parameters: Readonly<Record<string, string>>;
  };
  readonly device: {
    readonly path: string;
    readonly exists: boolean;
    /** As in ls -l, without the type: '0660'. */
    readonly mode: string | undefined;
    readonly owner: number | undefined;
    /** The group's name, or its number. */
    readonly group: string | undefined;
  };
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

function groupName(gid: number): string {
  const line = read('/etc/group')
    ?.split('\n')
    .find((entry) => entry.split(':')[2] === String(gid));
  return line?.split(':')[0] ?? String(gid);
}

function deviceFacts(path: string): SystemFacts['device'] {
  try {
    const { mode, uid, gid } = statSync(path);
    return {
      path,
      exists: true,
      mode: (mode & 0o7777).toString(8).padStart(4, '0'),
      owner: uid,
      group: groupName(gid),
    };
  } catch {
    return { path, exists: false, mode: undefined, owner: undefined, group: undefined };
  }
}

/** Reads what files tell of host, kernel and device. Nothing here opens the device. */
export function systemFacts(devicePath: string): SystemFacts {
  const cpuinfo = read('/proc/cpuinfo') ?? '';
  const flags = ` ${/^flags\s*: (.*)$/m.exec(cpuinfo)?.[1] ?? ''} `;
  const processors = cpus();
  const modules = entries('/sys/module')
    .filter((name) => /^kvm/.test(name))
    .sort();
  const nodes = entries('/sys/devices/system/node').flatMap((name) => /^node(\d+)$/.exec(name)?.[1] ?? []);
  return {
    host: {
      architecture: arch(),
      cpu: processors[0]?.model ?? 'unknown',
      cpus: processors.length,
      memoryBytes: totalmem(),
      pageSize,
      numaNodes: nodes.length > 0 ? nodes.map(Number).sort((a, b) => a - b) : [0],
      virtualisation: ['vmx', 'svm'].find((flag) => flags.includes(` ${flag} `)),
      underHypervisor: flags.includes(' hypervisor '),
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
