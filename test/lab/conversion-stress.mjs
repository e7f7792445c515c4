// Random steps on memory that can be converted, against a model in this file: convert, convert many, give back, read and write
// by host and by two vCPUs at once. Runs inside a lab machine; gmem.seed=N and gmem.steps=N are on the kernel's command line,
// and a failure tells the seed and the step.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';

const g = await import('/gmem/dist/index.js');
const page = 4096;
const gpa = 0x1_0000_0000;
const pages = 48;
const slots = 3;
const bothStates = g.GuestMemfdFlag.MMAP | g.GuestMemfdFlag.INIT_SHARED;

const setting = (name, otherwise) => {
  const found = new RegExp(`gmem\\.${name}=(\\d+)`).exec(readFileSync('/proc/cmdline', 'utf8'));
  return found ? Number(found[1]) : otherwise;
};

/** mulberry32 */
function random(seed) {
  let state = seed >>> 0;
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  return { below: (n) => Math.floor(next() * n), chance: (p) => next() < p };
}

/** What every page is and holds: one value of bytes on each side, the same one where there is one side. */
class Model {
  constructor(onePool) {
    this.onePool = onePool;
    this.states = Array(pages).fill('shared');
    this.sides = { shared: Array(pages).fill(0), private: onePool ? undefined : Array(pages).fill(0) };
    if (onePool) this.sides.private = this.sides.shared;
  }
  value = (i) => this.sides[this.states[i]][i];
  write(i, value) {
    this.sides[this.states[i]][i] = value;
  }
  convert(i, to, discard) {
    const from = this.states[i];
    if (from === to) return;
    this.states[i] = to;
    if (!this.onePool && discard) this.sides[from][i] = 0;
  }
  discard(i) {
    this.write(i, 0);
  }
}

