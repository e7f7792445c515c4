// The process in which the checks run: the runner forks it, so that a check that crashes or hangs costs only itself.
import { native } from '../kvm/native.ts';
import type { Assignment, WorkerMessage } from './protocol.ts';
import { work } from './work.ts';

function tell(message: WorkerMessage): Promise<void> {
  return new Promise((resolve) => {
    process.send?.(message, () => resolve());
  });
}

native.dieWithParent();
// Ctrl-C reaches every process of the terminal; the runner ends this one when it has taken down what ran.
process.on('SIGINT', () => {});
process.on('disconnect', () => process.exit());
process.once('message', (assignment: Assignment) => {
  work(assignment, tell).then(
    () => process.disconnect(),
    (error: unknown) => {
      console.error(error);
      process.exit(1);
    },
  );
});
