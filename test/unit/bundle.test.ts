import { execFileSync } from 'node:child_process';
import { accessSync, constants, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { expect, test } from 'vitest';
import * as library from '../../lib/index.ts';

test('the package in one module has everything that the library exports', async () => {
  const bundle = (await import(pathToFileURL('dist/bundle/index.js').href)) as typeof library;
  expect(Object.keys(bundle).sort()).toEqual(Object.keys(library).sort());
  expect(Object.getOwnPropertyDescriptor(bundle.Vm.prototype, 'memory')).toBeDefined();
  for (const name of ['Kvm', 'Vm', 'Mapping', 'KvmError', 'GuestAgent'] as const) expect(bundle[name].name).toBe(name);
  const file = bundle.MemoryFile.memfd();
  file.resize(bundle.pageSize);
  const mapping = file.map();
  mapping.write(0, Uint8Array.of(7));
  expect(mapping.read(0, 2)).toEqual(Uint8Array.of(7, 0));
  mapping.close();
  file.close();
  expect(() => mapping.read(0, 1)).toThrow('this Mapping is closed');
});

test('what is bundled imports nothing of Node, which would load what nobody uses', () => {
  for (const folder of ['dist/bundle', 'dist/gmem'])
    for (const name of readdirSync(folder).filter((file) => file.endsWith('.js')))
      expect(readFileSync(join(folder, name), 'utf8'), name).not.toMatch(/^import .* from "node:/m);
});

test('gmem in few modules says what it says in many', { timeout: 120_000 }, () => {
  const { bin } = JSON.parse(readFileSync('package.json', 'utf8')) as { bin: { gmem: string } };
  accessSync(bin.gmem, constants.X_OK);
  const say = (main: string, ...args: string[]) => {
    try {
      return {
        status: 0,
        stdout: execFileSync(process.execPath, [main, ...args], { encoding: 'utf8', stdio: 'pipe' }),
      };
    } catch (error) {
      const { status, stdout, stderr } = error as { status: number; stdout: string; stderr: string };
      return { status, stdout, stderr };
    }
  };
  for (const args of [
    ['--version'],
    ['smoke', '--list'],
    // Tells from the process of the checks.
    ['smoke', '--device', '/no/such/device'],
    ['advise', '--vhost-user'],
    ['lint', 'qemu-system-x86_64 -m 1G -object memory-backend-ram,id=a,size=1G'],
    ['report', 'no-such-file'],
    ['lab', 'kernels', 'path', 'no-such-kernel'],
    ['nonsense'],
  ])
    expect(say(bin.gmem, ...args), args.join(' ')).toEqual(say('dist/cli/main.js', ...args));
});
