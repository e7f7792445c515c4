import type { Capabilities } from '../kvm/capabilities.ts';
import type { Cause } from './device-problem.ts';
import type { FeatureName, Findings, Trial } from './findings.ts';
import type { KernelOption } from './kernel-config.ts';
import type { SystemFacts } from './system.ts';

/** Something that a user of guest_memfd may want. */
export interface Feature {
  readonly name: FeatureName;
  /** The feature in words. */
  readonly title: string;
  /**
   * `yes`: done, and it worked. `no`: it did not. `ignored`: the kernel accepts the request and does nothing. `unknown`:
   * could not be tried.
   */
  readonly status: Trial['status'];
  /** What was done and what came of it. */
  readonly detail: string;
  /** The first cause found, one sentence; there unless the status is `yes`. */
  readonly cause?: string;
  /** What to do about it, one sentence; there unless the status is `yes`. */
  readonly remedy?: string;
}

/** What causes are looked for in. */
export interface Ground {
  readonly host: SystemFacts['host'];
  readonly kernel: SystemFacts['kernel'];
  /** The device's answers. */
  readonly device: Capabilities;
  readonly findings: Findings;
}

/** A place to look for the cause: undefined where it is not that. */
type Look = (ground: Ground) => Cause | undefined;

const isOff = ({ kernel }: Ground, option: KernelOption) => kernel.config.options[option] === 'n';
const built = (options: readonly string[], { kernel }: Ground) =>
  `the kernel was built without ${options.map((option) => `CONFIG_${option}`).join(', ')} (${kernel.config.source})`;

/** The option is not set in a configuration that could be read. */
function option(name: KernelOption, remedy: string): Look {
  return (ground) => (isOff(ground, name) ? { cause: built([name], ground), remedy } : undefined);
}

/** A module parameter is N or 0; a parameter that is not there says nothing. */
function parameterOff(name: string, remedy: string): Look {
  return ({ kernel }) => {
    const value = kernel.parameters[name];
    return value === 'N' || value === '0' ? { cause: `module parameter ${name} is ${value}`, remedy } : undefined;
  };
}

function notX64(what: string): Look {
  return ({ host }) =>
    host.architecture === 'x64'
      ? undefined
      : { cause: `KVM has no ${what} on ${host.architecture}`, remedy: 'Use an x86-64 machine' };
}

/** A capability that the device does not have for any VM. */
function deviceLacks(name: keyof Capabilities['raw'], remedy: string): Look {
  return ({ device }) => (device.raw[name] === 0 ? { cause: `KVM_CAP_${name} is 0`, remedy } : undefined);
}

/** Without EPT or NPT in use KVM keeps shadow page tables, whatever made it so. */
const noNestedPaging: readonly Look[] = [
  parameterOff('kvm_intel.ept', 'Load kvm_intel with ept=1, on hardware with EPT'),
  parameterOff('kvm_amd.npt', 'Load kvm_amd with npt=1, on hardware with NPT'),
  ({ kernel }) =>
    kernel.modules.includes('kvm_pvm')
      ? {
          cause: 'kvm_pvm runs guests without virtualisation hardware, on shadow page tables',
          remedy: 'Use a machine with VT-x or AMD-V, or nested virtualisation, and kvm_intel or kvm_amd',
        }
      : undefined,
  parameterOff('kvm.tdp_mmu', 'Load kvm with tdp_mmu=1, on hardware with EPT or NPT'),
];

const privateOptions = ['KVM_SW_PROTECTED_VM', 'KVM_AMD_SEV', 'KVM_INTEL_TDX'] as const;
const getPrivateMemory =
  'Build the kernel with CONFIG_KVM_SW_PROTECTED_VM (needs CONFIG_EXPERT), or use SEV-SNP or TDX';

/** Why no VM with private memory can be created. */
const noPrivateMemory: readonly Look[] = [
  notX64('VM type with private memory'),
  (ground) =>
    privateOptions.every((name) => isOff(ground, name))
      ? { cause: built(privateOptions, ground), remedy: getPrivateMemory }
      : undefined,
  // With the option off only the confidential types are left, and their parameters tell about the hardware too.
  (ground) => {
    if (!isOff(ground, 'KVM_SW_PROTECTED_VM')) return undefined;
    const off = ['kvm_amd.sev_snp', 'kvm_intel.tdx'].find((name) => ground.kernel.parameters[name] === 'N');
    const other = off ? `module parameter ${off} is N` : 'the hardware offers neither SEV-SNP nor TDX';
    return { cause: `${built(['KVM_SW_PROTECTED_VM'], ground)}, and ${other}`, remedy: getPrivateMemory };
  },
  ...noNestedPaging.map<Look>((look) => (ground) => {
    const found = look(ground);
    return found && { ...found, cause: `software-protected VMs need nested paging, but ${found.cause}` };
  }),
  () => ({ cause: 'no VM type with private memory can be created on this kernel', remedy: getPrivateMemory }),
];

