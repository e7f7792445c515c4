import { GuestAgent, GuestExitError } from '../guest/agent.ts';
import { type Capabilities, capabilities, vmTypeName } from '../kvm/capabilities.ts';
import {
  Advice,
  Capability,
  FileSystemMagic,
  GuestMemfdFlag,
  MemoryAttribute,
  MemoryPolicy,
  VmType,
} from '../kvm/constants.ts';
import { KvmError, MemoryAccessError } from '../kvm/errors.ts';
import type { Kvm } from '../kvm/kvm.ts';
import { mapAnonymous } from '../kvm/mapping.ts';
import { pageSize } from '../kvm/native.ts';
import type { Vm } from '../kvm/vm.ts';

/** What is tried, by the names that the report has. */
export type FeatureName =
  | 'guest-memfd'
  | 'mmap'
  | 'init-shared'
  | 'private-refused'
  | 'close-on-exec'
  | 'guest-runs'
  | 'memory-fault-info'
  | 'pre-fault'
  | 'memory-attributes'
  | 'in-place-conversion'
  | 'numa-policy'
  | 'huge-pages'
  | 'own-file-system';

/**
 * How a trial ended. `ignored`: the kernel accepts the request and does nothing. `unknown`: it failed for a reason that says
 * nothing about the feature.
 */
export interface Trial {
  readonly status: 'yes' | 'no' | 'ignored' | 'unknown';
  /** What was done and what came of it. */
  readonly detail: string;
  /** The errno that was the answer, where it was one. */
  readonly code?: string;
  /** The feature without which this one could not be tried. */
  readonly needs?: FeatureName;
}

/** What was found out by trying. */
export interface Findings {
  /** The answers of a VM of each type that can be created, by type number. */
  readonly vms: Readonly<Record<string, Capabilities>>;
  readonly trials: Readonly<Record<FeatureName, Trial>>;
}

const yes = (detail: string): Trial => ({ status: 'yes', detail });
const no = (detail: string): Trial => ({ status: 'no', detail });

/** Errnos by which the kernel says that it does not have or do something, and not that it cannot just now. */
const refusals = new Set(['EINVAL', 'ENOTTY', 'EOPNOTSUPP', 'ENODEV', 'ENOSYS', 'ENOENT', 'EBADF', 'EEXIST']);

/** What a failure tells; an error that is none of the kernel's or the guest's passes through. */
function failed(error: unknown): Trial {
  if (error instanceof KvmError) {
    const { code, syscall, reason } = error;
    const detail = `${syscall} gives ${code}${reason ? `: ${reason}` : ''}`;
    return { status: refusals.has(code) ? 'no' : 'unknown', detail, code };
  }
  if (error instanceof MemoryAccessError || error instanceof GuestExitError) return no(error.message);
  if ((error as NodeJS.ErrnoException).code === 'ERR_UNSUPPORTED_ARCHITECTURE')
    return { status: 'unknown', detail: (error as Error).message };
  throw error;
}

class Trials {
  readonly done: Partial<Record<FeatureName, Trial>> = {};

  /** One trial: it costs the others nothing, whatever comes of it, except those that need it. */
  attempt(name: FeatureName, needs: FeatureName | undefined, trial: () => Trial): void {
    const needed = needs && this.done[needs];
    if (needed && needed.status !== 'yes') {
      this.done[name] = { status: needed.status, detail: `not tried: needs ${needs}`, needs: needed.needs ?? needs };
      return;
    }
    try {
      this.done[name] = trial();
    } catch (error) {
      this.done[name] = failed(error);
    }
  }
}

const gpa = 0x1_0000_0000;
const slot = 1;
const pattern = new Uint8Array(8).fill(0x5a);

/** The flags that a VM offers out of MMAP and INIT_SHARED. */
function offeredFlags(vm: Vm): number {
  return vm.checkExtension(Capability.GUEST_MEMFD_FLAGS) & (GuestMemfdFlag.MMAP | GuestMemfdFlag.INIT_SHARED);
}

