import { GuestAgent } from '../../guest/agent.ts';
import { Advice, MemoryAttribute, VmType } from '../../kvm/constants.ts';
import type { GuestMemfd } from '../../kvm/guest-memfd.ts';
import type { Kvm } from '../../kvm/kvm.ts';
import { type Mapping, mapAnonymous } from '../../kvm/mapping.ts';
import { pageSize } from '../../kvm/native.ts';
import type { Vm } from '../../kvm/vm.ts';
import { allBytes, CheckFailure } from '../expect.ts';
import { below, one, type World } from './explore.ts';

const page = pageSize;
const gpa = 0x1_0000_0000;
const timeout = 10_000;
const pages = 8;
/** Two memslots over one file. */
const half = pages / 2;

interface Range {
  readonly offset: number;
  readonly count: number;
}

/** What can be done to memory with two sides. Numbers are pages. */
export type PrivateStep = Range &
  (
    | { do: 'private' | 'shared' | 'punch' | 'allocate' | 'discard' | 'preFault' | 'guestRead' }
    | { do: 'write' | 'guestWrite'; value: number }
    | { do: 'rebind' }
  );

/** A step; ranges stay inside. */
export function privateStep(random: () => number): PrivateStep {
  const offset = below(random, pages);
  const range = { offset, count: 1 + below(random, pages - offset) };
  const plain = [
    'private',
    'private',
    'shared',
    'punch',
    'allocate',
    'discard',
    'preFault',
    'guestRead',
    'rebind',
  ] as const;
  if (random() < 0.35)
    return { do: one(random, ['write', 'guestWrite', 'guestWrite'] as const), value: 1 + below(random, 255), ...range };
  return { do: one(random, plain), ...range };
}

/** A software-protected VM: each page holds one byte value on either side. */
export class PrivateWorld implements World<PrivateStep> {
  readonly #vm: Vm;
  readonly #gmem: GuestMemfd;
  readonly #mapping: Mapping;
  readonly #agent: GuestAgent;
  readonly #canPreFault: boolean;
  readonly #isPrivate: boolean[] = Array(pages).fill(false);
  readonly #shared: number[] = Array(pages).fill(0);
  readonly #private: number[] = Array(pages).fill(0);

  constructor(kvm: Kvm, canPreFault: boolean) {
    this.#vm = kvm.createVm({ type: VmType.SW_PROTECTED });
    this.#gmem = this.#vm.createGuestMemfd({ size: pages * page });
    this.#mapping = mapAnonymous({ size: pages * page });
    this.#canPreFault = canPreFault;
    this.#bind(0);
    this.#bind(1);
    this.#agent = GuestAgent.create(this.#vm);
  }

  #bind(which: number): void {
    this.#vm.setUserMemoryRegion({
      slot: 10 + which,
      guestPhysAddr: gpa + which * half * page,
      size: half * page,
      mapping: this.#mapping,
      mappingOffset: which * half * page,
      guestMemfd: this.#gmem,
      guestMemfdOffset: which * half * page,
    });
  }

  apply(step: PrivateStep): void {
    const [offset, length] = [step.offset * page, step.count * page];
    const [first, end] = [step.offset, step.offset + step.count];
    switch (step.do) {
      case 'private':
      case 'shared': {
        const attributes = step.do === 'private' ? MemoryAttribute.PRIVATE : 0;
        this.#vm.setMemoryAttributes({ address: gpa + offset, size: length, attributes });
        this.#isPrivate.fill(step.do === 'private', first, end);
        return;
      }
      case 'punch':
        this.#gmem.punchHole(offset, length);
        this.#private.fill(0, first, end);
        return;
      case 'allocate':
        this.#gmem.allocate(offset, length);
        return;
      case 'discard':
        this.#mapping.advise(Advice.DONTNEED, offset, length);
        this.#shared.fill(0, first, end);
        return;
      case 'write':
        this.#mapping.fill(step.value, offset, length);
        this.#shared.fill(step.value, first, end);
        return;
      case 'guestWrite':
        this.#agent.execute([{ op: 'fill', gpa: gpa + offset, length, value: step.value }], { timeout });
        for (let i = first; i < end; i++) (this.#isPrivate[i] ? this.#private : this.#shared)[i] = step.value;
        return;
      case 'guestRead':
        for (let i = first; i < end; i++) this.#guestSees(i);
        return;
      case 'preFault':
        this.#preFault(BigInt(gpa + offset), BigInt(length));
        return;
      case 'rebind': {
        const which = first < half ? 0 : 1;
        this.#vm.deleteUserMemoryRegion(10 + which);
        this.#bind(which);
        return;
      }
    }
  }

  #preFault(guestPhysAddr: bigint, size: bigint): void {
    if (!this.#canPreFault) return;
    for (let [at, left] = [guestPhysAddr, size]; left > 0n; ) {
      const progress = this.#agent.vcpu.preFault({ guestPhysAddr: at, size: left });
      [at, left] = [progress.guestPhysAddr, progress.remaining];
    }
  }

  #guestSees(i: number): void {
    const side = this.#isPrivate[i] ? 'private' : 'shared';
    const value = (this.#isPrivate[i] ? this.#private : this.#shared)[i] as number;
    const address = gpa + i * page;
    const [same] = this.#agent.execute([{ op: 'compare', gpa: address, length: page, value }], { timeout });
    if (same === BigInt(page)) return;
    const got = this.#agent.load(address + Number(same), 1);
    throw new CheckFailure(`page ${i}, ${side}, seen by the guest`, `0x${value.toString(16)}`, `0x${got.toString(16)}`);
  }

  verify(): void {
    for (let i = 0; i < pages; i++) {
      this.#guestSees(i);
      allBytes(this.#mapping, i * page, page, this.#shared[i] as number, `page ${i}, shared, seen by the host`);
    }
    // The side that the guest had not in view.
    for (let i = 0; i < pages; i++) this.apply({ do: this.#isPrivate[i] ? 'shared' : 'private', offset: i, count: 1 });
    for (let i = 0; i < pages; i++) this.#guestSees(i);
  }

  [Symbol.dispose](): void {
    this.#agent.close();
    this.#mapping.close();
    this.#gmem.close();
    this.#vm.close();
  }
}
