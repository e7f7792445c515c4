import { Capability, GuestMemfdFlag, MemoryAttribute, VmType } from '../../kvm/constants.ts';
import { mapAnonymous } from '../../kvm/mapping.ts';
import { pageSize } from '../../kvm/native.ts';
import type { CheckContext } from '../context.ts';
import { equal, holds, inaccessible, refused } from '../expect.ts';
import type { Check } from '../model.ts';
import { guestProgram, mmap } from '../requirements.ts';
import {
  conversionError,
  convertPages,
  eachStart,
  holdsValue,
  inPlaceConversion,
  inPlaceVm,
  other,
  pictured,
  type State,
  takesWrites,
} from './in-place-guest.ts';
import { gpa, guest, guestFills, guestSees } from './private-guest.ts';

const page = pageSize;
const requires = [mmap, inPlaceConversion, guestProgram];
/** The release that the lab's stand-in for the pending interface is made for. */
const since = '7.3';

/** There and back, with what was written kept each time. */
function thereAndBack(check: CheckContext, initial: State): void {
  const memory = inPlaceVm(check, 1, initial);
  takesWrites(memory, 0, initial, 0x11, 'at first');
  convertPages(memory, 0, 1, other(initial));
  holdsValue(memory, 0, other(initial), 0x11, 'converted');
  takesWrites(memory, 0, other(initial), 0x22, 'converted');
  convertPages(memory, 0, 1, initial);
  holdsValue(memory, 0, initial, 0x22, 'converted back');
  takesWrites(memory, 0, initial, 0x33, 'converted back');
}

/** Nobody has touched the memory before it is converted. */
function beforeAllocation(check: CheckContext, initial: State): void {
  const memory = inPlaceVm(check, 1, initial);
  convertPages(memory, 0, 1, other(initial));
  holdsValue(memory, 0, other(initial), 0, 'converted before it was ever touched');
  takesWrites(memory, 0, other(initial), 0x11, 'and then');
  convertPages(memory, 0, 1, initial);
  holdsValue(memory, 0, initial, 0x11, 'converted back');
}

/** Every way to choose none, one or two of `count` pages. */
function* choices(count: number): Generator<readonly number[]> {
  yield [];
  for (let i = 0; i < count; i++) {
    yield [i];
    for (let j = i + 1; j < count; j++) yield [i, j];
  }
}

