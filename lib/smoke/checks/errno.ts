import type { GuestMemfd } from '../../kvm/guest-memfd.ts';
import { type Mapping, mapAnonymous } from '../../kvm/mapping.ts';
import { pageSize } from '../../kvm/native.ts';
import type { UserMemoryRegion, Vm } from '../../kvm/vm.ts';
import type { CheckContext } from '../context.ts';
import { refused } from '../expect.ts';
import type { Check } from '../model.ts';
import type { Requirement } from '../requirements.ts';

// The mechanism of the tables of refusals: each row is a check of its own.

/** Where the memslot of a row lies. */
export const gpa = 0x1_0000_0000;
export const page = pageSize;
/** Bytes of a row's guest_memfd and memslot. */
export const size = 4 * page;

/** What a row is given to provoke the kernel with: of one VM, made when first asked for. */
export class Bench {
  readonly check: CheckContext;
  readonly vm: Vm;
  #gmem: GuestMemfd | undefined;
  #mapping: Mapping | undefined;

  constructor(check: CheckContext, vm: Vm) {
    this.check = check;
    this.vm = vm;
  }

  /** A guest_memfd that can be bound on this architecture. */
  get gmem(): GuestMemfd {
    this.#gmem ??= this.check.use(this.vm.createGuestMemfd({ size, flags: this.check.bindable }));
    return this.#gmem;
  }

  /** Anonymous memory of the same size. */
  get mapping(): Mapping {
    this.#mapping ??= this.check.use(mapAnonymous({ size }));
    return this.#mapping;
  }

  /** A memslot without guest_memfd that the kernel accepts as it is. */
  get plain(): UserMemoryRegion {
    return { slot: 1, guestPhysAddr: gpa, size, mapping: this.mapping };
  }

  /** The same with guest_memfd. */
  get region(): UserMemoryRegion {
    return { ...this.plain, guestMemfd: this.gmem };
  }
}

/** A misuse, and what the kernel must say to it. */
export interface Row {
  /** Becomes errno/name. */
  readonly name: string;
  /** The misuse, as the beginning of a sentence. */
  readonly what: string;
  /** The errno, or those that releases differ in; by architecture where they differ in that. */
  readonly refuses: string | readonly string[] | Readonly<Record<'x64' | 'arm64', string>>;
  readonly since: string;
  readonly upstream?: readonly string[];
  readonly requires?: readonly Requirement[];
  /** Only the VMs of these types; all types that the host has where this is not given. */
  readonly types?: readonly number[];
  readonly call: (bench: Bench) => unknown;
}

function codesOf({ refuses }: Row): readonly string[] {
  if (typeof refuses === 'string') return [refuses];
  return 'x64' in refuses ? [...new Set(Object.values(refuses))] : refuses;
}

/** Makes a check of each row. */
export function refusals(requires: readonly Requirement[], rows: readonly Row[]): readonly Check[] {
  return rows.map((row) => ({
    name: `errno/${row.name}`,
    title: `${row.what} is refused with ${codesOf(row).join(' or ')}`,
    ...(row.upstream ? { upstream: row.upstream } : {}),
    since: row.since,
    requires: [...requires, ...(row.requires ?? [])],
    run: (check) => {
      const { architecture, vmTypes } = check.ground.host;
      const codes =
        typeof row.refuses === 'object' && 'x64' in row.refuses
          ? [row.refuses[architecture as 'x64' | 'arm64']]
          : codesOf(row);
      for (const type of row.types ?? vmTypes) {
        check.configuration = `VM type ${type}`;
        const bench = new Bench(check, check.vm(type));
        const code = refused(codes, row.what, () => row.call(bench));
        if (codes.length > 1) check.note(`this kernel refuses with ${code}`);
      }
    },
  }));
}
