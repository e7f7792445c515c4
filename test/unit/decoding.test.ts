import { describe, expect, test } from 'vitest';
import { checksum, encodeCommands, touchedRanges } from '../../lib/guest/commands.ts';
import { decodeExit, decodeMemoryFault, exitBlockLayout } from '../../lib/kvm/exits.ts';
import { decodeGeneral, decodeSpecial, encodeGeneral, encodeSpecial, registerSizes } from '../../lib/kvm/registers.ts';

/** An exit block with the reason and whatever `write` puts behind it. */
function block(reason: number, write: (view: DataView) => void = () => {}): DataView {
  const view = new DataView(new ArrayBuffer(exitBlockLayout.size));
  view.setUint32(8, reason, true);
  write(view);
  return view;
}

describe('exits', () => {
  test.each([
    [
      'IO',
      block(2, (view) => {
        view.setUint8(32, 1);
        view.setUint8(33, 2);
        view.setUint16(34, 0x3f8, true);
        view.setUint32(36, 2, true);
        view.setUint32(256, 0x04030201, true);
      }),
      { reason: 'IO', direction: 'out', size: 2, port: 0x3f8, count: 2, data: Uint8Array.of(1, 2, 3, 4) },
    ],
    [
      'MMIO',
      block(6, (view) => {
        view.setBigUint64(32, 0xfee0_0000n, true);
        view.setUint16(40, 0x0201, true);
        view.setUint32(48, 2, true);
        view.setUint8(52, 1);
      }),
      { reason: 'MMIO', guestPhysAddr: 0xfee0_0000n, length: 2, isWrite: true, data: Uint8Array.of(1, 2) },
    ],
    ['HLT', block(5), { reason: 'HLT' }],
    ['SHUTDOWN', block(8), { reason: 'SHUTDOWN' }],
    [
      'HYPERCALL',
      block(3, (view) => {
        view.setBigUint64(32, 12n, true);
        for (let i = 0; i < 6; i++) view.setBigUint64(40 + 8 * i, BigInt(i), true);
        view.setBigUint64(96, 1n, true);
      }),
      { reason: 'HYPERCALL', number: 12n, args: [0n, 1n, 2n, 3n, 4n, 5n], longMode: true },
    ],
    [
      'FAIL_ENTRY',
      block(9, (view) => {
        view.setBigUint64(32, 0x8000_0021n, true);
        view.setUint32(40, 3, true);
      }),
      { reason: 'FAIL_ENTRY', hardwareReason: 0x8000_0021n, cpu: 3 },
    ],
    [
      'INTERNAL_ERROR',
      block(17, (view) => {
        view.setUint32(32, 1, true);
        view.setUint32(36, 1, true);
        view.setBigUint64(40, 9n, true);
      }),
      { reason: 'INTERNAL_ERROR', suberror: 1, data: [9n] },
    ],
    ['SYSTEM_EVENT', block(24, (view) => view.setUint32(32, 1, true)), { reason: 'SYSTEM_EVENT', type: 1, data: [] }],
    [
      'SYSTEM_EVENT with data',
      block(24, (view) => {
        view.setUint32(32, 3, true);
        view.setUint32(36, 2, true);
        view.setBigUint64(40, 5n, true);
        view.setBigUint64(48, (1n << 64n) - 1n, true);
      }),
      { reason: 'SYSTEM_EVENT', type: 3, data: [5n, (1n << 64n) - 1n] },
    ],
    [
      'IO, in',
      block(2, (view) => {
        view.setUint8(33, 4);
        view.setUint16(34, 0xffff, true);
        view.setUint32(36, 1, true);
      }),
      { reason: 'IO', direction: 'in', size: 4, port: 0xffff, count: 1, data: new Uint8Array(4) },
    ],
    [
      'MMIO, a read, of a length that cannot be',
      block(6, (view) => {
        view.setBigUint64(32, (1n << 64n) - 8n, true);
        view.setUint32(48, 0xffff_ffff, true);
      }),
      { reason: 'MMIO', guestPhysAddr: (1n << 64n) - 8n, length: 8, isWrite: false, data: new Uint8Array(8) },
    ],
    [
      'ARM_NISV',
      block(28, (view) => view.setBigUint64(40, 7n, true)),
      { reason: 'ARM_NISV', syndrome: 0n, guestPhysAddr: 7n },
    ],
    ['another', block(77), { reason: 'OTHER', exitReason: 77 }],
  ])('%s is decoded', (_name, view, expected) => {
    expect(decodeExit(view)).toEqual(expected);
  });

  test('a count that the kernel could not mean does not read beyond the block', () => {
    const wild = block(17, (view) => view.setUint32(36, 0xffff_ffff, true));
    expect(decodeExit(wild)).toMatchObject({ data: { length: 16 } });
    const io = block(2, (view) => {
      view.setUint8(33, 4);
      view.setUint32(36, 0xffff_ffff, true);
    });
    expect(decodeExit(io)).toMatchObject({ data: { length: exitBlockLayout.ioDataMax } });
  });

  test('a memory fault has an errno', () => {
    const view = block(39, (at) => {
      at.setBigUint64(32, 8n, true);
      at.setBigUint64(40, 0x1_0000_0000n, true);
      at.setBigUint64(48, 4096n, true);
    });
    expect(decodeMemoryFault(view, 'EFAULT')).toEqual({
      reason: 'MEMORY_FAULT',
      code: 'EFAULT',
      guestPhysAddr: 0x1_0000_0000n,
      size: 4096n,
      isPrivate: true,
      flags: 8n,
    });
  });
});

