import { describe, expect, test } from 'vitest';
import { arm64Meaning, checkArm64Commands } from '../../lib/guest/arm64.ts';
import {
  type Arm64Registers,
  arm64RegisterNames,
  checkGeneral,
  decodeGeneral,
  encodeGeneral,
} from '../../lib/kvm/registers.ts';

describe('arm64 registers', () => {
  test('are 34 words in the order of struct user_pt_regs', () => {
    const bytes = new Uint8Array(arm64RegisterNames.length * 8);
    expect(bytes.byteLength).toBe(272);
    encodeGeneral(bytes, { x1: 1n, sp: 31n, pc: 32n, pstate: 33n }, arm64RegisterNames);
    const words = new BigUint64Array(bytes.buffer);
    expect([words[1], words[31], words[32], words[33]]).toEqual([1n, 31n, 32n, 33n]);
    expect(decodeGeneral<Arm64Registers>(bytes, arm64RegisterNames)).toMatchObject({ x0: 0n, x1: 1n, pc: 32n });
  });

  test('go by their own names', () => {
    expect(() => checkGeneral({ rip: 1n }, arm64RegisterNames)).toThrow(/general registers/);
    expect(() => checkGeneral({ x30: 1n }, arm64RegisterNames)).not.toThrow();
  });
});

describe('the guest on arm64', () => {
  test('has no ports', () => {
    const unsupported = expect.objectContaining({ code: 'ERR_UNSUPPORTED_ARCHITECTURE' });
    expect(() => checkArm64Commands([{ op: 'portOut', port: 1, value: 1 }])).toThrow(unsupported);
    expect(() => checkArm64Commands([{ op: 'portIn', port: 1 }])).toThrow(unsupported);
  });

  test('accesses words at their own alignment only', () => {
    expect(() => checkArm64Commands([{ op: 'halt' }, { op: 'load', gpa: 4 }])).toThrow(/commands\[1\]\.gpa.*of 8/);
    expect(() => checkArm64Commands([{ op: 'load', gpa: 4, width: 4 }])).not.toThrow();
    expect(() => checkArm64Commands([{ op: 'fill', gpa: 1, length: 3, value: 0 }])).not.toThrow();
  });

  test('tells by an address what happened', () => {
    const registers = () => ({ x9: 1n, x10: 2n, x11: 3n });
    const store = (guestPhysAddr: bigint, isWrite = true) =>
      arm64Meaning(
        { reason: 'MMIO', guestPhysAddr, isWrite, length: 8, data: new Uint8Array(8) },
        0x1000_0000n,
        registers,
      );
    expect(store(0x1005_0000n)).toBe('done');
    expect(store(0x1005_0008n)).toEqual({ reason: 'EXCEPTION', syndrome: 1n, faultAddress: 2n, instruction: 3n });
    expect(store(0x1005_0010n)).toEqual({ reason: 'HLT' });
    expect(store(0x1005_0000n, false)).toMatchObject({ reason: 'MMIO' });
    expect(store(0x1006_0000n)).toMatchObject({ reason: 'MMIO' });
  });
});
