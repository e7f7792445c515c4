import { ExitReason } from '../../kvm/constants.ts';
import { errnoName } from '../../kvm/errors.ts';
import { decodeExit, decodeMemoryFault, exitReasonOf, type VcpuExit } from '../../kvm/exits.ts';
import { decodeGeneral, generalNamesOf } from '../../kvm/registers.ts';
import { unobserved } from '../../kvm/trace.ts';
import type { CapturedCall } from './log.ts';

const hex = (value: number | bigint) => `0x${value.toString(16)}`;

/** The exit that ended a run, as vcpu.ts decodes it; undefined where the run failed. */
export function exitOf({ exit, result }: Pick<CapturedCall, 'exit' | 'result'>): VcpuExit | undefined {
  if (!exit || result === undefined) return undefined;
  // decodeExit reads the data of an I/O exit from behind the head.
  const block = new Uint8Array(exit.length + 1024);
  block.set(exit);
  const view = new DataView(block.buffer);
  if (result === 0) return decodeExit(view);
  if (result === 1) return { reason: 'INTR', cause: 'timeout' };
  if (result === 2) return { reason: 'INTR', cause: 'stopped' };
  const code = errnoName(Number(result));
  return ['EFAULT', 'EHWPOISON'].includes(code) && exitReasonOf(view) === ExitReason.MEMORY_FAULT
    ? decodeMemoryFault(view, code)
    : undefined;
}

/** 'MMIO guestPhysAddr=0x1000 length=4 …' */
export function showExit(exit: VcpuExit): string {
  const { reason, ...fields } = exit;
  const shown = Object.entries(fields)
    .filter(([name]) => name !== 'data')
    .map(([name, value]) => {
      const text = Array.isArray(value) ? value.map(hex).join(',') : typeof value === 'bigint' ? hex(value) : value;
      return ` ${name}=${text}`;
    });
  return `${reason}${shown.join('')}`;
}

/** Last exit and general registers of the vCPU of a run. */
export function guestState(run: CapturedCall): Record<string, string> {
  const exit = exitOf(run);
  const state: Record<string, string> = {
    exit: exit ? showExit(exit) : run.result === undefined ? 'still running' : errnoName(Number(run.result)),
  };
  const names = generalNamesOf(process.arch);
  const registers = new Uint8Array(names.length * 8);
  try {
    if (unobserved.vcpuTransfer(run.args[0] as number, 0, registers) < 0) return state;
  } catch {
    return state; // closed meanwhile
  }
  for (const [name, value] of Object.entries(decodeGeneral(registers, names))) state[name] = hex(value);
  return state;
}
