import { MemoryRegionFlag } from '../../kvm/constants.ts';
import { mapAnonymous } from '../../kvm/mapping.ts';
import { pageSize } from '../../kvm/native.ts';
import { refused } from '../expect.ts';
import type { Check } from '../model.ts';
import { guestMemfd, userMemory2 } from '../requirements.ts';

const size = 4 * pageSize;
const gpa = 0x1_0000_0000;
const bits = [...Array(32).keys()].map((bit) => (1 << bit) >>> 0);

/** Flags of memslots. */
export const memoryRegionChecks: readonly Check[] = [
  {
    name: 'memory-region/flags-v1',
    title: 'KVM_SET_USER_MEMORY_REGION refuses every flag but LOG_DIRTY_PAGES and READONLY, GUEST_MEMFD included',
    upstream: ['M1'],
    since: '6.8',
    run: (check) => {
      const mapping = check.use(mapAnonymous({ size }));
      for (const type of check.ground.host.vmTypes) {
        check.configuration = `VM type ${type}`;
        const vm = check.vm(type);
        for (const flags of bits) {
          if (flags === MemoryRegionFlag.LOG_DIRTY_PAGES || flags === MemoryRegionFlag.READONLY) continue;
          refused('EINVAL', `flags 0x${flags.toString(16)}`, () =>
            vm.setUserMemoryRegion({ slot: 1, flags, guestPhysAddr: gpa, size, mapping, legacy: true }),
          );
        }
      }
    },
  },
  {
    name: 'memory-region/flags-v2',
    title: 'KVM_SET_USER_MEMORY_REGION2 refuses flags that it does not know',
    upstream: ['M1'],
    since: '6.8',
    requires: [userMemory2],
    run: (check) => {
      const mapping = check.use(mapAnonymous({ size }));
      for (const type of check.ground.host.vmTypes) {
        check.configuration = `VM type ${type}`;
        const vm = check.vm(type);
        for (const flags of bits) {
          if (flags <= MemoryRegionFlag.GUEST_MEMFD) continue;
          refused('EINVAL', `flags 0x${flags.toString(16)}`, () =>
            vm.setUserMemoryRegion({ slot: 1, flags, guestPhysAddr: gpa, size, mapping }),
          );
        }
      }
    },
  },
  ...[
    {
      name: 'no-dirty-log',
      title: 'A memslot with guest_memfd refuses dirty logging',
      flag: MemoryRegionFlag.LOG_DIRTY_PAGES,
    },
    {
      name: 'no-readonly',
      title: 'A memslot with guest_memfd refuses to be read-only',
      flag: MemoryRegionFlag.READONLY,
    },
  ].map(
    ({ name, title, flag }): Check => ({
      name: `memory-region/${name}`,
      title,
      upstream: ['M1'],
      since: '6.8',
      requires: [guestMemfd, userMemory2],
      run: (check) =>
        check.eachConfiguration(({ vm, flags }) => {
          using gmem = vm.createGuestMemfd({ size, flags });
          const mapping = check.use(mapAnonymous({ size }));
          refused('EINVAL', `memslot flag ${flag}`, () =>
            vm.setUserMemoryRegion({ slot: 1, flags: flag, guestPhysAddr: gpa, size, mapping, guestMemfd: gmem }),
          );
        }),
    }),
  ),
];
