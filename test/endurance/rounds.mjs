// Making, using and closing all kinds of objects, over and over: nothing may pile up.
import { settled } from './held.mjs';

/** Memory may grow by so much from the second eighth to the end, beside V8's heap and in it. */
export const memoryLimit = 16 << 20;

/** A round with a guest that runs. */
function withKvm(g) {
  const size = 4 * g.pageSize;
  const flags = g.GuestMemfdFlag.MMAP | g.GuestMemfdFlag.INIT_SHARED;
  const gpa = 0x1_0000_0000;
  return (i) => {
    const kvm = g.Kvm.open();
    const vm = kvm.createVm();
    const guestMemfd = vm.createGuestMemfd({ size, flags });
    const mapping = guestMemfd.map();
    vm.setUserMemoryRegion({ slot: 1, guestPhysAddr: gpa, size, mapping, guestMemfd });
    const agent = g.GuestAgent.create(vm);
    agent.store(gpa, BigInt(i));
    if (mapping.read(0, 4)[0] !== (i & 255)) throw new Error(`round ${i}: the host does not see what the guest wrote`);
    const all = [agent, mapping, guestMemfd, vm, kvm];
    // In any order: the kernel and the addon keep what others still need.
    for (let at = i % all.length; all.length > 0; at = (at * 7 + 3) % (all.length || 1))
      all.splice(at % all.length, 1)[0].close();
  };
}

/** The same of what needs no KVM. */
function withoutKvm(g) {
  const size = 4 * g.pageSize;
  return (i) => {
    const file = g.MemoryFile.memfd({ flags: g.MemfdFlag.ALLOW_SEALING });
    file.resize(size);
    const mapping = file.map({ guard: i % 2 === 0 });
    const ram = g.mapAnonymous({ size, alignment: i % 3 === 0 ? 1 << 16 : 0 });
    ram.bind({ mode: g.MemoryPolicy.DEFAULT });
    const view = new Uint8Array(mapping.view());
    view[0] = i;
    const pin = i % 16 === 0 ? ram.pin(0, g.pageSize) : undefined;
    if (mapping.read(0, 1)[0] !== (i & 255)) throw new Error(`round ${i}: the view and the mapping differ`);
    file.resize(g.pageSize);
    try {
      mapping.read(0, size);
      throw new Error(`round ${i}: memory beyond the end of the file was read`);
    } catch (error) {
      if (!(error instanceof g.MemoryAccessError)) throw error;
    }
    const all = [mapping, file, ram, ...(pin ? [pin] : [])];
    for (let at = i % all.length; all.length > 0; at = (at * 7 + 3) % (all.length || 1))
      all.splice(at % all.length, 1)[0].close();
  };
}

/** Plays rounds, and compares what is held from the first eighth on with what is held at the end. */
export async function endure(g, rounds, tell = () => {}, until = Number.POSITIVE_INFINITY) {
  let kvm = false;
  try {
    g.Kvm.open().close();
    kvm = true;
  } catch {
    // The message of the run says which of the two it was.
  }
  const round = kvm ? withKvm(g) : withoutKvm(g);
  const looks = [];
  let done = 0;
  for (const begin = performance.now(); done < rounds; ) {
    const end = Math.min(rounds, done + Math.ceil(rounds / 8));
    for (; done < end && performance.now() < until; done++) {
      round(done);
      // Finalizers of views run when JavaScript comes up for air.
      if (done % 256 === 255) await new Promise((next) => setImmediate(next));
    }
    looks.push({ rounds: done, seconds: Math.round((performance.now() - begin) / 1000), ...(await settled()) });
    tell(looks.at(-1));
    if (done < end) break;
  }
  const from = looks[Math.min(1, looks.length - 1)];
  const to = looks.at(-1);
  const grown = (name) => to[name] - from[name];
  const problems = [];
  if (grown('fds') > 0) problems.push(`${grown('fds')} more file descriptors`);
  if (grown('threads') > 0) problems.push(`${grown('threads')} more threads`);
  // V8 maps and unmaps pages of its heap as it likes.
  if (grown('mappings') > 64) problems.push(`${grown('mappings')} more mappings`);
  for (const [name, what] of [
    ['beside', 'resident memory beside the heap'],
    ['heap', 'of the heap in use'],
  ])
    if (grown(name) > memoryLimit)
      problems.push(`${Math.round(grown(name) / 1024)} KiB more ${what}, ${memoryLimit / 1024} are allowed`);
  return { rounds: done, kvm, looks, problems };
}
