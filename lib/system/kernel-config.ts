import { readFileSync } from 'node:fs';

/** Options of the running kernel's configuration that guest_memfd depends on. */
export const relevantOptions = [
  'KVM',
  'KVM_INTEL',
  'KVM_AMD',
  'KVM_GUEST_MEMFD', // 6.18; before, KVM_PRIVATE_MEM
  'KVM_PRIVATE_MEM',
  'KVM_SW_PROTECTED_VM',
  'KVM_GENERIC_MEMORY_ATTRIBUTES',
  'KVM_VM_MEMORY_ATTRIBUTES', // its name in the pending series for in-place conversion
  'KVM_GENERIC_PRE_FAULT_MEMORY',
  'KVM_AMD_SEV',
  'KVM_INTEL_TDX',
  'NUMA',
  'TRANSPARENT_HUGEPAGE',
  'MEMORY_FAILURE',
  'GUP_TEST',
  'KSM',
] as const;

export type KernelOption = (typeof relevantOptions)[number];

/** The running kernel's configuration, as far as it tells. */
export interface KernelConfig {
  /** The file it was read from; undefined where the system has none that can be read. */
  readonly source: string | undefined;
  /** 'y', 'm', or 'n' for an option that is not set or that this kernel does not have; empty where there is no source. */
  readonly options: Readonly<Partial<Record<KernelOption, string>>>;
}

/** Reads the relevant options out of a kernel configuration's text. */
export function parseKernelConfig(text: string): Record<KernelOption, string> {
  const options = Object.fromEntries(relevantOptions.map((option) => [option, 'n']));
  // One pass for all: the text has some 200 KiB, and this command has a few milliseconds.
  for (const [, option, value] of text.matchAll(new RegExp(`^CONFIG_(${relevantOptions.join('|')})=(.*)$`, 'gm')))
    options[option as string] = value as string;
  return options as Record<KernelOption, string>;
}

/** Where distributions keep a running kernel's configuration, and where a lab machine has it. */
export const configSources = (release: string): readonly string[] => [
  '/proc/config.gz',
  `/boot/config-${release}`,
  `/lib/modules/${release}/config`,
  '/boot/config',
];

/** Looks in the usual places, or in `sources`: the first file that can be read tells. */
export function readKernelConfig(release: string, sources: readonly string[] = configSources(release)): KernelConfig {
  for (const source of sources) {
    try {
      const bytes = readFileSync(source);
      // node:zlib costs milliseconds to load, which systems with a plain file need not pay.
      const plain = source.endsWith('.gz') ? process.getBuiltinModule('node:zlib').gunzipSync(bytes) : bytes;
      return { source, options: parseKernelConfig(plain.toString('latin1')) };
    } catch {
      // Most systems have one of them at most, and a damaged one tells nothing.
    }
  }
  return { source: undefined, options: {} };
}
