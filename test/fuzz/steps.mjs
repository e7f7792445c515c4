// A sequence of calls as the fuzzer makes it up.
import fc from 'fast-check';
import { ownMoves } from './game.mjs';
import { Fresh, Reference } from './hostile-values.mjs';
import { vocabulary } from './values.mjs';

/** Fields of options that a call hands on as a whole, so that its own text does not show them. */
const handedOn = [
  [/^GuestAgent\.prototype\.(?:run|runAsync|resume|execute)$/, ['timeout', 'signal']],
  [/^GuestMemory\.prototype\.(?:convert|convertAll)$/, ['discard', 'deadline']],
  [/^GuestMemory\.prototype\.(?:serve|answer)$/, ['timeout', 'signal', 'onRequest', 'discard', 'deadline']],
  [/^GuestMemory\.prototype\.map$/, ['gpa', 'size', 'resident']],
  [/^MemoryBackend\.prototype\.attach$/, ['slot', 'guestPhysAddr', 'offset', 'size', 'flags', 'preallocPrivate']],
];

/**
 * Sequences of steps over a surface.
 *
 * @param favoured what is called eight times as often as it would be: a pattern of names
 */
export function sequences(g, calls, favoured = /^$/) {
  const words = vocabulary(g);
  const argument = ({ name, fields: shown }, call) => {
    const fields = shown?.length === 0 ? (handedOn.find(([names]) => names.test(call))?.[1] ?? shown) : shown;
    if ((name === 'options' && fields?.length === 0) || fields?.includes('qom-type'))
      return fc.oneof({ weight: 8, arbitrary: words.object }, { weight: 1, arbitrary: words.wild });
    if (!fields) return words.one(name);
    const known = Object.fromEntries(
      [...new Set([...fields, ...words.common])].map((field) => [field, words.one(field)]),
    );
    // A guest that never leaves takes ten seconds where nobody says less.
    const always = fields.filter((field) => field === 'timeout');
    const optional = fields.length > 0 ? fc.subarray(fields) : fc.constant([]);
    const object = fc
      .tuple(optional, fc.subarray(words.common, { maxLength: 1 }))
      .chain(([some, more]) =>
        fc.record(
          Object.fromEntries([...new Set([...some, ...more, ...always])].map((field) => [field, known[field]])),
        ),
      );
    // What calls of this kind cannot do without, so that not all of them fail at once.
    const needed = fields.filter((field) =>
      /^(?:size|slot|guestPhysAddr|mapping|address|attributes|mode|nodes|timeout)$/.test(field),
    );
    const whole =
      needed.length > 0 ? fc.record(Object.fromEntries(needed.map((field) => [field, known[field]]))) : object;
    return fc.oneof(
      { weight: 5, arbitrary: object },
      { weight: 5, arbitrary: whole },
      { weight: 1, arbitrary: words.wild },
      ...(always.length > 0 ? [] : [{ weight: 2, arbitrary: fc.constant(undefined) }]),
    );
  };
  const step = (call) =>
    fc.record({
      call: fc.constant(call.name),
      receiver: call.owner && call.how !== 'static' ? fc.nat(9) : fc.constant(0),
      args: fc.oneof(
        { weight: 14, arbitrary: fc.tuple(...call.parameters.map((parameter) => argument(parameter, call.name))) },
        { weight: 1, arbitrary: fc.array(words.wild, { maxLength: 4 }) },
      ),
      wait: fc.boolean(),
    });
  const own = Object.keys(ownMoves).map((name) => ({
    weight: 128,
    arbitrary: fc.record({
      call: fc.constant(name),
      receiver: fc.nat(9),
      args: fc.constant([]),
      wait: fc.constant(true),
    }),
  }));
  // Half of what can be called ends something; that must not be half of what is done. Most is done to memory, and little of
  // what takes as long as whole sequences: a process forked, the kernel's list of all mappings.
  const weight = ({ name, how }) => {
    if (/ForkedChild|forkChild|MemoryBackend\.prototype\.query/.test(name)) return 1;
    if (/close|dispose|Error$/.test(name) || how === 'get' || how === 'forge') return 8;
    return /^(?:Mapping|MemoryFile|Vm|GuestMemfd|GuestAgent)\b/.test(name) ? 48 : 24;
  };
  return fc.array(
    fc.oneof(
      ...own,
      ...calls.map((call) => ({ weight: weight(call) * (favoured.test(call.name) ? 8 : 1), arbitrary: step(call) })),
    ),
    {
      minLength: 1,
      maxLength: 24,
      size: 'max',
    },
  );
}

/** A sequence in words. */
export function describe(steps) {
  const text = (value) => {
    if (value instanceof Fresh) return `<${value.name}>`;
    if (value instanceof Reference) return `<a ${value.type ?? 'thing'}, ${value.pick}>`;
    if (value !== null && typeof value === 'object' && Object.getPrototypeOf(value) === Object.prototype)
      return `{ ${Object.entries(value)
        .map(([key, one]) => `${key}: ${text(one)}`)
        .join(', ')} }`;
    return fc.stringify(value);
  };
  return steps
    .map(
      ({ call, receiver, args, wait }) =>
        `  ${call}(${args.map(text).join(', ')})${receiver ? ` of ${receiver}` : ''}${wait ? '' : ' not waited for'}`,
    )
    .join('\n');
}
