import type { ConversionStep } from '../kvm/conversion-steps.ts';
import type { GuestMemfd } from '../kvm/guest-memfd.ts';
import { hex } from './errors.ts';

/** A range of a guest_memfd that an object of this process has had to do with. */
interface Trace {
  readonly guestMemfd: GuestMemfd;
  readonly offset: number;
  readonly length: number;
}

/** The views over what is about to become private; after the first attempt they are detached and forgotten. */
export function exportedViews(steps: readonly ConversionStep[]): Trace[] {
  return steps.flatMap((step) => {
    if (step.op !== 'fileAttributes' || !step.value) return [];
    const { guestMemfd } = step;
    return guestMemfd.usedMappings().flatMap((mapping) =>
      mapping.openViews().map(({ offset, length }) => ({
        guestMemfd,
        offset: Number(mapping.fileOffset) + offset,
        length,
      })),
    );
  });
}

/** What of this process may hold a page that the kernel says is in use, in words. */
export function holdersOf(guestMemfd: GuestMemfd, page: number, pageSize: number, views: readonly Trace[]): string[] {
  const touches = (offset: number, length: number) => offset < page + pageSize && page < offset + length;
  const pins = guestMemfd
    .openPins()
    .filter(({ pin, offset }) => touches(offset, pin.length))
    .map(({ pin, offset }) => `a pin of ${hex(offset)}+${hex(pin.length)} of the guest_memfd (${pin.kind})`);
  const exported = views
    .filter((view) => view.guestMemfd === guestMemfd && touches(view.offset, view.length))
    .map(
      ({ offset, length }) =>
        `a view over ${hex(offset)}+${hex(length)} of the guest_memfd, detached now: a read or write that was begun on it may be under way`,
    );
  return [...pins, ...exported];
}
