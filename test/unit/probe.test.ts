import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, describe, expect, test } from 'vitest';
import { type CapabilityName, decodeCapabilities } from '../../lib/kvm/capabilities.ts';
import { Capability } from '../../lib/kvm/constants.ts';
import { deviceProblem } from '../../lib/probe/device-problem.ts';
import { featuresOf, type Ground, unknownFeatures } from '../../lib/probe/features.ts';
import type { FeatureName, Trial } from '../../lib/probe/findings.ts';
import {
  type KernelOption,
  parseKernelConfig,
  readKernelConfig,
  relevantOptions,
} from '../../lib/system/kernel-config.ts';
import { parseCpuinfo, parseNumberList, type SystemFacts } from '../../lib/system/system.ts';

const system: SystemFacts = {
  host: {
    architecture: 'x64',
    cpu: 'CPU',
    cpuVendor: 'AuthenticAMD',
    cpus: 1,
    memoryBytes: 1,
    pageSize: 4096,
    numaNodes: [0],
    allowedNumaNodes: [0],
    virtualisation: 'svm',
    underHypervisor: false,
    transparentHugePages: 'madvise',
  },
  kernel: {
    release: '6.18',
    version: '#1',
    config: { source: undefined, options: {} },
    modules: ['kvm', 'kvm_amd'],
    parameters: {},
  },
  device: { path: '/dev/kvm', exists: true, mode: '0660', owner: 'root', group: 'kvm' },
};

const answers = (values: Partial<Record<CapabilityName, number>>) =>
  decodeCapabilities({
    ...(Object.fromEntries(Object.keys(Capability).map((name) => [name, 0])) as Record<CapabilityName, number>),
    ...values,
  });
const modern = answers({ GUEST_MEMFD: 1, GUEST_MEMFD_FLAGS: 3, MEMORY_FAULT_INFO: 1 });
const names: readonly FeatureName[] = unknownFeatures({ cause: '', remedy: '' }).map(({ name }) => name);
const works = Object.fromEntries(names.map((name) => [name, { status: 'yes', detail: 'done' }])) as Record<
  FeatureName,
  Trial
>;
const missing = (more: Partial<Trial> = {}): Trial => ({ status: 'no', detail: 'what was tried', ...more });

interface Given {
  trials?: Partial<Record<FeatureName, Trial>>;
  host?: Partial<SystemFacts['host']>;
  kernel?: Partial<SystemFacts['kernel']>;
  /** A configuration in which these are not set and all others are. */
  off?: readonly KernelOption[];
  device?: Ground['device'];
  vms?: Ground['findings']['vms'];
}

function ground({ trials, host, kernel, off, device = modern, vms = { 0: modern } }: Given): Ground {
  const config = off && {
    source: '/proc/config.gz',
    options: Object.fromEntries(relevantOptions.map((option) => [option, off.includes(option) ? 'n' : 'y'])),
  };
  return {
    host: { ...system.host, ...host },
    kernel: { ...system.kernel, ...(config ? { config } : {}), ...kernel },
    device,
    findings: { vms, trials: { ...works, ...trials } },
  };
}

/** The feature of that name when its trial ended as given, by default with a plain no. */
function feature(name: FeatureName, given: Given = {}) {
  return featuresOf(ground({ ...given, trials: { [name]: missing(), ...given.trials } })).find(
    (one) => one.name === name,
  );
}
const cause = (name: FeatureName, given?: Given) => feature(name, given)?.cause;

