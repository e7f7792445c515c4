import { native } from './native.ts';

/** The guest program of this processor's architecture (native/guest), position-independent; empty where there is none. */
export function guestProgram(): Uint8Array {
  return native.guestProgram();
}
