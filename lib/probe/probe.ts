import { options } from '../kvm/arguments.ts';
import { type Capabilities, capabilities } from '../kvm/capabilities.ts';
import { KvmError } from '../kvm/errors.ts';
import { Kvm } from '../kvm/kvm.ts';
import type { Cause } from '../system/causes.ts';
import { type DeviceFacts, type HostFacts, type KernelFacts, systemFacts } from '../system/system.ts';
import { deviceProblem } from './device-problem.ts';
import { type Feature, featuresOf, unknownFeatures } from './features.ts';
import { findOut } from './findings.ts';

/**
 * What {@link probe} found. Plain data that JSON can hold: every number is a plain number and exact, sizes are in bytes, and
 * there are no bigints; what has no value is absent.
 */
export interface Probe {
  readonly host: HostFacts;
  readonly kernel: KernelFacts;
  readonly device: DeviceFacts & {
    /** This user may open it. */
    readonly openable: boolean;
    /** It is a KVM device, and a VM can be created. */
    readonly usable: boolean;
    /** What keeps it from being used. */
    readonly problem?: Cause;
  };
  /** The device's answers, and those of a VM of each type that can be created, by type number. */
  readonly capabilities?: { readonly device: Capabilities; readonly vms: Readonly<Record<string, Capabilities>> };
  readonly features: readonly Feature[];
}

/**
 * Finds out what this machine's KVM offers: facts from files, capabilities, and features by using them on throw-away VMs.
 * No version is ever parsed. A device that cannot be used is part of the answer, not an error. Blocks for some ten
 * milliseconds and leaves nothing open.
 *
 * @param given.path the KVM device, `/dev/kvm` unless told otherwise
 *
 * @example
 * probe().features.find(({ name }) => name === 'numa-policy')?.status; // 'yes', 'no', 'ignored' or 'unknown'
 */
export function probe(given: { path?: string } = {}): Probe {
  const { path = '/dev/kvm' } = options('options', given);
  const system = systemFacts(path);
  let openable = false;
  let device: Capabilities | undefined;
  try {
    using kvm = Kvm.open({ path });
    openable = true;
    device = capabilities(kvm);
    const findings = findOut(kvm, system.host.allowedNumaNodes[0]);
    return {
      ...system,
      device: { ...system.device, openable, usable: true },
      capabilities: { device, vms: findings.vms },
      features: featuresOf({ ...system, device, findings }),
    };
  } catch (error) {
    if (!(error instanceof KvmError)) throw error;
    const problem = deviceProblem(system, error);
    // A file that opens and is no KVM device was closed again by Kvm.open().
    openable ||= !error.syscall.startsWith('open(');
    return {
      ...system,
      device: { ...system.device, openable, usable: false, problem },
      ...(device ? { capabilities: { device, vms: {} } } : {}),
      features: unknownFeatures(problem),
    };
  }
}
