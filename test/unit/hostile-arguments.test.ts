// What the fuzzer (test/fuzz) found: calls that threw what is no error of this package, never came back, or ended the process.
import { expect, test } from 'vitest';
import * as g from '../../lib/index.ts';
import { setAttributesOfRanges } from '../../lib/kvm/conversion-steps.ts';
import { node } from '../helpers/process.ts';

// biome-ignore lint/suspicious/noExplicitAny: the point is what the compiler would refuse
const api = g as any;
const symbol = Symbol('x');
const detached = <T>(type: new (buffer: ArrayBuffer) => T): T => {
  const buffer = new ArrayBuffer(64);
  const view = new type(buffer);
  structuredClone(buffer, { transfer: [buffer] });
  return view;
};
const segment = { gpa: 0, size: 4096, state: 'private' };
const map = (...segments: object[]) => ({ model: 'none', reason: '', segments });

const coded = (error: unknown) =>
  expect(error).toMatchObject({ code: expect.stringMatching(/^ERR_(?:INVALID_ARG_TYPE|OUT_OF_RANGE|BACKEND)$/) });
function thrownBy(call: () => unknown): unknown {
  try {
    call();
  } catch (error) {
    return error;
  }
  return undefined;
}

test.each<[string, () => unknown]>([
  ['conversionModel(undefined)', () => api.conversionModel()],
  ['errnoName of a bigint', () => api.errnoName(1n)],
  ['adviseMemoryBackend(null)', () => api.adviseMemoryBackend(null)],
  ['adviseMemoryBackend of an unknown need', () => api.adviseMemoryBackend(['x'])],
  ['adviseMemoryBackend with null', () => api.adviseMemoryBackend([], null)],
  ['lintCommandLine(5)', () => api.lintCommandLine(5)],
  ['lintCommandLine([5])', () => api.lintCommandLine([5])],
  ['parseObjectOption(undefined)', () => api.parseObjectOption()],
  [
    'formatObjectOption with null',
    () => api.formatObjectOption({ 'qom-type': 'memory-backend-ram', id: 'a', size: 1 }, null),
  ],
  ['checkObjects(undefined)', () => api.checkObjects()],
  ['checkObjects([null])', () => api.checkObjects([null])],
  ['checkObjectOptions with a symbol', () => api.checkObjectOptions({ 'qom-type': symbol, id: 'a' })],
  ['textMap(undefined)', () => api.textMap()],
  ['svgMap of bigints', () => api.svgMap(map({ ...segment, size: 4096n }))],
  ['jsonMap of no segments', () => api.jsonMap({ model: 'none', reason: '' })],
  ['MemoryFile.memfd with a name that is none', () => api.MemoryFile.memfd({ name: 5 })],
  ['MemoryFile.memfd with a name that NUL would end', () => api.MemoryFile.memfd({ name: 'a\0b' })],
  ['mapping.write of a proxy', () => g.mapAnonymous({ size: 4096 }).write(0, new Proxy(new Uint8Array(8), {}))],
  ['mapping.write of detached bytes', () => g.mapAnonymous({ size: 4096 }).write(0, detached(DataView))],
  ['vm.setMemoryAttributesOf of what is no range', () => setAttributesOfRanges(0, [undefined as never])],
  ['an object that JavaScript makes of a handle', () => new api.MemoryFile(1)],
])('%s is refused in this package’s own words', (_, call) => coded(thrownBy(call)));

