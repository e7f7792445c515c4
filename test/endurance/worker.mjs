import { parentPort, workerData } from 'node:worker_threads';

const { counts } = workerData;
const g = await import(workerData.library);
const size = 16 * g.pageSize;
const file = g.MemoryFile.memfd();
file.resize(size);
const mapping = file.map();
mapping.fill(0x5a);
file.resize(g.pageSize);

try {
  const vm = g.Kvm.open().createVm();
  const agent = g.GuestAgent.create(vm);
  const shared = g.mapAnonymous({ size });
  vm.setUserMemoryRegion({ slot: 1, guestPhysAddr: 0x1_0000_0000, size, mapping: shared });
  // It waits for what nobody writes.
  agent.runAsync([{ op: 'spin', gpa: 0x1_0000_0000, value: 1 }], { timeout: Number.POSITIVE_INFINITY }).catch(() => {});
  Atomics.add(counts, 1, 1);
} catch (error) {
  if (error.syscall !== 'open(/dev/kvm)') throw error;
}

/** A copy that faults on the way, and one that does not. */
function copy(offset) {
  try {
    mapping.read(offset, size - offset);
    throw new Error('memory beyond the end of the file was read');
  } catch (error) {
    if (!(error instanceof g.MemoryAccessError) || error.offset !== g.pageSize) throw error;
    Atomics.add(counts, 0, 1);
  }
  if (mapping.read(0, 1)[0] !== 0x5a) throw new Error('another byte than was written');
}

// Before it may be ended: on a busy machine it may come to nothing more.
copy(0);
parentPort.postMessage('ready');
for (;;) {
  const ram = g.mapAnonymous({ size: 1 << 22 });
  const populated = g.populate(ram, { threads: 2 }).catch(() => {});
  for (let i = 0; i < 200; i++) copy(i);
  if (Math.random() < 0.3) await populated;
  else await new Promise((next) => setImmediate(next));
  ram.close();
}
