import { setTimeout as sleep } from 'node:timers/promises';
import { FallocateMode, GuestMemfdFlag, MemoryAttribute, MemoryRegionFlag } from '../../kvm/constants.ts';
import { mapAnonymous } from '../../kvm/mapping.ts';
import { pageSize } from '../../kvm/native.ts';
import { Request, rawIoctl, words } from '../../kvm/raw.ts';
import { gpa, guest, passingFaults, privateVm } from '../checks/private-guest.ts';
import type { CheckContext } from '../context.ts';
import { CheckFailure, equal } from '../expect.ts';
import type { Check } from '../model.ts';
import {
  guestMemfd,
  guestProgram,
  initShared,
  memoryAttributes,
  mmap,
  preFault,
  userMemory2,
} from '../requirements.ts';
import { below, explore, one } from './explore.ts';
import { preFaultRace } from './pre-fault-race.ts';
import { PrivateWorld, privateStep } from './private-world.ts';
import { Racer } from './race.ts';
import { SharedWorld, sharedStep } from './shared-world.ts';

const page = pageSize;
const size = 8 * page;
const shared = GuestMemfdFlag.MMAP | GuestMemfdFlag.INIT_SHARED;
const timeout = 10_000;

/** Something again and again until the deadline; how often. */
async function untilDeadline(check: CheckContext, round: (number: number) => void | Promise<void>): Promise<void> {
  let rounds = 0;
  do await round(rounds++);
  while (performance.now() < check.deadline);
  check.note(`${rounds} rounds`);
}

/** A bare file descriptor of a guest_memfd, bound to memslot 1. */
function bindBare(check: CheckContext, vm: { fd: number }, userspace: bigint): number {
  const fd = rawIoctl(vm.fd, Request.CREATE_GUEST_MEMFD, words(64, { 0: size, 8: check.bindable }));
  const head = 1n | (BigInt(MemoryRegionFlag.GUEST_MEMFD) << 32n);
  rawIoctl(
    vm.fd,
    Request.SET_USER_MEMORY_REGION2,
    words(160, { 0: head, 8: gpa, 16: size, 24: userspace, 40: BigInt(fd) }),
  );
  return fd;
}

