// A small program that uses the library as programs do, once for each line that comes in on a FIFO, and tells in a line of
// JSON how that went: what was thrown where, and what is open. It is the target of test/faults/inject.mjs, which holds it
// at the FIFO, arms a fault and lets it go.
//
//   program.mjs LIBRARY FIFO PART
//   program.mjs LIBRARY - PART      once, without a tracer
import { openSync, readdirSync, readFileSync, readlinkSync, readvSync, writeSync } from 'node:fs';
import { pathToFileURL } from 'node:url';

const [, , library, fifo, part] = process.argv;
const g = await import(pathToFileURL(library).href);
const page = g.pageSize;
const gpa = 0x1_0000_0000;

/** What this process holds of the kernel's, besides mappings, which the tracer counts. */
function held() {
  const fds = readdirSync('/proc/self/fd').flatMap((fd) => {
    try {
      return [`${fd} ${readlinkSync(`/proc/self/fd/${fd}`)}`];
    } catch {
      return []; // by which the folder was read
    }
  });
  const children = readdirSync('/proc').filter((pid) => {
    try {
      return (
        /^\d+$/.test(pid) && readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1].split(' ')[1] === `${process.pid}`
      );
    } catch {
      return false; // it has ended
    }
  });
  return { fds, children, threads: readdirSync('/proc/self/task').length };
}

const cpu = Number(/Cpus_allowed_list:\s*(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]);

/** What is done before the fault is armed, and with it. */
const parts = {
  /** Memory without KVM. */
  memory: [
    () => ({}),
    async (use) => {
      const file = use(g.MemoryFile.memfd({ flags: g.MemfdFlag.ALLOW_SEALING }));
      file.resize(16 * page);
      file.addSeals(g.FileSeal.SHRINK);
      const memory = use(file.map());
      memory.write(0, Buffer.from('shared'));
      memory.advise(g.Advice.DONTNEED, 8 * page, page);
      memory.residency();
      await g.populate(memory);
      await g.populate(memory, { threads: 3, cpus: [cpu] });
      file.punchHole(0, page);
      const guarded = use(g.mapAnonymous({ size: 8 * page, alignment: 1024 * page, guard: true }));
      guarded.bind({ mode: g.MemoryPolicy.DEFAULT });
      guarded.policy();
      guarded.fill(1);
      guarded.nodes();
      guarded.protect(g.Protection.READ, 0, page);
      use(memory.pin(0, 2 * page)).close();
      const object = use(g.MemoryFile.sharedMemory());
      object.resize(page);
      use(object.map()).fill(1);
      use(use(g.MemoryFile.open('/dev/zero')).map({ length: page, flags: g.MapFlag.PRIVATE })).close();
    },
  ],

  /** A view: what it was made of keeps its addresses until it is collected. */
  view: [
    (use) => ({ memory: use(g.mapAnonymous({ size: 4 * page, flags: g.MapFlag.SHARED })) }),
    async (_use, { memory }) => memory.view(page, page),
  ],

  /** A forked child. */
  child: [
    (use) => ({ memory: use(g.mapAnonymous({ size: 2 * page })) }),
    async (use, { memory }) => {
      const child = use(memory.forkChild());
      child.store(page, 7);
      child.load(page);
      child.close();
    },
  ],

  /** What threads do that populate memory. */
  populate: [
    (use) => ({ memory: use(g.mapAnonymous({ size: 64 * page })) }),
    (_use, { memory }) => g.populate(memory, { threads: 2, cpus: [cpu] }),
  ],

  /** A VM with its memory, a guest that runs, a conversion. */
  kvm: [
    () => ({}),
    async (use) => {
      const kvm = use(g.Kvm.open());
      const vm = use(kvm.createVm());
      vm.checkExtension(g.Capability.GUEST_MEMFD);
      const size = 16 * page;
      const flags = g.GuestMemfdFlag.MMAP | g.GuestMemfdFlag.INIT_SHARED;
      const guestMemfd = use(vm.createGuestMemfd({ size, flags }));
      guestMemfd.stat();
      guestMemfd.allocate(0, page);
      const mapping = use(guestMemfd.map());
      vm.setUserMemoryRegion({ slot: 1, guestPhysAddr: gpa, size, mapping, guestMemfd });
      await g.populate(mapping, { length: 4 * page });
      const agent = use(g.GuestAgent.create(vm));
      agent.store(gpa, 42n);
      agent.load(gpa);
      agent.vcpu.registers();
      agent.vcpu.preFault({ guestPhysAddr: gpa + page, size: page });
      guestMemfd.punchHole(0, page);
      vm.deleteUserMemoryRegion(1);
      // Memory of both kinds where there is such a VM, and a conversion there and back.
      const type = g.VmType.SW_PROTECTED;
      if (!(kvm.checkExtension(g.Capability.VM_TYPES) & (1 << type))) return;
      const other = use(kvm.createVm({ type }));
      const secret = use(other.createGuestMemfd({ size }));
      const open = use(g.mapAnonymous({ size }));
      other.setUserMemoryRegion({ slot: 1, guestPhysAddr: gpa, size, mapping: open, guestMemfd: secret });
      await other.memory.convert(gpa, size, 'private');
      await other.memory.convert(gpa, size, 'shared');
    },
  ],

  /** What a vCPU's thread does. */
  vcpu: [
    (use) => {
      const vm = use(use(g.Kvm.open()).createVm());
      return { agent: use(g.GuestAgent.create(vm)) };
    },
    async (_use, { agent }) => {
      await agent.runAsync([{ op: 'load', gpa: 0 }]);
      await agent.runAsync([{ op: 'load', gpa: 0 }]);
    },
  ],
};

