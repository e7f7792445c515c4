// Checks that do what a check must never do, for the test of the runner.
import { Kvm } from '../../dist/index.js';

const check = (name, run) => ({ name: `hostile/${name}`, title: name, since: '6.8', run });

export const checks = [
  check('passes', () => {}),
  check('throws', () => {
    throw new TypeError('a mistake in the check');
  }),
  check('rejects', () => Promise.reject(new Error('a mistake, later'))),
  check('segfaults', () => process.kill(process.pid, 'SIGSEGV')),
  check('bus-error', () => process.kill(process.pid, 'SIGBUS')),
  check('aborts', () => process.abort()),
  check('exits', () => process.exit(3)),
  check('spins', () => {
    for (;;);
  }),
  check('waits', () => new Promise(() => setInterval(() => {}, 1000))),
  check('leaks', (context) => {
    context.use(Kvm.open());
    throw new Error('with something open');
  }),
  check('kernel-refuses', (context) => context.vm().createGuestMemfd({ size: 1 })),
  check('passes-after-all', () => {}),
];
