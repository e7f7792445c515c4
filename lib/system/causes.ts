import type { KernelOption } from './kernel-config.ts';
import type { HostFacts, KernelFacts } from './system.ts';

/** Why something is missing, and what to do about it: one sentence each, without the full stop. */
export interface Cause {
  readonly cause: string;
  readonly remedy: string;
  /** The cause of the cause and so on, where there is more than one step to the first. */
  readonly because?: readonly string[];
}

/** What causes are looked for in. */
export interface Machine {
  readonly host: HostFacts;
  readonly kernel: KernelFacts;
}

/** A place to look for the cause: undefined where it is not that. */
export type Look<Ground extends Machine = Machine> = (ground: Ground) => Cause | undefined;

/** The first cause found. */
export function firstCause<Ground extends Machine>(looks: readonly Look<Ground>[], ground: Ground): Cause | undefined {
  for (const look of looks) {
    const found = look(ground);
    if (found) return found;
  }
  return undefined;
}

/** A configuration that could be read does not have the option. */
export const isOff = ({ kernel }: Machine, option: KernelOption): boolean => kernel.config.options[option] === 'n';

/** 'the kernel was built without CONFIG_NUMA (/proc/config.gz)' */
export const builtWithout = (options: readonly string[], { kernel }: Machine): string =>
  `the kernel was built without ${options.map((option) => `CONFIG_${option}`).join(', ')} (${kernel.config.source})`;

/** The option is not set in a configuration that could be read. */
export function optionOff(name: KernelOption, remedy: string): Look {
  return (machine) => (isOff(machine, name) ? { cause: builtWithout([name], machine), remedy } : undefined);
}

/** A module parameter is N or 0; a parameter that is not there says nothing. */
export function parameterOff(name: string, remedy: string): Look {
  return ({ kernel }) => {
    const value = kernel.parameters[name];
    return value === 'N' || value === '0' ? { cause: `module parameter ${name} is ${value}`, remedy } : undefined;
  };
}

export function notX64(what: string): Look {
  return ({ host }) =>
    host.architecture === 'x64'
      ? undefined
      : { cause: `KVM has no ${what} on ${host.architecture}`, remedy: 'Use an x86-64 machine' };
}

/** Without EPT or NPT in use KVM keeps shadow page tables, whatever made it so. */
export const noNestedPaging: readonly Look[] = [
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

/** What is said where no other cause is found. */
export const noPrivateType: Look = () => ({
  cause: 'no VM type with private memory can be created on this kernel',
  remedy: getPrivateMemory,
});

/** Why no VM with private memory can be created. */
export const noPrivateMemory: readonly Look[] = [
  notX64('VM type with private memory'),
  (machine) =>
    privateOptions.every((name) => isOff(machine, name))
      ? { cause: builtWithout(privateOptions, machine), remedy: getPrivateMemory }
      : undefined,
  // With the option off only the confidential types are left, and their parameters tell about the hardware too.
  (machine) => {
    if (!isOff(machine, 'KVM_SW_PROTECTED_VM')) return undefined;
    const off = ['kvm_amd.sev_snp', 'kvm_intel.tdx'].find((name) => machine.kernel.parameters[name] === 'N');
    const other = off ? `module parameter ${off} is N` : 'the hardware offers neither SEV-SNP nor TDX';
    return { cause: `${builtWithout(['KVM_SW_PROTECTED_VM'], machine)}, and ${other}`, remedy: getPrivateMemory };
  },
  ...noNestedPaging.map<Look>((look) => (machine) => {
    const found = look(machine);
    return (
      found && {
        cause: 'software-protected VMs need nested paging',
        because: [found.cause],
        remedy: found.remedy,
      }
    );
  }),
];

/** Why there is no guest_memfd at all. */
export const noGuestMemfd: readonly Look[] = [
  (machine) =>
    isOff(machine, 'KVM_GUEST_MEMFD') && isOff(machine, 'KVM_PRIVATE_MEM')
      ? {
          cause: builtWithout(['KVM_GUEST_MEMFD'], machine),
          remedy: 'Build the kernel with it, or use Linux 6.18 or later',
        }
      : undefined,
];

/** Why guest memory cannot be mapped before it is touched. */
export const noPreFault: readonly Look[] = [
  notX64('pre-faulting'),
  optionOff('KVM_GENERIC_PRE_FAULT_MEMORY', 'Use Linux 6.11 or later, with KVM for x86-64'),
  ...noNestedPaging,
];

/** Why there is one NUMA node. */
export const noNuma: readonly Look[] = [optionOff('NUMA', 'Build the kernel with CONFIG_NUMA')];

/** Why there are no transparent huge pages. */
export const noHugePages: readonly Look[] = [
  optionOff(
    'TRANSPARENT_HUGEPAGE',
    'Build the kernel with it; whether guest_memfd then has huge pages is another thing',
  ),
];
