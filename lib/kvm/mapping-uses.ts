import type { U64 } from './arguments.ts';
import type { Mapping } from './mapping.ts';
import type { PagePin } from './page-pin.ts';

export interface TrackedView {
  readonly buffer: WeakRef<ArrayBuffer>;
  readonly offset: number;
  readonly length: number;
}

interface SlotAt {
  readonly mappingOffset: number;
  readonly guestPhysAddr: U64;
  readonly size: U64;
}

/** Who has to do with a mapping besides its owner. Most mappings see nobody, so it is made when the first one comes. */
export class MappingUses {
  /** By the numbers that the native side knows them by. */
  readonly views = new Map<number, TrackedView>();
  readonly #pins = new Set<WeakRef<PagePin>>();
  readonly #slots = new Map<string, SlotAt>();
  #lastView = 0;

  nextView(): number {
    return ++this.#lastView;
  }

  /** The views that have not been detached, as ranges of the mapping. */
  openViews(): { offset: number; length: number }[] {
    return [...this.views.values()]
      .filter(({ buffer }) => buffer.deref() !== undefined)
      .map(({ offset, length }) => ({ offset, length }));
  }

  addPin(pin: PagePin): void {
    this.openPins(); // forgets those that are gone
    this.#pins.add(new WeakRef(pin));
  }

  openPins(): PagePin[] {
    return alive(this.#pins, (pin) => !pin.closed);
  }

  /** A slot of a VM begins at `mappingOffset`. */
  enterSlot(vm: object, slot: number, at: SlotAt): void {
    this.#slots.set(slotKey(vm, slot), at);
  }

  leaveSlot(vm: object, slot: number): void {
    this.#slots.delete(slotKey(vm, slot));
  }

  /** The guest physical address of an offset in the mapping, where a slot has it. */
  guestPhysAddr(offset: number): bigint | undefined {
    for (const { mappingOffset, guestPhysAddr, size } of this.#slots.values()) {
      const within = offset - mappingOffset;
      if (within >= 0 && BigInt(within) < BigInt(size)) return BigInt(guestPhysAddr) + BigInt(within);
    }
    return undefined;
  }
}

/** The mappings of a file that are used, and so concern who changes the file. Nobody lives longer for being in here. */
export class UsedMappings {
  // Made when it is needed: most files have none, and it would be a tenth of what making one costs.
  #mappings: Set<WeakRef<Mapping>> | undefined;

  add(mapping: Mapping): void {
    this.open(); // forgets those that are gone
    this.#mappings ??= new Set();
    this.#mappings.add(new WeakRef(mapping));
  }

  open(): Mapping[] {
    return this.#needed().filter(({ closed }) => !closed);
  }

  /** Also those made through mappings that are closed by now, which they outlive. */
  openPins(): { pin: PagePin; offset: number }[] {
    return this.#needed().flatMap((mapping) =>
      mapping.openPins().map((pin) => ({ pin, offset: Number(mapping.fileOffset) + pin.offset })),
    );
  }

  #needed(): Mapping[] {
    return alive(this.#mappings, (mapping) => !mapping.closed || mapping.openPins().length > 0);
  }
}

/** Those that have not been collected and are needed; the others are forgotten. */
function alive<T extends object>(all: Set<WeakRef<T>> | undefined, needed: (one: T) => boolean): T[] {
  const found: T[] = [];
  for (const weak of all ?? []) {
    const one = weak.deref();
    if (one && needed(one)) found.push(one);
    else all?.delete(weak);
  }
  return found;
}

const vmNumbers = new WeakMap<object, number>();
let nextVmNumber = 1;

function slotKey(vm: object, slot: number): string {
  let number = vmNumbers.get(vm);
  if (number === undefined) {
    number = nextVmNumber++;
    vmNumbers.set(vm, number);
  }
  return `${number}:${slot}`;
}
