import { existsSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { describe, expect, test } from 'vitest';
import * as adviceTables from '../../lib/backends/advice-table.ts';
import { type AdviceRow, adviceTable, combinations } from '../../lib/backends/advice-table.ts';
import { adviseMemoryBackend } from '../../lib/backends/advise.ts';
import { createMemoryBackend } from '../../lib/backends/backend.ts';
import * as help from '../../lib/backends/help.ts';
import { lintCommandLine } from '../../lib/backends/lint.ts';
import { parseObjectOption } from '../../lib/backends/object-option.ts';
import { threadCount } from '../../lib/backends/prealloc.ts';
import type { MemoryBackendOptions } from '../../lib/backends/properties.ts';
import * as propertyTables from '../../lib/backends/properties.ts';
import * as typeTables from '../../lib/backends/types.ts';
import { mapAnonymous } from '../../lib/kvm/mapping.ts';
import { MemoryFile } from '../../lib/kvm/memory-file.ts';
import { pageSize } from '../../lib/kvm/native.ts';
import { populate } from '../../lib/kvm/populate.ts';
import { held, objectFolder } from '../helpers/objects.ts';
import { gmem } from '../helpers/process.ts';

const MiB = 1 << 20;
const make = (text: string, how = {}) => createMemoryBackend(parseObjectOption(text) as MemoryBackendOptions, how);

describe('populate', () => {
  test('makes every page be there, by the kernel and by touching', async () => {
    for (const method of ['write', 'touch'] as const) {
      using memory = mapAnonymous({ size: 20 * MiB });
      const progress: number[] = [];
      const done = await populate(memory, { method, threads: 3, onProgress: (bytes) => progress.push(bytes) });
      expect(done).toMatchObject({ bytes: 20 * MiB, touched: method === 'touch' });
      expect(progress.at(-1)).toBe(20 * MiB);
      expect(memory.residency().every(Boolean)).toBe(true);
    }
  });

  test('keeps what is there, and stays in its range', async () => {
    using memory = mapAnonymous({ size: 4 * pageSize });
    memory.fill(7, 0, pageSize);
    await populate(memory, { offset: 0, length: 2 * pageSize, method: 'touch' });
    expect(memory.residency()).toEqual([true, true, false, false]);
    expect(memory.read(0, 1)[0]).toBe(7);
  });

  test('tells the first page that cannot be had', async () => {
    using file = MemoryFile.memfd();
    file.resize(3 * pageSize);
    using memory = file.map({ length: 8 * pageSize });
    for (const method of ['write', 'touch'] as const)
      await expect(populate(memory, { method })).rejects.toMatchObject({
        code: 'EFAULT',
        arguments: { offset: 3 * pageSize, done: 3 * pageSize },
      });
    // Memory that cannot be written is read instead.
    using readable = file.map({ protection: 1 });
    expect((await populate(readable, { method: 'read' })).bytes).toBe(3 * pageSize);
  });

  test('stops when aborted, and ends when its mapping is closed under it', async () => {
    const controller = new AbortController();
    using memory = mapAnonymous({ size: 1024 * MiB });
    const running = populate(memory, { signal: controller.signal });
    controller.abort();
    await expect(running).rejects.toMatchObject({ name: 'AbortError' });
    const closed = mapAnonymous({ size: 1024 * MiB });
    const orphaned = populate(closed, { threads: 2 });
    closed.close();
    await expect(orphaned).rejects.toMatchObject({ code: expect.stringMatching(/EFAULT|ENOMEM/) });
  });

  test('refuses processors that are not there', async () => {
    using memory = mapAnonymous({ size: pageSize });
    await expect(populate(memory, { cpus: [4000] })).rejects.toMatchObject({
      code: 'EINVAL',
      syscall: 'sched_setaffinity',
    });
    await expect(populate(memory, { threads: 0 })).rejects.toThrow(RangeError);
  });
});

describe('a backend', () => {
  test('has an inaccessible page behind its memory', async () => {
    using backend = await make('memory-backend-ram,id=a,size=64K');
    const end = (backend.mapping.address + 65536n).toString(16);
    expect(readFileSync('/proc/self/maps', 'latin1')).toMatch(new RegExp(`^0*${end}-[0-9a-f]+ ---p`, 'm'));
  });

  test('lies where huge pages can be', async () => {
    using backend = await make('memory-backend-ram,id=a,size=8M');
    expect(backend.mapping.address % BigInt(2 * MiB)).toBe(0n);
  });

  test('gives back what it has: descriptors, mappings, a file that was made when it fails', async () => {
    using folder = objectFolder();
    const before = held(folder.path);
    const maps = () =>
      readFileSync('/proc/self/maps', 'latin1')
        .split('\n')
        .filter((line) => /\/memfd:|dev\/shm|gmem-objects/.test(line));
    for (const type of ['memfd', 'shm', `file,mem-path=${folder.path}`, `file,mem-path=${folder.path}/four,share=on`]) {
      const backend = await make(`memory-backend-${type},id=a,size=4M,prealloc=on`);
      expect(backend.query()['resident-bytes']).toBe(4 * MiB);
      backend.close();
      backend.close();
      expect(() => backend.mapping).toThrow(/closed/);
    }
    const controller = new AbortController();
    // Not named as what other tests look for there.
    const path = `/dev/shm/backends-test-${process.pid}`;
    const text = `memory-backend-file,id=a,size=1G,share=on,prealloc=on,mem-path=${path}`;
    const running = make(text, { signal: controller.signal });
    // What is called runs up to its first wait, which is that for the threads.
    expect(existsSync(path)).toBe(true);
    controller.abort();
    await expect(running).rejects.toMatchObject({ name: 'AbortError' });
    expect(existsSync(path)).toBe(false);
    expect(held(folder.path)).toEqual(before);
    expect(maps()).toEqual([]);
  });

  test('tells what was accepted and has no effect', async () => {
    using merged = await make('memory-backend-ram,id=a,size=4M,merge=on');
    using shared = await make('memory-backend-memfd,id=b,size=4M,merge=on');
    expect(shared.query()).toMatchObject({
      merge: true,
      mergeable: false,
      notes: [{ kind: 'ignored', property: 'merge' }],
    });
    expect(merged.query().notes).toEqual(merged.query().mergeable ? [] : expect.anything());
  });

  test('changes what may change, and nothing else', async () => {
    using backend = await make('memory-backend-ram,id=a,size=4M');
    await backend.change('merge', false);
    await backend.change('dump', false);
    expect(backend.query()).toMatchObject({ merge: false, dump: false, mergeable: false, 'resident-bytes': 0 });
    await backend.change('prealloc', true);
    expect(backend.query()).toMatchObject({ prealloc: true, 'resident-bytes': 4 * MiB });
    await backend.change('prealloc', false);
    expect(backend.query()['resident-bytes']).toBe(4 * MiB);
    for (const [name, value] of [
      ['size', 8 * MiB],
      ['share', true],
      ['policy', 'bind'],
      ['nonsense', 1],
      ['merge', 'on'],
    ] as const)
      await expect(backend.change(name, value)).rejects.toMatchObject({ name: 'BackendError', property: name });
  });

  test('discards', async () => {
    for (const type of ['ram', 'ram,share=on', 'memfd', 'memfd,share=off', 'shm']) {
      using backend = await make(`memory-backend-${type},id=a,size=64K,prealloc=on`);
      backend.mapping.fill(7);
      backend.discard(pageSize, pageSize);
      expect(
        [0, 1, 2].map((page) => backend.mapping.read(page * pageSize, 1)[0]),
        type,
      ).toEqual([7, 0, 7]);
    }
    using folder = objectFolder();
    using template = await make(`memory-backend-file,id=a,size=4M,mem-path=${folder.path}/four`);
    expect(() => template.discard(0, pageSize)).toThrow(/share=on/);
  });

  test('throws its data away where that is wanted, and keeps it elsewhere', async () => {
    using folder = objectFolder();
    for (const [wish, left] of [
      ['off', 7],
      ['on', 0],
    ] as const) {
      const path = `${folder.path}/four`;
      const backend = await make(`memory-backend-file,id=a,size=4M,share=on,mem-path=${path},discard-data=${wish}`);
      backend.mapping.fill(7);
      backend.close();
      expect(readFileSync(path)[pageSize], wish).toBe(left);
    }
  });

  test('uses as many threads as are worth it', () => {
    expect(threadCount(MiB, pageSize, undefined)).toBe(1);
    expect(threadCount(128 * MiB, pageSize, undefined)).toBeLessThanOrEqual(2);
    expect(threadCount(1024 * 1024 * MiB, pageSize, 1)).toBe(1);
    expect(threadCount(1024 * 1024 * MiB, pageSize, undefined)).toBeLessThanOrEqual(32);
  });
});

describe('advice', () => {
  const rows: readonly AdviceRow[] = [...adviceTable, ...combinations];
  test('has a reason in every cell', () => {
    for (const { need, cells } of rows)
      for (const [type, cell] of Object.entries(cells))
        expect(cell.reason.length, `${need} ${type}`).toBeGreaterThan(5);
  });

  test.each([
    [[], 'memory-backend-ram,id=ram0,size=1G', undefined],
    [['coco'], 'memory-backend-memfd,id=ram0,size=1G', '6.8'],
    [['in-place'], 'memory-backend-guest-memfd,id=ram0,size=1G', null],
    [['coco', 'in-place'], 'memory-backend-guest-memfd,id=ram0,size=1G', null],
    [['vhost-user', 'hugepages'], 'memory-backend-memfd,id=ram0,size=1G,share=on,hugetlb=on', undefined],
    [['sgx'], 'memory-backend-epc,id=ram0,size=1G', '5.13'],
    [['ksm', 'numa', 'swap'], 'memory-backend-ram,id=ram0,size=1G,merge=on', undefined],
    [['template'], 'memory-backend-file,id=ram0,size=1G,share=off,mem-path=/path,readonly=on,rom=off', undefined],
    [['sgx', 'coco'], undefined, undefined],
    [['in-place', 'hugepages'], undefined, undefined],
    [['vhost-user', 'template'], undefined, undefined],
  ] as const)('%j', (needs, line, kernel) => {
    const advice = adviseMemoryBackend(needs);
    expect(advice.line).toBe(line);
    expect(advice.kernel).toBe(kernel);
    if (line) parseObjectOption(line);
  });

  test('knows that huge pages of a confidential guest are there twice', () => {
    const advice = adviseMemoryBackend(['coco', 'hugepages']);
    expect(advice.types[0]).toMatchObject({ type: 'memory-backend-memfd', fit: 'partly' });
  });

  test('every set of up to three needs gives a line that is valid, or none', () => {
    const needs = adviceTable.map(({ need }) => need).filter((need) => need !== 'plain');
    for (const a of needs)
      for (const b of needs)
        for (const c of needs) {
          const { line } = adviseMemoryBackend([a, b, c]);
          if (line !== undefined) parseObjectOption(line);
        }
  });
});

describe('lint', () => {
  const good = 'qemu-system-x86_64 -m 1G -object memory-backend-memfd,id=ram0,size=1G -machine q35,memory-backend=ram0';
  test('has nothing to say where all is well', () => {
    expect(lintCommandLine(good)).toEqual([]);
    expect(lintCommandLine(good.split(' '))).toEqual([]);
    expect(lintCommandLine('qemu-system-x86_64 -m 1G -object rng-random,id=r -cpu host')).toEqual([]);
    expect(
      lintCommandLine(
        `qemu -m 2048 -object '{"qom-type":"memory-backend-ram","id":"m","size":2147483648}' -machine memory-backend=m`,
      ),
    ).toEqual([]);
  });

  test.each([
    [`${good} -object memory-backend-ram,id=ram0,size=1G`, 'error', 'id'],
    [good.replace('size=1G', 'size=2G'), 'error', 'size'],
    [good.replace('size=1G', 'size=1G,foo=1'), 'error', 'foo'],
    [good.replace('=ram0', '=ram1'), 'error', 'memory-backend'],
    [`${good} -numa node,memdev=ram0`, 'error', 'memdev'],
    [`${good} -device vhost-user-fs-pci`.replace('size=1G', 'size=1G,share=off'), 'error', 'share'],
    [
      `${good} -device vhost-user-fs-pci`.replace('memfd', 'ram').replace('size=1G', 'size=1G,share=on'),
      'error',
      'qom-type',
    ],
    [good.replace('size=1G', 'size=1G,hugetlbsize=2M'), 'ignored', 'hugetlbsize'],
    [good.replace('size=1G', 'size=1G,merge=on'), 'ignored', 'merge'],
    [good.replace('size=1G', 'size=1G,prealloc-threads=4'), 'ignored', 'prealloc-threads'],
    [good.replace('size=1G', 'size=1G,seal=off'), 'better', 'seal'],
    [good.replace('size=1G', 'size=1G,share'), 'better', 'share'],
    [`${good} -object sev-snp-guest,id=s`.replace('size=1G', 'size=1G,hugetlb=on'), 'better', 'hugetlb'],
    [good.replace('size=1G', 'size=1G,guest-memfd=on'), 'version', 'x-guest-memfd'],
    [good.replace('memfd,', 'guest-memfd,'), 'version', 'qom-type'],
    [`${good} -object memory-backend-ram,id=x,size=1G`, 'ignored', 'id'],
    [good.replace('size=1G', 'size=1G,prealloc=on,prealloc-context=tc'), 'error', 'prealloc-context'],
  ])('%s', (line, level, property) => {
    expect(lintCommandLine(line)).toContainEqual(expect.objectContaining({ level, property }));
  });

  test('reads quotes and continued lines as a shell does', () => {
    const line = `qemu -m 1G \\\n  -object "memory-backend-file,id=a,size=1G,mem-path=/a b" \\\n -machine 'memory-backend=a'`;
    expect(lintCommandLine(line)).toEqual([]);
  });
});

describe('the commands', () => {
  test('gmem backend: a bad object is one message and exit 2', async () => {
    for (const [args, message] of [
      [['memory-backend-ram,id=a,size=0'], /^gmem: backend: size=0: .*\n$/],
      [['memory-backend-ram,id=a,size=4M', 'memory-backend-ram,id=a,size=4M'], /^gmem: backend: id=a: .*\n$/],
      [['{"qom-type":"x"}'], /^gmem: backend: qom-type=x: .*\n$/],
      [[], /^gmem: backend: .*\n$/],
      [['help', 'nothing'], /^gmem: .*\n$/],
    ] as const) {
      const { code, stdout, stderr } = await gmem('backend', ...args);
      expect(stderr).toMatch(message);
      expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    }
  });

  test('gmem backend prints the shortest form, and JSON', async () => {
    expect((await gmem('backend', 'size=67108864,qom-type=memory-backend-ram,id=a')).stdout).toBe(
      'memory-backend-ram,id=a,size=64M\n',
    );
    const { stdout } = await gmem('backend', '--json', 'memory-backend-ram,id=a,size=64M');
    expect(JSON.parse(stdout)).toMatchObject({ schemaVersion: 1, objects: [{ options: { id: 'a', size: 67108864 } }] });
    expect((await gmem('backend', 'help')).stdout).toContain('memory-backend-guest-memfd');
  });

  test('gmem advise and gmem lint tell by their exit status', async () => {
    const advice = await gmem('advise', '--in-place');
    expect(advice.code).toBe(0);
    expect(advice.stdout).toContain('-object memory-backend-guest-memfd,id=ram0,size=1G\n');
    expect((await gmem('advise', '--sgx', '--ksm')).code).toBe(1);
    expect((await gmem('advise', '--size', 'x')).code).toBe(2);
    expect(
      (await gmem('lint', 'qemu -m 1G -object memory-backend-ram,id=a,size=1G -machine memory-backend=b')).code,
    ).toBe(1);
    expect((await gmem('lint')).code).toBe(2);
  });
});

test('the page in docs has the tables of the code', async () => {
  const script = pathToFileURL(resolve('scripts/docs-backends.mjs')).href;
  const { renewed } = (await import(script)) as { renewed: (text: string, tables: object) => string };
  const page = readFileSync('docs/backends.md', 'utf8');
  const tables = { ...typeTables, ...propertyTables, ...adviceTables, ...help };
  expect(page, 'run node scripts/docs-backends.mjs').toBe(renewed(page, tables));
});
