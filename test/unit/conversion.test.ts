import { describe, expect, test } from 'vitest';
import { ConversionError } from '../../lib/conversion/errors.ts';
import type { MemoryMap, MemorySegment } from '../../lib/conversion/map.ts';
import { jsonMap, sizeText, svgMap, textMap } from '../../lib/conversion/render.ts';
import { decodeRequest } from '../../lib/conversion/requests.ts';
import type { VcpuExit } from '../../lib/kvm/exits.ts';

const page = 4096n;
const gpa = 0x1_0000_0000n;

const hypercall = (address: bigint, pages: bigint, attributes: bigint, number = 12n): VcpuExit => ({
  reason: 'HYPERCALL',
  number,
  args: [address, pages, attributes, 0n, 0n, 0n],
  longMode: true,
});
const fault = (guestPhysAddr: bigint, size: bigint, flags: bigint, code = 'EFAULT'): VcpuExit => ({
  reason: 'MEMORY_FAULT',
  code,
  guestPhysAddr,
  size,
  isPrivate: (flags & 8n) !== 0n,
  flags,
});

describe('conversion requests', () => {
  test('are read from hypercalls and faults', () => {
    expect(decodeRequest(hypercall(gpa, 3n, 16n))).toEqual({
      request: { gpa: Number(gpa), size: 3 * 4096, to: 'private', by: 'hypercall', pageSize: 4096 },
    });
    expect(decodeRequest(hypercall(gpa, 512n, 1n))).toEqual({
      request: { gpa: Number(gpa), size: 2 << 20, to: 'shared', by: 'hypercall', pageSize: 2 << 20 },
    });
    expect(decodeRequest(fault(gpa, page, 8n))).toEqual({
      request: { gpa: Number(gpa), size: 4096, to: 'private', by: 'fault' },
    });
    expect(decodeRequest(fault(gpa, page, 0n))).toMatchObject({ request: { to: 'shared' } });
  });

  test('with bits that mean nothing are malformed, and so are ranges that are none', () => {
    for (const [exit, words] of [
      [hypercall(gpa, 1n, 32n), /attributes/],
      [hypercall(gpa, 1n, 1n << 63n), /attributes/],
      [hypercall(gpa, 1n, 3n), /page size/],
      [hypercall(gpa, 0n, 16n), /empty/],
      [hypercall(gpa + 1n, 1n, 16n), /aligned/],
      [hypercall(gpa, 1n << 52n, 16n), /highest/],
      [hypercall((1n << 64n) - page, 2n, 16n), /highest/],
      [fault(gpa, page, 16n), /flags/],
      [fault(gpa, page, 8n | (1n << 63n)), /flags/],
      [fault(gpa, 0n, 8n), /empty/],
      [fault(gpa + 1n, page, 8n), /aligned/],
    ] as const) {
      const decoded = decodeRequest(exit);
      expect(decoded).toHaveProperty('malformed', expect.stringMatching(words));
    }
  });

  test('are not seen in other exits', () => {
    expect(decodeRequest(hypercall(gpa, 1n, 16n, 11n))).toBeUndefined();
    expect(decodeRequest(fault(gpa, page, 8n, 'EHWPOISON'))).toBeUndefined();
    expect(decodeRequest({ reason: 'HLT' })).toBeUndefined();
  });
});

const segment = (at: number, pages: number, rest: Partial<MemorySegment> = {}): MemorySegment => ({
  gpa: at,
  size: pages * 4096,
  state: 'shared',
  resident: true,
  stale: 0,
  slot: 1,
  backing: 'a <file> & "more"',
  ...rest,
});
const map: MemoryMap = {
  model: 'in-place',
  reason: 'tried & found',
  segments: [
    segment(0x1000, 2),
    segment(0x3000, 1, { resident: false }),
    segment(0x4000, 1, { state: 'private' }),
    segment(0x5000, 2, { state: 'private', resident: false, stale: 8192 }),
    segment(0x7000, 1, { state: 'unbacked', resident: undefined, slot: undefined, backing: 'nothing' }),
    segment(0x8000, 1, { disagreement: 'it is private' }),
  ],
};

describe('the memory map', () => {
  test('is drawn as text', () => {
    const text = textMap(map);
    expect(text).toContain('0x1000  SSsPpp.!\n');
    expect(text).toContain('4 KiB a sign: S shared   s shared, untouched   P private');
    expect(text).toMatch(/0x5000-0x6fff +8 KiB +private +in memory: no +slot 1, .*8 KiB in memory on the other side/);
    expect(text).toContain('DISAGREEMENT: it is private');
  });

  test('is drawn small however large the memory', () => {
    const large: MemoryMap = {
      ...map,
      segments: [segment(0, 2 ** 28), segment(2 ** 40, 2 ** 28, { state: 'private' }), segment(2 ** 41, 1)],
    };
    expect(textMap(large).split('\n').length).toBeLessThan(30);
    expect(svgMap(large).length).toBeLessThan(20_000);
    const board: MemoryMap = {
      ...map,
      segments: Array.from({ length: 4096 }, (_, i) => segment(i * 4096, 1, { state: i % 2 ? 'private' : 'shared' })),
    };
    expect(textMap(board)).toContain('x several of them');
    expect(textMap(board)).toContain('and 4056 more segments');
  });

  test('is drawn as SVG with nothing unescaped', () => {
    const svg = svgMap(map);
    expect(svg).toContain('<title>Guest memory, in-place: tried &amp; found</title>');
    expect(svg).toContain('<title>0x1000-0x2fff: shared</title>');
    expect(svg.match(/<rect/g)?.length).toBe(svg.match(/<rect[^>]*\/?>/g)?.length);
    expect(svg.replaceAll(/&(amp|lt|gt|quot);/g, '')).not.toContain('&');
  });

  test('is JSON with addresses as text and what is not known as null', () => {
    const parsed = JSON.parse(jsonMap(map));
    expect(parsed.segments[4]).toEqual({
      gpa: '0x7000',
      size: 4096,
      state: 'unbacked',
      resident: null,
      stale: 0,
      slot: null,
      backing: 'nothing',
    });
    expect(parsed).toMatchObject({ schemaVersion: 1, model: 'in-place' });
  });

  test('of nothing can be drawn', () => {
    const empty: MemoryMap = { ...map, segments: [] };
    for (const draw of [textMap, svgMap, jsonMap]) expect(draw(empty)).toContain('in-place');
  });
});

test('sizes are told in the largest unit', () => {
  expect([0, 4096, 2 << 20, 3 * 512 * 1024, 2 ** 40].map(sizeText)).toEqual([
    '0 bytes',
    '4 KiB',
    '2 MiB',
    '1.5 MiB',
    '1 TiB',
  ]);
});

test('a ConversionError tells what was to be done, why not, and what was done before', () => {
  const error = new ConversionError(
    'ERR_CONVERSION_BUSY',
    { gpa: 0x1000, size: 0x2000, to: 'private' },
    'it is in use',
    {
      converted: [{ gpa: 0x1000, size: 0x1000 }],
    },
  );
  expect(error.message).toBe(
    'cannot convert 0x1000+0x2000 to private: it is in use. Converted before and staying so: 0x1000+0x1000',
  );
  expect(error).toMatchObject({ name: 'ConversionError', code: 'ERR_CONVERSION_BUSY', holders: [] });
});
