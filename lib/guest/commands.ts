import { bytes as bytesOf, options, rangeError, typeError, type U64, u32, u64 } from '../kvm/arguments.ts';

/** Bytes of one access. */
export type Width = 1 | 2 | 4 | 8;

/** What the guest program can be told to do. Addresses are guest physical ones; each command gives one 64-bit result. */
export type GuestCommand =
  /** Loads from memory, or from a device where no memslot lies. Result: the value. */
  | { op: 'load'; gpa: U64; width?: Width }
  /** Stores the low `width` bytes of `value`. */
  | { op: 'store'; gpa: U64; value: U64; width?: Width }
  /** Sets `length` bytes to `value`, 0 to 255. */
  | { op: 'fill'; gpa: U64; length: U64; value: number }
  /** Looks for the first byte that is not `value`, 0 to 255. Result: its offset, or `length`. */
  | { op: 'compare'; gpa: U64; length: U64; value: number }
  /** Result: the 64-bit words of the range, summed up by {@link checksum}. */
  | { op: 'checksum'; gpa: U64; length: U64 }
  | { op: 'copy'; to: U64; from: U64; length: U64 }
  /** A hypercall (VMCALL or VMMCALL; HVC on arm64, where PSCI answers) with up to three arguments. Result: what it gave back. */
  | { op: 'hypercall'; number: U64; args?: readonly U64[] }
  /** Writes the low `width` bytes of `value` to a port, 0 to 65535 (x86-64; ERR_UNSUPPORTED_ARCHITECTURE elsewhere). */
  | { op: 'portOut'; port: number; value: number; width?: 1 | 2 | 4 }
  | { op: 'portIn'; port: number; width?: 1 | 2 | 4 }
  /** Waits until the 64-bit word at `gpa` is `value`. Result: how often it looked. */
  | { op: 'spin'; gpa: U64; value: U64 }
  /** Stops with an HLT exit. On arm64 the guest program asks the agent for it: WFI does not leave the kernel there. */
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

const memoryWidths: readonly number[] = [1, 2, 4, 8];
const portWidths: readonly number[] = [1, 2, 4];

/** Checks a command and gives its width and its fields in the guest program's order. */
function fieldsOf(command: GuestCommand, path: string, hypercallWidth: number): [width: number, ...fields: U64[]] {
  const word = (name: string) => u64(`${path}.${name}`, command[name as keyof GuestCommand]);
  const atMost = (name: string, max: number) => {
    const value = u32(`${path}.${name}`, command[name as keyof GuestCommand]);
    if (value > max) throw rangeError(`${path}.${name}`, `at most ${max}`, value);
    return value;
  };
  const width = (widths: readonly number[], value: number) => {
    if (!widths.includes(value)) throw rangeError(`${path}.width`, `one of ${widths.join(', ')}`, value);
    return value;
  };
  switch (command.op) {
    case 'load':
      return [width(memoryWidths, command.width ?? 8), word('gpa')];
    case 'store':
      return [width(memoryWidths, command.width ?? 8), word('gpa'), word('value')];
    case 'fill':
    case 'compare':
      return [1, word('gpa'), word('length'), atMost('value', 255)];
    case 'checksum':
      return [8, word('gpa'), word('length')];
    case 'copy':
      return [1, word('to'), word('from'), word('length')];
    case 'hypercall': {
      const { args = [] } = command;
      if (!Array.isArray(args)) throw typeError(`${path}.args`, 'an array of up to three numbers or bigints', args);
      if (args.length > 3) throw rangeError(`${path}.args`, 'of at most three values', args.length);
      return [hypercallWidth, word('number'), ...args.map((arg, i) => u64(`${path}.args[${i}]`, arg))];
    }
    case 'portOut':
      return [width(portWidths, command.width ?? 1), atMost('port', 0xffff), word('value')];
    case 'portIn':
      return [width(portWidths, command.width ?? 1), atMost('port', 0xffff)];
    case 'spin':
      return [8, word('gpa'), word('value')];
    case 'halt':
      return [0];
  }
}

/** Writes a list of commands, ended, as the guest program reads it. */
export function encodeCommands(commands: readonly GuestCommand[], hypercallWidth: number): Uint8Array {
  const bytes = new Uint8Array((commands.length + 1) * mailbox.commandSize);
  const view = new DataView(bytes.buffer);
  for (const [i, command] of commands.entries()) {
    const path = `commands[${i}]`;
    const { op } = options(path, command);
    if (!Object.hasOwn(opcodes, op)) throw typeError(`${path}.op`, `one of ${Object.keys(opcodes).join(', ')}`, op);
    const [width, ...fields] = fieldsOf(command, path, hypercallWidth);
    const at = i * mailbox.commandSize;
    view.setUint32(at, opcodes[op], true);
    view.setUint32(at + 4, width, true);
    for (const [j, field] of fields.entries()) view.setBigUint64(at + 8 + 8 * j, BigInt(field), true);
  }
  return bytes;
}

/** What the guest's 'checksum' computes, for bytes the host has: each little-endian word is added after rotating the sum. */
export function checksum(given: Uint8Array): bigint {
  const whole = bytesOf('bytes', given);
  if (whole.byteLength === 0) return 0n; // detached ones are empty, and cannot be copied
  // A copy, for bytes can say of themselves that there are more of them than there are.
  const bytes = new Uint8Array(whole);
  const view = new DataView(bytes.buffer);
  let sum = 0n;
  for (let at = 0; at + 8 <= bytes.byteLength; at += 8) {
    sum = BigInt.asUintN(64, (sum << 1n) | (sum >> 63n));
    sum = BigInt.asUintN(64, sum + view.getBigUint64(at, true));
  }
  return sum;
}
