import { GuestAgent } from '../../guest/agent.ts';
import { mapAnonymous } from '../../kvm/mapping.ts';
import { pageSize } from '../../kvm/native.ts';
import { Request, words } from '../../kvm/raw.ts';
import { gpa, timeout } from '../checks/private-guest.ts';
import type { CheckContext } from '../context.ts';
import { CheckFailure, equal } from '../expect.ts';
import { Racer } from './race.ts';

const size = 8 * pageSize;

/** Pre-faults on another thread while this one deletes the memslot and makes it again, until `enough` says so. */
export async function preFaultRace(
  check: CheckContext,
  enough: (deletions: number, milliseconds: number) => boolean,
): Promise<void> {
  const vm = check.vm();
  const mapping = check.use(mapAnonymous({ size }));
  const region = { slot: 10, guestPhysAddr: gpa, size, mapping };
  vm.setUserMemoryRegion(region);
  const agent = check.use(GuestAgent.create(vm));
  const racer = new Racer({
    kind: 'preFault',
    fd: agent.vcpu.fd,
    request: Request.PRE_FAULT_MEMORY,
    argument: words(64, { 0: gpa, 8: size }),
  });
  await racer.ready;
  const since = performance.now();
  let deleted = 0;
  do {
    vm.deleteUserMemoryRegion(10);
    vm.setUserMemoryRegion(region);
    deleted++;
  } while (!enough(deleted, performance.now() - since));
  const tally = await racer.stop();
  const allowed = ['ok', 'ENOENT', 'EAGAIN', 'EINTR'];
  for (const [what, times] of Object.entries(tally))
    if (!allowed.includes(what))
      throw new CheckFailure('pre-faulting beside deletions', allowed.join(', '), `${what}, ${times} times`);
  const told = Object.entries(tally).map(([what, times]) => `${what} ${times}`);
  check.note(`${deleted} deletions against ${told.join(', ')}`);
  const [same] = agent.execute([{ op: 'compare', gpa, length: size, value: 0 }], { timeout });
  equal(same, BigInt(size), 'bytes of the memslot that was made last, seen by the guest');
}
