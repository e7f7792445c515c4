import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { afterAll, describe, expect, test } from 'vitest';
import { type Io, UsageError } from '../../lib/cli/io.ts';
import { probeCommand } from '../../lib/cli/probe.ts';
import { Capability, MemoryPolicy } from '../../lib/kvm/constants.ts';
import type { FeatureName } from '../../lib/probe/findings.ts';
import { type Probe, probe } from '../../lib/probe/probe.ts';
import { bound, describeKvm, gmemMappings } from './kvm.ts';

const feature = (report: Probe, name: FeatureName) => report.features.find((one) => one.name === name);

/** Runs the command in this process and gives what it wrote. */
async function run(...argv: string[]) {
  const written = { stdout: '', stderr: '' };
  const into = (name: keyof typeof written) =>
    new Writable({
      write(chunk, _encoding, done) {
        written[name] += chunk;
        done();
      },
    });
  const code = await probeCommand(argv, { stdout: into('stdout'), stderr: into('stderr') } as unknown as Io);
  return { code, ...written };
}

describeKvm('probe', () => {
  test('finds what this machine does, by doing it', () => {
    const report = probe();
    expect(report.device).toMatchObject({ exists: true, openable: true, usable: true });
    for (const name of ['guest-memfd', 'mmap', 'init-shared', 'private-refused', 'close-on-exec'] as const)
      expect(feature(report, name)).toMatchObject({ name, status: 'yes' });
    if (process.arch === 'x64')
      for (const name of ['guest-runs', 'memory-fault-info'] as const)
        expect(feature(report, name)).toMatchObject({ name, status: 'yes' });
    for (const one of report.features) {
      expect(one.detail, one.name).not.toBe('');
      if (one.status !== 'yes')
        expect(one, one.name).toMatchObject({ cause: expect.any(String), remedy: expect.any(String) });
    }
  });

  test('agrees with what the library sees of NUMA policies', () => {
    using all = bound();
    all.mapping.bind({ mode: MemoryPolicy.PREFERRED, nodes: [0] });
    using again = all.gmem.map();
    const status = again.policy().mode === MemoryPolicy.PREFERRED ? 'yes' : 'ignored';
    expect(feature(probe(), 'numa-policy')?.status).toBe(status);
  });

  test('agrees with the capabilities of the VMs that it could create', () => {
    using all = bound();
    const { capabilities, features } = probe();
    expect(capabilities?.device.raw.VM_TYPES).toBe(all.kvm.checkExtension(Capability.VM_TYPES));
    expect(capabilities?.vms['0']?.raw.GUEST_MEMFD_FLAGS).toBe(all.vm.checkExtension(Capability.GUEST_MEMFD_FLAGS));
    const attributes = Object.values(capabilities?.vms ?? {}).some((vm) => vm.memoryAttributes.includes('PRIVATE'));
    const found = features.find((one) => one.name === 'memory-attributes');
    expect(found?.status).toBe(attributes ? 'yes' : 'no');
  });

  test('leaves nothing open and nothing mapped', () => {
    const descriptors = () => readdirSync('/proc/self/fd').length;
    probe(); // what is loaded once stays
    const before = [descriptors(), gmemMappings()];
    for (let i = 0; i < 20; i++) probe();
    expect([descriptors(), gmemMappings()]).toEqual(before);
  });

  test('reads host and kernel as the system has them', () => {
    const { host, kernel } = probe();
    expect(host.architecture).toBe(process.arch);
    expect(host.numaNodes).toEqual(expect.arrayContaining([...host.allowedNumaNodes]));
    expect(host.allowedNumaNodes).not.toEqual([]);
    expect(host.cpus).toBe(readFileSync('/proc/cpuinfo', 'latin1').match(/^processor\s*:/gm)?.length);
    expect(`${kernel.release}\n`).toBe(readFileSync('/proc/sys/kernel/osrelease', 'latin1'));
    expect(kernel.modules).toContain('kvm');
  });

  test('prints JSON that holds all of the report', async () => {
    const { code, stdout, stderr } = await run('--json');
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const { schemaVersion, tool, ...rest } = JSON.parse(stdout);
    expect({ schemaVersion, tool }).toMatchObject({ schemaVersion: 1, tool: { name: 'guest-memfd' } });
    expect(Object.keys(rest)).toEqual(['host', 'kernel', 'device', 'capabilities', 'features']);
    expect(rest).toEqual(JSON.parse(JSON.stringify(probe())));
  });

  test('prints no colour into what is no terminal', async () => {
    const { code, stdout, stderr } = await run();
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toMatch(/^Host\n.*\nKernel\n.*\nKVM\n.*\nFeatures\n/s);
    expect(stdout).not.toContain('\x1b');
    for (const line of stdout.split('\n')) expect(line.length, line).toBeLessThanOrEqual(80);
  });
});

describe('gmem probe without a usable device', () => {
  const folder = mkdtempSync(join(tmpdir(), 'gmem-probe-'));
  afterAll(() => rmSync(folder, { recursive: true }));
  const file = join(folder, 'file');
  writeFileSync(file, '');

  test.each([
    [join(folder, 'none'), /there is no /, false],
    [folder, /is not a KVM device/, false],
    ['/dev/null', /is not a KVM device/, true],
    [file, /is not a KVM device/, true],
  ])('%s: exit 4, one paragraph, and the rest of the report', async (path, message, openable) => {
    for (const format of [[], ['--json']]) {
      const { code, stdout, stderr } = await run('--device', path, ...format);
      expect(code).toBe(4);
      expect(stderr).toMatch(/^gmem probe: [^\n]+ cannot be used: [^\n]+\. [^\n]+\.\n$/);
      expect(stderr).toMatch(message);
      expect(stdout).toContain(readFileSync('/proc/sys/kernel/osrelease', 'latin1').trim());
    }
    const report = probe({ path });
    expect(report.device).toMatchObject({ path, openable, usable: false, problem: { cause: expect.any(String) } });
    expect(report.capabilities).toBeUndefined();
    expect(report.features.map((one) => one.status)).toEqual(report.features.map(() => 'unknown'));
  });

  test('wrong usage is an error of usage, and help is none', async () => {
    for (const argv of [['--nonsense'], ['--device'], ['extra'], ['--json=x']])
      await expect(run(...argv)).rejects.toThrow(UsageError);
    for (const option of ['--help', '-h'])
      expect(await run(option)).toMatchObject({
        code: 0,
        stderr: '',
        stdout: expect.stringMatching(/^Usage: gmem probe/),
      });
    expect(() => probe({ path: 5 as never })).toThrow(TypeError);
  });
});
