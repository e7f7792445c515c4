import { expect } from 'vitest';
import type { SuiteResult } from '../../lib/smoke/model.ts';

const short = (name: string) => name.slice('hostile/'.length);

/** What must come out of hostile-checks.mjs, wherever it runs. */
export function expectHostile({ checks, summary }: SuiteResult): void {
  expect(
    Object.fromEntries(checks.map((check) => [short(check.name), `${check.status} ${check.cause ?? ''}`.trim()])),
  ).toEqual({
    passes: 'pass',
    throws: 'error exception',
    rejects: 'error exception',
    segfaults: 'error crash',
    'bus-error': 'error crash',
    aborts: 'error crash',
    exits: 'error crash',
    spins: 'error timeout',
    waits: 'error timeout',
    leaks: 'error exception',
    'kernel-refuses': 'fail',
    'guest-hangs': 'fail',
    'guest-hangs-for-good': 'error timeout',
    'dies-alone': 'error crash',
    'passes-after-all': 'pass',
  });
  expect(summary).toMatchObject({ pass: 2, fail: 2, error: 11 });
  const of = (name: string) => checks.find((check) => short(check.name) === name);
  const reason = (name: string) => of(name)?.reason;
  expect(reason('throws')).toMatch(/TypeError: a mistake in the check/);
  // With ASan, which reports the first of either kind in place of the signal, both may also end in an abort.
  expect(reason('segfaults')).toMatch(/SIGSEGV|SIGABRT/);
  expect(reason('bus-error')).toMatch(/SIGBUS|SIGABRT/);
  expect(reason('aborts')).toMatch(/SIGABRT/);
  expect(reason('exits')).toMatch(/exited with code 3/);
  expect(reason('spins')).toMatch(/did not end within \d+ s/);
  expect(reason('waits')).toMatch(/did not end within \d+ s/);
  expect(reason('guest-hangs-for-good')).toMatch(/did not end within \d+ s/);
  expect(reason('dies-alone')).toMatch(/SIGKILL/);
  // A failure tells what led there, and where the guest was.
  expect(of('kernel-refuses')?.failure?.calls?.at(-1)).toMatchObject({
    call: 'ioctl(KVM_CREATE_GUEST_MEMFD)',
    arguments: { size: 1 },
    errno: 'EINVAL',
  });
  expect(of('guest-hangs')?.failure).toMatchObject({
    message: expect.stringMatching(/the guest left with INTR/),
    guest: { exit: 'INTR cause=timeout' },
  });
  const { calls, guest } = of('guest-hangs')?.failure ?? {};
  expect(calls?.at(-1)).toMatchObject({ call: 'ioctl(KVM_RUN)', outcome: 'INTR cause=timeout' });
  expect(calls?.find(({ call }) => call === 'ioctl(KVM_RUN)')?.arguments['commands']).toMatch(/^spin\(gpa=0x4000/);
  expect(Number(guest?.['rip'] ?? guest?.['pc'])).toBeLessThan(0x1000);
}