/** Creates one and binds it, for from 6.8 to 6.17 a default VM could create what it then could not use. */
function bindable(vm: Vm): void {
  const flags = offeredFlags(vm);
  using guestMemfd = vm.createGuestMemfd({ size: pageSize, flags });
  using mapping = flags & GuestMemfdFlag.MMAP ? guestMemfd.map() : mapAnonymous({ size: pageSize });
  vm.setUserMemoryRegion({ slot, guestPhysAddr: gpa, size: pageSize, mapping, guestMemfd });
  vm.deleteUserMemoryRegion(slot);
}

function mmap(vm: Vm): Trial {
  const flags = offeredFlags(vm) | GuestMemfdFlag.MMAP;
  using gmem = vm.createGuestMemfd({ size: pageSize, flags });
  using mapping = gmem.map();
  if (!(flags & GuestMemfdFlag.INIT_SHARED))
    return yes('created and mapped; its memory starts private, so that the host may not touch it yet');
  mapping.write(0, pattern);
  return mapping.compare(0, pattern) === -1
    ? yes('created, mapped, written and read back')
    : no('what was written through the mapping did not read back');
}

function initShared(vm: Vm): Trial {
  using gmem = vm.createGuestMemfd({ size: pageSize, flags: GuestMemfdFlag.MMAP | GuestMemfdFlag.INIT_SHARED });
  using writer = gmem.map();
  using reader = gmem.map();
  if (reader.compare(0, new Uint8Array(pageSize)) !== -1) return no('fresh memory is not zero');
  writer.write(0, pattern);
  return reader.compare(0, pattern) === -1
    ? yes('fresh memory is zero, and two mappings of it see the same')
    : no('two mappings of the same memory do not see the same');
}

function privateRefused(vm: Vm): Trial {
  using gmem = vm.createGuestMemfd({ size: pageSize, flags: GuestMemfdFlag.MMAP });
  using mapping = gmem.map();
  try {
    mapping.read(0, 1);
  } catch (error) {
    if (error instanceof MemoryAccessError) return yes('reading it gives MemoryAccessError, without it SIGBUS');
    throw error;
  }
  return no('the host could read memory that should be private');
}

/** A policy belongs to the file where it is honoured, and went with the mapping where it is not. */
function numaPolicy(vm: Vm, node: number): Trial {
  using gmem = vm.createGuestMemfd({ size: pageSize, flags: GuestMemfdFlag.MMAP });
  const modeOf = (mode: number) => mode & 0xff; // without mode flags
  let asked: number;
  {
    using first = gmem.map();
    // Without a policy of its own memory shows that of the process, which numactl may have set.
    asked = modeOf(first.policy().mode) === MemoryPolicy.PREFERRED ? MemoryPolicy.INTERLEAVE : MemoryPolicy.PREFERRED;
    first.bind({ mode: asked, nodes: [node] });
    if (modeOf(first.policy().mode) !== asked) return { status: 'ignored', detail: 'mbind succeeds and sets nothing' };
  }
  using second = gmem.map();
  return modeOf(second.policy().mode) === asked
    ? yes('a policy set through one mapping is there in the next')
    : { status: 'ignored', detail: 'mbind succeeds, but the policy is gone in the next mapping' };
}

function hugePages(vm: Vm): Trial {
  // What one page of the page tables' next level maps: 2 MiB with 4 KiB pages.
  const size = (pageSize / 8) * pageSize;
  using gmem = vm.createGuestMemfd({ size, flags: GuestMemfdFlag.MMAP | GuestMemfdFlag.INIT_SHARED });
  using mapping = gmem.map({ alignment: size });
  mapping.fill(1, 0, 1);
  try {
    mapping.advise(Advice.COLLAPSE);
  } catch (error) {
    if (error instanceof KvmError && error.code === 'EINVAL')
      return { status: 'no', detail: 'MADV_COLLAPSE gives EINVAL', code: error.code };
    throw error;
  }
  return yes(`MADV_COLLAPSE made one of ${size} bytes`);
}

function ownFileSystem(vm: Vm): Trial {
  using gmem = vm.createGuestMemfd({ size: pageSize, flags: offeredFlags(vm) });
  const { fileSystem } = gmem.stat();
  if (fileSystem === FileSystemMagic.GUEST_MEMFD) return yes('statfs gives the f_type of guest_memfd');
  const whose = fileSystem === FileSystemMagic.ANON_INODE ? ', that of anonymous inodes' : '';
  return no(`statfs gives f_type 0x${fileSystem.toString(16)}${whose}`);
}

