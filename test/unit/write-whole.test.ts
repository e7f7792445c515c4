import { execFileSync, spawn, spawnSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { writeWhole } from '../../lib/cli/write-whole.ts';
import { makeScratch } from '../../lib/lab/scratch.ts';
import { makeDirectory } from '../../lib/system/make-directory.ts';

const compiled = (path: string) => JSON.stringify(new URL(`../../dist/${path}`, import.meta.url).href);
const folder = realpathSync(mkdtempSync(join(tmpdir(), 'gmem-test-')));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('writeWhole', () => {
  test('replaces a file, keeps its permission and a link to it, and leaves nothing beside it', () => {
    const place = join(folder, 'replace');
    mkdirSync(place);
    const file = join(place, 'report.json');
    writeWhole(file, 'first');
    chmodSync(file, 0o640);
    symlinkSync('report.json', join(place, 'latest'));
    writeWhole(join(place, 'latest'), 'second');
    expect(readFileSync(file, 'utf8')).toBe('second');
    expect(statSync(file).mode & 0o777).toBe(0o640);
    expect(readdirSync(place).sort()).toEqual(['latest', 'report.json']);
  });

  test('writes to what is no regular file as it is', () => {
    writeWhole('/dev/null', 'text');
    expect(statSync('/dev/null').isCharacterDevice()).toBe(true);
    expect(() => writeWhole('/dev/full', 'text')).toThrow(expect.objectContaining({ code: 'ENOSPC' }));
    expect(existsSync('/dev/full')).toBe(true);
  });

  test('leaves what was there, and nothing else, where the new cannot be written', () => {
    const place = join(folder, 'refuse');
    mkdirSync(place);
    const file = join(place, 'report');
    writeWhole(file, 'before');
    const source = `import { writeWhole } from ${compiled('cli/write-whole.js')};
process.on('SIGXFSZ', () => {});
try { writeWhole(${JSON.stringify(file)}, 'x'.repeat(1 << 20)); } catch ({ code }) { console.log(code); }`;
    const command = 'ulimit -f 64; exec "$0" --input-type=module -e "$1"';
    const said = execFileSync('bash', ['-c', command, process.execPath, source], {
      encoding: 'utf8',
      env: { ...process.env, NODE_V8_COVERAGE: '' },
    });
    expect(said).toBe('EFBIG\n');
    expect(readFileSync(file, 'utf8')).toBe('before');
    expect(readdirSync(place)).toEqual(['report']);
  });

  test.skipIf(spawnSync('strace', ['-V']).error).each(['openat', 'write', 'fsync'])(
    'leaves what was there, and nothing else, when it is killed at %s',
    async (call) => {
      const place = join(folder, `killed-at-${call}`);
      mkdirSync(place);
      const file = join(place, 'report');
      writeWhole(file, 'before');
      const source = `import { writeWhole } from ${compiled('cli/write-whole.js')}; writeWhole(${JSON.stringify(file)}, 'after');`;
      // Node itself opens and writes before: which call it is, a first run tells.
      const program = [process.execPath, '--input-type=module', '-e', source];
      const log = join(folder, `${call}.log`);
      const traced = ['-y', '-o', log, '-e', 'trace=openat,write,fsync'];
      spawnSync('strace', [...traced, ...program]);
      const of = (line: string) => line.startsWith(`${call}(`);
      const calls = readFileSync(log, 'utf8').split('\n').filter(of);
      const nth = calls.findIndex((line) => line.includes('.partial')) + 1;
      expect(nth, calls.join('\n')).toBeGreaterThan(0);
      writeWhole(file, 'before');
      const kill = ['-e', `trace=${call}`, '-e', `inject=${call}:signal=KILL:when=${nth}`];
      const { signal } = spawnSync('strace', ['-o', '/dev/null', ...kill, ...program]);
      expect(signal).toBe('SIGKILL');
      for (let i = 0; i < 400 && readdirSync(place).length > 1; i++) await new Promise((go) => setTimeout(go, 50));
      expect({ names: readdirSync(place), text: readFileSync(file, 'utf8') }).toEqual({
        names: ['report'],
        text: 'before',
      });
    },
  );
});

describe('makeDirectory', () => {
  test('makes what is missing', () => {
    makeDirectory(join(folder, 'a/b/c'));
    makeDirectory(join(folder, 'a/b/c'));
    expect(statSync(join(folder, 'a/b/c')).isDirectory()).toBe(true);
  });

  test('says why where nothing can be made, and ends', () => {
    expect(() => makeDirectory('/proc/nowhere/below')).toThrow(expect.objectContaining({ code: 'ENOENT' }));
    writeFileSync(join(folder, 'file'), '');
    expect(() => makeDirectory(join(folder, 'file'))).toThrow(expect.objectContaining({ code: 'EEXIST' }));
    expect(() => makeDirectory(join(folder, 'file/below'))).toThrow(expect.objectContaining({ code: 'ENOTDIR' }));
  });
});

describe('makeScratch', () => {
  test('removes the folder when asked', () => {
    const { path, remove } = makeScratch('gmem-test-scratch-');
    writeFileSync(join(path, 'file'), '');
    remove();
    expect(existsSync(path)).toBe(false);
  });

  test.each(['SIGKILL', 'SIGTERM'] as const)('removes the folder when its process ends by %s', async (signal) => {
    const source = `import { makeScratch } from ${compiled('lab/scratch.js')};
const { path } = makeScratch('gmem-test-scratch-');
console.log(path);
setInterval(() => {}, 1000);`;
    const child = spawn(process.execPath, ['--input-type=module', '-e', source], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const path = await new Promise<string>((resolve) =>
      child.stdout.on('data', (text) => resolve(String(text).trim())),
    );
    writeFileSync(join(path, 'file'), '');
    child.kill(signal);
    for (let i = 0; i < 400 && existsSync(path); i++) await new Promise((resolve) => setTimeout(resolve, 50));
    expect(existsSync(path)).toBe(false);
  });
});
