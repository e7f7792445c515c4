import { GuestAgent } from '../guest/agent.ts';
import type { GuestCommand } from '../guest/commands.ts';
import type { U64 } from '../kvm/arguments.ts';
import { pageSize } from '../kvm/native.ts';
import type { Vm } from '../kvm/vm.ts';
import type { AttachMode } from './attachment.ts';
import type { MemoryBackend } from './backend.ts';

/** What came out when a guest used every page of a backend. */
export interface Exercise {
  readonly mode: AttachMode;
  /** Pages that the guest wrote, 0 where it may only read, and read. */
  readonly written: number;
  readonly read: number;
  /** Milliseconds that the guest took. */
  readonly time: number;
  /** Pages where the guest read something else than it wrote. */
  readonly differ: number;
  /** Pages where the host reads something else than the guest. */
  readonly differOnHost: number;
}

const batch = 250;
const slot = 1;
const guestPhysAddr = 0x1_0000_0000n;

/** A value that tells pages apart. */
const marker = (page: number) => 0x6d65_6d00_0000_0000n | BigInt(page);

/**
 * Attaches a backend to a VM, lets a guest write and then read the first word of every page, and compares with what the
 * host sees. Detaches it again.
 */
export function exerciseBackend(backend: MemoryBackend, vm: Vm): Exercise {
  using attachment = backend.attach(vm, { slot, guestPhysAddr });
  using agent = GuestAgent.create(vm);
  const { mapping } = backend;
  const pages = mapping.length / pageSize;
  const rom = backend.rom;
  const eachBatch = (run: (first: number, count: number) => void) => {
    for (let first = 0; first < pages; first += batch) run(first, Math.min(batch, pages - first));
  };
  const commands = (first: number, count: number, command: (gpa: U64, page: number) => GuestCommand) =>
    Array.from({ length: count }, (_, i) => command(guestPhysAddr + BigInt((first + i) * pageSize), first + i));
  const expected = new BigUint64Array(1);
  const differsOnHost = (page: number, value: bigint) => {
    expected[0] = value;
    return mapping.compare(page * pageSize, expected) !== -1;
  };

  const started = performance.now();
  let written = 0;
  if (!rom)
    eachBatch((first, count) => {
      agent.execute(commands(first, count, (gpa, page) => ({ op: 'store', gpa, value: marker(page) })));
      written += count;
    });
  let differ = 0;
  let differOnHost = 0;
  let read = 0;
  let hostTime = 0;
  eachBatch((first, count) => {
    const values = agent.execute(commands(first, count, (gpa) => ({ op: 'load', gpa })));
    read += values.length;
    const began = performance.now();
    for (const [i, value] of values.entries()) {
      if (!rom && value !== marker(first + i)) differ++;
      if (differsOnHost(first + i, value)) differOnHost++;
    }
    hostTime += performance.now() - began;
  });
  return {
    mode: attachment.mode,
    written,
    read,
    time: performance.now() - started - hostTime,
    differ,
    differOnHost,
  };
}
