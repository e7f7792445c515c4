/** General registers of an x86-64 vCPU, in the order of struct kvm_regs. */
export const generalRegisterNames = [
  'rax',
  'rbx',
  'rcx',
  'rdx',
  'rsi',
  'rdi',
  'rsp',
  'rbp',
  'r8',
  'r9',
  'r10',
  'r11',
  'r12',
  'r13',
  'r14',
  'r15',
  'rip',
  'rflags',
] as const;

export type GeneralRegisters = { [name in (typeof generalRegisterNames)[number]]: bigint };

/** A segment register with its hidden part, as struct kvm_segment. */
export interface Segment {
  base: bigint;
  limit: number;
  selector: number;
  type: number;
  present: number;
  dpl: number;
  db: number;
  s: number;
  l: number;
  g: number;
  avl: number;
  unusable: number;
}

/** A descriptor table register. */
export interface DescriptorTable {
  base: bigint;
  limit: number;
}

const segmentNames = ['cs', 'ds', 'es', 'fs', 'gs', 'ss', 'tr', 'ldt'] as const;
const tableNames = ['gdt', 'idt'] as const;
const controlNames = ['cr0', 'cr2', 'cr3', 'cr4', 'cr8', 'efer', 'apicBase'] as const;

/** Special registers of an x86-64 vCPU: struct kvm_sregs without the pending interrupts. */
export type SpecialRegisters = { [name in (typeof segmentNames)[number]]: Segment } & {
  [name in (typeof tableNames)[number]]: DescriptorTable;
} & { [name in (typeof controlNames)[number]]: bigint };

/** Sizes of the structs in bytes. */
export const registerSizes = { general: 144, special: 312 } as const;

const segmentSize = 24;
const tableOffset = segmentNames.length * segmentSize;
const tableSize = 16;
const controlOffset = tableOffset + tableNames.length * tableSize;

export function decodeGeneral(bytes: Uint8Array): GeneralRegisters {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  return Object.fromEntries(
    generalRegisterNames.map((name, i) => [name, view.getBigUint64(i * 8, true)]),
  ) as GeneralRegisters;
}

export function encodeGeneral(bytes: Uint8Array, values: Partial<GeneralRegisters>): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  for (const [i, name] of generalRegisterNames.entries()) {
    const value = values[name];
    if (value !== undefined) view.setBigUint64(i * 8, value, true);
  }
}

const segmentBytes = ['type', 'present', 'dpl', 'db', 's', 'l', 'g', 'avl', 'unusable'] as const;

export function decodeSpecial(bytes: Uint8Array): SpecialRegisters {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const result: Record<string, unknown> = {};
  for (const [i, name] of segmentNames.entries()) {
    const at = i * segmentSize;
    const segment: Record<string, bigint | number> = {
      base: view.getBigUint64(at, true),
      limit: view.getUint32(at + 8, true),
      selector: view.getUint16(at + 12, true),
    };
    for (const [j, field] of segmentBytes.entries()) segment[field] = view.getUint8(at + 14 + j);
    result[name] = segment;
  }
  for (const [i, name] of tableNames.entries()) {
    const at = tableOffset + i * tableSize;
    result[name] = { base: view.getBigUint64(at, true), limit: view.getUint16(at + 8, true) };
  }
  for (const [i, name] of controlNames.entries()) result[name] = view.getBigUint64(controlOffset + i * 8, true);
  return result as SpecialRegisters;
}

/** What to change: whole registers, or single fields of a segment or table. */
export type SpecialRegisterChanges = {
  [name in keyof SpecialRegisters]?: SpecialRegisters[name] extends bigint ? bigint : Partial<SpecialRegisters[name]>;
};

/** Writes what is given over the bytes of a struct that was read before. */
export function encodeSpecial(bytes: Uint8Array, values: SpecialRegisterChanges): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  for (const [i, name] of segmentNames.entries()) {
    const segment = values[name];
    if (!segment) continue;
    const at = i * segmentSize;
    if (segment.base !== undefined) view.setBigUint64(at, segment.base, true);
    if (segment.limit !== undefined) view.setUint32(at + 8, segment.limit, true);
    if (segment.selector !== undefined) view.setUint16(at + 12, segment.selector, true);
    for (const [j, field] of segmentBytes.entries()) {
      const value = segment[field];
      if (value !== undefined) view.setUint8(at + 14 + j, value);
    }
  }
  for (const [i, name] of tableNames.entries()) {
    const table = values[name];
    if (!table) continue;
    const at = tableOffset + i * tableSize;
    if (table.base !== undefined) view.setBigUint64(at, table.base, true);
    if (table.limit !== undefined) view.setUint16(at + 8, table.limit, true);
  }
  for (const [i, name] of controlNames.entries()) {
    const value = values[name];
    if (value !== undefined) view.setBigUint64(controlOffset + i * 8, value, true);
  }
}
