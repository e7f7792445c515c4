import { options, rangeError, typeError, u32, u64 } from './arguments.ts';

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

/** General registers of an arm64 vCPU, in the order of struct user_pt_regs; sp is SP_EL0, not the one that EL1 uses. */
export const arm64RegisterNames = [
  ...Array.from({ length: 31 }, (_, i) => `x${i}` as Arm64RegisterName),
  'sp',
  'pc',
  'pstate',
] as const;

type Digit = 0 | 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9;
type Arm64RegisterName = `x${Digit | `1${Digit}` | `2${Digit}` | 30}` | 'sp' | 'pc' | 'pstate';

/** General registers of an arm64 vCPU. */
export type Arm64Registers = { [name in Arm64RegisterName]: bigint };

/** The names of an architecture's general registers in the order of the native side's struct. */
export function generalNamesOf(architecture: string): readonly string[] {
  return architecture === 'arm64' ? arm64RegisterNames : generalRegisterNames;
}

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

export function decodeGeneral<Registers extends GeneralRegisters | Arm64Registers = GeneralRegisters>(
  bytes: Uint8Array,
  names: readonly string[] = generalRegisterNames,
): Registers {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  return Object.fromEntries(names.map((name, i) => [name, view.getBigUint64(i * 8, true)])) as Registers;
}

export function encodeGeneral(
  bytes: Uint8Array,
  values: Partial<GeneralRegisters> | Partial<Arm64Registers>,
  names: readonly string[] = generalRegisterNames,
): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  for (const [i, name] of names.entries()) {
    const value = (values as Record<string, bigint | undefined>)[name];
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

function u64Bigint(name: string, value: unknown): void {
  if (typeof value !== 'bigint') throw typeError(name, 'a bigint', value);
  u64(name, value);
}

function unsigned(name: string, value: unknown, bits: 8 | 16 | 32): void {
  if (u32(name, value) >= 2 ** bits) throw rangeError(name, `an integer from 0 to 2^${bits} - 1`, value);
}

const includes = (names: readonly string[], name: string) => names.includes(name);

/** Checks what is to be written to general registers. */
export function checkGeneral(
  changes: Partial<GeneralRegisters> | Partial<Arm64Registers>,
  names: readonly string[] = generalRegisterNames,
): void {
  for (const [name, value] of Object.entries(options('changes', changes))) {
    if (!includes(names, name)) throw rangeError('changes', 'general registers', name);
    u64Bigint(name, value);
  }
}

/** Checks what is to be written to special registers: DataView would cut numbers off. */
export function checkSpecial(changes: SpecialRegisterChanges): void {
  for (const [name, value] of Object.entries(options('changes', changes))) {
    if (includes(controlNames, name)) {
      u64Bigint(name, value);
      continue;
    }
    const isSegment = includes(segmentNames, name);
    if (!isSegment && !includes(tableNames, name)) throw rangeError('changes', 'special registers', name);
    for (const [field, part] of Object.entries(options(name, value as object))) {
      const path = `${name}.${field}`;
      if (field === 'base') u64Bigint(path, part);
      else if (field === 'limit') unsigned(path, part, isSegment ? 32 : 16);
      else if (isSegment && field === 'selector') unsigned(path, part, 16);
      else if (isSegment && includes(segmentBytes, field)) unsigned(path, part, 8);
      else throw rangeError(name, 'fields of that register', field);
    }
  }
}

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
