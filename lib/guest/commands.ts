import { rangeError, typeError, type U64, u64 } from '../kvm/arguments.ts';

/** Bytes of one access. */
export type Width = 1 | 2 | 4 | 8;

/** What the guest program can be told to do. Addresses are guest physical ones; each command gives one 64-bit result. */
export type GuestCommand =
  /** Loads from memory, or from a device where no memslot lies. Result: the value. */
  | { op: 'load'; gpa: U64; width?: Width }
  | { op: 'store'; gpa: U64; value: U64; width?: Width }
  /** Sets `length` bytes to `value`. */
  | { op: 'fill'; gpa: U64; length: U64; value: number }
  /** Looks for the first byte that is not `value`. Result: its offset, or `length`. */
  | { op: 'compare'; gpa: U64; length: U64; value: number }
  /** Result: the 64-bit words of the range, summed up by {@link checksum}. */
  | { op: 'checksum'; gpa: U64; length: U64 }
  | { op: 'copy'; to: U64; from: U64; length: U64 }
  /** Result: what the hypercall gave back. */
  | { op: 'hypercall'; number: U64; args?: readonly U64[] }
  | { op: 'portOut'; port: number; value: number; width?: 1 | 2 | 4 }
  | { op: 'portIn'; port: number; width?: 1 | 2 | 4 }
  /** Waits until the 64-bit word at `gpa` is `value`. Result: how often it looked. */
  | { op: 'spin'; gpa: U64; value: U64 }
  | { op: 'halt' };

/** Layout of the mailbox, as native/guest has it. */
export const mailbox = { commandSize: 64, resultOffset: 40, stateOffset: 48, stateDone: 2n } as const;

const opcodes = {
  load: 1,
  store: 2,
  fill: 3,
  compare: 4,
  checksum: 5,
  hypercall: 6,
  portOut: 7,
  portIn: 8,
  spin: 9,
  halt: 10,
  copy: 11,
} as const;

/** The range of guest memory that a command touches, so that it can be mapped for the guest before. */
export function touchedRanges(command: GuestCommand): [gpa: bigint, length: bigint][] {
  switch (command.op) {
    case 'load':
    case 'store':
      return [[BigInt(command.gpa), BigInt(command.width ?? 8)]];
    case 'spin':
      return [[BigInt(command.gpa), 8n]];
    case 'fill':
    case 'compare':
    case 'checksum':
      return [[BigInt(command.gpa), BigInt(command.length)]];
    case 'copy':
      return [
        [BigInt(command.to), BigInt(command.length)],
        [BigInt(command.from), BigInt(command.length)],
      ];
    default:
      return [];
  }
}

type Fields = [width: number, a: U64, b?: U64, c?: U64, d?: U64];

function fieldsOf(command: GuestCommand, hypercallWidth: number): Fields {
  switch (command.op) {
    case 'load':
      return [command.width ?? 8, command.gpa];
    case 'store':
      return [command.width ?? 8, command.gpa, command.value];
    case 'fill':
    case 'compare':
      return [1, command.gpa, command.length, command.value];
    case 'checksum':
      return [8, command.gpa, command.length];
    case 'copy':
      return [1, command.to, command.from, command.length];
    case 'hypercall': {
      const [a = 0, b = 0, c = 0] = command.args ?? [];
      return [hypercallWidth, command.number, a, b, c];
    }
    case 'portOut':
      return [command.width ?? 1, command.port, command.value];
    case 'portIn':
      return [command.width ?? 1, command.port];
    case 'spin':
      return [8, command.gpa, command.value];
    case 'halt':
      return [0, 0];
  }
}

/** Writes a list of commands, ended, as the guest program reads it. */
export function encodeCommands(commands: readonly GuestCommand[], hypercallWidth: number): Uint8Array {
  const bytes = new Uint8Array((commands.length + 1) * mailbox.commandSize);
  const view = new DataView(bytes.buffer);
  for (const [i, command] of commands.entries()) {
    const opcode = opcodes[command.op];
    if (opcode === undefined)
      throw typeError(`commands[${i}].op`, `one of ${Object.keys(opcodes).join(', ')}`, command.op);
    const [width, ...fields] = fieldsOf(command, hypercallWidth);
    if (command.op !== 'hypercall' && ![0, 1, 2, 4, 8].includes(width))
      throw rangeError(`commands[${i}].width`, '1, 2, 4 or 8', width);
    const at = i * mailbox.commandSize;
    view.setUint32(at, opcode, true);
    view.setUint32(at + 4, width, true);
    for (const [j, field] of fields.entries())
      view.setBigUint64(at + 8 + 8 * j, BigInt(u64(`commands[${i}]`, field ?? 0)), true);
  }
  return bytes;
}

/** What the guest's 'checksum' computes, for bytes the host has: each little-endian word is added after rotating the sum. */
export function checksum(bytes: Uint8Array): bigint {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let sum = 0n;
  for (let at = 0; at + 8 <= bytes.byteLength; at += 8) {
    sum = BigInt.asUintN(64, (sum << 1n) | (sum >> 63n));
    sum = BigInt.asUintN(64, sum + view.getBigUint64(at, true));
  }
  return sum;
}
