import type { GuestCommand } from '../../guest/commands.ts';
import { errnoName } from '../../kvm/errors.ts';
import type { KernelCall } from '../model.ts';
import { callDescriptions, type Field, transfers } from './calls.ts';
import { exitOf, showExit } from './guest-state.ts';
import { type CapturedBytes, type CapturedCall, isBytes } from './log.ts';

const hex = (value: number | bigint) => `0x${value.toString(16)}`;
const large = 4096;

function showBytes({ length, uniform, bytes }: CapturedBytes): string {
  if (uniform !== undefined) return `${length} bytes of ${hex(uniform)}`;
  const shown = Buffer.from(bytes.subarray(0, 16))
    .toString('hex')
    .replace(/..(?=.)/g, '$& ');
  return length <= 16 ? shown : `${length} bytes: ${shown} …`;
}

function bitNames(mask: bigint, names: Readonly<Record<string, number>>): string {
  const known = Object.entries(names).filter(([, bit]) => bit !== 0 && (mask & BigInt(bit)) === BigInt(bit));
  const rest = known.reduce((left, [, bit]) => left & ~BigInt(bit), mask);
  const shown = known.map(([name]) => name);
  if (rest !== 0n) shown.push(hex(rest));
  return shown.join(' | ') || '0';
}

function showValue(value: unknown, [, show]: Field): string | number | undefined {
  if (value === undefined || show === 'hidden') return undefined;
  if (isBytes(value)) return showBytes(value);
  if (typeof value === 'string') return value;
  const number = value as number | bigint;
  if (typeof show === 'object') {
    if ('bits' in show) return bitNames(BigInt(number), show.bits);
    return Object.keys(show.one).find((name) => show.one[name] === Number(number)) ?? String(number);
  }
  if (show === 'object') return number === 0 ? undefined : `#${number}`;
  if (typeof number === 'bigint' || (show === 'hex' && number >= large)) return hex(number);
  return number;
}

/** 'load(gpa=0x100000000)' for each command. */
function showCommands(commands: readonly GuestCommand[]): string {
  const all = commands.map(({ op, ...fields }) => {
    const list = Object.entries(fields).map(([name, value]) => {
      const text = Array.isArray(value) ? value.map((one) => hex(one as bigint)).join(',') : hex(value as bigint);
      return `${name}=${text}`;
    });
    return `${op}(${list.join(', ')})`;
  });
  return all.length > 6 ? `${all.slice(0, 6).join('; ')}; … ${all.length - 6} more` : all.join('; ');
}

/** How far an access came, where it did not come to its end. */
function accessOutcome({ name, args, result }: CapturedCall): string | undefined {
  if (name === 'mappingCompare') {
    if (Number(result) < 0) return `faults after ${-1 - Number(result)} bytes`;
    return result === (args[2] as CapturedBytes).length ? 'equal' : `differs at byte ${result}`;
  }
  const wanted = name === 'mappingFill' ? args[2] : (args[2] as CapturedBytes).length;
  return BigInt(result as number) === BigInt(wanted as number) ? undefined : `faults after ${result} bytes`;
}

/** What came of a call besides its result. */
function outcomeOf(call: CapturedCall): string | undefined {
  if (call.result === undefined) return undefined;
  if (call.name === 'vcpuRun' || call.name === 'vcpuRunDone') {
    const exit = exitOf(call);
    return exit && showExit(exit);
  }
  return callDescriptions[call.name].access ? accessOutcome(call) : undefined;
}

/** A call for a person, and for what is saved. */
export function showCall(call: CapturedCall, began: number): KernelCall {
  const { name, args, result, begin, end, subject } = call;
  const description = callDescriptions[name];
  const shown: Record<string, string | number> = {};
  for (const [i, field] of description.fields.entries()) {
    const isOut = field[1] === 'out' && result === undefined;
    const value = isOut ? undefined : showValue(args[i], field);
    if (value !== undefined) shown[field[0]] = value;
  }
  if (Array.isArray(subject)) shown['commands'] = showCommands(subject as GuestCommand[]);
  const title =
    name === 'vcpuTransfer'
      ? `ioctl(${transfers[process.arch]?.[args[1] as number]})`
      : name === 'vmSetUserMemoryRegion' && args[8] === 1
        ? 'ioctl(KVM_SET_USER_MEMORY_REGION)'
        : description.call;
  if (name === 'vcpuTransfer') delete shown['which'];
  const outcome = outcomeOf(call);
  const refused = typeof result === 'number' && result < 0 && name !== 'mappingCompare';
  const round = (ms: number) => Math.round(ms * 1000) / 1000;
  return {
    call: title,
    arguments: shown,
    ...(refused
      ? { errno: errnoName(result) }
      : result === undefined
        ? { unfinished: true }
        : { result: Number(result) }),
    ...(outcome === undefined ? {} : { outcome }),
    atMs: round(begin - began),
    durationMs: round(Math.max(0, end - begin)),
  };
}