/** Sets and clears the attribute; a range needs no memslot for that. */
function memoryAttributes(vm: Vm): Trial {
  const range = { address: gpa, size: pageSize };
  vm.setMemoryAttributes({ ...range, attributes: MemoryAttribute.PRIVATE });
  vm.setMemoryAttributes({ ...range, attributes: 0 });
  return yes(`PRIVATE set and cleared on a VM of type ${vmTypeName(Number(vm.type))}`);
}

/** The ioctl is there for every VM or for none; only a guest_memfd of a VM with private memory takes it. */
function inPlaceConversion(vms: readonly Vm[], fallback: Vm): Trial {
  let last: unknown;
  for (const vm of [...vms.filter((one) => Number(one.type) !== VmType.DEFAULT), fallback]) {
    try {
      using gmem = vm.createGuestMemfd({ size: pageSize, flags: offeredFlags(vm) });
      if (!gmem.supportsInPlaceConversion())
        return { status: 'no', detail: 'ioctl(KVM_SET_MEMORY_ATTRIBUTES2) gives ENOTTY', code: 'ENOTTY' };
      gmem.setMemoryAttributes({ offset: 0, size: pageSize, attributes: 0 });
      return yes(`taken by a guest_memfd of a VM of type ${vmTypeName(Number(vm.type))}`);
    } catch (error) {
      last = error;
    }
  }
  throw last;
}

function runGuest(agent: GuestAgent, isShared: boolean, compare: (expected: Uint8Array) => boolean): Trial {
  const value = 0x1122_3344_5566_7788n;
  const [loaded] = agent.execute(
    [
      { op: 'load', gpa },
      { op: 'store', gpa, value },
    ],
    { timeout: 1000 },
  );
  if (loaded !== (isShared ? 0x5a5a_5a5a_5a5a_5a5an : 0n)) return no('the guest did not read what is in the file');
  if (isShared && !compare(new Uint8Array(BigUint64Array.of(value).buffer)))
    return no('what the guest wrote is not in the file');
  return yes(isShared ? 'host and guest see what the other wrote' : 'it wrote and read private memory');
}

/** Types of VM whose guest runs without a launch of its own kind. */
const runnable: readonly number[] = [VmType.DEFAULT, VmType.SW_PROTECTED];

/** Everything that takes a vCPU. */
function guestTrials(trials: Trials, vm: Vm): void {
  trials.attempt('guest-runs', 'guest-memfd', () => {
    if (!runnable.includes(Number(vm.type)))
      return { status: 'unknown', detail: `not tried: a VM of type ${vmTypeName(Number(vm.type))} needs a launch` };
    const flags = offeredFlags(vm);
    const isShared = (flags & GuestMemfdFlag.INIT_SHARED) !== 0;
    using guestMemfd = vm.createGuestMemfd({ size: pageSize, flags });
    using mapping = flags & GuestMemfdFlag.MMAP ? guestMemfd.map() : mapAnonymous({ size: pageSize });
    if (isShared) mapping.write(0, pattern);
    vm.setUserMemoryRegion({ slot, guestPhysAddr: gpa, size: pageSize, mapping, guestMemfd });
    if (!isShared) vm.setMemoryAttributes({ address: gpa, size: pageSize, attributes: MemoryAttribute.PRIVATE });
    using agent = GuestAgent.create(vm);
    trials.attempt('pre-fault', undefined, () => {
      const { remaining } = agent.vcpu.preFault({ guestPhysAddr: gpa, size: pageSize });
      return remaining === 0n ? yes('a page of guest_memfd was mapped') : no('it reports success and maps nothing');
    });
    const result = runGuest(agent, isShared, (expected) => mapping.compare(0, expected) === -1);
    trials.attempt('memory-fault-info', undefined, () => {
      // With the last reference to the file gone the slot has nothing behind it.
      mapping.close();
      guestMemfd.close();
      const { exit } = agent.run([{ op: 'load', gpa }], { timeout: 1000 });
      const left = 'a guest that touched a slot whose file is gone left with';
      return exit?.reason === 'MEMORY_FAULT'
        ? yes(`${left} MEMORY_FAULT at 0x${exit.guestPhysAddr.toString(16)}`)
        : no(`${left} ${exit?.reason ?? 'no exit'}`);
    });
    return result;
  });
  // Where no vCPU came about only the capability is left to ask.
  for (const [name, capability] of [
    ['memory-fault-info', 'MEMORY_FAULT_INFO'],
    ['pre-fault', 'PRE_FAULT_MEMORY'],
  ] as const)
    if (!trials.done[name]) {
      const value = vm.checkExtension(Capability[capability]);
      const detail = `not tried, for no guest ran; KVM_CAP_${capability} is ${value}`;
      trials.done[name] = value > 0 ? { status: 'unknown', detail, needs: 'guest-runs' } : no(detail);
    }
}

