import { describe, expect, test } from 'vitest';
import { deviceProblem, featuresOf } from '../../lib/probe/features.ts';
import type { Findings } from '../../lib/probe/findings.ts';
import { parseKernelConfig } from '../../lib/probe/kernel-config.ts';
import type { SystemFacts } from '../../lib/probe/system.ts';

const system: SystemFacts = {
  host: {
    architecture: 'x64',
    cpu: 'CPU',
    cpus: 1,
    memoryBytes: 1,
    pageSize: 4096,
    numaNodes: [0],
    virtualisation: 'svm',
    underHypervisor: false,
    transparentHugePages: 'madvise',
  },
  kernel: {
    release: '6.18',
    version: '#1',
    config: { source: undefined, options: {} },
    modules: ['kvm'],
    parameters: {},
  },
  device: { path: '/dev/kvm', exists: true, mode: '0660', owner: 0, group: 'kvm' },
};
const all: Findings = {
  vmTypes: [0, 1],
  guestMemfd: true,
  mmap: true,
  privateRefused: true,
  guestRuns: true,
  guestProblem: undefined,
  memoryAttributes: true,
  inPlaceConversion: true,
  preFault: true,
  memoryFaultInfo: true,
  numaPolicy: 'honoured',
  hugePages: true,
  ownFileSystem: true,
};
const withKernel = (kernel: Partial<SystemFacts['kernel']>): SystemFacts => ({
  ...system,
  kernel: { ...system.kernel, ...kernel },
});

function cause(name: string, findings: Partial<Findings>, facts: SystemFacts = system) {
  return featuresOf(facts, undefined, { ...all, ...findings }).find((feature) => feature.name === name);
}

describe('features', () => {
  test('are all there when everything works', () => {
    const features = featuresOf(system, undefined, all);
    expect(features.map((feature) => feature.status)).toEqual(features.map(() => 'yes'));
  });

  test('are unknown, for one cause, when the device cannot be used', () => {
    const problem = { cause: 'no device', remedy: 'get one' };
    for (const feature of featuresOf(system, problem, undefined))
      expect(feature).toMatchObject({ status: 'unknown', ...problem });
  });

  test('memory attributes: configuration before module parameter before the rest', () => {
    const missing = { memoryAttributes: false, vmTypes: [0] };
    const config = { source: '/proc/config.gz', options: { KVM_SW_PROTECTED_VM: 'n' } as const };
    const both = withKernel({ config, parameters: { 'kvm.tdp_mmu': 'N' } });
    expect(cause('memory-attributes', missing, both)?.cause).toMatch(/CONFIG_KVM_SW_PROTECTED_VM.*\/proc\/config.gz/);
    expect(cause('memory-attributes', missing, withKernel({ parameters: { 'kvm.tdp_mmu': 'N' } }))?.cause).toMatch(
      /tdp_mmu is N/,
    );
    expect(cause('memory-attributes', missing)?.cause).toMatch(/cannot be created/);
    expect(cause('memory-attributes', { memoryAttributes: false, inPlaceConversion: true })?.cause).toMatch(
      /in each guest_memfd/,
    );
  });

  test('in-place conversion: a module parameter that switches it off is the cause', () => {
    const off = withKernel({ parameters: { 'kvm.gmem_in_place_conversion': 'N' } });
    expect(cause('in-place-conversion', { inPlaceConversion: false }, off)).toMatchObject({
      status: 'no',
      cause: expect.stringMatching(/gmem_in_place_conversion is N/),
    });
    expect(cause('in-place-conversion', { inPlaceConversion: false })?.cause).toMatch(/ENOTTY/);
  });

  test('a NUMA policy that is accepted and dropped is "ignored"', () => {
    expect(cause('numa-policy', { numaPolicy: 'ignored' })).toMatchObject({ status: 'ignored' });
    expect(cause('numa-policy', { numaPolicy: 'refused' })).toMatchObject({ status: 'no' });
  });

  test('what builds on guest_memfd is missing with it', () => {
    const none = { guestMemfd: false, mmap: undefined, privateRefused: undefined, guestRuns: undefined };
    expect(cause('mmap', none)?.cause).toMatch(/default VM cannot make a guest_memfd/);
  });
});

describe('the device', () => {
  const denied = { code: 'EACCES', message: 'denied' };

  test('that may not be opened: who may, and what to do', () => {
    expect(deviceProblem(system, denied)).toMatchObject({
      cause: expect.stringMatching(/mode 0660, owner 0, group kvm/),
      remedy: expect.stringMatching(/Add the user to group kvm/),
    });
    const closed = { ...system, device: { ...system.device, mode: '0600', group: 'root' } };
    expect(deviceProblem(closed, denied).remedy).toMatch(/udev/);
    expect(deviceProblem(system, { code: 'EPERM', message: '' }).cause).toMatch(/cgroup/);
    expect(deviceProblem(system, { code: 'ENOTTY', message: 'not KVM' }).cause).toBe('not KVM');
  });

  test('that is not there: the first cause of the chain', () => {
    const gone = { ...system, device: { ...system.device, exists: false } };
    const missing = { code: 'ENOENT', message: '' };
    const built = { source: '/boot/config', options: { KVM: 'n' } as const };
    expect(deviceProblem({ ...gone, kernel: { ...gone.kernel, config: built } }, missing).cause).toMatch(/CONFIG_KVM/);
    expect(deviceProblem({ ...gone, kernel: { ...gone.kernel, modules: ['kvm', 'kvm_amd'] } }, missing).cause).toMatch(
      /kvm_amd/,
    );
    const guest = { ...gone, host: { ...gone.host, virtualisation: undefined, underHypervisor: true } };
    expect(deviceProblem(guest, missing)).toMatchObject({
      cause: expect.stringMatching(/neither vmx nor svm/),
      remedy: expect.stringMatching(/nested/),
    });
    expect(deviceProblem(gone, missing).remedy).toMatch(/Load kvm_intel or kvm_amd/);
  });
});

test('a kernel configuration is read for what matters', () => {
  const text = '# CONFIG_KVM_SW_PROTECTED_VM is not set\nCONFIG_KVM=m\nCONFIG_KVM_GUEST_MEMFD=y\nCONFIG_NUMA_X=y\n';
  expect(parseKernelConfig(text)).toMatchObject({
    KVM: 'm',
    KVM_GUEST_MEMFD: 'y',
    KVM_SW_PROTECTED_VM: 'n',
    NUMA: 'n',
  });
});
