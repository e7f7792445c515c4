import type { Cause } from '../system/causes.ts';
import type { SystemFacts } from '../system/system.ts';

/** The part of a KvmError that the cause depends on. */
export interface DeviceError {
  readonly code: string;
  readonly syscall: string;
  readonly message: string;
}

/** Nothing stands behind the device: built without KVM, no hardware for it, or no module that uses the hardware. */
function noDriver({ device, host, kernel }: SystemFacts, what: string): Cause {
  if (device.path !== '/dev/kvm') return { cause: what, remedy: 'Give the path of the KVM device, usually /dev/kvm' };
  if (kernel.config.options.KVM === 'n')
    return {
      cause: `${what}, and the kernel was built without CONFIG_KVM (${kernel.config.source})`,
      remedy: 'Use a kernel that has it',
    };
  if (kernel.modules.some((module) => module !== 'kvm'))
    return {
      cause: `${what}, though a KVM module is there (${kernel.modules.join(', ')})`,
      remedy: `Pass the device into the container (--device ${device.path}), or create its node: mknod ${device.path} c 10 232`,
    };
  if (host.architecture === 'x64' && host.virtualisation === undefined)
    return {
      cause: `${what}, and the processor shows neither vmx nor svm`,
      remedy: host.underHypervisor
        ? 'Switch on nested virtualisation for this virtual machine, on its host'
        : 'Switch on virtualisation (VT-x or AMD-V) in the firmware',
    };
  return {
    cause: what,
    remedy:
      host.architecture === 'x64'
        ? `Load the module: modprobe ${host.virtualisation === 'svm' ? 'kvm_amd' : 'kvm_intel'}; in a container, pass the device in`
        : 'Boot the kernel at EL2, so that KVM starts; in a container, pass the device in',
  };
}

function noPermission({ device }: SystemFacts): Cause {
  const { path, mode = '', owner = '', group = '' } = device;
  const cause = `this user may not open ${path} (mode ${mode}, owner ${owner}, group ${group})`;
  // The digits of a mode: special bits, owner, group, others.
  const groupMay = (Number(mode[2]) & 6) === 6;
  if (groupMay && group !== 'root')
    return { cause, remedy: `Add the user to group ${group} (usermod -aG ${group} USER) and log in again` };
  return {
    cause,
    remedy: `As root: chgrp kvm ${path} && chmod 660 ${path} (by a udev rule to make it last), with the user in group kvm`,
  };
}

/**
 * The first thing that keeps the device from being used: no device, no permission, no KVM behind it, no VM to be had. A
 * function of facts and of the error that opening the device, or creating a first VM, gave.
 */
export function deviceProblem(system: SystemFacts, error: DeviceError): Cause {
  const { path, exists } = system.device;
  const isOpening = error.syscall.startsWith('open(');
  if (isOpening && error.code === 'ENOENT') return noDriver(system, `there is no ${path}`);
  if (isOpening && error.code === 'EACCES') {
    if (exists) return noPermission(system);
    return { cause: `this user may not reach ${path}`, remedy: 'Let the user search the folders on the way' };
  }
  if (isOpening && error.code === 'EPERM')
    return {
      cause: `a device policy (cgroup, seccomp or security module) refuses ${path}`,
      remedy: `Allow the container the device, for example with --device ${path}`,
    };
  if (isOpening && (error.code === 'ENODEV' || error.code === 'ENXIO'))
    return noDriver(system, `nothing stands behind ${path}`);
  if (error.syscall === 'ioctl(KVM_GET_API_VERSION)' || error.code === 'EISDIR')
    return { cause: `${path} is not a KVM device`, remedy: 'Give the path of the KVM device, usually /dev/kvm' };
  if (error.syscall === 'ioctl(KVM_CREATE_VM)' && error.code === 'EBUSY')
    return {
      cause: 'no VM can be created, for another hypervisor has taken the virtualisation hardware (EBUSY)',
      remedy: 'Stop the other hypervisor (such as VirtualBox) and try again',
    };
  if (error.syscall === 'ioctl(KVM_CREATE_VM)')
    return { cause: `no VM can be created (${error.code})`, remedy: 'Look for the reason in the kernel log (dmesg)' };
  return { cause: error.message, remedy: 'Give the path of the KVM device, usually /dev/kvm' };
}