describe('features', () => {
  test('are all there when everything works, without causes', () => {
    const features = featuresOf(ground({}));
    expect(features).toHaveLength(13);
    for (const one of features)
      expect(one).toEqual({ name: one.name, title: one.title, status: 'yes', detail: 'done' });
  });

  test('are unknown, for one cause, when the device cannot be used', () => {
    const problem = { cause: 'no device', remedy: 'get one' };
    for (const one of unknownFeatures(problem)) expect(one).toMatchObject({ status: 'unknown', ...problem });
  });

  test('each have a cause and a remedy when they are missing, one sentence each', () => {
    for (const name of names)
      for (const host of [{}, { architecture: 'arm64' }])
        for (const status of ['no', 'unknown', 'ignored'] as const) {
          const found = feature(name, { host, trials: { [name]: missing({ status }) } });
          expect(found, name).toMatchObject({ status, detail: 'what was tried' });
          for (const text of [found?.cause, found?.remedy]) expect(text, name).toMatch(/^\S.{5,}[^.]$/);
        }
  });

  test('have the cause of what they build on', () => {
    const device = answers({});
    const trials = {
      'guest-memfd': missing(),
      mmap: missing({ needs: 'guest-memfd' }),
      'huge-pages': missing({ needs: 'guest-memfd' }),
    };
    for (const name of ['mmap', 'huge-pages'] as const)
      expect(cause(name, { device, trials, off: ['TRANSPARENT_HUGEPAGE'] })).toBe('KVM_CAP_GUEST_MEMFD is 0');
  });

  test('guest_memfd: configuration, then VM type, then capability', () => {
    const none = answers({});
    expect(cause('guest-memfd', { device: none, off: ['KVM_GUEST_MEMFD', 'KVM_PRIVATE_MEM'] })).toMatch(
      /without CONFIG_KVM_GUEST_MEMFD \(\/proc\/config\.gz\)/,
    );
    const older = { device: answers({ GUEST_MEMFD: 1 }), vms: { 0: none }, off: ['KVM_GUEST_MEMFD'] as const };
    expect(cause('guest-memfd', older)).toMatch(/private memory only/);
    expect(cause('guest-memfd', { device: none })).toMatch(/KVM_CAP_GUEST_MEMFD is 0/);
    expect(cause('guest-memfd')).toMatch(/gets it wrong/);
  });

  test('memory attributes: configuration, then module parameter, then hardware, then VM type', () => {
    const trials = { 'in-place-conversion': missing({ code: 'ENOTTY' }) };
    const of = (given: Given) => cause('memory-attributes', { trials, ...given });
    const all = ['KVM_SW_PROTECTED_VM', 'KVM_AMD_SEV', 'KVM_INTEL_TDX'] as const;
    const parameters = { 'kvm.tdp_mmu': 'N', 'kvm_amd.npt': '0', 'kvm_amd.sev_snp': 'N' };
    const shadow = { parameters, modules: ['kvm', 'kvm_pvm'] };
    expect(of({ off: all, kernel: shadow })).toMatch(
      /without CONFIG_KVM_SW_PROTECTED_VM, CONFIG_KVM_AMD_SEV, CONFIG_KVM_INTEL_TDX/,
    );
    expect(of({ off: ['KVM_SW_PROTECTED_VM'], kernel: shadow })).toMatch(
      /without CONFIG_KVM_SW_PROTECTED_VM .*, and module parameter kvm_amd.sev_snp is N/,
    );
    expect(of({ off: [], kernel: shadow })).toMatch(/nested paging, but .*kvm_amd.npt is 0/);
    expect(of({ kernel: { ...shadow, parameters: { 'kvm.tdp_mmu': 'N' } } })).toMatch(/nested paging, but kvm_pvm/);
    expect(of({ kernel: { parameters: { 'kvm.tdp_mmu': 'N' } } })).toMatch(/tdp_mmu is N/);
    expect(of({ kernel: { parameters: { 'kvm.tdp_mmu': 'Y' } } })).toMatch(/no VM type/);
    expect(of({ host: { architecture: 'arm64' }, off: all })).toMatch(/on arm64/);
  });

  test('memory attributes: a kernel that has them in each guest_memfd, and one that has them and fails', () => {
    const conversion: Trial = { status: 'no', detail: '', code: 'ENOTTY' };
    expect(cause('memory-attributes')).toMatch(/in each guest_memfd/);
    const vms = { 0: modern, 1: answers({ MEMORY_ATTRIBUTES: 8 }) };
    expect(cause('memory-attributes', { vms, trials: { 'in-place-conversion': conversion } })).toMatch(/wrong/);
  });

  test('in-place conversion: a module parameter that switches it off comes before the missing ioctl', () => {
    const enotty = { trials: { 'in-place-conversion': missing({ code: 'ENOTTY' }) } };
    const of = (parameters: Record<string, string>) =>
      cause('in-place-conversion', { ...enotty, kernel: { parameters } });
    expect(of({ 'kvm.gmem_in_place_conversion': 'N' })).toMatch(/gmem_in_place_conversion is N/);
    expect(of({ 'kvm.vm_memory_attributes': 'Y' })).toMatch(/vm_memory_attributes is Y/);
    expect(of({ 'kvm.vm_memory_attributes': 'N' })).toMatch(/has no KVM_SET_MEMORY_ATTRIBUTES2/);
    // The ioctl is there, and no VM that takes it.
    expect(cause('in-place-conversion', { off: relevantOptions })).toMatch(/without CONFIG_KVM_SW_PROTECTED_VM/);
  });

  test('pre-fault: shadow paging, whatever made it so', () => {
    expect(cause('pre-fault', { off: ['KVM_GENERIC_PRE_FAULT_MEMORY'] })).toMatch(/PRE_FAULT_MEMORY/);
    expect(cause('pre-fault', { kernel: { parameters: { 'kvm_intel.ept': 'N', 'kvm.tdp_mmu': 'N' } } })).toMatch(
      /ept is N/,
    );
    expect(cause('pre-fault', { kernel: { modules: ['kvm', 'kvm_pvm'] } })).toMatch(/^kvm_pvm/);
    expect(cause('pre-fault')).toBe('KVM_CAP_PRE_FAULT_MEMORY is 0');
  });

  test('NUMA policy: ignored, refused, forbidden, without a kernel for it', () => {
    const of = (trial: Partial<Trial>, more: Given = {}) =>
      feature('numa-policy', { ...more, trials: { 'numa-policy': missing(trial) } });
    expect(of({ status: 'ignored' })).toMatchObject({ status: 'ignored', cause: expect.stringMatching(/drops it/) });
    expect(of({})?.cause).toMatch(/refuses/);
    expect(of({ status: 'unknown', code: 'EPERM' })).toMatchObject({
      cause: expect.stringMatching(/seccomp/),
      remedy: expect.stringMatching(/CAP_SYS_NICE/),
    });
    expect(of({ status: 'unknown', code: 'ENOMEM' })?.cause).toMatch(/could not be tried/);
    expect(of({}, { off: ['NUMA'] })?.cause).toMatch(/without CONFIG_NUMA/);
    expect(of({ status: 'unknown' }, { host: { allowedNumaNodes: [] } })?.cause).toMatch(/no NUMA node/);
  });
});