test.each<[string, () => Promise<unknown>]>([
  ['populate with processors that are none', () => api.populate(g.mapAnonymous({ size: 4096 }), { cpus: null })],
  ['populate with a signal that is none', () => api.populate(g.mapAnonymous({ size: 4096 }), { signal: {} })],
  [
    'populate with a method that cannot become text',
    () => api.populate(g.mapAnonymous({ size: 4096 }), { method: Object.create(null) }),
  ],
  ['populate with a listener that is none', () => api.populate(g.mapAnonymous({ size: 4096 }), { onProgress: 5 })],
  [
    'createMemoryBackend with null',
    () => api.createMemoryBackend({ 'qom-type': 'memory-backend-ram', id: 'a', size: 4096 }, null),
  ],
  [
    'createMemoryBackend with a signal that is none',
    () => api.createMemoryBackend({ 'qom-type': 'memory-backend-ram', id: 'a', size: 4096 }, { signal: 1 }),
  ],
])('%s is refused in this package’s own words', async (_, call) => coded(await call().catch((error) => error)));

test('a map in any order is drawn', () => {
  const drawn = api.textMap(map({ ...segment, size: 2 ** 53 - 1 }, { ...segment, gpa: 8192 }));
  expect(drawn).toMatch(/2 segments/);
}, 5_000);

test('the checksum of bytes that are detached, or lie about their length, is that of what is there', () => {
  expect(api.checksum(detached(Uint8Array))).toBe(0n);
  expect(api.checksum(Object.defineProperty(new Uint8Array(8), 'byteLength', { value: 1 << 20 }))).toBe(0n);
});

// In processes of their own, because they ended them.
const script = (text: string) =>
  node(
    '--expose-gc',
    '--input-type=module',
    '-e',
    `import { readFileSync } from 'node:fs';
import * as g from ${JSON.stringify(new URL('../../dist/index.js', import.meta.url).href)};
const size = 16 * g.pageSize;
${text}
console.log('alive');`,
  );

test.each([
  [
    'shrinking a file takes its views along',
    `const file = g.MemoryFile.memfd();
     file.resize(size);
     const kept = new Uint8Array(file.map({ length: g.pageSize }).view());
     const view = new Uint8Array(file.map().view());
     file.resize(g.pageSize);
     view[2 * g.pageSize] = 1;
     if (view.length !== 0 || kept.length !== g.pageSize) throw new Error('detached: ' + [view.length, kept.length]);`,
  ],
  [
    'a page that is protected takes views of all of it along',
    `const mapping = g.mapAnonymous({ size });
     const view = new Uint8Array(mapping.view(1, g.pageSize));
     const kept = new Uint8Array(mapping.view(g.pageSize, 1));
     mapping.protect(0, 0, 1);
     view[0] = kept[0] = 1;
     if (view.length !== 0 || kept.length !== 1) throw new Error('detached: ' + [view.length, kept.length]);`,
  ],
  [
    'guard pages take views along (MADV_GUARD_INSTALL, Linux 6.13)',
    `const mapping = g.mapAnonymous({ size });
     const view = new Uint8Array(mapping.view());
     try {
       mapping.advise(102);
     } catch (error) {
       if (error.code !== 'EINVAL') throw error;
     }
     view[0] = 1;`,
  ],
  [
    'mappings of huge pages are unmapped whole',
    `const mappings = () => readFileSync('/proc/self/maps', 'latin1').split('\\n').length;
     const before = mappings();
     const noreserve = 0x4000;
     for (let i = 0; i < 40; i++) {
       const file = g.MemoryFile.memfd({ flags: g.MemfdFlag.HUGETLB });
       file.resize(1 << 21);
       // Of lengths that the kernel rounds up to a huge page; the last two beside a neighbour.
       for (const more of [{}, { guard: true }, { alignment: 1 << 21 }])
         file.map({ length: g.pageSize, flags: g.MapFlag.SHARED | noreserve, ...more }).close();
       file.close();
     }
     if (mappings() > before + 20) throw new Error(mappings() - before + ' mappings are left');`,
  ],
  [
    'an object made of a handle that is none does not come back when it is collected',
    `try { new g.MemoryFile({}); } catch {}
     gc();
     await new Promise((done) => setTimeout(done, 50));`,
  ],
])('%s', async (_, text) => {
  expect(await script(text)).toMatchObject({ code: 0, signal: null, stdout: 'alive\n', stderr: '' });
});