/** Waits at the FIFO for the tracer; false when there is none any more. */
const commands = fifo === '-' ? undefined : openSync(fifo, 'r');
// Into two buffers, for that is readv(): whether strace counts the call that it interrupts depends on whether the byte is there
// first, and the addon's own calls of read() are found by their number.
const bytes = [Buffer.alloc(1), Buffer.alloc(1)];
function wait(message) {
  writeSync(1, `${JSON.stringify(message)}\n`);
  return commands === undefined || readvSync(commands, bytes) > 0;
}

const own = [g.KvmError, g.MemoryAccessError, g.GuestExitError, g.ConversionError];
function described(error) {
  const { name, code, errno, syscall, message, stack, cause } = error ?? {};
  const line = /program\.mjs:(\d+)/.exec(stack ?? '')?.[1];
  return {
    ...{ name, code, errno, syscall, message, line },
    own: own.some((type) => error instanceof type),
    ...(cause instanceof Error ? { cause: described(cause) } : {}),
  };
}

/** One round: false when the tracer is gone. */
async function round([prepare, run]) {
  globalThis.gc(); // what earlier rounds forgot goes now, not during the fault
  await new Promise((resolve) => setTimeout(resolve, 0));
  const before = held();
  const open = [];
  const use = (thing) => {
    open.push(thing);
    return thing;
  };
  const prepared = prepare(use);
  if (!wait({ ready: process.pid })) return false;
  const thrown = [];
  await Promise.resolve(run(use, prepared)).catch((error) => thrown.push(described(error)));
  const closing = [];
  for (const thing of open.reverse()) {
    try {
      thing.close();
    } catch (error) {
      closing.push(described(error));
    }
    if (thing.closed === false) closing.push(described(new Error('close() has left it open')));
  }
  // Collecting makes many calls, each of which the tracer looks at: only where something waits for it.
  if (part === 'view') {
    globalThis.gc();
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  if (!wait({ thrown, closing })) return false;
  // The tracer has let go. A thread that was joined takes a moment to leave /proc.
  let after = held();
  for (let i = 0; i < 100 && after.threads > before.threads; i++) {
    await new Promise((resolve) => setTimeout(resolve, 2));
    after = held();
  }
  writeSync(1, `${JSON.stringify({ before, after })}\n`);
  return true;
}

process.on('uncaughtException', (error) => {
  writeSync(1, `${JSON.stringify({ uncaught: String(error?.stack) })}\n`);
  process.exit(70);
});
while ((await round(parts[part])) && fifo !== '-');