describe('the device', () => {
  const opening = (code: string) => ({ code, syscall: 'open(/dev/kvm)', message: `open: ${code}` });
  const device = (more: Partial<SystemFacts['device']>): SystemFacts => ({
    ...system,
    device: { ...system.device, ...more },
  });

  test('that may not be opened: who may, and what to do', () => {
    expect(deviceProblem(system, opening('EACCES'))).toMatchObject({
      cause: expect.stringMatching(/mode 0660, owner root, group kvm/),
      remedy: expect.stringMatching(/Add the user to group kvm/),
    });
    for (const closed of [device({ mode: '0600' }), device({ group: 'root' })])
      expect(deviceProblem(closed, opening('EACCES')).remedy).toMatch(/chgrp kvm \/dev\/kvm.*udev/);
    expect(deviceProblem(device({ exists: false }), opening('EACCES')).cause).toMatch(/may not reach/);
    expect(deviceProblem(system, opening('EPERM')).cause).toMatch(/cgroup/);
  });

  test('that is something else, or gives no VM', () => {
    const ioctl = { code: 'ENOTTY', syscall: 'ioctl(KVM_GET_API_VERSION)', message: '' };
    expect(deviceProblem(system, ioctl).cause).toMatch(/not a KVM device/);
    expect(deviceProblem(system, opening('EISDIR')).cause).toMatch(/not a KVM device/);
    const create = (code: string) => deviceProblem(system, { code, syscall: 'ioctl(KVM_CREATE_VM)', message: '' });
    expect(create('EBUSY').cause).toMatch(/another hypervisor/);
    expect(create('ENOMEM').cause).toMatch(/no VM can be created \(ENOMEM\)/);
    expect(deviceProblem(system, opening('ELOOP')).cause).toBe('open: ELOOP');
  });

  test('that is not there: kernel, container, hardware, module, in this order', () => {
    const gone = (
      host: Partial<SystemFacts['host']>,
      kernel: Partial<SystemFacts['kernel']>,
      file: Partial<SystemFacts['device']> = {},
    ) =>
      deviceProblem(
        {
          host: { ...system.host, ...host },
          kernel: { ...system.kernel, modules: [], ...kernel },
          device: { ...system.device, exists: false, ...file },
        },
        opening('ENOENT'),
      );
    const config = { source: '/boot/config', options: { KVM: 'n' } as const };
    const bare = { virtualisation: undefined };
    expect(gone(bare, { config, modules: ['kvm', 'kvm_amd'] }).cause).toMatch(/without CONFIG_KVM \(\/boot\/config\)/);
    expect(gone(bare, { modules: ['kvm', 'kvm_amd'] }).cause).toMatch(/module is there \(kvm, kvm_amd\)/);
    expect(gone(bare, {}, { path: '/else/where' }).remedy).toMatch(/Give the path/);
    expect(gone(bare, {})).toMatchObject({
      cause: expect.stringMatching(/neither vmx nor svm/),
      remedy: expect.stringMatching(/firmware/),
    });
    expect(gone({ ...bare, underHypervisor: true }, {}).remedy).toMatch(/nested/);
    expect(gone({}, {}).remedy).toMatch(/modprobe kvm_amd/);
    expect(gone({ virtualisation: 'vmx' }, {}).remedy).toMatch(/modprobe kvm_intel/);
    expect(gone({ ...bare, architecture: 'arm64' }, {}).remedy).toMatch(/EL2/);
    expect(deviceProblem(system, opening('ENODEV')).cause).toMatch(/nothing stands behind \/dev\/kvm/);
  });
});

