import { readdirSync } from 'node:fs';
import { arch, cpus, release, totalmem, version } from 'node:os';
import { Capability, VmType } from '../kvm/constants.ts';
import { KvmError } from '../kvm/errors.ts';
import type { Kvm } from '../kvm/kvm.ts';
import { pageSize } from '../kvm/native.ts';
import type { HostFacts } from './model.ts';

function countNumaNodes(): number {
  try {
    return readdirSync('/sys/devices/system/node').filter((name) => /^node\d+$/.test(name)).length || 1;
  } catch {
    return 1; // built without NUMA
  }
}

function creatable(kvm: Kvm, type: number): boolean {
  try {
    kvm.createVm({ type }).close();
    return true;
  } catch (error) {
    if (error instanceof KvmError) return false;
    throw error;
  }
}

/** What the checks are told about the machine, found by asking it. */
export function hostFacts(kvm: Kvm): HostFacts {
  const capabilities: Record<string, number> = {};
  for (const [name, number] of Object.entries(Capability)) capabilities[name] = kvm.checkExtension(number);
  // A confidential VM type can be created by anyone but needs a launch of its own before it runs, so the suite asks for
  // the two types that it knows to run.
  const vmTypes = arch() === 'x64' ? [VmType.DEFAULT, VmType.SW_PROTECTED].filter((type) => creatable(kvm, type)) : [0];
  const processors = cpus();
  return {
    kernelRelease: release(),
    kernelVersion: version(),
    architecture: arch(),
    cpu: processors[0]?.model ?? 'unknown',
    cpus: processors.length,
    memoryBytes: totalmem(),
    pageSize,
    numaNodes: countNumaNodes(),
    nodeVersion: process.version,
    capabilities,
    vmTypes,
  };
}
