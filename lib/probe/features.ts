import type { Findings } from './findings.ts';
import type { KernelOption } from './kernel-config.ts';
import type { SystemFacts } from './system.ts';

/** Something that a user of guest_memfd may want. */
export interface Feature {
  readonly name: string;
  readonly title: string;
  /** `ignored`: the kernel accepts the request and does nothing. `unknown`: could not be asked. */
  readonly status: 'yes' | 'no' | 'ignored' | 'unknown';
  /** The first cause found. */
  readonly cause?: string;
  /** What to do about it. */
  readonly remedy?: string;
}

interface Cause {
  readonly cause: string;
  readonly remedy: string;
}

/** What keeps the device from being used; undefined when it can be. */
export type DeviceProblem = Cause | undefined;

type Facts = Pick<SystemFacts, 'host' | 'kernel'>;

const off = ({ kernel }: Facts, option: KernelOption) => kernel.config.options[option] === 'n';
const parameter = ({ kernel }: Facts, name: string) => kernel.parameters[name];

function configCause(facts: Facts, option: KernelOption, remedy: string): Cause | undefined {
  return off(facts, option)
    ? { cause: `the kernel was built without CONFIG_${option} (${facts.kernel.config.source})`, remedy }
    : undefined;
}

function noGuestMemfd(facts: Facts): Cause {
  return (
    configCause(facts, 'KVM_GUEST_MEMFD', 'Build the kernel with it, or use Linux 6.18 or later') ?? {
      cause: 'a default VM cannot make a guest_memfd on this kernel',
      remedy: 'Use Linux 6.18 or later; before, only confidential and software-protected VMs could',
    }
  );
}

function noAttributes(facts: Facts, findings: Findings): Cause {
  if (!findings.vmTypes.includes(1)) {
    const config = configCause(
      facts,
      'KVM_SW_PROTECTED_VM',
      'Build the kernel with it (it depends on CONFIG_EXPERT), or use SEV-SNP or TDX hardware',
    );
    if (config) return config;
    if (facts.host.architecture !== 'x64')
      return { cause: `KVM has no memory attributes on ${facts.host.architecture}`, remedy: 'Use an x86-64 machine' };
    if (parameter(facts, 'kvm.tdp_mmu') === 'N')
      return {
        cause: 'software-protected VMs cannot be created, and module parameter kvm.tdp_mmu is N',
        remedy: 'Use a kernel with CONFIG_KVM_SW_PROTECTED_VM on hardware with EPT or NPT, with kvm.tdp_mmu=Y',
      };
    return {
      cause: 'software-protected VMs (type 1) cannot be created on this kernel',
      remedy: 'Use a kernel with CONFIG_KVM_SW_PROTECTED_VM, or SEV-SNP or TDX hardware',
    };
  }
  if (findings.inPlaceConversion)
    return { cause: 'this kernel keeps attributes in each guest_memfd instead', remedy: 'Use in-place conversion' };
  return {
    cause: 'VMs with private memory report no attributes (KVM_CAP_MEMORY_ATTRIBUTES is 0)',
    remedy: 'Build the kernel with CONFIG_KVM_GENERIC_MEMORY_ATTRIBUTES',
  };
}

function noInPlaceConversion(facts: Facts): Cause {
  for (const name of ['kvm.gmem_in_place_conversion', 'kvm.vm_memory_attributes']) {
    const value = parameter(facts, name);
    if (value !== undefined)
      return {
        cause: `module parameter ${name} is ${value}`,
        remedy: `Load kvm with ${name === 'kvm.vm_memory_attributes' ? 'vm_memory_attributes=N' : 'gmem_in_place_conversion=Y'}`,
      };
  }
  return {
    cause: 'the kernel has no KVM_SET_MEMORY_ATTRIBUTES2 on guest_memfd (ENOTTY)',
    remedy: 'It is a pending feature that no kernel release had by November 2026',
  };
}

function noPreFault(facts: Facts): Cause {
  if (parameter(facts, 'kvm.tdp_mmu') === 'N' || facts.kernel.modules.includes('kvm_pvm'))
    return {
      cause: 'this KVM runs guests on shadow page tables, and pre-faulting needs nested paging',
      remedy: 'Use hardware with EPT or NPT, and kvm.tdp_mmu=Y',
    };
  return { cause: 'KVM_CAP_PRE_FAULT_MEMORY is 0', remedy: 'Use Linux 6.11 or later on x86-64' };
}

