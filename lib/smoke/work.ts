import { Capability } from '../kvm/constants.ts';
import { KvmError } from '../kvm/errors.ts';
import { Kvm } from '../kvm/kvm.ts';
import { checks as suite } from './catalogue.ts';
import { hostFacts } from './host.ts';
import type { Check } from './model.ts';
import type { Assignment, WorkerMessage } from './protocol.ts';
import type { Ground } from './requirements.ts';
import { runCheck } from './run-check.ts';

/** Resolves when the message is on its way: a check that kills its process must not take the news of its start with it. */
export type Tell = (message: WorkerMessage) => void | Promise<void>;

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

/** Works through a list of checks and tells of each. */
export async function work({ device, names, catalogue }: Assignment, tell: Tell): Promise<void> {
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
