// The books of a large guest, against those of a small one.
import { MemoryAttribute, mapAnonymous, VmType } from 'guest-memfd';
import { RangeMap } from '../../../dist/kvm/range-map.js';
import { newVm, noPrivateMemory } from './needs.mjs';

const GiB = 2 ** 30;
const TiB = 2 ** 40;
const rangeSize = 2 ** 21;
const count = 10;

// Two measures of the same work: what is left of a ratio of 1 is noise, for which the bar leaves a little.
const noSlower = [{ against: '1 GiB', most: 1.05 }];
// From 4 GiB on, where guests have their memory: below, V8 keeps addresses as small integers, which would be compared instead.
const base = 4 * GiB;
const addresses = (space) =>
  Array.from({ length: count }, (_, i) => base + Math.floor((i * space) / count / rangeSize) * rangeSize);

/** A VM with ten memslots all over its address space, every other one private. */
function vmOf(space) {
  const vm = newVm(VmType.SW_PROTECTED);
  for (const [slot, guestPhysAddr] of addresses(space).entries()) {
    const guestMemfd = vm.createGuestMemfd({ size: rangeSize });
    const mapping = mapAnonymous({ size: rangeSize });
    vm.setUserMemoryRegion({ slot, guestPhysAddr, size: rangeSize, mapping, guestMemfd });
    if (slot % 2)
      vm.setMemoryAttributes({ address: guestPhysAddr, size: rangeSize, attributes: MemoryAttribute.PRIVATE });
  }
  return vm;
}

/** A VM with one memslot, ten ranges of which are private. */
function vmOfOneSlot(space) {
  const vm = newVm(VmType.SW_PROTECTED);
  // The highest address of many processors is 2^40 - 1.
  const size = space === TiB ? TiB - base : space;
  const guestMemfd = vm.createGuestMemfd({ size });
  const mapping = mapAnonymous({ size });
  vm.setUserMemoryRegion({ slot: 0, guestPhysAddr: base, size, mapping, guestMemfd });
  for (const address of addresses(space))
    vm.setMemoryAttributes({ address, size: rangeSize, attributes: MemoryAttribute.PRIVATE });
  return vm;
}

/** One kind of work on two VMs. */
const both = (name, title, make, work) => ({
  name,
  title,
  bars: noSlower,
  unmet: noPrivateMemory,
  open() {
    const vms = { ours: make(TiB), '1 GiB': make(GiB) };
    return {
      contestants: { ours: work(vms.ours, TiB), '1 GiB': work(vms['1 GiB'], GiB) },
      close() {
        for (const vm of Object.values(vms)) vm.close();
      },
    };
  },
});

const books = (space) => (operations) => {
  for (let i = 0; i < operations; i++) {
    const map = new RangeMap(0);
    for (const address of addresses(space)) map.set(address, address + rangeSize, 8);
    if ([...map.ranges(base, base + space)].length !== 2 * count) throw new Error('a wrong map');
  }
};

export const cases = [
  both('map-tib', 'memory.map() of 10 memslots in 1 TiB', vmOf, (vm) => (operations) => {
    for (let i = 0; i < operations; i++) vm.memory.map();
  }),
  both('map-slot-tib', 'memory.map({ resident: false }) of a memslot of 1 TiB', vmOfOneSlot, (vm) => (operations) => {
    for (let i = 0; i < operations; i++) vm.memory.map({ resident: false });
  }),
  both('convert-tib', 'memory.convert() of 10 ranges in 1 TiB', vmOf, (vm, space) => async (operations) => {
    for (let i = 0; i < operations; i++)
      for (const to of ['private', 'shared'])
        for (const address of addresses(space)) await vm.memory.convert(address, rangeSize, to);
  }),
  {
    name: 'books-tib',
    title: 'the books of 10 ranges in 1 TiB',
    bars: noSlower,
    open: () => ({ contestants: { ours: books(TiB), '1 GiB': books(GiB) } }),
  },
];