async function stress(kvm, seed, steps, note) {
  const { below, chance } = random(seed);
  const vm = kvm.createVm({ type: g.VmType.SW_PROTECTED });
  vm.enableCapability(g.Capability.EXIT_HYPERCALL, [1 << g.HypercallNumber.MAP_GPA_RANGE]);
  const { memory } = vm;
  const inPlace = memory.conversion.model === 'in-place';
  const model = new Model(inPlace);
  const each = (pages / slots) * page;
  const backing = Array.from({ length: slots }, (_, i) => {
    const guestMemfd = vm.createGuestMemfd({ size: each, flags: inPlace ? bothStates : 0 });
    const mapping = inPlace ? guestMemfd.map() : g.mapAnonymous({ size: each });
    vm.setUserMemoryRegion({ slot: 10 + i, guestPhysAddr: gpa + i * each, size: each, mapping, guestMemfd });
    return { mapping, guestMemfd };
  });
  const at = (i) => [backing[Math.floor((i * page) / each)].mapping, (i * page) % each];
  const agents = [0, 1].map((n) => g.GuestAgent.create(vm, { slot: n, vcpuId: n, guestPhysAddr: n * 0x10_0000 }));
  const range = () => {
    const first = below(pages);
    return [first, 1 + below(Math.min(8, pages - first))];
  };
  const eachOf = (first, count, action) => {
    for (let i = first; i < first + count; i++) action(i);
  };
  const state = () => (chance(0.5) ? 'private' : 'shared');
  const limit = { timeout: 60_000 };

  const actions = {
    async convert() {
      const [first, count] = range();
      const to = state();
      const discard = chance(0.7);
      await memory.convert(gpa + first * page, count * page, to, { discard });
      eachOf(first, count, (i) => model.convert(i, to, discard));
    },
    async convertMany() {
      const wishes = Array.from({ length: 1 + below(6) }, () => [...range(), state()]);
      await memory.convertAll(
        wishes.map(([first, count, to]) => ({ gpa: gpa + first * page, size: count * page, to })),
      );
      for (const [first, count, to] of wishes) eachOf(first, count, (i) => model.convert(i, to, true));
    },
    async guestConverts() {
      const [first, count] = range();
      const to = state();
      const args = [gpa + first * page, count, to === 'private' ? 16 : 0];
      const agent = agents[below(2)];
      let run = agent.run([{ op: 'hypercall', number: 12, args }], limit);
      assert.equal((await memory.answer(agent.vcpu, run.exit)).result, 0);
      run = agent.resume(limit);
      assert.deepEqual(run.results, [0n]);
      eachOf(first, count, (i) => model.convert(i, to, true));
    },
    async discard() {
      const [first, count] = range();
      memory.discard(gpa + first * page, count * page);
      eachOf(first, count, (i) => model.discard(i));
    },
    async hostWrites() {
      const i = below(pages);
      const [mapping, offset] = at(i);
      if (inPlace && model.states[i] === 'private') {
        assert.throws(() => mapping.fill(1, offset, page), { name: 'MemoryAccessError' });
        assert.throws(() => mapping.view(offset, page), { name: 'MemoryAccessError' });
        return;
      }
      const value = 1 + below(255);
      if (chance(0.2)) new Uint8Array(mapping.view(offset, page)).fill(value);
      else mapping.fill(value, offset, page);
      model.sides.shared[i] = value;
    },
    async hostReads() {
      const i = below(pages);
      const [mapping, offset] = at(i);
      if (inPlace && model.states[i] === 'private')
        assert.throws(() => mapping.read(offset, 8), { name: 'MemoryAccessError' });
      else {
        const expected = Buffer.alloc(page, model.sides.shared[i]);
        assert.equal(mapping.compare(offset, expected), -1, `page ${i} as the host reads it`);
      }
    },
    async guestsWork() {
      // Each vCPU has half of the pages; both run at once, and half of the time a conversion of a third page runs beside them.
      const lists = agents.map((_, n) =>
        Array.from({ length: 4 }, () => {
          const i = 2 * below(pages / 2 - 1) + n;
          return { i, value: 1 + below(255), writes: chance(0.5) };
        }),
      );
      const shadow = new Map();
      for (const list of lists)
        for (const work of list) {
          work.expect = shadow.get(work.i) ?? model.value(work.i);
          if (work.writes) shadow.set(work.i, work.value);
        }
      const running = lists.map((list, n) =>
        agents[n].runAsync(
          list.map(({ i, value, writes, expect }) =>
            writes
              ? { op: 'fill', gpa: gpa + i * page, length: page, value }
              : { op: 'compare', gpa: gpa + i * page, length: page, value: expect },
          ),
          limit,
        ),
      );
      if (chance(0.5)) {
        // The last two pages are nobody's in this step.
        const first = pages - 1 - below(2);
        const to = state();
        await memory.convert(gpa + first * page, (pages - first) * page, to, { deadline: 10_000 });
        eachOf(first, pages - first, (i) => model.convert(i, to, true));
      }
      const runs = await Promise.all(running);
      for (const [n, run] of runs.entries()) {
        assert.equal(run.finished, true, `vCPU ${n} left with ${run.exit?.reason}`);
        for (const [j, { i, writes }] of lists[n].entries())
          if (!writes) assert.equal(run.results[j], BigInt(page), `page ${i} as vCPU ${n} reads it`);
      }
      for (const [i, value] of shadow) model.write(i, value);
    },
  };
  const names = Object.keys(actions);
  const counts = {};
  for (let step = 0; step < steps; step++) {
    const name = names[below(names.length)];
    counts[name] = (counts[name] ?? 0) + 1;
    try {
      await actions[name]();
      if (step % 50 === 49) {
        const map = memory.map();
        const seen = [];
        for (const segment of map.segments) {
          if (segment.slot < 10 || segment.slot === undefined) continue;
          assert.equal(segment.disagreement, undefined);
          for (let i = 0; i < segment.size / page; i++) seen.push(segment.state);
        }
        assert.deepEqual(seen, model.states);
      }
    } catch (error) {
      error.message = `seed ${seed}, step ${step}, ${name}: ${error.message}`;
      throw error;
    }
  }
  note(
    `seed ${seed}: ${steps} steps, ${Object.entries(counts)
      .map(([name, count]) => `${name} ${count}`)
      .join(', ')}`,
  );
}

// In ten parts, each with a seed of its own, so that what is done counts when a machine is taken down.
const parts = 10;

export const checks = Array.from({ length: parts }, (_, part) => ({
  name: `library/stress-${part}`,
  title: `random steps, part ${part}`,
  since: '',
  run: (check) =>
    stress(g.Kvm.open(), setting('seed', 1) + part, Math.ceil(setting('steps', 2000) / parts), (text) =>
      check.note(text),
    ),
}));
