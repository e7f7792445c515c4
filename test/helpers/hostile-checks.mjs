// Checks that do what a check must never do, for the test of the runner.
import { GuestAgent, Kvm } from '../../dist/index.js';

const check = (name, run, more) => ({ name: `hostile/${name}`, title: name, since: '6.8', run, ...more });

/** A guest that waits for what never comes. */
function waitingGuest(context, timeout) {
  const agent = context.use(GuestAgent.create(context.vm()));
  agent.execute([{ op: 'spin', gpa: 0x4000, value: 1 }], { timeout });
}

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
  check('guest-hangs', (context) => waitingGuest(context, 200)),
  check('guest-hangs-for-good', (context) => waitingGuest(context, Number.POSITIVE_INFINITY)),
  check('dies-alone', () => process.kill(process.pid, 'SIGKILL'), { isolated: true }),
  check('passes-after-all', () => {}),
];
