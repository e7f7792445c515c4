import { type Capabilities, capabilities } from '../kvm/capabilities.ts';
import { KvmError } from '../kvm/errors.ts';
import { Kvm } from '../kvm/kvm.ts';
import { type DeviceProblem, deviceProblem, type Feature, featuresOf } from './features.ts';
import { type Findings, findOut } from './findings.ts';
import { type SystemFacts, systemFacts } from './system.ts';

/** What `gmem probe` found, as `--json` prints it. */
export interface ProbeReport {
  readonly schemaVersion: 1;
  readonly tool: { readonly name: string; readonly version: string };
  readonly host: SystemFacts['host'];
  readonly kernel: SystemFacts['kernel'];
  readonly device: SystemFacts['device'] & {
    readonly usable: boolean;
    readonly problem?: { readonly cause: string; readonly remedy: string };
  };
  /** The device's answers, and those of a VM of each type that can be created, by type number; absent without a device. */
  readonly capabilities?: { readonly device: Capabilities; readonly vms: Readonly<Record<string, Capabilities>> };
  readonly features: readonly Feature[];
}

/**
 * Finds out what this machine's KVM offers: facts from files, capabilities, and features by using them on throw-away VMs.
 * A device that cannot be used is part of the answer, not an error.
 */
export function probe(device: string, tool: ProbeReport['tool']): ProbeReport {
  const system = systemFacts(device);
  let problem: DeviceProblem;
  let findings: Findings | undefined;
  let answers: ProbeReport['capabilities'];
  try {
    using kvm = Kvm.open({ path: device });
    findings = findOut(kvm);
    const vms: Record<string, Capabilities> = {};
    for (const type of findings.vmTypes) {
      using vm = kvm.createVm({ type });
      vms[type] = capabilities(vm);
    }
    answers = { device: capabilities(kvm), vms };
  } catch (error) {
    if (!(error instanceof KvmError)) throw error;
    problem = deviceProblem(system, error);
  }
  return {
    schemaVersion: 1,
    tool,
    host: system.host,
    kernel: system.kernel,
    device: { ...system.device, usable: problem === undefined, ...(problem ? { problem } : {}) },
    ...(answers ? { capabilities: answers } : {}),
    features: featuresOf(system, problem, findings),
  };
}
