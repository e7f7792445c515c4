// Options and texts of memory backends.
import fc from 'fast-check';

/** Objects for -object, from the package's own table of properties. */
export function backendObjects(library, one) {
  const values = {
    size: fc.constantFrom(4096, 65536, 1 << 20, 0, 4097, 2 ** 47, 65536n),
    bool: fc.boolean(),
    uint32: fc.integer({ min: 0, max: 4 }),
    uint16s: fc.array(fc.constantFrom(0, 0, 1, 127, 128), { maxLength: 2 }),
    string: fc.constantFrom('tc', 'a', ''),
  };
  const of = (row) =>
    row.name === 'mem-path' ? one('path') : row.kind === 'enum' ? fc.constantFrom(...row.values) : values[row.kind];
  return fc.oneof(
    ...library.objectTypes.map(({ name }) => {
      const rows = library.properties.filter((row) => row.types.includes(name));
      const required = { 'qom-type': fc.constant(name), id: fc.constantFrom('a', 'ram0', 'tc') };
      if (name !== 'thread-context') required.size = values.size;
      return fc
        .tuple(
          fc.record(required),
          fc
            .subarray(rows, { maxLength: Math.min(3, rows.length) })
            .chain((some) => fc.record(Object.fromEntries(some.map((row) => [row.name, of(row)])))),
        )
        .map(([base, more]) => ({ ...base, ...more }));
    }),
  );
}

/** The same as text: QEMU's, JSON, and what is neither. */
export function backendTexts(library) {
  const words = fc.oneof(
    fc.constantFrom(
      'id=a',
      'size=1M',
      'share',
      'noshare',
      'size=1e3',
      'host-nodes=0-1',
      'host-nodes=0-65535',
      'policy=bind',
      'mem-path=a,,b',
      '=',
      ',',
      'x=',
      'size=99999999999999999999',
      'prealloc=on',
    ),
    fc
      .tuple(fc.constantFrom(...library.properties.map((row) => row.name)), fc.string({ maxLength: 6 }))
      .map(([name, value]) => `${name}=${value}`),
    fc.string({ maxLength: 8 }),
  );
  const plain = fc
    .tuple(fc.constantFrom(...library.objectTypes.map(({ name }) => name), 'x'), fc.array(words, { maxLength: 5 }))
    .map(([type, list]) => [type, 'id=a', 'size=1M', ...list].join(','));
  const json = fc.json({ maxDepth: 2 });
  const object = fc
    .tuple(
      fc.constantFrom('memory-backend-ram', 'memory-backend-file'),
      fc.string({ maxLength: 5 }),
      fc.jsonValue({ maxDepth: 1 }),
    )
    .map(([type, key, value]) => JSON.stringify({ 'qom-type': type, id: 'a', size: 4096, [key]: value }));
  return fc.oneof(plain, json, object, fc.string({ maxLength: 40 }));
}
