import type { Capabilities } from '../kvm/capabilities.ts';
import {
  type Cause,
  firstCause,
  type Look as LookIn,
  type Machine,
  noGuestMemfd,
  noHugePages,
  noNuma,
  noPreFault,
  noPrivateMemory,
  noPrivateType,
  parameterOff,
} from '../system/causes.ts';
import type { FeatureName, Findings, Trial } from './findings.ts';

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
export interface Ground extends Machine {
  /** The device's answers. */
  readonly device: Capabilities;
  readonly findings: Findings;
}

type Look = LookIn<Ground>;

/** A capability that the device does not have for any VM. */
function deviceLacks(name: keyof Capabilities['raw'], remedy: string): Look {
  return ({ device }) => (device.raw[name] === 0 ? { cause: `KVM_CAP_${name} is 0`, remedy } : undefined);
}

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
      ...noGuestMemfd,
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
      ...noPreFault,
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
      noPrivateType,
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
      noPrivateType,
    ],
  },
  'numa-policy': {
    title: 'NUMA policy of guest_memfd honoured',
    looks: [
      ...noNuma,
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
      ...noHugePages,
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
  const {
    cause,
    remedy,
    because = [],
  } = firstCause(catalogue[name].looks, ground) ?? {
    cause: trial.detail,
    remedy: 'Run gmem smoke for details',
  };
  return { cause: [cause, ...because].join(', but '), remedy };
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
