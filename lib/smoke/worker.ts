// The process in which the checks run: the runner forks it, so that a check that crashes or hangs costs only itself.
import { Capability } from '../kvm/constants.ts';
import { KvmError } from '../kvm/errors.ts';
import { Kvm } from '../kvm/kvm.ts';
import { native } from '../kvm/native.ts';
import { checks as suite } from './catalogue.ts';
import { hostFacts } from './host.ts';
import type { Check } from './model.ts';
import type { Assignment, WorkerMessage } from './protocol.ts';
import type { Ground } from './requirements.ts';
import { runCheck } from './run-check.ts';

// Resolves when the message is on its way: a check that kills the process must not take the news of its start with it.
function tell(message: WorkerMessage): Promise<void> {
  return new Promise((resolve) => {
    process.send?.(message, () => resolve());
  });
}

function openGround(device: string): Ground {
  const kvm = Kvm.open({ path: device });
  const host = hostFacts(kvm);
  const answers = new Map<number, number>();
  const defaultVm = (capability: number) => {
    let answer = answers.get(capability);
    if (answer === undefined) {
      using vm = kvm.createVm();
      answer = vm.checkExtension(capability);
      answers.set(capability, answer);
    }
    return answer;
  };
  // Asked once here, so that no check pays for it.
  defaultVm(Capability.GUEST_MEMFD);
  return { kvm, host, defaultVm };
}

async function work({ device, names, catalogue }: Assignment): Promise<void> {
  let ground: Ground;
  try {
    ground = openGround(device);
  } catch (error) {
    if (!(error instanceof KvmError)) throw error;
    await tell({ type: 'unusable', reason: error.message });
    return;
  }
  await tell({ type: 'ready', host: ground.host });
  const { checks }: { checks: readonly Check[] } = catalogue ? await import(catalogue) : { checks: suite };
  const byName = new Map(checks.map((check) => [check.name, check]));
  for (const name of names) {
    const check = byName.get(name);
    if (!check) continue;
    await tell({ type: 'start', name });
    await tell({ type: 'result', result: await runCheck(check, ground) });
  }
}

native.dieWithParent();
// Ctrl-C reaches every process of the terminal; the runner ends this one when it has taken down what ran.
process.on('SIGINT', () => {});
process.on('disconnect', () => process.exit());
process.once('message', (assignment: Assignment) => {
  work(assignment).then(
    () => process.disconnect(),
    (error: unknown) => {
      console.error(error);
      process.exit(1);
    },
  );
});