describe('registers', () => {
  test('general ones survive the round trip, and only what is given changes', () => {
    const bytes = new Uint8Array(registerSizes.general).fill(0xee);
    encodeGeneral(bytes, { rax: 1n, rflags: 2n, r8: (1n << 64n) - 1n });
    expect(decodeGeneral(bytes)).toMatchObject({
      rax: 1n,
      rflags: 2n,
      r8: (1n << 64n) - 1n,
      rbx: 0xeeee_eeee_eeee_eeeen,
    });
  });

  test('special ones survive the round trip, and only what is given changes', () => {
    const bytes = new Uint8Array(registerSizes.special);
    encodeSpecial(bytes, {
      cs: { base: 0xffff_0000n, selector: 8, l: 1 },
      gdt: { limit: 7 },
      cr3: 0x1000n,
      apicBase: 5n,
    });
    encodeSpecial(bytes, { cs: { limit: 9 } });
    const got = decodeSpecial(bytes);
    expect(got.cs).toMatchObject({ base: 0xffff_0000n, selector: 8, l: 1, limit: 9, db: 0 });
    expect(got).toMatchObject({ gdt: { base: 0n, limit: 7 }, cr3: 0x1000n, apicBase: 5n, cr0: 0n });
    // Offsets that native/uapi asserts.
    const view = new DataView(bytes.buffer);
    expect([view.getBigUint64(240, true), view.getBigUint64(272, true)]).toEqual([0x1000n, 5n]);
  });
});

describe('guest commands', () => {
  test('are laid out as the guest program reads them, with an end', () => {
    const bytes = encodeCommands([{ op: 'store', gpa: 0x1_0000_0000n, value: 5, width: 4 }], 1);
    const view = new DataView(bytes.buffer);
    expect(bytes.byteLength).toBe(128);
    expect([view.getUint32(0, true), view.getUint32(4, true)]).toEqual([2, 4]);
    expect([view.getBigUint64(8, true), view.getBigUint64(16, true)]).toEqual([0x1_0000_0000n, 5n]);
    expect(view.getUint32(64, true)).toBe(0);
  });

  test('with a width or an op that does not exist are refused', () => {
    expect(() => encodeCommands([{ op: 'load', gpa: 0, width: 3 as never }], 0)).toThrow(/width/);
    expect(() => encodeCommands([{ op: 'load', gpa: -1 }], 0)).toThrow(RangeError);
    expect(() => encodeCommands([{ op: 'x' } as never], 0)).toThrow(TypeError);
  });

  test.each([
    [{ op: 'load', gpa: 0x10n, width: 2 }, 1, 2, [0x10n]],
    [{ op: 'load', gpa: 1 }, 1, 8, [1n]],
    [{ op: 'store', gpa: 1, value: (1n << 64n) - 1n }, 2, 8, [1n, (1n << 64n) - 1n]],
    [{ op: 'fill', gpa: 1, length: 2, value: 255 }, 3, 1, [1n, 2n, 255n]],
    [{ op: 'compare', gpa: 1, length: 2, value: 0 }, 4, 1, [1n, 2n]],
    [{ op: 'checksum', gpa: 1, length: 8 }, 5, 8, [1n, 8n]],
    [{ op: 'hypercall', number: 12, args: [1, 2n, 3] }, 6, 1, [12n, 1n, 2n, 3n]],
    [{ op: 'hypercall', number: 12 }, 6, 1, [12n]],
    [{ op: 'portOut', port: 0xffff, value: 9, width: 4 }, 7, 4, [0xffffn, 9n]],
    [{ op: 'portIn', port: 1 }, 8, 1, [1n]],
    [{ op: 'spin', gpa: 8, value: 1 }, 9, 8, [8n, 1n]],
    [{ op: 'halt' }, 10, 0, []],
    [{ op: 'copy', to: 1, from: 2, length: 3 }, 11, 1, [1n, 2n, 3n]],
  ] as const)('%o has its opcode, width and fields', (command, opcode, width, fields) => {
    const view = new DataView(encodeCommands([{ op: 'halt' }, command], 1).buffer);
    expect([view.getUint32(64, true), view.getUint32(68, true)]).toEqual([opcode, width]);
    const words = [0, 1, 2, 3, 4, 5, 6].map((i) => view.getBigUint64(72 + 8 * i, true));
    expect(words).toEqual([...fields, ...Array(7 - fields.length).fill(0n)]);
  });

  test('tell what they touch', () => {
    expect(touchedRanges({ op: 'copy', to: 1, from: 2, length: 3 })).toEqual([
      [1n, 3n],
      [2n, 3n],
    ]);
    expect(touchedRanges({ op: 'load', gpa: 8, width: 2 })).toEqual([[8n, 2n]]);
    expect(touchedRanges({ op: 'halt' })).toEqual([]);
  });

  test('checksum rotates and adds', () => {
    expect(checksum(new Uint8Array(BigUint64Array.of(1n << 63n, 1n).buffer))).toBe(2n);
    expect(checksum(new Uint8Array(7))).toBe(0n);
  });
});
