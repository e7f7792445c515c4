import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { createMemoryBackend } from '../../lib/backends/backend.ts';
import { lintCommandLine } from '../../lib/backends/lint.ts';
import { parseObjectOption } from '../../lib/backends/object-option.ts';
import { closeAll } from '../../lib/kvm/close-all.ts';
import { Advice } from '../../lib/kvm/constants.ts';
import { mapAnonymous } from '../../lib/kvm/mapping.ts';
import { MemoryFile } from '../../lib/kvm/memory-file.ts';
import { pageSize } from '../../lib/kvm/native.ts';
import { populate } from '../../lib/kvm/populate.ts';

// Memory that needs no KVM.

const folder = mkdtempSync(join(tmpdir(), 'gmem-test-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('a mapping of a memfd', () => {
  test('reads into what it is given, and finds the first byte that differs', () => {
    using file = MemoryFile.memfd();
    file.resize(2 * pageSize);
    using mapping = file.map();
    const words = Uint16Array.of(1, 2, 3);
    mapping.write(pageSize - 2, words);
    const into = new Uint16Array(3);
    expect(mapping.read(pageSize - 2, into)).toBe(into);
    expect([...into]).toEqual([1, 2, 3]);
    expect(mapping.compare(pageSize - 2, words)).toBe(-1);
    words[1] = 7;
    expect(mapping.compare(pageSize - 2, words)).toBe(2);
    file.resize(pageSize);
    expect(() => mapping.compare(pageSize - 2, Uint16Array.of(1, 2))).toThrow(
      expect.objectContaining({ name: 'MemoryAccessError', offset: pageSize }),
    );
  });

  test('gives no view of what cannot be touched', () => {
    using file = MemoryFile.memfd();
    file.resize(pageSize);
    using mapping = file.map({ length: 2 * pageSize });
    expect(() => mapping.view(0, 2 * pageSize)).toThrow(
      expect.objectContaining({ name: 'MemoryAccessError', offset: 0 }),
    );
    expect(new Uint8Array(mapping.view(0, pageSize))).toHaveLength(pageSize);
  });

  test('leaves zero pages where a view cannot be detached', () => {
    using mapping = mapAnonymous({ size: 2 * pageSize });
    mapping.fill(0x5a);
    const view = mapping.view(0, pageSize);
    // WebAssembly's memory and those of others are marked so: nobody can take them from their owner.
    const { markAsUntransferable } = process.getBuiltinModule('node:worker_threads');
    markAsUntransferable(view);
    mapping.detachViews();
    expect(view.byteLength === 0 || new Uint8Array(view).every((byte) => byte === 0)).toBe(true);
    expect(mapping.read(pageSize, 1)[0]).toBe(0x5a);
  });

  test('is not populated by pages that there are not', async () => {
    using mapping = mapAnonymous({ size: pageSize });
    await expect(populate(mapping, { pageSize: 3 * pageSize })).rejects.toThrow(/pageSize.*a power of two/);
    await expect(populate(mapping, { pageSize: pageSize / 2 })).rejects.toThrow(/pageSize/);
  });

  test('loses what is advised away', () => {
    using mapping = mapAnonymous({ size: pageSize });
    mapping.fill(1);
    mapping.advise(Advice.DONTNEED);
    expect(mapping.read(0, 1)[0]).toBe(0);
  });
});

test('closeAll closes the others, and throws the first of what was thrown', () => {
  const closed: number[] = [];
  const thing = (number: number, fails: boolean) => ({
    close() {
      closed.push(number);
      if (fails) throw new Error(`${number} fails`);
    },
  });
  expect(() => closeAll(thing(1, true), undefined, thing(2, false), thing(3, true))).toThrow('1 fails');
  expect(closed).toEqual([1, 2, 3]);
});

describe('a backend without a VM', () => {
  test('tells what it is, and where its pages lie', async () => {
    const options = parseObjectOption('memory-backend-ram,id=ram0,size=64K,prealloc=on');
    if (options['qom-type'] === 'thread-context') throw new Error('is memory');
    const backend = await createMemoryBackend(options);
    expect(backend).toMatchObject({ id: 'ram0', type: 'memory-backend-ram', size: 65536, rom: false, closed: false });
    expect(backend.options).toMatchObject({ prealloc: true });
    expect(backend.guestMemfd).toBeUndefined();
    expect(backend.attachments).toEqual([]);
    expect(backend.preallocated).toMatchObject({ threads: expect.any(Number), time: expect.any(Number) });
    expect(backend.query()).toMatchObject({ 'resident-bytes': 65536, 'private-bytes': 0 });
    expect([...backend.placement().values()].reduce((sum, bytes) => sum + bytes, 0)).toBe(65536);
    backend.close();
    expect(backend.closed).toBe(true);
  });

  test('throws nothing away of a file that is read only', async () => {
    const file = join(folder, 'rom');
    writeFileSync(file, '');
    truncateSync(file, 65536);
    const text = `memory-backend-file,id=rom,size=64K,mem-path=${file},readonly=on`;
    using backend = await createMemoryBackend(parseObjectOption(text) as never);
    expect(backend.rom).toBe(true);
    expect(() => backend.discard(0, pageSize)).toThrow(expect.objectContaining({ property: 'readonly' }));
  });

  test.each([
    [{ 'qom-type': 'thread-context', id: 'a' }, /this is no memory/],
    [{ 'qom-type': 'memory-backend-ram', id: 'a', size: 65536, share: 'maybe' }, /this is not .*"maybe"|share/],
    [{ 'qom-type': 'memory-backend-ram', id: 'a', size: 65536, 'prealloc-context': 'none' }, /no thread-context/],
  ])('%j is refused', async (options, message) => {
    await expect(createMemoryBackend(options as never)).rejects.toThrow(message);
  });
});

test('JSON with an escape that there is not is refused', () => {
  expect(() => parseObjectOption('{"qom-type":"memory-backend-ram","id":"\\q","size":4096}')).toThrow(
    /a string without unknown escapes/,
  );
});

test('lint tells that what a confidential guest shares lands on a disk', () => {
  const words = '-machine q35,memory-backend=m,confidential-guest-support=sev0 -object sev-snp-guest,id=sev0';
  const object = `-object memory-backend-file,id=m,size=4M,mem-path=${folder}/m,share=on`;
  expect(
    lintCommandLine(`qemu-system-x86_64 ${words} ${object}`)
      .map(({ message }) => message)
      .join('\n'),
  ).toMatch(/lands on a disk/);
});
