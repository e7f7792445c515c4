import { release } from 'node:os';
import { resolve } from 'node:path';
import { describe, expect, test } from 'vitest';
import { injectFaults, partChoice, shortChoice } from '../faults/inject.mjs';
import { partOfFaults, withoutStrace } from '../faults/strace.ts';
import { different, writeSection } from '../faults/table.ts';
import { withoutKvm } from './kvm.ts';

const asked = partOfFaults();
const reason = withoutStrace();
if (reason && process.env['GMEM_REQUIRE_STRACE'] === '1') throw new Error(`GMEM_REQUIRE_STRACE=1, but: ${reason}`);
if (reason) console.warn(`tests with faults put in are skipped: ${reason}`);

// Without KVM its part runs in the lab (test/lab/faults.test.ts).
const parts = ['child', 'populate', 'view', 'memory', ...(withoutKvm ? [] : ['vcpu', 'kvm'])];

describe.skipIf(reason)(reason ? `faults (skipped: ${reason})` : 'faults', () => {
  test.each(parts)(
    'in part %s become errors of this package and leave nothing',
    { timeout: 1_800_000 },
    async (part) => {
      const rows = await injectFaults(part, {
        library: resolve('dist/index.js'),
        choose: asked ? partChoice(asked) : shortChoice,
      });
      expect(rows.filter((row) => row.problem !== undefined)).toEqual([]);
      expect(rows.length).toBeGreaterThan(0);
      if (asked) writeSection(part, rows, `Linux ${release()}, ${process.arch}`);
      expect(different(part, rows)).toEqual([]);
    },
  );
});
