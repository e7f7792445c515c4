import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import type { CachedKernel } from '../../lib/lab/kernel-cache.ts';
import { filesOfProgram, partOfFaults, withoutStrace } from '../faults/strace.ts';
import { different, type Row, writeSection } from '../faults/table.ts';
import { checks } from './faults.mjs';
import { describeLab, runInLab } from './lab.ts';

const folder = mkdtempSync(join(tmpdir(), 'gmem-test-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const asked = partOfFaults();
const noStrace = withoutStrace();
if (noStrace && process.env['GMEM_REQUIRE_STRACE'] === '1') throw new Error(`GMEM_REQUIRE_STRACE=1, but: ${noStrace}`);

describeLab('faults in the calls of KVM', ['sw-protected-7.3'], (kernels) => {
  const [kernel] = kernels as [CachedKernel];
  test.skipIf(noStrace).each(checks.map(({ name }) => name))('%s', { timeout: 3_600_000 }, async (name) => {
    const options = join(folder, 'options.json');
    writeFileSync(options, JSON.stringify({ asked }));
    const { checks: results, host } = await runInLab({
      kernel,
      checks: checks.filter((check) => check.name === name),
      catalogue: '/lab/faults.mjs',
      files: [
        ['lab/faults.mjs', resolve('test/lab/faults.mjs')],
        ['lab/faults/options.json', options],
        ...readdirSync('test/faults').map((file): [string, string] => [
          `lab/faults/${file}`,
          resolve('test/faults', file),
        ]),
        ...filesOfProgram('strace'),
        ...filesOfProgram('mkfifo'),
      ],
      // Four times what the short run takes on two cores.
      timeoutSeconds: asked ? 3000 : 900,
    });
    expect(results.map(({ status, failure, reason }) => ({ status, failure, reason }))).toEqual([{ status: 'pass' }]);
    const rows = (results[0]?.notes ?? []).map((note) => JSON.parse(note) as Row);
    expect(rows.length).toBeGreaterThan(2);
    const part = name.replace('faults/', '');
    if (asked) writeSection(part, rows, `Linux ${host.kernelRelease} in the lab, ${host.architecture}`);
    expect(different(part, rows)).toEqual([]);
  });
});
