import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';

/** Options of the running kernel's configuration that guest_memfd depends on. */
export const relevantOptions = [
  'KVM',
  'KVM_INTEL',
  'KVM_AMD',
  'KVM_GUEST_MEMFD',
  'KVM_PRIVATE_MEM',
  'KVM_SW_PROTECTED_VM',
  'KVM_GENERIC_MEMORY_ATTRIBUTES',
  'KVM_VM_MEMORY_ATTRIBUTES',
  'KVM_GENERIC_PRE_FAULT_MEMORY',
  'KVM_AMD_SEV',
  'KVM_INTEL_TDX',
  'NUMA',
  'TRANSPARENT_HUGEPAGE',
  'KSM',
  'MEMORY_FAILURE',
  'GUP_TEST',
] as const;

export type KernelOption = (typeof relevantOptions)[number];

/** The running kernel's configuration, as far as it tells. */
export interface KernelConfig {
  /** The file it was read from; undefined where the system has none. */
  readonly source: string | undefined;
  /** 'y', 'm', or 'n' for an option that is not set; empty where there is no source. */
  readonly options: Readonly<Partial<Record<KernelOption, string>>>;
}

/** Reads the relevant options out of a kernel configuration's text. */
export function parseKernelConfig(text: string): Record<KernelOption, string> {
  const value = (option: string) => new RegExp(`^CONFIG_${option}=(.*)$`, 'm').exec(text)?.[1] ?? 'n';
  return Object.fromEntries(relevantOptions.map((option) => [option, value(option)])) as Record<KernelOption, string>;
}

/** Looks in the two usual places: /proc/config.gz and /boot/config-RELEASE. */
export function readKernelConfig(release: string): KernelConfig {
  for (const source of ['/proc/config.gz', `/boot/config-${release}`]) {
    try {
      const bytes = readFileSync(source);
      const text = (source.endsWith('.gz') ? gunzipSync(bytes) : bytes).toString('latin1');
      return { source, options: parseKernelConfig(text) };
    } catch {
      // Most systems have one of them at most.
    }
  }
  return { source: undefined, options: {} };
}
