// What SECURITY.md promises, where a VM is needed to see it. Checks for the runner: on a host with KVM in a process of it
// (security.test.ts), else in a lab machine (test/lab/security.test.ts).
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';

const inLab = existsSync('/gmem/dist/index.js');
const library = inLab ? '/gmem/dist/index.js' : fileURLToPath(new URL('../../dist/index.js', import.meta.url));
const program = inLab ? '/lab/faults/program.mjs' : fileURLToPath(new URL('../faults/program.mjs', import.meta.url));
const g = await import(library);
const page = g.pageSize;
const gpa = 0x1_0000_0000;

/** Runs a part of the program of test/faults, and demands that it meets no error. */
function runProgram(part, before = [], options = {}) {
  const [command, ...args] = [
    ...before,
    process.execPath,
    ...process.execArgv,
    '--expose-gc',
    program,
    library,
    '-',
    part,
  ];
  const { stdout, stderr, status } = spawnSync(command, args, { encoding: 'utf8', ...options });
  assert.match(stdout, /"thrown":\[\],"closing":\[\]/, `${stderr} (exit status ${status})`);
}

const flagsOf = (fd) => Number.parseInt(/flags:\s*(\d+)/.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'))[1], 8);
const closeOnExec = 0o2000000;
const descriptors = () =>
  readdirSync('/proc/self/fd').filter((fd) => {
    try {
      flagsOf(fd);
      return true;
    } catch {
      return false; // by which the folder was read
    }
  });

function test(name, run) {
  return { name: `security/${name.replaceAll(' ', '-')}`, title: name, since: '6.18', run };
}

export const checks = [
  test('a user who may open the device needs nothing more', () => {
    if (process.getuid() !== 0) return runProgram('kvm'); // is one already
    const { uid, gid, mode } = statSync('/dev/kvm');
    try {
      chownSync('/dev/kvm', 0, 1000);
      chmodSync('/dev/kvm', 0o660);
      for (const part of ['kvm', 'vcpu']) runProgram(part, [], { uid: 1000, gid: 1000, cwd: '/' });
    } finally {
      chownSync('/dev/kvm', uid, gid);
      chmodSync('/dev/kvm', mode & 0o777);
    }
  }),

  test('every file descriptor of a VM is closed by exec', async () => {
    const before = new Set(descriptors());
    const kvm = g.Kvm.open();
    const vm = kvm.createVm();
    const guestMemfd = vm.createGuestMemfd({ size: page });
    const agent = g.GuestAgent.create(vm);
    await agent.runAsync([{ op: 'load', gpa: 0 }]);
    const made = descriptors().filter((fd) => !before.has(fd));
    assert.deepEqual(
      [kvm, vm, guestMemfd, agent.vcpu].filter(({ fd }) => !made.includes(`${fd}`)),
      [],
    );
    for (const fd of made) assert.ok(flagsOf(fd) & closeOnExec, `descriptor ${fd}`);
    const { stdout } = spawnSync(process.execPath, [
      ...process.execArgv,
      '-p',
      `const fs = require('fs'); fs.readdirSync('/proc/self/fd').map((fd) => { try { return fs.readlinkSync('/proc/self/fd/' + fd) } catch { return '' } }).join()`,
    ]);
    assert.doesNotMatch(`${stdout}`, /kvm|guest_memfd/);
    for (const one of [agent, guestMemfd, vm, kvm]) one.close();
  }),

  test('no program is started and no socket opened while a VM runs', () => {
    const log = inLab ? '/tmp/calls' : `/tmp/gmem-calls-${process.pid}`;
    runProgram('kvm', [
      'strace',
      '-f',
      '-o',
      log,
      '-e',
      'trace=execve,execveat,socket,connect,bind,listen,accept,accept4',
    ]);
    const calls = readFileSync(log, 'utf8')
      .split('\n')
      .filter((line) => /\w\(/.test(line));
    // The program itself, by which it is seen that calls are.
    assert.equal(calls.length, 1, calls.join('\n'));
    assert.match(calls[0], /execve\(.*program\.mjs/);
  }),

  test('private memory cannot be read by any way there is', async () => {
    const kvm = g.Kvm.open();
    const type = kvm.checkExtension(g.Capability.VM_TYPES) & (1 << g.VmType.SW_PROTECTED) ? g.VmType.SW_PROTECTED : 0;
    const vm = kvm.createVm({ type });
    const flags = vm.checkExtension(g.Capability.GUEST_MEMFD_FLAGS) & g.GuestMemfdFlag.MMAP;
    const guestMemfd = vm.createGuestMemfd({ size: 4 * page, flags });
    if (flags === 0) assert.throws(() => guestMemfd.map(), { code: 'ENODEV' });
    else {
      guestMemfd.allocate(0, page);
      const mapping = guestMemfd.map();
      const out = new Uint8Array(8).fill(0xee);
      assert.throws(() => mapping.read(0, out), { name: 'MemoryAccessError' });
      assert.ok(out.every((byte) => byte === 0xee));
      assert.throws(() => mapping.write(0, out), { name: 'MemoryAccessError' });
      assert.throws(() => mapping.compare(0, out), { name: 'MemoryAccessError' });
      assert.throws(() => mapping.view(0, page), { name: 'MemoryAccessError' });
      assert.throws(() => mapping.pin(0, page), { code: 'EFAULT' });
      await assert.rejects(g.populate(mapping), { code: 'EFAULT' });
      const child = mapping.forkChild();
      assert.throws(() => child.load(0), { name: 'MemoryAccessError' });
      child.close();
    }
    // Node's own ways to a file.
    const fs = createRequire(import.meta.url)('node:fs');
    assert.throws(() => fs.readSync(guestMemfd.fd, Buffer.alloc(8), 0, 8, 0));
    if (type === 0) return;
    // What the guest has put into private memory is not where the host looks.
    const shared = g.mapAnonymous({ size: 4 * page });
    vm.setUserMemoryRegion({ slot: 1, guestPhysAddr: gpa, size: 4 * page, mapping: shared, guestMemfd });
    const agent = g.GuestAgent.create(vm);
    await vm.memory.convert(gpa, page, 'private');
    agent.store(gpa, 0x5ec2e7n);
    assert.equal(agent.load(gpa), 0x5ec2e7n);
    let seen;
    try {
      seen = shared.read(0, 8);
    } catch (error) {
      assert.equal(error.name, 'MemoryAccessError');
    }
    assert.ok(!seen || seen.every((byte) => byte === 0));
  }),

  test('a check that has no more memory in its cgroup ends alone', (context) => {
    const root = '/tmp/gmem-cgroups';
    const group = `${root}/small`;
    mkdirSync(root, { recursive: true });
    const { status, stderr } = spawnSync('mount', ['-t', 'cgroup2', 'gmem', root], { encoding: 'utf8' });
    try {
      if (status !== 0 || !/memory/.test(readFileSync(`${root}/cgroup.controllers`, 'utf8')))
        return context.note(`no memory cgroup can be made here: ${stderr}`);
      writeFileSync(`${root}/cgroup.subtree_control`, '+memory');
      mkdirSync(group);
      writeFileSync(`${group}/memory.max`, `${250 << 20}`);
      const greedy = inLab ? '/lab/greedy-checks.mjs' : fileURLToPath(new URL('./greedy-checks.mjs', import.meta.url));
      const args = [...process.execArgv, greedy, dirname(library), group];
      const ended = spawnSync(process.execPath, args, { encoding: 'utf8' });
      const results = JSON.parse(ended.stdout || 'null');
      assert.ok(results, `${ended.stderr} (${ended.signal ?? ended.status})`);
      // The kernel ends the process, or refuses a page.
      for (const [status, reason] of results.slice(0, 3))
        assert.match(`${status} ${reason}`, /^(error .*SIGKILL|fail .*(ENOMEM|EFAULT))/s);
      assert.deepEqual(results.at(-1), ['pass', null]);
      assert.equal(readFileSync(`${group}/cgroup.procs`, 'utf8'), '');
      rmdirSync(group);
    } finally {
      if (status === 0) spawnSync('umount', [root]);
    }
  }),

  // This one fails on purpose, for what its report says.
  test('a report of a failed check', (context) => {
    const vm = context.vm();
    const memory = context.use(g.mapAnonymous({ size: page }));
    vm.setUserMemoryRegion({ slot: 1, guestPhysAddr: gpa, size: page, mapping: memory });
    const secret = Buffer.from('first sixteen b.the rest of what is in memory');
    memory.write(0, secret);
    memory.read(0, secret.length);
    memory.compare(0, Buffer.concat([secret, Buffer.from('!')]));
    vm.createGuestMemfd({ size: 1 });
  }),
];
