import { execFileSync, spawn } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, expect, test, vi } from 'vitest';
import { checks } from '../../lib/smoke/catalogue.ts';
import type { SuiteResult } from '../../lib/smoke/model.ts';
import { randomFrom } from '../../lib/smoke/random.ts';
import { kill } from '../helpers/left.mjs';
import { gmemLab } from '../helpers/process.ts';
import { anySeed } from '../helpers/seed.ts';
import { describeLab, emulatorsOf } from './lab.ts';

const folder = mkdtempSync(join(tmpdir(), 'gmem-test-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
// Whatever a run leaves, it leaves here.
const temporary = join(folder, 'tmp');
mkdirSync(temporary);
vi.stubEnv('TMPDIR', temporary);

/** A bzImage by its header, whose code is one jump to itself. */
function hangingImage(): string {
  const image = Buffer.alloc(64 * 1024);
  image.writeUInt8(1, 0x1f1); // setup_sects
  image.writeUInt32LE(0x1000, 0x1f4); // syssize, in units of 16 bytes
  image.writeUInt16LE(0xaa55, 0x1fe);
  image.write('\xeb\xfe', 0x200, 'latin1');
  image.write('HdrS', 0x202, 'latin1');
  image.writeUInt16LE(0x020c, 0x206); // protocol version
  image.writeUInt8(1, 0x211); // loaded high
  image.writeUInt32LE(0x7fffffff, 0x22c); // highest address of the initramfs
  const path = join(folder, 'hanging');
  writeFileSync(path, image);
  return path;
}

describeLab('gmem lab run', ['sw-protected-7.3'], ([kernel]) => {
  const image = kernel?.image ?? '';
  const left = () => emulatorsOf(temporary).length + readdirSync(temporary).length;
  /** The kernel ends QEMU with its parent, and a child of its own removes the folder; both take a moment. */
  async function untilNothingIsLeft(): Promise<void> {
    for (let i = 0; i < 400 && left() > 0; i++) await new Promise((resolve) => setTimeout(resolve, 50));
    expect({ emulators: emulatorsOf(temporary), files: readdirSync(temporary) }).toEqual({ emulators: [], files: [] });
  }

  afterEach(() =>
    expect({ emulators: emulatorsOf(temporary), files: readdirSync(temporary) }).toEqual({ emulators: [], files: [] }),
  );

  test('runs what follows --, with the kernel and the machine in the result', async () => {
    const { code, stdout, stderr } = await gmemLab('run', '--kernel', image, '--', 'conversion', '--reporter', 'json');
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const result = JSON.parse(stdout) as SuiteResult;
    expect(result).toMatchObject({
      host: {
        kernelRelease: expect.stringMatching(/^7\.3/),
        architecture: 'x64',
        cpus: 2,
        numaNodes: 1,
        vmTypes: [0, 1],
      },
      lab: { image, architecture: 'x86_64', accelerator: 'tcg', boots: 1, memory: '1024 MiB' },
      summary: { fail: 0, error: 0, skip: 0 },
    });
    expect(result.checks.length).toBeGreaterThanOrEqual(11);
  });

  test('takes a Debian package with a kernel inside', async () => {
    const tree = join(folder, 'package');
    mkdirSync(join(tree, 'boot'), { recursive: true });
    mkdirSync(join(tree, 'DEBIAN'));
    copyFileSync(image, join(tree, 'boot/vmlinuz-7.3-test'));
    const fields = { Package: 'linux-image-test', Version: '1', Architecture: 'amd64', Maintainer: 'nobody' };
    const control = Object.entries({ ...fields, Description: 'a kernel' }).map(([key, value]) => `${key}: ${value}\n`);
    writeFileSync(join(tree, 'DEBIAN/control'), control.join(''));
    const file = join(folder, 'linux-image-test.deb');
    execFileSync('dpkg-deb', ['--build', '--root-owner-group', tree, file], { stdio: 'ignore' });
    const { code, stdout, stderr } = await gmemLab('run', '--kernel', file, '--', 'file/stat', '--reporter', 'json');
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(JSON.parse(stdout)).toMatchObject({ lab: { image: file }, summary: { pass: 1 } });
  });

  test('gives the machine what it is told to', async () => {
    const args = ['run', '--kernel', image, '--numa', '2', '--cpus', '4', '--memory', '1536M', '--accel', 'tcg'];
    const { code, stdout } = await gmemLab(...args, '--', 'numa', '--reporter', 'json');
    expect(JSON.parse(stdout)).toMatchObject({
      host: { cpus: 4, numaNodes: 2 },
      summary: { fail: 0, error: 0, skip: 0 },
    });
    expect(code).toBe(0);
  });

  test('says of a kernel that panics that it does, and shows the end of its console', async () => {
    const { code, stderr } = await gmemLab('run', '--kernel', image, '--cmdline', 'rdinit=/bin/node', '--', 'file');
    expect(stderr).toMatch(/nothing could run\. The kernel panicked before it reached init: Attempted to kill init/);
    expect(stderr).toMatch(/The end of its console:\n {2}/);
    expect(code).toBe(4);
  });

  test('says of a kernel that hangs that it does', async () => {
    const { code, stderr } = await gmemLab('run', '--kernel', hangingImage(), '--timeout', '8');
    expect(stderr).toMatch(/had not come to the first check after 8 s/);
    expect(code).toBe(4);
  });

  test('passes words on that the kernel does not know', async () => {
    const args = ['--cmdline', 'nonsense no.such=1', '--', 'file/stat'];
    expect((await gmemLab('run', '--kernel', image, ...args)).code).toBe(0);
  });

  test('shares the checks among machines', async () => {
    const { code, stdout } = await gmemLab(
      ...['run', '--kernel', image, '--machines', '3', '--', 'file', '--reporter', 'json'],
    );
    const result = JSON.parse(stdout) as SuiteResult;
    expect(result.lab).toMatchObject({ boots: 3 });
    const names = result.checks.map(({ name }) => name);
    expect(names.length).toBeGreaterThan(20);
    expect(names).toEqual(checks.map(({ name }) => name).filter((name) => names.includes(name)));
    expect({ code, summary: result.summary }).toMatchObject({ code: 0, summary: { fail: 0, error: 0, skip: 0 } });
  });

  test('says when the machine has too little memory', async () => {
    const { code, stderr } = await gmemLab('run', '--kernel', image, '--cmdline', 'mem=140M', '--', 'file');
    expect({ code, stderr }).toMatchObject({ code: 4, stderr: expect.stringContaining('--memory') });
  });

  test('says of a kernel without an initramfs or a channel what it lacks', async () => {
    const initrd = await gmemLab('run', '--kernel', image, '--cmdline', 'rdinit=/nowhere', '--', 'file');
    expect(initrd).toMatchObject({ code: 4, stderr: expect.stringContaining('CONFIG_BLK_DEV_INITRD') });
    const args = ['--cmdline', 'initcall_blacklist=virtio_console_init', '--', 'file'];
    const channel = await gmemLab('run', '--kernel', image, ...args);
    expect(channel).toMatchObject({ code: 4, stderr: expect.stringContaining('CONFIG_VIRTIO_CONSOLE') });
  });

  test('tells a good kernel from a bad, an untestable one and a broken lab when bisecting', async () => {
    const bisect = (...more: string[]) => gmemLab('run', '--kernel', image, ...more);
    expect((await bisect('--bisect', 'file/stat')).code).toBe(0);
    expect((await bisect('--bisect', 'numa/allocation')).code).toBe(125); // one node: skipped
    expect((await bisect('--bisect', 'file/stat', '--cmdline', 'mem=140M')).code).toBe(125);
    expect((await bisect('--bisect', 'no-such-check')).code).toBe(128);
    expect((await gmemLab('run', '--kernel', '/nowhere', '--bisect', 'file/stat')).code).toBe(128);
  });

  test('leaves nothing behind when it is killed', async () => {
    for (const signal of ['SIGINT', 'SIGKILL'] as const) {
      const child = spawn(process.execPath, ['dist/cli/main.js', 'lab', 'run', '--kernel', image], { stdio: 'ignore' });
      const ended = new Promise<number | null>((resolve) => child.on('exit', resolve));
      while (emulatorsOf(temporary).length === 0) await new Promise((resolve) => setTimeout(resolve, 50));
      child.kill(signal);
      const code = await ended;
      if (signal === 'SIGINT') expect(code).toBe(130);
      await untilNothingIsLeft();
    }
  });

  test('leaves nothing behind whenever it is killed', async () => {
    const random = randomFrom(anySeed('gmem lab run'));
    const cache = join(folder, 'cache');
    for (let i = 0; i < 8; i++) {
      // Every other time with nothing in the cache: then most of it is making what machines boot from.
      if (i % 2 === 0) rmSync(cache, { recursive: true, force: true });
      mkdirSync(cache, { recursive: true });
      // From the start of Node to the middle of the boot.
      const found = await kill(['dist/cli/main.js', 'lab', 'run', '--kernel', image], {
        after: 50 + random() * 2500,
        env: { XDG_CACHE_HOME: cache },
        folders: [temporary, cache],
        fine: /\/guest-memfd(\/initramfs(\/x86_64-[0-9a-f]{16}\.cpio)?)?$/,
      });
      expect(found).toEqual({ how: 'SIGKILL', left: [] });
    }
  });

  test('Ctrl-C: what ran is in every report, exit 130', async () => {
    const names = ['pretty', 'html', 'json', 'ktap', 'junit', 'kcidb', 'lava', 'github', 'markdown'];
    const reports = join(folder, 'reports');
    mkdirSync(reports);
    const trace = join(folder, 'trace');
    const to = names.flatMap((name) => ['--reporter', `${name}=${join(reports, name)}`]);
    const args = ['lab', 'run', '--kernel', image, '--machines', '2', '--', ...to, '--trace', trace];
    const child = spawn(process.execPath, ['dist/cli/main.js', ...args], { stdio: 'ignore' });
    const ended = new Promise<number | null>((resolve) => child.on('exit', resolve));
    const checksTraced = () =>
      existsSync(trace) ? new Set(readFileSync(trace, 'utf8').match(/"check":"[^"]+"/g)).size : 0;
    // Each machine is in the midst of one check at most: of eight that have begun six have ended.
    while (checksTraced() < 8 && child.exitCode === null) await new Promise((resolve) => setTimeout(resolve, 50));
    child.kill('SIGINT');
    expect(await ended).toBe(130);
    expect(readdirSync(reports).sort()).toEqual([...names].sort());
    const result = JSON.parse(readFileSync(join(reports, 'json'), 'utf8')) as SuiteResult;
    expect(result.interrupted).toBe(true);
    expect(result.summary.pass).toBeGreaterThanOrEqual(2);
    expect(result.summary.skip).toBeGreaterThan(10);
    // One that ran and one that did not, in each.
    const both = [result.checks.find(({ status }) => status === 'pass'), result.checks.at(-1)].map(
      (check) => check?.name,
    );
    for (const name of ['pretty', 'html', 'ktap', 'junit', 'kcidb']) {
      const text = readFileSync(join(reports, name), 'utf8');
      for (const one of both) expect(text.includes(one?.split('/')[1] ?? '?'), `${one} in ${name}`).toBe(true);
    }
    // The counts, where only what is wrong is told one by one.
    expect(readFileSync(join(reports, 'markdown'), 'utf8')).toContain(`${result.summary.skip}`);
    // Every line of the trace is whole.
    for (const line of readFileSync(trace, 'utf8').trimEnd().split('\n')) JSON.parse(line);
  });
});
