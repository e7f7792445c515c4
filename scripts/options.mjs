import { parseArgs } from 'node:util';

/**
 * The options of a script of this repository. `--help` and what is wrong end it: with 0 and the help, with 2 and a sentence.
 *
 * @param help what `--help` prints; its first word is "Usage:"
 * @param known by name: `false` for a switch, `''` for a text, { least, otherwise } for a whole number
 * @returns values by name
 */
export function optionsOf(help, known) {
  const wrong = (message) => {
    console.error(`${message}. ${help.trim().split('\n')[0]}`);
    process.exit(2);
  };
  const isNumber = (name) => typeof known[name] === 'object';
  let values;
  try {
    ({ values } = parseArgs({
      options: {
        ...Object.fromEntries(
          Object.entries(known).map(([name, one]) => [name, { type: one === false ? 'boolean' : 'string' }]),
        ),
        help: { type: 'boolean', short: 'h' },
      },
    }));
  } catch (error) {
    wrong(error.message.split(/\.\s/)[0]);
  }
  if (values.help) {
    console.log(help.trim());
    process.exit(0);
  }
  return Object.fromEntries(
    Object.entries(known).map(([name, one]) => {
      const given = values[name];
      if (!isNumber(name)) return [name, given ?? one];
      if (given === undefined) return [name, one.otherwise];
      const number = Number(given);
      if (!/^\d+$/.test(given) || !Number.isSafeInteger(number) || number < one.least)
        wrong(`--${name} takes a whole number from ${one.least} on, not "${given}"`);
      return [name, number];
    }),
  );
}
