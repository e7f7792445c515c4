import { execFile, spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import type { Ended } from '../helpers/process.ts';

// What happens where this machine has no more of something: file descriptors, addresses, disk, time to live.

const folder = mkdtempSync(join(tmpdir(), 'gmem-test-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const main = resolve('dist/cli/main.js');
const library = JSON.stringify(new URL('../../dist/index.js', import.meta.url).href);
// What a process executed is written when it ends, where these have no more of something.
const environment = { ...process.env, NODE_OPTIONS: '', NODE_V8_COVERAGE: '', NO_COLOR: '1', GITHUB_ACTIONS: '' };

/** Runs a shell command with "$0" being node, and arguments. */
function shell(command: string, ...args: string[]): Promise<Ended> {
  return new Promise((done) => {
    const child = execFile(
      'bash',
      ['-c', command, process.execPath, ...args],
      { env: environment, timeout: 60_000 },
      (_error, stdout, stderr) => done({ code: child.exitCode, signal: child.signalCode, stdout, stderr }),
    );
  });
}

/** Runs a module under limits that `prlimit` sets when it asks for it. */
async function limited(text: string): Promise<unknown> {
  const source = `import * as g from ${library};
import { execFileSync } from 'node:child_process';
import { readFileSync, readdirSync } from 'node:fs';
const page = g.pageSize;
const limit = (what, value) => execFileSync('prlimit', ['--pid', String(process.pid), '--' + what + '=' + value + ':']);
const attempt = (call) => { try { call(); return 'done'; } catch ({ name, code, syscall }) { return [name, code, syscall].filter(Boolean).join(' '); } };
const later = (promise) => promise.then(() => 'done', ({ name, code, syscall }) => [name, code, syscall].filter(Boolean).join(' '));
const addressBytes = () => Number(/VmSize:\\s*(\\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))[1]) * 1024;
const told = {};
${text}
console.log(JSON.stringify(told));`;
  const { stdout, stderr, code } = await shell('exec "$0" --input-type=module -e "$1"', source);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  return JSON.parse(stdout);
}

describe('the library', () => {
  test('tells of descriptors that are used up, and goes on when there are some again', async () => {
    const told = await limited(`
const files = [];
const memory = g.mapAnonymous({ size: page, flags: g.MapFlag.SHARED });
const open = readdirSync('/proc/self/fd').map(Number);
limit('nofile', Math.max(...open) + 8);
for (;;) { try { files.push(g.MemoryFile.memfd()); } catch ({ code, syscall }) { told.memfd = [code, syscall]; break; } }
told.shared = attempt(() => g.MemoryFile.sharedMemory());
told.open = attempt(() => g.MemoryFile.open('/dev/zero'));
told.fork = attempt(() => memory.forkChild());
told.pin = attempt(() => memory.pin());
told.device = attempt(() => g.Kvm.open({ path: '/dev/zero' }));
files.pop().close();
told.again = attempt(() => g.MemoryFile.memfd().close());
told.some = files.length > 3;
for (const file of files) file.close();`);
    expect(told).toEqual({
      memfd: ['EMFILE', 'memfd_create'],
      shared: 'KvmError EMFILE shm_open',
      open: 'KvmError EMFILE open',
      fork: 'KvmError EMFILE pipe2',
      pin: 'KvmError EMFILE pipe2',
      device: 'KvmError EMFILE open(/dev/kvm)',
      again: 'done',
      some: true,
    });
  });

  test('tells of addresses that are used up, and goes on when there are some again', async () => {
    const told = await limited(`
const memory = g.mapAnonymous({ size: 2 ** 36 });
const nodes = () => memory.nodes();
limit('as', addressBytes() + (160 << 20));
told.map = attempt(() => g.mapAnonymous({ size: 1 << 30 }));
told.aligned = attempt(() => g.mapAnonymous({ size: page, alignment: 1 << 30 }));
told.guard = attempt(() => g.mapAnonymous({ size: 1 << 30, guard: true }));
// The list of addresses that the addon makes takes twice what its answer does.
told.nodes = attempt(nodes);
told.small = attempt(() => g.mapAnonymous({ size: page }).close());
limit('as', addressBytes() + (6 << 20)); // less than the stack of a thread
told.threads = await later(g.populate(memory, { length: 64 * page, threads: 64 })); // more than what is collected meanwhile
limit('as', 'unlimited');
told.again = await later(g.populate(memory, { length: 64 * page, threads: 8 }));
memory.close();`);
    expect(told).toEqual({
      map: 'KvmError ENOMEM mmap',
      aligned: 'KvmError ENOMEM mmap',
      guard: 'KvmError ENOMEM mmap',
      nodes: 'KvmError ENOMEM move_pages',
      small: 'done',
      threads: 'KvmError EAGAIN pthread_create',
      again: 'done',
    });
  });
});

/** Runs a shell command where a disk of so many KiB is mounted at $disk, in name spaces of its own. */
const withDisk = (kib: number, command: string, ...args: string[]) =>
  shell(
    `export disk="$1"; shift; exec unshare --mount --map-root-user bash -c 'mount -t tmpfs -o size=${kib}k gmem "$disk" && ${command}' "$0" "$@"`,
    mkdtempSync(join(folder, 'disk-')),
    ...args,
  );
const noDisk =
  spawnSync('unshare', ['--mount', '--map-root-user', 'mount', '-t', 'tmpfs', 'gmem', folder]).status === 0
    ? undefined
    : 'no file system can be mounted here';
const noLab = spawnSync('qemu-system-x86_64', ['--version']).error ? 'QEMU is not installed' : undefined;

describe('gmem', () => {
  test.skipIf(noDisk ?? noLab)('lab run says that the disk is full, and leaves nothing on it', async () => {
    const image = join(folder, 'bzImage');
    writeFileSync(image, bzImage());
    const run = `TMPDIR="$disk" XDG_CACHE_HOME="$disk" "$0" "${main}" lab run --kernel "${image}"`;
    const { code, stdout, stderr } = await withDisk(256, `${run}; code=$?; find "$disk" -type f -size +0; exit $code`);
    expect({ code, stdout }).toEqual({ code: 4, stdout: '' });
    expect(stderr).toMatch(/^gmem lab run: .*(No space left|ENOSPC).*\n$/);
  });

  test.skipIf(noLab).each(['/proc/nowhere', '/proc/1/nowhere', '/sys/nowhere', '/dev/null/below'])(
    'lab run says that there can be no cache in %s',
    async (cache) => {
      const image = join(folder, 'bzImage');
      writeFileSync(image, bzImage());
      const { code, stderr } = await shell(`XDG_CACHE_HOME=${cache} exec "$0" "${main}" lab run --kernel "${image}"`);
      expect({ code, stderr }).toEqual({
        code: 4,
        stderr: expect.stringMatching(
          /^gmem lab run: the cache cannot be written: .*Set XDG_CACHE_HOME to a folder that can\n$/,
        ),
      });
    },
  );

  test('smoke says that there can be no reproducers in /proc, and does not hang', async () => {
    const { code, stderr } = await shell(`exec "$0" "${main}" smoke --reproducer /proc/nowhere/below`);
    expect({ code, stderr }).toEqual({ code: 2, stderr: expect.stringMatching(/^gmem: --reproducer: ENOENT.*\n$/) });
  });

  test('a shared memory object is not left behind, whenever its process is killed', async () => {
    const names = () => readdirSync('/dev/shm').filter((name) => name.includes('gmem') || name.startsWith('#'));
    const before = names();
    for (let i = 0; i < 12; i++) {
      const object = 'memory-backend-shm,id=a,size=32M,prealloc=on';
      const child = spawn(process.execPath, [main, 'backend', object], { stdio: 'ignore', env: environment });
      const ended = new Promise((done) => child.on('exit', done));
      await new Promise((done) => setTimeout(done, 60 + Math.random() * 400));
      child.kill('SIGKILL');
      await ended;
    }
    expect(names()).toEqual(before);
  });

  test.skipIf(spawnSync('strace', ['-V']).error)(
    'nor when it is killed at the call after the one that makes it',
    () => {
      const names = () => readdirSync('/dev/shm').filter((name) => name.includes('gmem'));
      const before = names();
      const source = `import * as g from ${library}; g.MemoryFile.sharedMemory().close(); console.log('made');`;
      const program = [process.execPath, '--input-type=module', '-e', source];
      // An object with a name is removed by unlink, which is where this one would be killed.
      const kill = ['-f', '-o', '/dev/null', '-e', 'trace=unlink,unlinkat', '-e', 'inject=unlink,unlinkat:signal=KILL'];
      const { stdout } = spawnSync('strace', [...kill, ...program], { encoding: 'utf8', env: environment });
      expect({ stdout, names: names() }).toEqual({ stdout: 'made\n', names: before });
    },
  );
});

/** What a kernel image is known by, and no kernel. */
function bzImage(): Buffer {
  const image = Buffer.alloc(64 * 1024);
  image.writeUInt8(1, 0x1f1);
  image.writeUInt16LE(0xaa55, 0x1fe);
  image.write('HdrS', 0x202, 'latin1');
  image.writeUInt16LE(0x020c, 0x206);
  image.writeUInt8(1, 0x211);
  image.writeUInt32LE(0x7fffffff, 0x22c);
  return image;
}