describe('a kernel configuration', () => {
  const text = '# CONFIG_KVM_SW_PROTECTED_VM is not set\nCONFIG_KVM=m\nCONFIG_KVM_GUEST_MEMFD=y\nCONFIG_NUMA_X=y\n';
  const folder = mkdtempSync(join(tmpdir(), 'gmem-config-'));
  afterAll(() => rmSync(folder, { recursive: true }));

  test('is read for what matters', () => {
    const options = parseKernelConfig(text);
    expect(options).toMatchObject({ KVM: 'm', KVM_GUEST_MEMFD: 'y', KVM_SW_PROTECTED_VM: 'n', NUMA: 'n' });
    expect(Object.keys(options)).toEqual([...relevantOptions]);
  });

  test('comes from the first file that can be read', () => {
    const [packed, damaged, plain] = ['config.gz', 'damaged.gz', 'config'].map((name) => join(folder, name)) as [
      string,
      string,
      string,
    ];
    writeFileSync(packed, gzipSync(text));
    writeFileSync(damaged, 'x');
    writeFileSync(plain, text.replace('=m', '=y'));
    expect(readKernelConfig('', [packed, plain])).toMatchObject({ source: packed, options: { KVM: 'm' } });
    expect(readKernelConfig('', [damaged, plain])).toMatchObject({ source: plain, options: { KVM: 'y' } });
    expect(readKernelConfig('', [join(folder, 'none')])).toEqual({ source: undefined, options: {} });
  });
});

describe('what files tell', () => {
  test('lists of numbers', () => {
    expect(parseNumberList('0-2,5,8-9\n')).toEqual([0, 1, 2, 5, 8, 9]);
    expect(parseNumberList('0')).toEqual([0]);
    expect(parseNumberList('\n')).toEqual([]);
  });

  test('processors', () => {
    expect(
      parseCpuinfo(
        'vendor_id\t: GenuineIntel\nmodel name\t: A CPU @ 2 GHz \nvmx flags\t: ept\nflags\t\t: fpu vmx lm\n',
      ),
    ).toEqual({ cpu: 'A CPU @ 2 GHz', cpuVendor: 'GenuineIntel', virtualisation: 'vmx', underHypervisor: false });
    expect(parseCpuinfo('flags\t: fpu svm_lock hypervisor\n')).toMatchObject({
      virtualisation: undefined,
      underHypervisor: true,
    });
    expect(parseCpuinfo('processor\t: 0\nCPU implementer\t: 0x41\n')).toMatchObject({
      cpu: 'unknown',
      cpuVendor: '0x41',
    });
  });
});

describe('capabilities', () => {
  test('are decoded by name, with bits that nobody knows yet', () => {
    const decoded = answers({ GUEST_MEMFD_FLAGS: 0b100101, MEMORY_ATTRIBUTES: 9, VM_TYPES: 0b1000011 });
    expect(decoded).toMatchObject({
      of: 'vm',
      guestMemfd: false,
      guestMemfdFlags: ['MMAP', 'bit 2', 'bit 5'],
      memoryAttributes: ['bit 0', 'PRIVATE'],
      vmTypes: [
        { type: 0, name: 'DEFAULT' },
        { type: 1, name: 'SW_PROTECTED' },
        { type: 6, name: 'type 6' },
      ],
    });
    expect(decoded.apiVersion).toBeUndefined();
  });

  test('tell what a value means', () => {
    const decoded = answers({ EXIT_HYPERCALL: 0x1000, ARM_VM_IPA_SIZE: 48, NR_MEMSLOTS: 7, USER_MEMORY2: 1 });
    const meaning = Object.fromEntries(decoded.answers.map((one) => [one.name, one.meaning]));
    expect(meaning).toMatchObject({
      EXIT_HYPERCALL: 'MAP_GPA_RANGE',
      ARM_VM_IPA_SIZE: 'guest physical addresses of up to 48 bits',
      NR_MEMSLOTS: '7 memslots',
      USER_MEMORY2: 'available',
      PRE_FAULT_MEMORY: 'absent',
      VM_TYPES: 'none',
    });
    expect(decoded.answers.map((one) => one.number)).toEqual(Object.values(Capability).sort((a, b) => a - b));
  });
});