const plain: readonly Check[] = [
  {
    name: 'in-place/init-private',
    title: 'Memory that starts private: the host gets SIGBUS until it is shared, and contents stay there and back',
    upstream: ['C1'],
    since,
    requires,
    run: (check) => thereAndBack(check, 'private'),
  },
  {
    name: 'in-place/init-shared',
    title: 'Memory that starts shared: the host gets SIGBUS while it is private, and contents stay there and back',
    upstream: ['C2'],
    since,
    requires,
    run: (check) => thereAndBack(check, 'shared'),
  },
  {
    name: 'in-place/only-named-pages',
    title: 'Converting one page of four leaves state and contents of the others alone, whichever it is',
    upstream: ['C3'],
    since,
    requires,
    run: (check) =>
      eachStart(check, 4, (memory) => {
        const pages = [0, 1, 2, 3];
        for (const page of pages) takesWrites(memory, page, memory.initial, 0x10 + page, 'at first');
        for (const converted of pages) {
          convertPages(memory, converted, 1, other(memory.initial));
          for (const page of pages) {
            const state = page === converted ? other(memory.initial) : memory.initial;
            holdsValue(memory, page, state, 0x10 + page, `with page ${converted} converted`);
          }
          convertPages(memory, converted, 1, memory.initial);
          holdsValue(memory, converted, memory.initial, 0x10 + converted, `with page ${converted} converted back`);
        }
      }),
  },
  {
    name: 'in-place/before-allocation-shared',
    title: 'Shared memory that nobody has touched becomes private, and is zero and then usable',
    upstream: ['C4'],
    since,
    requires,
    run: (check) => beforeAllocation(check, 'shared'),
  },
  {
    name: 'in-place/before-allocation-private',
    title: 'Private memory that nobody has touched becomes shared, and is zero and then usable',
    upstream: ['C5'],
    since,
    requires,
    run: (check) => beforeAllocation(check, 'private'),
  },
  {
    name: 'in-place/some-allocated',
    title: 'A range of eight pages converts whichever of them are there; what is there stays, the others read zero',
    upstream: ['C6'],
    since,
    requires,
    run: (check) => {
      const count = 8;
      for (const initial of ['private', 'shared'] as const) {
        const memory = inPlaceVm(check, count, initial);
        for (const there of choices(count)) {
          check.configuration = `initially ${initial}, pages ${there.join(' and ') || 'none'} allocated`;
          for (const index of there) guestFills(memory.agent, index * page, page, 0x40 + index);
          convertPages(memory, 0, count, other(initial));
          for (let index = 0; index < count; index++)
            holdsValue(memory, index, other(initial), there.includes(index) ? 0x40 + index : 0, 'converted');
          convertPages(memory, 0, count, initial);
          for (const index of there) holdsValue(memory, index, initial, 0x40 + index, 'converted back');
          memory.gmem.punchHole(0, count * page);
        }
      }
      check.configuration = undefined;
    },
  },
  {
    name: 'in-place/punch-keeps-state',
    title: 'A punched hole takes the contents of converted memory and leaves its state',
    upstream: ['C7'],
    since,
    requires,
    run: (check) =>
      eachStart(check, 3, (memory) => {
        const state = other(memory.initial);
        convertPages(memory, 1, 1, state);
        guestFills(memory.agent, 0, 3 * page, 0x77);
        memory.gmem.punchHole(0, 3 * page);
        for (const [index, expected] of [memory.initial, state, memory.initial].entries()) {
          holdsValue(memory, index, expected, 0, 'punched');
          takesWrites(memory, index, expected, 0x20 + index, 'punched');
        }
      }),
  },
  {
    name: 'in-place/other-processes',
    title:
      'Becoming private unmaps the memory from other processes too: a forked child gets SIGBUS, until it is shared',
    upstream: ['C8'],
    since,
    requires,
    run: (check) =>
      eachStart(check, 2, (memory) => {
        const child = check.use(memory.mapping.forkChild());
        convertPages(memory, 0, 2, 'shared');
        guestFills(memory.agent, 0, 2 * page, 0x51);
        equal(child.load(0), 0x51, 'what the child reads of shared memory');
        child.store(1, 0x52);
        guestSees(memory.agent, 1, 1, 0x52, 'what the child wrote to shared memory');
        convertPages(memory, 0, 1, 'private');
        inaccessible('the child reads private memory', () => child.load(0));
        inaccessible('the child writes private memory', () => child.store(0, 1));
        equal(child.load(page), 0x51, 'what the child reads of the page that stayed shared');
        inaccessible('the parent reads private memory', () => memory.mapping.read(0, 1));
        convertPages(memory, 0, 1, 'shared');
        equal(child.load(1), 0x52, 'what the child reads of memory that is shared again');
        child.close();
      }),
  },
  {
    name: 'in-place/pinned',
    title:
      'A pinned page keeps its range from becoming private: EAGAIN with its offset and nothing converted; other pages, and the same one once let go, convert',
    upstream: ['C9'],
    since,
    requires,
    run: (check) =>
      eachStart(check, 4, (memory) => {
        convertPages(memory, 0, 4, 'shared');
        for (let index = 0; index < 4; index++) takesWrites(memory, index, 'shared', 0x60 + index, 'before the pin');
        for (let pinned = 0; pinned < 4; pinned++) {
          const pin = check.use(memory.mapping.pin(pinned * page, page));
          check.note(`pages were pinned by ${pin.kind}`);
          for (const [what, first, count] of [
            ['all four pages', 0, 4],
            ['the pinned page', pinned, 1],
          ] as const) {
            const error = conversionError(memory, first, count, 'private');
            equal(error?.code, 'EAGAIN', `${what} to private, page ${pinned} pinned`);
            equal(Number(error?.arguments['errorOffset'] ?? 0), pinned * page, `error_offset for ${what}`);
          }
          for (let index = 0; index < 4; index++)
            holdsValue(memory, index, 'shared', 0x60 + index, `after EAGAIN for page ${pinned}`);
          for (let index = 0; index < 4; index++) {
            if (index === pinned) continue;
            convertPages(memory, index, 1, 'private');
            holdsValue(memory, index, 'private', 0x60 + index, `while page ${pinned} is pinned`);
          }
          pin.close();
          convertPages(memory, 0, 4, 'private');
          for (let index = 0; index < 4; index++)
            holdsValue(memory, index, 'private', 0x60 + index, `once page ${pinned} was let go`);
          // Pins are no obstacle in this direction.
          convertPages(memory, 0, 4, 'shared');
        }
      }),
  },
  {
    name: 'in-place/refused',
    title:
      'KVM_SET_MEMORY_ATTRIBUTES2 refuses flags, unknown attributes and ranges that are empty, unaligned, beyond the file or wrap: EINVAL, and converts nothing',
    since,
    requires,
    run: (check) => {
      const memory = inPlaceVm(check, 2, 'shared');
      const valid = { offset: 0, size: page, attributes: MemoryAttribute.PRIVATE };
      for (const [what, change] of [
        ['size 0', { size: 0 }],
        ['an unaligned size', { size: page - 1 }],
        ['an unaligned offset', { offset: 1 }],
        ['a range that ends beyond the file', { size: 3 * page }],
        ['a range beyond the file', { offset: 2 * page }],
        ['a range that wraps', { offset: 0xffff_ffff_ffff_f000n, size: 2 * page }],
        ...[...Array(64).keys()].map((bit) => [`flag bit ${bit}`, { flags: 1n << BigInt(bit) }] as const),
        ...[...Array(64).keys()]
          .filter((bit) => bit !== 3)
          .map((bit) => [`attribute bit ${bit}`, { attributes: 1n << BigInt(bit) }] as const),
      ] as const)
        refused('EINVAL', what, () => memory.gmem.setMemoryAttributes({ ...valid, ...change }));
      for (let index = 0; index < 2; index++) holdsValue(memory, index, 'shared', 0, 'after all refusals');
    },
  },
  {
    name: 'in-place/other-vm-types',
    title: 'The guest_memfd of a VM without private memory refuses KVM_SET_MEMORY_ATTRIBUTES2: EINVAL, also to share',
    since,
    requires,
    run: (check) => {
      const vm = check.vm();
      const gmem = check.use(vm.createGuestMemfd({ size: page, flags: GuestMemfdFlag.MMAP }));
      for (const attributes of [0, MemoryAttribute.PRIVATE])
        refused('EINVAL', `attributes ${attributes}`, () =>
          gmem.setMemoryAttributes({ offset: 0, size: page, attributes }),
        );
    },
  },
  {
    name: 'in-place/one-owner',
    title:
      'Where guest_memfds have the attributes the VM has none: its ioctl refuses PRIVATE, and the capabilities say so',
    since,
    requires,
    run: (check) => {
      const { vm } = inPlaceVm(check, 1, 'private');
      refused('EINVAL', 'KVM_SET_MEMORY_ATTRIBUTES with PRIVATE', () =>
        vm.setMemoryAttributes({ address: 0, size: page, attributes: MemoryAttribute.PRIVATE }),
      );
      equal(vm.checkExtension(Capability.MEMORY_ATTRIBUTES), 0, 'KVM_CAP_MEMORY_ATTRIBUTES of the VM');
      const flags = vm.checkExtension(Capability.GUEST_MEMFD_FLAGS);
      equal(flags, GuestMemfdFlag.MMAP | GuestMemfdFlag.INIT_SHARED, 'KVM_CAP_GUEST_MEMFD_FLAGS of the VM');
    },
  },
  {
    name: 'in-place/share-pinned',
    title: 'Pinned pages are no obstacle to asking for shared memory: what is shared already is left as it is',
    since,
    requires,
    run: (check) =>
      eachStart(check, 2, (memory) => {
        convertPages(memory, 0, 2, 'shared');
        takesWrites(memory, 0, 'shared', 0x31, 'shared');
        using pin = memory.mapping.pin(0, page);
        convertPages(memory, 1, 1, 'private');
        convertPages(memory, 0, 2, 'shared');
        holdsValue(memory, 0, 'shared', 0x31, `shared once more, pinned by ${pin.kind}`);
        holdsValue(memory, 1, 'shared', 0, 'its neighbour, shared again');
      }),
  },
  {
    name: 'in-place/without-mmap',
    title: 'Memory that the host cannot map converts as well, and the guest keeps its contents',
    since,
    requires,
    run: (check) => {
      const vm = check.vm(VmType.SW_PROTECTED);
      const gmem = check.use(vm.createGuestMemfd({ size: page }));
      holds(!gmem.mappable, 'made without MMAP');
      const elsewhere = check.use(mapAnonymous({ size: page }));
      vm.setUserMemoryRegion({ slot: 10, guestPhysAddr: gpa, size: page, mapping: elsewhere, guestMemfd: gmem });
      const agent = guest(check, vm);
      guestFills(agent, 0, page, 0x41);
      gmem.setMemoryAttributes({ offset: 0, size: page, attributes: 0 });
      guestSees(agent, 0, page, 0x41, 'made shared, it is still the memory of the guest_memfd');
      guestFills(agent, 0, page, 0x42);
      gmem.setMemoryAttributes({ offset: 0, size: page, attributes: MemoryAttribute.PRIVATE });
      guestSees(agent, 0, page, 0x42, 'made private again');
    },
  },
];

/** In-place conversion: KVM_SET_MEMORY_ATTRIBUTES2 on a guest_memfd, which is pending. */
export const inPlaceChecks: readonly Check[] = plain.map(pictured);
