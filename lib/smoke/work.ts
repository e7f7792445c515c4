import { Capability } from '../kvm/constants.ts';
import { KvmError } from '../kvm/errors.ts';
import { Kvm } from '../kvm/kvm.ts';
import { observeCalls } from '../kvm/trace.ts';
import { type SystemFacts, systemFacts } from '../system/system.ts';
import { checks as suite } from './catalogue.ts';
import { hostFacts } from './host.ts';
import type { Check } from './model.ts';
import type { Assignment, Reproducer, WorkerMessage } from './protocol.ts';
import type { Ground } from './requirements.ts';
import { type Outcome, runCheck } from './run-check.ts';
import { CallLog, setActiveLog } from './trace/log.ts';
import { showCall } from './trace/show.ts';

/** Tells at once. */
export type Tell = (message: WorkerMessage) => void;

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
  let facts: SystemFacts | undefined;
  const machine = () => {
    facts ??= systemFacts(device);
    return facts;
  };
  return { kvm, host, defaultVm, machine };
}

/** The kernel calls of checks, told one by one where that is wanted. */
function openLog({ trace, reproduce }: Assignment, checkName: () => string, tell: Tell): CallLog {
  const log = new CallLog(reproduce);
  if (trace) {
    log.onBegin = (call) => tell({ type: 'begin', check: checkName(), call: showCall(call, log.began) });
    log.onEnd = (call) => tell({ type: 'call', check: checkName(), call: showCall(call, log.began) });
  }
  return log;
}

/** The C program for a check that failed. Loaded when wanted: a run without failures does not pay for it. */
async function reproducerOf(check: Check, outcome: Outcome, ground: Ground): Promise<Reproducer> {
  const { reproducer } = await import('./reproducer/reproducer.ts');
  return reproducer(check, outcome, ground.host);
}

/** Works through a list of checks and tells of each. */
export async function work(assignment: Assignment, tell: Tell): Promise<void> {
  const { device, names, catalogue, seed, timeoutSeconds, stressSeconds = 0, reproduce } = assignment;
  let ground: Ground;
  try {
    ground = openGround(device);
  } catch (error) {
    if (!(error instanceof KvmError)) throw error;
    tell({ type: 'unusable', reason: error.message });
    return;
  }
  tell({ type: 'ready', host: ground.host });
  const { checks }: { checks: readonly Check[] } = catalogue ? await import(catalogue) : { checks: suite };
  const byName = new Map(checks.map((check) => [check.name, check]));
  let current = '';
  const log = openLog(assignment, () => current, tell);
  setActiveLog(log);
  observeCalls(log);
  for (const name of names) {
    const check = byName.get(name);
    if (!check) continue;
    current = name;
    tell({ type: 'start', name });
    log.reset();
    const deadline = performance.now() + 1000 * (check.stress ? stressSeconds : timeoutSeconds);
    const outcome = await runCheck(check, ground, { seed, deadline }, log);
    const { result } = outcome;
    const failed = reproduce && (result.status === 'fail' || result.status === 'xfail');
    tell({ type: 'result', result, ...(failed ? { reproducer: await reproducerOf(check, outcome, ground) } : {}) });
  }
  observeCalls(undefined);
  setActiveLog(undefined);
}
