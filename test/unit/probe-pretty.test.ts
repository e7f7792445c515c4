import { stripVTControlCharacters } from 'node:util';
import { describe, expect, test } from 'vitest';
import { decodeCapabilities } from '../../lib/kvm/capabilities.ts';
import { Capability } from '../../lib/kvm/constants.ts';
import { type Feature, unknownFeatures } from '../../lib/probe/features.ts';
import type { Probe } from '../../lib/probe/probe.ts';
import { probePretty } from '../../lib/reporters/probe-pretty.ts';
import { painter } from '../../lib/reporters/style.ts';

const long = 'a reason that goes on and on '.repeat(6).trim();
const device = decodeCapabilities(
  {
    ...(Object.fromEntries(Object.keys(Capability).map((name) => [name, 1])) as Record<
      keyof typeof Capability,
      number
    >),
  },
  { apiVersion: 12, vcpuMmapSize: 12288 },
);
const problem = { cause: long, remedy: 'Do something' };
const features = unknownFeatures(problem).map(
  ({ name, title }, index): Feature =>
    index === 0
      ? { name, title, status: 'yes', detail: 'it worked' }
      : { name, title, status: index === 1 ? 'ignored' : 'no', detail: 'it did not', ...problem },
);
const report: Probe = {
  host: {
    architecture: 'x64',
    cpu: 'A processor with a very long name of the kind that marketing departments are so fond of',
    cpuVendor: 'AuthenticAMD',
    cpus: 8,
    memoryBytes: 2 ** 34,
    pageSize: 4096,
    numaNodes: Array.from({ length: 40 }, (_, node) => node),
    allowedNumaNodes: [0],
    virtualisation: undefined,
    underHypervisor: true,
    transparentHugePages: undefined,
  },
  kernel: {
    release: '6.18',
    version: '#1',
    config: { source: '/proc/config.gz', options: { KVM: 'm', NUMA: 'n' } },
    modules: ['kvm'],
    parameters: { 'kvm.tdp_mmu': 'N' },
  },
  device: { path: '/dev/kvm', exists: true, mode: '0660', owner: 'root', group: 'kvm', openable: true, usable: true },
  capabilities: { device, vms: { 0: device } },
  features,
};
const plain = painter({}, {});
const coloured = painter({}, { FORCE_COLOR: '1' });

describe('the report for a person', () => {
  test('fits into 80 columns, words whole, and is what the coloured one is without its colours', () => {
    const text = probePretty(report, plain);
    for (const line of text.split('\n')) expect(line.length, line).toBeLessThanOrEqual(80);
    expect(text.replace(/\s+/g, ' ')).toContain(long);
    expect(text).not.toContain('\x1b');
    const painted = probePretty(report, coloured);
    expect(painted).toContain('\x1b[');
    expect(stripVTControlCharacters(painted)).toBe(text);
  });

  test('has its groups, facts, and the causes of what is missing only', () => {
    const text = probePretty(report, plain);
    expect(text.match(/^\S.*$/gm)).toEqual(['Host', 'Kernel', 'KVM', 'Features']);
    expect(text).toMatch(/^ {2}memory +16\.0 GiB, pages of 4096 bytes$/m);
    expect(text).toMatch(/^ {4}set +KVM=m$/m);
    expect(text).toMatch(/^ {4}not set +NUMA$/m);
    expect(text).toMatch(/^ {2}yes {6}guest_memfd, created and bound to a VM\n {2}ignored {2}guest_memfd mapped/m);
    expect(text.match(/^ {11}tried {3}it did not\.$/gm)).toHaveLength(features.length - 1);
    expect(text.match(/^ {11}remedy {2}Do something\.$/gm)).toHaveLength(features.length - 1);
    expect(text).not.toContain('it worked');
  });

  test('without a device says why once, and shows host and kernel', () => {
    const { capabilities: _, ...rest } = report;
    const text = probePretty(
      { ...rest, device: { ...report.device, usable: false, problem }, features: unknownFeatures(problem) },
      plain,
    );
    expect(text).toMatch(/not usable/);
    expect(text).toMatch(/^ {2}release +6\.18$/m);
    expect(text.match(/Do something\./g)).toHaveLength(1);
    expect(text.match(/^ {2}unknown {2}\S/gm)).toHaveLength(features.length);
    for (const line of text.split('\n')) expect(line.length, line).toBeLessThanOrEqual(80);
  });
});