const use618 = 'Use Linux 6.18 or later';
const use619 = 'Use Linux 6.19 or later';

/** A kernel that has the feature and does it wrong. */
const kernelBug: Look = () => ({
  cause: 'the kernel has it and gets it wrong',
  remedy: 'Run gmem smoke for details, and report the kernel bug',
});

interface Entry {
  readonly title: string;
  /** Where to look for the cause, in this order; the last one always finds something. */
  readonly looks: readonly Look[];
}

/** In the order of the report. */
const catalogue: Readonly<Record<FeatureName, Entry>> = {
  'guest-memfd': {
    title: 'guest_memfd, created and bound to a VM',
    looks: [
      (ground) =>
        isOff(ground, 'KVM_GUEST_MEMFD') && isOff(ground, 'KVM_PRIVATE_MEM')
          ? {
              cause: built(['KVM_GUEST_MEMFD'], ground),
              remedy: `Build the kernel with it, or ${use618.toLowerCase()}`,
            }
          : undefined,
      ({ device, findings }) =>
        device.guestMemfd && findings.vms['0']?.guestMemfd === false
          ? {
              cause: 'this kernel offers guest_memfd to VMs with private memory only, and none can be created',
              remedy: `${use618}, where a default VM has it`,
            }
          : undefined,
      deviceLacks('GUEST_MEMFD', use618),
      kernelBug,
    ],
  },
  mmap: {
    title: 'guest_memfd mapped by the host',
    looks: [deviceLacks('GUEST_MEMFD_FLAGS', `${use618}, which can map it`), kernelBug],
  },
  'init-shared': {
    title: 'memory that starts shared with the host',
    looks: [
      ({ device, findings }) =>
        device.guestMemfdFlags.includes('INIT_SHARED') && !findings.vms['0']?.guestMemfdFlags.includes('INIT_SHARED')
          ? { cause: 'flag INIT_SHARED is not for this type of VM', remedy: 'Use a default VM' }
          : undefined,
      ({ device }) =>
        device.guestMemfdFlags.includes('INIT_SHARED')
          ? undefined
          : { cause: 'KVM_CAP_GUEST_MEMFD_FLAGS lacks INIT_SHARED', remedy: use618 },
      kernelBug,
    ],
  },
  'private-refused': { title: 'private memory refused to the host', looks: [kernelBug] },
  'close-on-exec': { title: 'file descriptor closed on exec', looks: [kernelBug] },
  'guest-runs': {
    title: 'a guest loads from and stores to guest_memfd',
    looks: [
      ({ host }) =>
        host.architecture === 'x64'
          ? undefined
          : {
              cause: `this package has no guest program for ${host.architecture} yet`,
              remedy: 'Use an x86-64 machine to run guests',
            },
      ({ findings }) => {
        const { status, detail } = findings.trials['guest-runs'];
        return status === 'unknown'
          ? { cause: detail, remedy: `${use618}, where a default VM has guest_memfd` }
          : { cause: `the guest did not get through: ${detail}`, remedy: 'Run gmem smoke guest for details' };
      },
    ],
  },
  'memory-fault-info': {
    title: 'memory faults described in an exit',
    looks: [
      deviceLacks('MEMORY_FAULT_INFO', 'Use Linux 6.8 or later; arm64 has the exits without the capability'),
      kernelBug,
    ],
  },
  'pre-fault': {
    title: 'guest memory mapped before it is touched',
    looks: [
      notX64('pre-faulting'),
      option('KVM_GENERIC_PRE_FAULT_MEMORY', 'Use Linux 6.11 or later, with KVM for x86-64'),
      ...noNestedPaging,
      deviceLacks('PRE_FAULT_MEMORY', 'Use Linux 6.11 or later on hardware with EPT or NPT'),
      kernelBug,
    ],
  },
  'memory-attributes': {
    title: 'memory attributes: private and shared in one VM',
    looks: [
      ({ findings }) =>
        findings.trials['in-place-conversion'].status === 'yes'
          ? {
              cause: 'this kernel keeps the attributes in each guest_memfd instead (in-place conversion)',
              remedy: 'Use guestMemfd.setMemoryAttributes, or load kvm with gmem_in_place_conversion=N',
            }
          : undefined,
      (ground) =>
        Object.values(ground.findings.vms).some((vm) => vm.memoryAttributes.includes('PRIVATE'))
          ? kernelBug(ground)
          : undefined,
      ...noPrivateMemory,
    ],
  },
  'in-place-conversion': {
    title: 'in-place conversion within one guest_memfd',
    looks: [
      parameterOff('kvm.gmem_in_place_conversion', 'Load kvm with gmem_in_place_conversion=1'),
      ({ kernel }) =>
        kernel.parameters['kvm.vm_memory_attributes'] === 'Y'
          ? { cause: 'module parameter kvm.vm_memory_attributes is Y', remedy: 'Load kvm with vm_memory_attributes=0' }
          : undefined,
      ({ findings }) =>
        findings.trials['in-place-conversion'].code === 'ENOTTY'
          ? {
              cause: 'the kernel has no KVM_SET_MEMORY_ATTRIBUTES2 on guest_memfd',
              remedy: 'Use a kernel with the in-place conversion series, which Linux 7.3 does not have yet',
            }
          : undefined,
      ...noPrivateMemory,
    ],
  },
  'numa-policy': {
    title: 'NUMA policy of guest_memfd honoured',
    looks: [
      option('NUMA', 'Build the kernel with CONFIG_NUMA'),
      ({ findings }) =>
        findings.trials['numa-policy'].status === 'ignored'
          ? { cause: 'this kernel accepts a policy for guest_memfd and drops it', remedy: use619 }
          : undefined,
      ({ host }) =>
        host.allowedNumaNodes.length === 0
          ? { cause: 'no NUMA node has memory that this process may use', remedy: 'Widen cpuset.mems of its cgroup' }
          : undefined,
      () => ({ cause: 'the kernel refuses a NUMA policy for guest_memfd', remedy: use619 }),
    ],
  },
  'huge-pages': {
    title: 'huge pages in guest_memfd',
    looks: [
      option(
        'TRANSPARENT_HUGEPAGE',
        'Build the kernel with it; whether guest_memfd then has huge pages is another thing',
      ),
      ({ host }) => ({
        cause: `guest_memfd has pages of ${host.pageSize} bytes only on this kernel`,
        remedy: 'Nothing helps yet: Linux 7.3 has no huge pages for guest_memfd either',
      }),
    ],
  },
  'own-file-system': {
    title: 'guest_memfd on a file system of its own',
    looks: [() => ({ cause: 'this kernel makes guest_memfd an anonymous inode', remedy: use619 })],
  },
};