/** The first VM that takes a guest_memfd; the default one, with what it said, where none does. */
function guestMemfdTrial(trials: Trials, vms: readonly Vm[]): Vm {
  const [byDefault] = vms as [Vm, ...Vm[]];
  let taker: Vm | undefined;
  let refused: Trial | undefined;
  for (const vm of vms) {
    try {
      bindable(vm);
      taker = vm;
      break;
    } catch (error) {
      refused ??= failed(error);
    }
  }
  trials.done['guest-memfd'] = taker
    ? yes(`created and bound to a VM of type ${vmTypeName(Number(taker.type))}`)
    : (refused ?? no('no VM takes one'));
  return taker ?? byDefault;
}

function tryAll(trials: Trials, vms: readonly Vm[], node: number | undefined): void {
  const vm = guestMemfdTrial(trials, vms);
  const ofPrivate = vms.find((one) => one.checkExtension(Capability.MEMORY_ATTRIBUTES) & MemoryAttribute.PRIVATE);
  trials.attempt('mmap', 'guest-memfd', () => mmap(vm));
  trials.attempt('init-shared', 'mmap', () => initShared(vm));
  trials.attempt('private-refused', 'mmap', () => privateRefused(vm));
  trials.attempt('close-on-exec', 'guest-memfd', () => {
    using gmem = vm.createGuestMemfd({ size: pageSize, flags: offeredFlags(vm) });
    return gmem.stat().closeOnExec
      ? yes('set by this package, for KVM makes the descriptor without')
      : no('the descriptor would be inherited by programs that are started');
  });
  guestTrials(trials, vm);
  trials.attempt('memory-attributes', undefined, () =>
    ofPrivate ? memoryAttributes(ofPrivate) : no('KVM_CAP_MEMORY_ATTRIBUTES is 0 for every type of VM'),
  );
  trials.attempt('in-place-conversion', 'guest-memfd', () => inPlaceConversion(vms, vm));
  trials.attempt('numa-policy', 'mmap', () =>
    node === undefined ? { status: 'unknown', detail: 'no node has memory for this process' } : numaPolicy(vm, node),
  );
  trials.attempt('huge-pages', 'init-shared', () => hugePages(vm));
  trials.attempt('own-file-system', 'guest-memfd', () => ownFileSystem(vm));
}

/**
 * Tries everything on throw-away VMs, in a few milliseconds.
 *
 * @param node a NUMA node with memory that this process may use, where there is one
 * @throws {KvmError} where not even a default VM can be created
 */
export function findOut(kvm: Kvm, node: number | undefined): Findings {
  const vms: Vm[] = [];
  try {
    for (const type of process.arch === 'x64' ? Object.values(VmType) : [VmType.DEFAULT])
      try {
        vms.push(kvm.createVm({ type }));
      } catch (error) {
        // The other types are there or not; without a default VM there is nothing to try anything on.
        if (type === VmType.DEFAULT || !(error instanceof KvmError)) throw error;
      }
    const trials = new Trials();
    tryAll(trials, vms, node);
    return {
      vms: Object.fromEntries(vms.map((vm) => [String(vm.type), capabilities(vm)])),
      trials: trials.done as Findings['trials'],
    };
  } finally {
    for (const vm of vms) vm.close();
  }
}
