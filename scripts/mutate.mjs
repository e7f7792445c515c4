// Mutation testing: which one-line bugs of the kernel does the suite catch, and which do the kernel's own selftests?
//
//   node scripts/mutate.mjs build --source DIR --build DIR       build a kernel with all mutants in it
//   node scripts/mutate.mjs run --selftests DIR [NAME…]          run the suite and the selftests on each
//   node scripts/mutate.mjs table                                write docs/mutation.md
//
// Without NAME: all of scripts/mutate/mutants.mjs, and "pristine", in which none of them is awake. DIR of --source is a copy
// of the kernel's source: four files in it are changed, and put back. DIR of --build is a folder made with make O=,
// configured (scripts/lab/config/sw-protected.config); what is built there already is not built again, with --make
// 'CC=ccache gcc' if it was built so. --selftests is the folder in which tools/testing/selftests/kvm was built, statically.
// The image and the results are kept in the lab's cache, below mutants/; a mutant with a result is not run again, unless
// --force.
import { execFileSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { files, mutants, mutate } from './mutate/mutants.mjs';
import { programs, selftests } from './mutate/selftests.mjs';
import { tableOf } from './mutate/table.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const dist = (path) => import(pathToFileURL(join(root, 'dist', path)).href);
const pristine = 'pristine';

function fail(message) {
  console.error(message);
  process.exit(2);
}

const options = {
  source: { type: 'string' },
  build: { type: 'string' },
  selftests: { type: 'string' },
  jobs: { type: 'string', default: '2' },
  make: { type: 'string', multiple: true, default: [] },
  force: { type: 'boolean', default: false },
};
let given;
try {
  given = parseArgs({ allowPositionals: true, options });
} catch (error) {
  fail(error.message);
}
const { values } = given;
const [command, ...wanted] = given.positionals;
const all = [pristine, ...mutants.map(({ name }) => name)];
for (const name of wanted) if (!all.includes(name)) fail(`there is no mutant "${name}"; there are: ${all.join(', ')}`);
const names = wanted.length > 0 ? wanted : all;

const { cacheDirectory } = await dist('lab/cache.js');
const image = cacheDirectory('mutants', 'bzImage');
const resultOf = (name) => cacheDirectory('mutants', `${name}.json`);
const numberOf = (name) => mutants.find((mutant) => mutant.name === name)?.number ?? 0;

function build() {
  if (!values.source || !values.build) fail('build needs --source and --build');
  const [source, output] = [resolve(values.source), resolve(values.build)];
  const originals = files.map((file) => [file, readFileSync(join(source, file), 'utf8')]);
  const changed = originals.map(([file, text]) => [file, mutate(file, text)]);
  try {
    for (const [file, text] of changed) writeFileSync(join(source, file), text);
    execFileSync(
      'nice',
      ['-n', '5', 'make', '-C', source, `O=${output}`, '-s', `-j${values.jobs}`, ...values.make, 'bzImage'],
      { stdio: ['ignore', 'ignore', 'inherit'] },
    );
  } finally {
    for (const [file, text] of originals) writeFileSync(join(source, file), text);
  }
  mkdirSync(cacheDirectory('mutants'), { recursive: true });
  copyFileSync(join(output, 'arch/x86/boot/bzImage'), `${image}.new`);
  renameSync(`${image}.new`, image);
}

/** Seconds that a mutant may take; what has not been run by then counts as skipped. */
const patience = 1800;

async function run() {
  if (!values.selftests) fail('run needs --selftests');
  if (!existsSync(image)) fail('build the kernel with the mutants first');
  const [{ Lab }, { inspectImage }, { runChecks, NothingRanError }, { checks: suite }] = await Promise.all(
    ['lab/machine.js', 'lab/image.js', 'smoke/runner.js', 'smoke/catalogue.js'].map(dist),
  );
  const extra = new Map(
    ['checks.mjs', 'selftests.mjs'].map((file) => [`mutate/${file}`, join(root, 'scripts/mutate', file)]),
  );
  for (const program of programs) {
    const paths = [program, `x86/${program}`].map((path) => resolve(values.selftests, path));
    extra.set(`selftests/${program}`, paths.find(existsSync) ?? fail(`${program} is not in ${values.selftests}`));
  }
  const checks = [...suite.filter((check) => !check.stress), ...selftests.map(({ run: _, ...rest }) => rest)];
  for (const name of names) {
    if (existsSync(resultOf(name)) && !values.force) continue;
    const started = Date.now();
    const lab = new Lab({
      image: inspectImage(image),
      numaNodes: 2,
      accelerator: 'tcg',
      commandLine: `kvm_mutant=${numberOf(name)}`,
      files: extra,
    });
    let results;
    try {
      ({ checks: results } = await runChecks({
        checks,
        device: '/dev/kvm',
        // set_memory_region_test makes more than 32,000 memslots; a mutant that hangs costs this long.
        timeoutSeconds: 240,
        tool: { name: 'mutate', version: '1' },
        signal: AbortSignal.timeout(patience * 1000),
        launch: lab.launch,
        catalogue: '/mutate/checks.mjs',
      }));
    } catch (error) {
      if (!(error instanceof NothingRanError)) throw error;
      console.log(`${name}: nothing ran: ${error.message.split('\n')[0]}`);
      continue;
    }
    const told = results.map(({ name: check, status, failure, reason }) => ({
      name: check,
      status,
      said: failure?.message ?? reason,
    }));
    const seconds = Math.round((Date.now() - started) / 1000);
    writeFileSync(
      resultOf(name),
      `${JSON.stringify({ date: new Date().toISOString().slice(0, 10), seconds, results: told }, null, 2)}\n`,
    );
    const bad = told.filter(({ status }) => status === 'fail' || status === 'error').map(({ name: check }) => check);
    console.log(`${name}: ${seconds} s, ${bad.length > 0 ? bad.join(', ') : 'not caught'}`);
  }
}

function table() {
  const read = (name) => (existsSync(resultOf(name)) ? JSON.parse(readFileSync(resultOf(name), 'utf8')) : undefined);
  const whole = read(pristine);
  if (!whole) fail('the kernel as it is has not been run: node scripts/mutate.mjs run --selftests DIR pristine');
  writeFileSync(join(root, 'docs/mutation.md'), tableOf(mutants, whole, read));
}

const commands = { build, run, table };
if (!Object.hasOwn(commands, command ?? '')) fail(`Usage: node scripts/mutate.mjs build|run|table …`);
await commands[command]();
