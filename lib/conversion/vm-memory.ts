import { Vm } from '../kvm/vm.ts';
import { type GuestMemory, memoryOf } from './memory.ts';

// lib/kvm knows nothing of what is built on it, so `vm.memory` is added from here: lib/index.ts imports this file.
declare module '../kvm/vm.ts' {
  interface Vm {
    /** What of this VM's memory is private and what is shared, and conversions between the two. */
    readonly memory: GuestMemory;
  }
}

Object.defineProperty(Vm.prototype, 'memory', {
  configurable: true,
  get(this: Vm) {
    return memoryOf(this);
  },
});