const names = Object.keys(catalogue) as FeatureName[];

/** Features when the device cannot be used: one cause stands for all. */
export function unknownFeatures(problem: Cause): Feature[] {
  return names.map((name) => ({
    name,
    title: catalogue[name].title,
    status: 'unknown',
    detail: 'not tried: the KVM device cannot be used',
    ...problem,
  }));
}

/** The first cause found. */
function causeOf(name: FeatureName, ground: Ground): Cause {
  const trial = ground.findings.trials[name];
  // What was missing first is the cause of what builds on it.
  if (trial.needs) return causeOf(trial.needs, ground);
  if (trial.status === 'unknown' && trial.code === 'EPERM')
    return {
      cause: `a security policy, such as the seccomp profile of a container, refuses it: ${trial.detail}`,
      remedy:
        name === 'numa-policy'
          ? 'Give the container CAP_SYS_NICE, with which most profiles allow NUMA calls'
          : 'Try again outside the container, or with a wider policy',
    };
  if (trial.status === 'unknown' && trial.code)
    return {
      cause: `it could not be tried: ${trial.detail}`,
      remedy: 'Free what is short (memory, file descriptors) and try again',
    };
  for (const look of catalogue[name].looks) {
    const found = look(ground);
    if (found) return found;
  }
  return { cause: trial.detail, remedy: 'Run gmem smoke for details' };
}

/** Turns facts and findings into features, with the first cause for each one that is missing. A function of its argument. */
export function featuresOf(ground: Ground): Feature[] {
  return names.map((name) => {
    const { status, detail } = ground.findings.trials[name];
    const { title } = catalogue[name];
    return status === 'yes'
      ? { name, title, status, detail }
      : { name, title, status, detail, ...causeOf(name, ground) };
  });
}
