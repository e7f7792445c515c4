// Faults put into the calls that the addon makes of KVM. Runs inside a lab machine, where strace comes with it: each check is a
// part of test/faults/program.mjs, and each row of what came out is one of its notes.
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';

const inside = '/lab/faults/inject.mjs';
// The test itself reads the names, where that folder is not.
const { injectFaults, partChoice, shortChoice } = existsSync(inside) ? await import(inside) : {};

const check = (part) => ({
  name: `faults/${part}`,
  title: `every fault in part ${part} becomes an error of this package and leaves nothing`,
  since: '',
  run: async (context) => {
    const { asked } = JSON.parse(readFileSync('/lab/faults/options.json', 'utf8'));
    const rows = await injectFaults(part, {
      library: '/gmem/dist/index.js',
      seconds: 60,
      choose: asked ? partChoice(asked) : shortChoice,
      onRow: (row) => context.note(JSON.stringify(row)),
    });
    assert.deepEqual(
      rows.filter((row) => row.problem),
      [],
    );
  },
});

export const checks = ['kvm', 'vcpu'].map(check);
