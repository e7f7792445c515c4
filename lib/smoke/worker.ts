// The process in which the checks run: the runner starts it, so that a check that crashes or hangs costs only itself.
import { native } from '../kvm/native.ts';
import { type Assignment, tellByChannel } from './protocol.ts';
import { work } from './work.ts';

native.dieWithParent();
// Ctrl-C reaches every process of the terminal; the runner ends this one when it has taken down what ran.
process.on('SIGINT', () => {});
try {
  await work(JSON.parse(process.argv[2] ?? '') as Assignment, tellByChannel);
} catch (error) {
  console.error(error);
  process.exitCode = 1;
}
// Whatever a check has left behind that would keep the process alive.
process.exit();
