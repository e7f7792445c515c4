import { rangeError } from '../kvm/arguments.ts';
import type { Mapping } from '../kvm/mapping.ts';

const present = 0x1n;
const writable = 0x2n;
const user = 0x4n;
const large = 0x80n;
const tablePage = 4096n;
const pageShift = 21n; // 2 MiB pages
const entries = 512n;
// KVM takes an entry that points beyond the guest's address width for one with reserved bits: a triple fault.
const addressableGigabytes = 64n;

/**
 * x86-64 page tables of a guest, mapping addresses to themselves with 2 MiB pages, made 1 GiB at a time where a command is
 * about to touch memory. An entry that was absent is never cached by the processor, so adding one needs no flush.
 */
export class IdentityPageTables {
  readonly #memory: Mapping;
  readonly #base: bigint;
  readonly #end: bigint;
  readonly #offset: bigint;
  #next: bigint;
  readonly #tables = new Map<string, bigint>();

  /**
   * @param memory what the guest sees at `guestPhysAddr`
   * @param from the first byte in `memory` for tables, to `to`
   */
  constructor(memory: Mapping, guestPhysAddr: bigint, from: bigint, to: bigint) {
    this.#memory = memory;
    this.#offset = guestPhysAddr;
    this.#base = from;
    this.#next = from + tablePage;
    this.#end = to;
  }

  /** What CR3 must hold. */
  get root(): bigint {
    return this.#offset + this.#base;
  }

  /** Makes [gpa, gpa + length) reachable. */
  ensure(gpa: bigint, length: bigint): void {
    if (length === 0n) return;
    const last = (gpa + length - 1n) >> 30n;
    for (let gigabyte = gpa >> 30n; gigabyte <= last; gigabyte++) this.#ensureGigabyte(gigabyte);
  }

  #ensureGigabyte(gigabyte: bigint): void {
    const key = `directory ${gigabyte}`;
    if (this.#tables.has(key)) return;
    if (gigabyte >= addressableGigabytes)
      throw rangeError(
        'gpa',
        "within the guest's 64 GiB: a vCPU without CPUID has 36 address bits",
        `0x${(gigabyte << 30n).toString(16)}`,
      );
    const pointers = this.#table(`pointers ${gigabyte / entries}`, this.#base, gigabyte / entries);
    const directory = this.#table(key, pointers, gigabyte % entries);
    const pages = new BigUint64Array(Number(entries));
    for (let i = 0n; i < entries; i++)
      pages[Number(i)] = (((gigabyte << 9n) | i) << pageShift) | present | writable | large | user;
    this.#memory.write(directory, pages);
  }

  /** The offset of a table, made and entered into `parent` where it does not exist. */
  #table(key: string, parent: bigint, index: bigint): bigint {
    const known = this.#tables.get(key);
    if (known !== undefined) return known;
    if (this.#next >= this.#end)
      throw rangeError(
        'gpa',
        'in a GiB touched before: the guest agent has no room for more page tables',
        `GiB ${index}`,
      );
    const table = this.#next;
    this.#next += tablePage;
    this.#tables.set(key, table);
    this.#memory.write(parent + index * 8n, BigUint64Array.of((this.#offset + table) | present | writable | user));
    return table;
  }
}
