import { type CapturedBytes, isBytes } from '../trace/log.ts';

/** All bytes that a buffer held. */
export function contentOf(bytes: CapturedBytes): Uint8Array {
  return bytes.uniform === undefined ? bytes.bytes : new Uint8Array(bytes.length).fill(bytes.uniform);
}

/** The 64-bit words of a buffer; the last one may be a part of one. */
export function wordsOf(value: unknown): bigint[] {
  if (!isBytes(value)) return [];
  const padded = new Uint8Array(Math.ceil(value.length / 8) * 8);
  padded.set(contentOf(value).subarray(0, value.length));
  return [...new BigUint64Array(padded.buffer)];
}
