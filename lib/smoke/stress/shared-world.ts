import { GuestAgent } from '../../guest/agent.ts';
import { Advice, GuestMemfdFlag } from '../../kvm/constants.ts';
import type { GuestMemfd } from '../../kvm/guest-memfd.ts';
import type { Kvm } from '../../kvm/kvm.ts';
import { type Mapping, mapAnonymous } from '../../kvm/mapping.ts';
import { pageSize } from '../../kvm/native.ts';
import type { Vm } from '../../kvm/vm.ts';
import { allBytes, CheckFailure, refused } from '../expect.ts';
import { below, one, type World } from './explore.ts';

const page = pageSize;
const gpa = 0x1_0000_0000;
const timeout = 10_000;

/** Pages of the file, of guest physical addresses, and memslots. */
export const pages = 8;
const slots = 3;

/** What can be done to shared guest memory. Numbers are pages; `at` counts from the guest address under test. */
export type SharedStep =
  | { do: 'bind'; slot: number; at: number; offset: number; count: number }
  | { do: 'unbind'; slot: number }
  | { do: 'punch' | 'allocate' | 'discard'; offset: number; count: number }
  | { do: 'write'; offset: number; count: number; value: number }
  | { do: 'guestWrite'; at: number; value: number }
  | { do: 'guestRead'; at: number }
  | { do: 'read' | 'remap' };

/** A step, as likely as it is worth: ranges may go beyond the end of the file. */
export function sharedStep(random: () => number): SharedStep {
  const range = () => ({ offset: below(random, pages), count: 1 + below(random, 4) });
  const at = below(random, pages);
  const value = 1 + below(random, 255);
  const slot = below(random, slots);
  switch (
    one(random, ['bind', 'bind', 'unbind', 'file', 'file', 'write', 'guestWrite', 'guestWrite', 'guest', 'all'])
  ) {
    case 'bind':
      return { do: 'bind', slot, at, ...range() };
    case 'unbind':
      return { do: 'unbind', slot };
    case 'file':
      return { do: one(random, ['punch', 'punch', 'allocate', 'discard'] as const), ...range() };
    case 'write':
      return { do: 'write', value, ...range() };
    case 'guestWrite':
      return { do: 'guestWrite', at, value };
    case 'guest':
      return { do: 'guestRead', at };
    default:
      return { do: one(random, ['read', 'remap'] as const) };
  }
}

interface Slot {
  readonly at: number;
  readonly offset: number;
  readonly count: number;
}

const overlap = (a: number, b: number, { count }: { count: number }, other: { count: number }) =>
  a < b + other.count && b < a + count;

/** A default VM with a mapped guest_memfd: every page holds one byte value throughout. */
export class SharedWorld implements World<SharedStep> {
  readonly #vm: Vm;
  readonly #gmem: GuestMemfd;
  readonly #agent: GuestAgent;
  #mapping: Mapping;
  /** What every second memslot has at userspace_addr, so that nothing but the file itself tells the guest of holes. */
  readonly #decoy: Mapping;
  readonly #values: number[] = Array(pages).fill(0);
  readonly #slots = new Map<number, Slot>();

  constructor(kvm: Kvm) {
    this.#vm = kvm.createVm();
    this.#gmem = this.#vm.createGuestMemfd({
      size: pages * page,
      flags: GuestMemfdFlag.MMAP | GuestMemfdFlag.INIT_SHARED,
    });
    this.#mapping = this.#gmem.map();
    this.#decoy = mapAnonymous({ size: pages * page });
    this.#agent = GuestAgent.create(this.#vm, { slot: slots });
  }

  /** The page of the file that the guest finds at an address; undefined where no memslot is. */
  #behind(at: number): number | undefined {
    for (const slot of this.#slots.values())
      if (at >= slot.at && at < slot.at + slot.count) return slot.offset + at - slot.at;
    return undefined;
  }

  #bind({ slot, at, offset, count }: Extract<SharedStep, { do: 'bind' }>): void {
    const others = [...this.#slots.values()];
    const region = {
      slot,
      guestPhysAddr: gpa + at * page,
      size: count * page,
      mapping: slot % 2 ? this.#decoy : this.#mapping,
      mappingOffset: Math.min(offset, pages - count) * page,
      guestMemfd: this.#gmem,
      guestMemfdOffset: offset * page,
    };
    const wrong =
      this.#slots.has(slot) ||
      offset + count > pages ||
      others.some(
        (other) => overlap(at, other.at, { count }, other) || overlap(offset, other.offset, { count }, other),
      );
    if (wrong) refused(['EEXIST', 'EINVAL'], 'a binding that cannot be', () => this.#vm.setUserMemoryRegion(region));
    else {
      this.#vm.setUserMemoryRegion(region);
      this.#slots.set(slot, { at, offset, count });
    }
  }

  apply(step: SharedStep): void {
    switch (step.do) {
      case 'bind':
        this.#bind(step);
        return;
      case 'unbind':
        if (this.#slots.delete(step.slot)) this.#vm.deleteUserMemoryRegion(step.slot);
        else
          refused('EINVAL', 'deleting a memslot that is not there', () => this.#vm.deleteUserMemoryRegion(step.slot));
        return;
      case 'punch':
        this.#gmem.punchHole(step.offset * page, step.count * page);
        this.#values.fill(0, step.offset, step.offset + step.count);
        return;
      case 'allocate': {
        const allocate = () => this.#gmem.allocate(step.offset * page, step.count * page);
        if (step.offset + step.count > pages) refused('EINVAL', 'allocating beyond the end', allocate);
        else allocate();
        return;
      }
      case 'discard':
        this.#mapping.advise(Advice.DONTNEED, step.offset * page, this.#inside(step) * page);
        return;
      case 'write':
        this.#mapping.fill(step.value, step.offset * page, this.#inside(step) * page);
        this.#values.fill(step.value, step.offset, step.offset + step.count);
        return;
      case 'guestWrite': {
        const behind = this.#behind(step.at);
        if (behind === undefined) return;
        this.#agent.execute([{ op: 'fill', gpa: gpa + step.at * page, length: page, value: step.value }], { timeout });
        this.#values[behind] = step.value;
        return;
      }
      case 'guestRead':
        this.#guestSees(step.at);
        return;
      case 'read':
        this.#hostSees();
        return;
      case 'remap':
        this.#mapping.close();
        this.#mapping = this.#gmem.map();
        return;
    }
  }

  #inside({ offset, count }: { offset: number; count: number }): number {
    return Math.min(count, pages - offset);
  }

  #hostSees(): void {
    for (const [i, value] of this.#values.entries())
      allBytes(this.#mapping, i * page, page, value, `page ${i} of the file, seen by the host`);
  }

  #guestSees(at: number): void {
    const behind = this.#behind(at);
    if (behind === undefined) return;
    const value = this.#values[behind] as number;
    const address = gpa + at * page;
    const [same] = this.#agent.execute([{ op: 'compare', gpa: address, length: page, value }], { timeout });
    if (same === BigInt(page)) return;
    const got = this.#agent.load(address + Number(same), 1);
    throw new CheckFailure(
      `page ${behind} of the file, seen by the guest`,
      `0x${value.toString(16)}`,
      `0x${got.toString(16)}`,
    );
  }

  verify(): void {
    this.#hostSees();
    for (let at = 0; at < 2 * pages; at++) this.#guestSees(at);
  }

  [Symbol.dispose](): void {
    this.#agent.close();
    this.#decoy.close();
    this.#mapping.close();
    this.#gmem.close();
    this.#vm.close();
  }
}
