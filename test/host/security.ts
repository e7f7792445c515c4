import { expect } from 'vitest';
import type { CheckResult, SuiteResult } from '../../lib/smoke/model.ts';

/** The names in security.mjs, which only a machine with KVM can import. */
export const securityChecks = [
  'a user who may open the device needs nothing more',
  'every file descriptor of a VM is closed by exec',
  'no program is started and no socket opened while a VM runs',
  'private memory cannot be read by any way there is',
  'a check that has no more memory in its cgroup ends alone',
  'a report of a failed check',
].map((title) => ({ name: `security/${title.replaceAll(' ', '-')}`, title, since: '6.18' }));

/** What came of security.mjs: all but the last pass, and that one's report tells no more of memory than it may. */
export function expectPromises(result: SuiteResult): void {
  const report = result.checks.at(-1) as CheckResult;
  const others = result.checks.slice(0, -1);
  expect(others.map(({ name, status, failure, reason }) => ({ name, status, failure, reason }))).toEqual(
    securityChecks.slice(0, -1).map(({ name }) => ({ name, status: 'pass' })),
  );
  const text = JSON.stringify(report).replaceAll(' ', '');
  expect(text).toContain('KVM_CREATE_GUEST_MEMFD');
  const hex = (words: string) => Buffer.from(words).toString('hex');
  expect(text).toContain(hex('first sixteen b.'));
  for (const words of ['the rest', 'est of ', 'memory']) {
    expect(text).not.toContain(hex(words));
    expect(text).not.toContain(Buffer.from(words).toString('base64').replaceAll('=', ''));
    expect(JSON.stringify(report)).not.toContain(words === 'memory' ? 'is in memory' : words);
  }
}