/** Turns what was found into features, with the first cause for each thing that is missing. */
export function featuresOf(facts: Facts, problem: DeviceProblem, findings: Findings | undefined): Feature[] {
  const feature = (name: string, title: string, found: boolean | undefined, why: () => Cause): Feature => {
    if (problem) return { name, title, status: 'unknown', ...problem };
    if (found === undefined)
      return { name, title, status: 'no', ...(findings?.guestMemfd ? noMmap() : noGuestMemfd(facts)) };
    return found ? { name, title, status: 'yes' } : { name, title, status: 'no', ...why() };
  };
  const noMmap = (): Cause => ({
    cause: 'KVM_CAP_GUEST_MEMFD_FLAGS does not have what it needs (MMAP, INIT_SHARED) for a default VM',
    remedy: 'Use Linux 6.18 or later',
  });
  const features = [
    feature('guest-memfd', 'guest_memfd for a default VM', findings?.guestMemfd, () => noGuestMemfd(facts)),
    feature('mmap', 'guest_memfd mapped and shared with the host', findings?.mmap, noMmap),
    feature('private-refused', 'private memory refused to the host', findings?.privateRefused, () => ({
      cause: 'the host could read memory that should be private',
      remedy: 'This is a kernel bug: run gmem smoke and report it',
    })),
    feature('guest-runs', 'a guest runs on guest_memfd memory', findings?.guestRuns, () => ({
      cause: findings?.guestProblem ?? 'unknown',
      remedy: 'Run gmem smoke guest for details',
    })),
    feature('memory-fault-info', 'memory faults described in an exit', findings?.memoryFaultInfo, () => ({
      cause: 'KVM_CAP_MEMORY_FAULT_INFO is 0',
      remedy: 'x86-64 has it since Linux 6.8; arm64 describes faults without the capability',
    })),
    feature(
      'memory-attributes',
      'memory attributes: conversion between shared and private',
      findings?.memoryAttributes,
      () => noAttributes(facts, findings as Findings),
    ),
    feature('in-place-conversion', 'conversion in place, within one guest_memfd', findings?.inPlaceConversion, () =>
      noInPlaceConversion(facts),
    ),
    feature('pre-fault', 'guest memory mapped before it is touched', findings?.preFault, () => noPreFault(facts)),
    feature('huge-pages', 'huge pages in guest_memfd', findings?.hugePages, () => ({
      cause: 'MADV_COLLAPSE is refused: guest_memfd has pages of the base size only',
      remedy: 'No kernel release had huge pages for guest_memfd by November 2026',
    })),
    feature('own-file-system', 'guest_memfd on a file system of its own', findings?.ownFileSystem, () => ({
      cause: 'it is an anonymous inode',
      remedy: 'Linux 6.19 and later have it',
    })),
  ];
  const numa = feature(
    'numa-policy',
    'NUMA policy of guest_memfd memory honoured',
    findings?.numaPolicy === 'honoured',
    () =>
      findings?.numaPolicy === 'ignored'
        ? {
            cause: 'mbind succeeds, but the policy is gone in the next mapping: accepted and ignored',
            remedy: 'Linux 6.19 and later honour it',
          }
        : {
            cause: off(facts, 'NUMA')
              ? 'the kernel was built without CONFIG_NUMA'
              : 'mbind is refused, or guest_memfd cannot be mapped',
            remedy: 'Use Linux 6.19 or later with CONFIG_NUMA',
          },
  );
  features.push(findings?.numaPolicy === 'ignored' && numa.status === 'no' ? { ...numa, status: 'ignored' } : numa);
  return features;
}

/** The first thing that keeps the device from being used, from files and from the error that opening it gave. */
export function deviceProblem(system: SystemFacts, error: { code: string; message: string }): Cause {
  const { device, host, kernel } = system;
  if (!device.exists) {
    if (kernel.config.options.KVM === 'n')
      return { cause: 'the kernel was built without CONFIG_KVM', remedy: 'Use a kernel that has it' };
    if (kernel.modules.some((module) => module !== 'kvm'))
      return {
        cause: `there is no ${device.path}, though a KVM module is loaded (${kernel.modules.join(', ')})`,
        remedy: `Create the node, or pass it into the container with --device ${device.path}`,
      };
    if (host.architecture === 'x64' && host.virtualisation === undefined)
      return {
        cause: `there is no ${device.path}, and the processor shows neither vmx nor svm`,
        remedy: host.underHypervisor
          ? 'Switch on nested virtualisation for this virtual machine'
          : 'Switch on virtualisation in the firmware',
      };
    return {
      cause: `there is no ${device.path}`,
      remedy: 'Load kvm_intel or kvm_amd, or pass the device into the container',
    };
  }
  if (error.code === 'EACCES')
    return {
      cause: `this user may not open ${device.path} (mode ${device.mode}, owner ${device.owner}, group ${device.group})`,
      remedy:
        device.group === 'root' || !device.mode?.startsWith('066')
          ? `Give the device a group that you are in: chgrp kvm ${device.path} && chmod 660 ${device.path}, by a udev rule to make it last`
          : `Add the user to group ${device.group} and log in again`,
    };
  if (error.code === 'EPERM')
    return {
      cause: `a device policy (cgroup, seccomp or security module) refuses ${device.path}`,
      remedy: `Allow the container the device, for example with --device ${device.path}`,
    };
  return { cause: error.message, remedy: 'Load kvm_intel or kvm_amd, and give the path of the KVM device' };
}
