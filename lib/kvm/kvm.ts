import { options, text, u32, u64 } from './arguments.ts';
import { VmType } from './constants.ts';
import { checked } from './errors.ts';
import { native } from './native.ts';
import { FdResource, type Owned, owned } from './resource.ts';
import { Vm } from './vm.ts';

/**
 * An open KVM device.
 *
 * @example
 * using kvm = Kvm.open();
 * using vm = kvm.createVm();
 */
export class Kvm extends FdResource {
  /** The path that was opened. */
  readonly path: string;

  private constructor(handle: Owned, path: string) {
    super(handle);
    this.path = path;
  }

  /**
   * Opens the KVM device for reading and writing.
   *
   * @param options.path the device, `/dev/kvm` unless told otherwise
   * @throws {KvmError} ENOENT (no device), EACCES (not in the device's group), EPERM (refused to this container), with
   *   the remedy; ENOTTY when the path is not a KVM device
   */
  static open(given: { path?: string } = {}): Kvm {
    const { path = '/dev/kvm' } = options('options', given);
    text('path', path, { nul: false });
    // Explanations are those of the device, whatever name it goes by here.
    const kvm = new Kvm(owned(native.kvmOpen(path), 'open(/dev/kvm)', { path }), path);
    try {
      kvm.apiVersion();
    } catch (error) {
      kvm.close();
      throw error;
    }
    return kvm;
  }

  /** KVM_GET_API_VERSION: 12 on every kernel since 2.6.22. */
  apiVersion(): number {
    return checked(native.kvmApiVersion(this.handle), 'ioctl(KVM_GET_API_VERSION)', { path: this.path });
  }

  /**
   * KVM_CHECK_EXTENSION on the device: 0 where the capability is absent, else 1 or a value of its own. This is the answer
   * for some VM; ask {@link Vm.checkExtension} for a given one.
   *
   * @param capability a number of {@link Capability}, or any other from 0 to 2^32 - 1
   */
  checkExtension(capability: number): number {
    const number = u32('capability', capability);
    return checked(native.kvmCheckExtension(this.handle, number), 'ioctl(KVM_CHECK_EXTENSION)', { capability: number });
  }

  /**
   * KVM_GET_SUPPORTED_CPUID (2.6.25, x86 only): what vCPUs may be given with {@link Vcpu.setCpuid}.
   *
   * @returns struct kvm_cpuid2: the number of leaves (u32), 4 bytes, the leaves of 40 bytes each
   * @throws {KvmError} ENOTTY elsewhere than on x86
   */
  supportedCpuid(): Uint8Array {
    // More leaves than any processor has had; E2BIG would tell.
    const list = new Uint8Array(8 + 40 * 256);
    checked(native.kvmSupportedCpuid(this.handle, list), 'ioctl(KVM_GET_SUPPORTED_CPUID)', { leaves: 256 });
    return list.slice(0, 8 + 40 * new DataView(list.buffer).getUint32(0, true));
  }

  /** KVM_GET_VCPU_MMAP_SIZE: the bytes of a vCPU's kvm_run mapping, 12288 on x86-64. */
  vcpuMmapSize(): number {
    return checked(native.kvmVcpuMmapSize(this.handle), 'ioctl(KVM_GET_VCPU_MMAP_SIZE)');
  }

  /**
   * KVM_CREATE_VM.
   *
   * @param options.type a {@link VmType} on x86 (default 0); on arm64 the IPA size in bits, 0 for 40
   * @throws {KvmError} EINVAL where this kernel does not offer the type
   */
  createVm(given: { type?: number | bigint } = {}): Vm {
    const { type = VmType.DEFAULT } = options('options', given);
    const number = u64('type', type);
    const handle = owned(native.kvmCreateVm(this.handle, number), 'ioctl(KVM_CREATE_VM)', { type: number });
    return new Vm(handle, number, this.path);
  }
}