/** Checks that go on for as long as they are given, with steps by chance or with threads that race. */
export const stressChecks: readonly Check[] = [
  {
    name: 'stress/shared-memory',
    title:
      'Random bindings, holes, allocations and writes by host and guest leave shared memory as a model of it says it must be',
    since: '6.18',
    stress: true,
    requires: [guestMemfd, mmap, initShared, userMemory2, guestProgram],
    run: (check) => explore(check, { create: () => new SharedWorld(check.kvm), step: sharedStep, length: 60 }),
  },
  {
    name: 'stress/private-memory',
    title:
      'Random conversions, holes, pre-faults and writes leave both sides of memory as a model of it says they must be',
    upstream: ['P5'],
    since: '6.8',
    stress: true,
    requires: [memoryAttributes, guestProgram],
    run: (check) => {
      const canPreFault = preFault.unmet(check.ground) === undefined;
      return explore(check, {
        create: () => new PrivateWorld(check.kvm, canPreFault),
        step: privateStep,
        length: 60,
      });
    },
  },
  {
    name: 'stress/punch-under-vcpus',
    title: 'While two vCPUs write and read shared memory, pages that are punched become zero and others stay',
    upstream: ['P3', 'P5'],
    since: '6.18',
    stress: true,
    requires: [guestMemfd, mmap, initShared, guestProgram],
    run: async (check) => {
      const vm = check.vm();
      const gmem = check.use(vm.createGuestMemfd({ size, flags: shared }));
      const mapping = check.use(gmem.map());
      vm.setUserMemoryRegion({ slot: 10, guestPhysAddr: gpa, size, mapping, guestMemfd: gmem });
      const agents = [0, 1].map((i) => guest(check, vm, i));
      const half = size / 2;
      const random = check.random();
      await untilDeadline(check, async (round) => {
        const value = 1 + (round % 254);
        const runs = agents.map((agent, i) => {
          const at = { gpa: gpa + i * half, length: half };
          return agent.runAsync(
            Array.from({ length: 20 }, () => [
              { op: 'fill' as const, ...at, value },
              { op: 'checksum' as const, ...at },
            ]).flat(),
            { timeout },
          );
        });
        // Holes go only into what is rewritten afterwards; that they do not hit anything else shows below.
        for (let i = 0; i < 10; i++) {
          gmem.punchHole(below(random, 8) * page, page);
          await sleep(0);
        }
        for (const { finished, exit } of await Promise.all(runs))
          if (!finished) throw new CheckFailure('a vCPU beside holes', 'comes to its end', exit?.reason ?? 'no exit');
        mapping.fill(value);
        const hole = below(random, 8);
        gmem.punchHole(hole * page, page);
        for (const [i, agent] of agents.entries())
          for (let at = 0; at < 8; at++) {
            const expected = at === hole ? 0 : value;
            const command = { op: 'compare', gpa: gpa + at * page, length: page, value: expected } as const;
            const [same] = agent.execute([command], { timeout });
            equal(same, BigInt(page), `page ${at}, of ${hole} punched, seen by vCPU ${i}`);
          }
      });
    },
  },
  {
    name: 'stress/convert-under-vcpus',
    title: 'While two vCPUs read memory, conversions show them one side or the other of each page and nothing else',
    upstream: ['P5'],
    since: '6.8',
    stress: true,
    requires: [memoryAttributes, guestProgram],
    run: async (check) => {
      const memory = privateVm(check, size, 2);
      const agents = [0, 1].map((i) => guest(check, memory.vm, i));
      const [first] = agents;
      const random = check.random();
      memory.vm.setMemoryAttributes({ address: gpa, size, attributes: MemoryAttribute.PRIVATE });
      first?.execute([{ op: 'fill', gpa, length: size, value: 0x22 }], { timeout });
      memory.vm.setMemoryAttributes({ address: gpa, size, attributes: 0 });
      memory.shared.fill(0x11);
      const sides = [0x11, 0x22].map((byte) => BigInt(`0x${byte.toString(16).repeat(8)}`));
      await untilDeadline(check, async () => {
        const reads = Array.from({ length: 200 }, () => ({ op: 'load' as const, gpa: gpa + below(random, 8) * page }));
        const runs = agents.map((agent) => passingFaults(agent, agent.runAsync(reads, { timeout })));
        const isPrivate: boolean[] = [];
        for (let i = 0; i < 20; i++) {
          const offset = below(random, 8);
          const count = 1 + below(random, 8 - offset);
          const side = one(random, [0, MemoryAttribute.PRIVATE]);
          memory.vm.setMemoryAttributes({ address: gpa + offset * page, size: count * page, attributes: side });
          isPrivate.fill(side !== 0, offset, offset + count);
          await sleep(0);
        }
        for (const { finished, exit, results } of await Promise.all(runs)) {
          if (!finished)
            throw new CheckFailure('a vCPU beside conversions', 'comes to its end', exit?.reason ?? 'none');
          const strange = results.find((value) => !sides.includes(value));
          if (strange !== undefined)
            throw new CheckFailure('what a vCPU reads', '0x11… or 0x22…', `0x${strange.toString(16)}`);
        }
        memory.vm.setMemoryAttributes({ address: gpa, size, attributes: 0 });
        const [same] = first?.execute([{ op: 'compare', gpa, length: size, value: 0x11 }], { timeout }) ?? [];
        equal(same, BigInt(size), 'bytes of the shared side afterwards');
      });
    },
  },
  {
    name: 'stress/pre-fault-beside-deletion',
    title: 'Pre-faulting on one thread while another deletes the memslot and makes it again ends well every time',
    upstream: ['F1'],
    since: '6.11',
    stress: true,
    isolated: true,
    knownBugs: ['L1', 'B11', 'L2'],
    race: true,
    requires: [preFault, guestProgram],
    run: (check) => preFaultRace(check, () => performance.now() >= check.deadline),
  },
  {
    name: 'stress/close-beside-deletion',
    title: 'Closing a guest_memfd on one thread while another deletes its memslot or its VM leaves nothing behind',
    upstream: ['M2'],
    since: '6.8',
    stress: true,
    isolated: true,
    requires: [guestMemfd, userMemory2],
    run: async (check) => {
      const mapping = check.use(mapAnonymous({ size }));
      const random = check.random();
      const racer = new Racer({ kind: 'close' });
      await racer.ready;
      try {
        await untilDeadline(check, () => {
          using vm = check.kvm.createVm();
          const fd = bindBare(check, vm, mapping.address);
          const how = below(random, 4);
          racer.close(fd);
          for (let wait = below(random, 2000); wait > 0; wait--);
          if (how < 2) vm.deleteUserMemoryRegion(1);
          else if (how === 2) vm.close();
          while (!racer.finished());
          if (how === 3) vm.deleteUserMemoryRegion(1);
          if (how === 2) return;
          // A binding that was left behind shows when its range is worked with, or in the kernel's log.
          using next = vm.createGuestMemfd({ size, flags: check.bindable });
          vm.setUserMemoryRegion({ slot: 1, guestPhysAddr: gpa, size, mapping, guestMemfd: next });
          next.fallocate(FallocateMode.KEEP_SIZE | FallocateMode.PUNCH_HOLE, 0, size);
        });
      } finally {
        await racer.stop();
      }
    },
  },
];
