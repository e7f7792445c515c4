// Values of the game that are made when a call is, and what no call was meant for.
import fc from 'fast-check';

/** An object of the game, chosen when the call is made: `type` is a class, or undefined for any. */
export class Reference {
  constructor(type, pick) {
    this.type = type;
    this.pick = pick;
  }
}

/** Thrown by values that are made to throw: what a user's own code throws must come through as it is. */
export class Thrown extends Error {}

/** A value that is made anew for each call, because calls may change it. */
export class Fresh {
  constructor(name, make) {
    this.name = name;
    this.make = make;
  }
}

const limit = 2 ** 21;

/** More than there are addresses for. */
export const beyond = 2 ** 47;

/** What fits into the address space but not into memory would measure nothing but the kernel's OOM killer. */
const harmless = (number) =>
  Math.abs(Number(number)) > limit && Math.abs(Number(number)) < beyond
    ? typeof number === 'bigint'
      ? number % BigInt(limit)
      : number % limit
    : number;

/** What a caller may hand over, and should not. */
export function hostile() {
  const throws = () => {
    throw new Thrown('a user’s own error');
  };
  const resizable = () => {
    const buffer = new ArrayBuffer(64, { maxByteLength: 128 });
    const view = new Uint8Array(buffer, 32);
    buffer.resize(16); // the view is out of bounds now
    return view;
  };
  const detached = (type) => () => {
    const view = new type(new ArrayBuffer(64));
    structuredClone(view.buffer, { transfer: [view.buffer] });
    return view;
  };
  const makers = {
    'a throwing getter': () => ({
      get size() {
        return throws();
      },
      get length() {
        return throws();
      },
    }),
    'a proxy that throws': () => new Proxy({}, { get: throws }),
    'an array that is a proxy': () => new Proxy([1, 2], {}),
    'bytes that are a proxy': () => new Proxy(new Uint8Array(8), {}),
    'only the prototype of bytes': () => Object.create(Uint8Array.prototype),
    'bytes with a length of their own': () =>
      Object.defineProperty(new Uint8Array(8), 'byteLength', { value: 1 << 20 }),
    'bytes of an array that shrank': resizable,
    'detached bytes': detached(Uint8Array),
    'a detached DataView': detached(DataView),
    'a SharedArrayBuffer': () => new SharedArrayBuffer(4096),
    'a DataView': () => new DataView(new ArrayBuffer(100), 3, 17),
    '64-bit words': () => new BigUint64Array(9),
    bytes: () => new Uint8Array(4096).fill(7),
    'a few bytes': () => new Uint8Array(5),
    'no bytes': () => new Uint8Array(0),
    'a function': () => () => undefined,
    'a function that throws': () => throws,
    'a class': () => class {},
    'an aborted signal': () => AbortSignal.abort(),
    'a signal': () => new AbortController().signal,
    'a signal that fires': () => AbortSignal.timeout(1),
    'an array with holes': () => Object.assign(new Array(4), { 1: 1, 3: 2 }),
    'a valueOf that throws': () => ({ valueOf: throws, toString: throws }),
  };
  return fc.constantFrom(...Object.entries(makers).map(([name, make]) => new Fresh(name, make)));
}

/** What calls that copy can take. */
export const proper = fc.constantFrom(
  new Fresh('a page', () => new Uint8Array(4096).fill(7)),
  new Fresh('zeroes', () => new Uint8Array(4096)),
  new Fresh('a few bytes', () => new Uint8Array(5)),
  new Fresh('a DataView', () => new DataView(new ArrayBuffer(100), 3, 17)),
  new Fresh('64-bit words', () => new BigUint64Array(9)),
  new Fresh('an ArrayBuffer', () => new ArrayBuffer(16 * 4096)),
);

export const anything = fc
  .anything({
    withBigInt: true,
    withDate: true,
    withMap: true,
    withSet: true,
    withNullPrototype: true,
    withTypedArray: true,
    withSparseArray: true,
    maxDepth: 2,
    maxKeys: 3,
  })
  .map((value) => (typeof value === 'number' || typeof value === 'bigint' ? harmless(value) : value));
