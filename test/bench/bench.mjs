// npm run bench: see --help.
import { accessSync, constants, statSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { help, parseOptions, select, UsageError } from './options.mjs';
import { count, factsText, lines, markdown } from './table.mjs';

/** Where results are to be written is looked at before they are measured. */
function requireWritable(option, path) {
  try {
    const there = statSync(path, { throwIfNoEntry: false });
    if (there?.isDirectory()) throw new Error(`${path} is a folder`);
    accessSync(there ? path : dirname(path), constants.W_OK);
  } catch (error) {
    throw new UsageError(`--${option}: ${error.message}`);
  }
}

async function main(argv) {
  const options = parseOptions(argv);
  if (options.help) {
    process.stdout.write(help);
    return 0;
  }
  const { cases } = await import('./cases.mjs');
  const selected = select(cases, options.names);
  if (options.list) {
    for (const one of selected) {
      const unmet = one.unmet?.();
      console.log(`${one.name.padEnd(20)} ${one.title}${unmet ? `\n${' '.repeat(21)}not here: ${unmet}` : ''}`);
    }
    return 0;
  }
  for (const option of ['json', 'markdown']) if (options[option]) requireWritable(option, options[option]);
  const tell = (result) => console.log(lines(result).join('\n'));
  const measured = options.lab
    ? await (await import('./lab.mjs')).measureInLab(options, tell)
    : await (await import('./measure-all.mjs')).measureAll(options, tell);
  if (options.json) writeFileSync(options.json, `${JSON.stringify({ schemaVersion: 1, ...measured }, null, 1)}\n`);
  if (options.markdown) writeFileSync(options.markdown, markdown(measured));
  const { facts, results } = measured;
  const { holds, missed, unjudged } = count(results);
  console.log(`\n${factsText(facts)}`);
  console.log(`${holds} bars hold, ${missed} are missed, ${unjudged} were not judged.`);
  if (results.some(({ status }) => status === 'failed')) return 1;
  if (results.every(({ status }) => status === 'skipped')) return 4;
  return options.check && missed > 0 ? 1 : 0;
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  if (!(error instanceof UsageError)) throw error;
  console.error(`bench: ${error.message}`);
  process.exitCode = 2;
}
