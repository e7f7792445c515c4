import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, expect, test } from 'vitest';
import { inspectImage } from '../../lib/lab/image.ts';
import type * as Machine from '../../lib/lab/machine.ts';
import type * as Runner from '../../lib/smoke/runner.ts';
import { filesOfProgram, partOfFaults, withoutStrace } from '../faults/strace.ts';
import { different, type Row, writeSection } from '../faults/table.ts';
import { checks } from './faults.mjs';
import { describeLab } from './lab.ts';

const dist = (path: string) => pathToFileURL(resolve('dist', path)).href;
const folder = mkdtempSync(join(tmpdir(), 'gmem-test-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const asked = partOfFaults();
const noStrace = withoutStrace();
if (noStrace && process.env['GMEM_REQUIRE_STRACE'] === '1') throw new Error(`GMEM_REQUIRE_STRACE=1, but: ${noStrace}`);

describeLab('faults in the calls of KVM', ['sw-protected-7.3'], ([kernel]) => {
  test.skipIf(noStrace).each(checks.map(({ name }) => name))('%s', { timeout: 3_600_000 }, async (name) => {
    // The compiled ones: the initramfs is made of dist/.
    const { Lab } = (await import(dist('lab/machine.js'))) as typeof Machine;
    const { runChecks } = (await import(dist('smoke/runner.js'))) as typeof Runner;
    const options = join(folder, 'options.json');
    writeFileSync(options, JSON.stringify({ asked }));
    const lab = new Lab({
      image: inspectImage(kernel?.image ?? ''),
      cpus: 2,
      memoryMiB: 1024,
      numaNodes: 1,
      accelerator: 'tcg',
      commandLine: '',
      bootSeconds: 300,
      files: new Map([
        ['lab/faults.mjs', resolve('test/lab/faults.mjs')],
        ['lab/faults/options.json', options],
        ...readdirSync('test/faults').map((file): [string, string] => [
          `lab/faults/${file}`,
          resolve('test/faults', file),
        ]),
        ...filesOfProgram('strace'),
        ...filesOfProgram('mkfifo'),
      ]),
    });
    const { checks: results, host } = await runChecks({
      checks: checks.filter((check) => check.name === name),
      device: '/dev/kvm',
      timeoutSeconds: 3000,
      tool: { name: 'test', version: '0' },
      launch: lab.launch,
      catalogue: '/lab/faults.mjs',
    });
    expect(results.map(({ status, failure, reason }) => ({ status, failure, reason }))).toEqual([{ status: 'pass' }]);
    const rows = (results[0]?.notes ?? []).map((note) => JSON.parse(note) as Row);
    expect(rows.length).toBeGreaterThan(2);
    const part = name.replace('faults/', '');
    if (asked) writeSection(part, rows, `Linux ${host.kernelRelease} in the lab, ${host.architecture}`);
    expect(different(part, rows)).toEqual([]);
  });
});
