import { createRequire } from 'node:module';
import type { U64 } from './arguments.ts';

/** A native object of this environment; never used twice. */
export type Handle = number;

/**
 * The addon, as native/addon exports it: free functions on handles, positional scalars, results that are a value or a
 * negative errno. Arguments have been validated before they come here. Each function is described where it is used.
 */
export interface Native {
  close(handle: Handle): number;
  fd(handle: Handle): number;
  guestProgram(): Uint8Array;
  pageSize(): number;
  dieWithParent(): number;

  kvmOpen(path: string): Handle;
  kvmApiVersion(kvm: Handle): number;
  kvmCheckExtension(kvm: Handle, capability: number): number;
  kvmSupportedCpuid(kvm: Handle, list: Uint8Array): number;
  kvmVcpuMmapSize(kvm: Handle): number;
  kvmCreateVm(kvm: Handle, type: U64): Handle;

  vmCheckExtension(vm: Handle, capability: number): number;
  vmEnableCapability(vm: Handle, capability: number, flags: number, a: U64, b: U64, c: U64, d: U64): number;
  vmCreateGuestMemfd(vm: Handle, size: U64, flags: U64): Handle;
  vmSetUserMemoryRegion(
    vm: Handle,
    slot: number,
    flags: number,
    guestPhysAddr: U64,
    size: U64,
    userspaceAddr: U64,
    guestMemfd: number,
    guestMemfdOffset: U64,
    legacy: number,
    mapping: Handle | 0,
  ): number;
  vmSetMemoryAttributes(vm: Handle, address: U64, size: U64, attributes: U64, flags: U64): number;
  vmSetTssAddress(vm: Handle, address: U64): number;
  vmSetIdentityMapAddress(vm: Handle, address: U64): number;

  guestMemfdFallocate(guestMemfd: Handle, mode: number, offset: U64, length: U64): number;
  guestMemfdFacts(guestMemfd: Handle, facts: BigUint64Array): number;
  guestMemfdSetMemoryAttributes(
    guestMemfd: Handle,
    offset: U64,
    size: U64,
    attributes: U64,
    flags: U64,
    errorOffset: BigUint64Array,
  ): number;
  guestMemfdProbeMemoryAttributes(guestMemfd: Handle): number;

  memoryFileOpen(path: string, flags: number, mode: number): Handle;
  memoryFileMemfd(name: string, flags: number): Handle;
  memoryFileShared(): Handle;
  memoryFileResize(file: Handle, size: U64): number;
  memoryFileAddSeals(file: Handle, seals: number): number;
  memoryFileFallocate(file: Handle, mode: number, offset: U64, length: U64): number;
  memoryFileFacts(file: Handle, facts: BigUint64Array): number;

  populateStart(
    mapping: Handle,
    offset: U64,
    length: U64,
    pageSize: U64,
    threads: number,
    cpus: Uint32Array,
    method: number,
    done: () => void,
  ): Handle;
  populateProgress(job: Handle): number;
  populateCancel(job: Handle): number;
  populateOutcome(job: Handle, words: BigUint64Array): number;
  probeAffinity(cpus: Uint32Array): number;

  map(
    fd: number,
    offset: U64,
    length: U64,
    protection: number,
    flags: number,
    alignment: U64,
    guard: number,
    address: BigUint64Array,
  ): Handle;
  mappingRead(mapping: Handle, offset: U64, into: Uint8Array): number;
  mappingWrite(mapping: Handle, offset: U64, from: Uint8Array): number;
  mappingFill(mapping: Handle, offset: U64, length: U64, value: number): number;
  mappingCompare(mapping: Handle, offset: U64, expected: Uint8Array): number;
  mappingAdvise(mapping: Handle, offset: U64, length: U64, advice: number): number;
  mappingProtect(mapping: Handle, offset: U64, length: U64, protection: number): number;
  mappingBind(mapping: Handle, offset: U64, length: U64, mode: number, flags: number, nodes: BigUint64Array): number;
  mappingPolicy(mapping: Handle, offset: U64, modeAndNodes: BigUint64Array): number;
  mappingResidency(mapping: Handle, offset: U64, length: U64, pages: Uint8Array): number;
  mappingNodes(mapping: Handle, offset: U64, nodes: Int32Array): number;
  mappingPin(mapping: Handle, offset: U64, length: U64): Handle;
  pinKind(pin: Handle): number;
  mappingForkChild(mapping: Handle): Handle;
  childLoad(child: Handle, offset: U64): number;
  childStore(child: Handle, offset: U64, value: number): number;
  mappingSeal(mapping: Handle, offset: U64, length: U64): number;
  mappingView(mapping: Handle, view: number, offset: U64, length: U64): ArrayBuffer;
  mappingDetachView(mapping: Handle, view: number, buffer: ArrayBuffer | undefined): boolean;

  convert(steps: BigUint64Array, outcome: BigUint64Array): number;
  rawIoctl(fd: number, request: number, argument: Uint8Array | null): number;
  rawIoctlInChild(fd: number, request: number, argument: Uint8Array | null): number;
  rawFallocateInChild(fd: number, mode: number, offset: U64, length: U64): number;

  vcpuCreate(vm: Handle, id: number, exitBlock: Uint8Array): Handle;
  vcpuRun(vcpu: Handle, timeout: number): number;
  vcpuRunAsync(vcpu: Handle, timeout: number, done: (result: number) => void): number;
  vcpuStop(vcpu: Handle): number;
  vcpuSetCpuid(vcpu: Handle, list: Uint8Array): number;
  vcpuTransfer(vcpu: Handle, which: number, state: Uint8Array): number;
  vcpuWriteRun(vcpu: Handle, offset: number, bytes: Uint8Array): number;
  vcpuPreFault(vcpu: Handle, gpa: U64, size: U64, flags: U64, left: BigUint64Array): number;
}

function loadError(code: string, message: string, cause?: unknown): Error {
  return Object.assign(new Error(message, { cause }), { code });
}

function load(): Native {
  const { arch, platform } = process;
  if (platform !== 'linux')
    throw loadError('ERR_UNSUPPORTED_PLATFORM', `guest-memfd needs Linux: KVM does not exist on ${platform}`);
  if (arch !== 'x64' && arch !== 'arm64')
    throw loadError('ERR_UNSUPPORTED_PLATFORM', `guest-memfd knows x64 and arm64, not ${arch}`);
  // Two folders up from lib/kvm and from dist/kvm alike.
  const path = '../../build/Release/guest_memfd.node';
  try {
    return createRequire(import.meta.url)(process.env['GMEM_ADDON'] ?? path) as Native;
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    if (code === 'MODULE_NOT_FOUND')
      throw loadError(
        'ERR_ADDON_NOT_BUILT',
        'the native addon of guest-memfd has not been built for this machine. Run "npm run build:native" in its folder (needs g++, make and python3)',
        cause,
      );
    if (code === 'ERR_DLOPEN_DISABLED')
      throw loadError(
        code,
        'native addons are switched off (--no-addons or the permission model); guest-memfd is one',
        cause,
      );
    throw loadError(
      'ERR_ADDON_LOAD',
      `the native addon of guest-memfd cannot be loaded: ${message}. If it was built for another system or Node, run "npm run build:native" again`,
      cause,
    );
  }
}

// A copy, so that lib/kvm/trace.ts can put its own functions in the place of the addon's while calls are recorded.
export const native: Native = { ...load() };

/** The size of a page of this host in bytes: 4096 on x86-64; 4096, 16384 or 65536 on arm64. */
export const pageSize: number = native.pageSize();
