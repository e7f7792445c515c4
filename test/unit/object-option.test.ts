import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { BackendError } from '../../lib/backends/error.ts';
import { formatObjectOption, parseObjectOption } from '../../lib/backends/object-option.ts';
import { type ObjectOptions, type PropertyRow, propertiesOf } from '../../lib/backends/properties.ts';
import { objectTypes } from '../../lib/backends/types.ts';
import { objectLines } from '../helpers/object-lines.ts';
import { held, objectFolder, realise } from '../helpers/objects.ts';

describe('the lines that QEMU is asked, too', () => {
  test.each(
    objectLines.map((line) => [line.accepted ? 'takes' : 'refuses', line.objects.join(' and '), line] as const),
  )('%s %s', async (_verdict, _text, { objects, accepted, property }) => {
    using folder = objectFolder();
    const before = held(folder.path);
    const { memdevs, error } = await realise(objects.map((text) => text.replaceAll('@', folder.path)));
    if (accepted) {
      expect(error?.message).toBeUndefined();
      expect(memdevs).toBeDefined();
      return;
    }
    expect(error, 'accepted').toBeInstanceOf(BackendError);
    expect(error?.property).toBe(property);
    expect(error?.message.split('\n')).toHaveLength(1);
    if (property) expect(error?.message).toContain(property);
    expect(held(folder.path)).toEqual(before);
  });
});

function anyValue(row: PropertyRow): fc.Arbitrary<unknown> {
  switch (row.kind) {
    case 'size':
      return fc.oneof(
        fc.nat(),
        fc.integer({ min: 0, max: 1 << 20 }).map((n) => n * 4096),
        fc.bigInt(1n << 53n, (1n << 64n) - 1n),
      );
    case 'bool':
      return fc.boolean();
    case 'uint32':
      return fc.integer({ min: 0, max: 0xffff_ffff });
    case 'uint16s':
      return fc.array(fc.integer({ min: 0, max: 300 }), { minLength: 1, maxLength: 8 });
    case 'enum':
      return fc.constantFrom(...(row.values ?? []));
    case 'string':
      return fc.string({ unit: 'binary', minLength: 1 }).filter((text) => !text.includes('\0'));
  }
}

const rawOptions = fc.constantFrom(...objectTypes.map(({ name }) => name)).chain((type) =>
  fc
    .record(Object.fromEntries(propertiesOf(type).map((row) => [row.name, anyValue(row)])), {
      requiredKeys: propertiesOf(type).flatMap((row) => (row.required ? [row.name] : [])),
    })
    .chain((values) =>
      fc.stringMatching(/^[a-zA-Z][a-zA-Z0-9._-]{0,12}$/).map((id) => ({ 'qom-type': type, id, ...values })),
    ),
);
const anyOptions = rawOptions.map((options) => (options.id.length % 4 === 0 ? options : mend(options)));

/** Most of what chance brings together excludes each other; this leaves some of both. */
function mend(options: Record<string, unknown>): Record<string, unknown> {
  const { policy = 'default' } = options;
  const mended: Record<string, unknown> = {
    ...options,
    share: options['share'] === false ? undefined : options['share'],
  };
  if (policy === 'default') delete mended['host-nodes'];
  else mended['host-nodes'] = [0, 3, 1];
  for (const name of ['hugetlbsize', 'align']) if (mended[name] !== undefined) mended[name] = 1 << 21;
  return mended;
}

const sorted = (options: object) =>
  Object.fromEntries(
    Object.entries(options)
      .filter(([, value]) => value !== undefined)
      .map(([key, value]) => [key, Array.isArray(value) ? [...new Set(value)].sort((a, b) => a - b) : value])
      .sort(),
  );

describe('parse and format', () => {
  test('what is formatted is read back as the same object, as text and as JSON', () => {
    let valid = 0;
    fc.assert(
      fc.property(anyOptions, (options) => {
        let text: string;
        try {
          text = formatObjectOption(options as unknown as ObjectOptions);
        } catch (error) {
          // Values that exclude each other; each alone is fine.
          expect(error).toBeInstanceOf(BackendError);
          return;
        }
        valid++;
        expect(sorted(parseObjectOption(text))).toEqual(sorted(options));
        const json = formatObjectOption(options as unknown as ObjectOptions, { json: true });
        expect(sorted(parseObjectOption(json))).toEqual(sorted(options));
      }),
      { numRuns: 3000 },
    );
    expect(valid).toBeGreaterThan(300);
  });

  test('garbage gives an object or one clear error, never anything else', () => {
    const word = fc.oneof(
      fc.constantFrom(
        'memory-backend-ram',
        'id=a',
        'size=4M',
        'size',
        ',',
        ',,',
        '=',
        '{',
        '}',
        '"',
        "'",
        ':',
        '[',
        ']',
        '\\',
      ),
      fc.constantFrom('host-nodes=', '0-3', 'policy=bind', '1.5', '0x', 'k', 'é', '\n', ' ', 'no', '-', 'share'),
      fc.string({ unit: 'binary' }),
    );
    fc.assert(
      fc.property(fc.array(word, { maxLength: 12 }), fc.constantFrom('', ',', '{'), (words, glue) => {
        const text = glue === '{' ? `{${words.join('')}}` : words.join(glue);
        try {
          const options = parseObjectOption(text);
          expect(parseObjectOption(formatObjectOption(options))).toEqual(options);
        } catch (error) {
          expect(error).toBeInstanceOf(BackendError);
          expect((error as Error).message.length).toBeLessThan(800);
        }
      }),
      { numRuns: 5000 },
    );
  });

  test('long texts take no long time', () => {
    const started = performance.now();
    for (const text of [
      `memory-backend-ram,id=a,size=4M${',share=on'.repeat(20_000)}`,
      `memory-backend-ram,id=a,size=${'1'.repeat(100_000)}`,
      `${'{"a":'.repeat(10_000)}`,
      `${','.repeat(100_000)}`,
    ])
      try {
        parseObjectOption(text);
      } catch (error) {
        expect(error).toBeInstanceOf(BackendError);
      }
    expect(performance.now() - started).toBeLessThan(5000);
  });
});
