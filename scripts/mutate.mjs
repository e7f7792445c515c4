// Mutation testing: which one-line bugs of the kernel does the suite catch, and which do the kernel's own selftests?
//
//   node scripts/mutate.mjs build --source DIR --build DIR [NAME…]   build the mutants, and the kernel as it is
//   node scripts/mutate.mjs run --selftests DIR [NAME…]              run the suite and the selftests on them
//   node scripts/mutate.mjs table                                    write docs/mutation.md
//
// Without NAME: all of scripts/mutate/mutants.mjs, and "pristine". DIR of --source is a copy of the kernel's source that may
// be changed: a mutant changes one file in it and puts it back. DIR of --build is a folder made with make O=, configured
// (scripts/lab/config/sw-protected.config); the more of it is built already, the faster: with --make 'CC=ccache gcc' if it was
// built so. --selftests is the folder in which
// tools/testing/selftests/kvm was built, statically. Images and results are kept in the lab's cache, below mutants/: what is
// there is not done again, unless --force.
import { execFileSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { mutants } from './mutate/mutants.mjs';
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
const folderOf = (name) => cacheDirectory('mutants', name);
const imageOf = (name) => join(folderOf(name), 'bzImage');
const resultOf = (name) => join(folderOf(name), 'result.json');

/** Puts the mutation in, calls back, and puts the file back as it was. */
function mutated(name, source, work) {
  const mutant = mutants.find((one) => one.name === name);
  if (!mutant) return work();
  const path = join(source, mutant.file);
  const text = readFileSync(path, 'utf8');
  const parts = text.split(mutant.search);
  if (parts.length !== 2) fail(`${name}: its line is ${parts.length - 1} times in ${mutant.file}, not once`);
  writeFileSync(path, parts.join(mutant.replace));
  try {
    return work();
  } finally {
    writeFileSync(path, text);
  }
}

function build() {
  if (!values.source || !values.build) fail('build needs --source and --build');
  const [source, output] = [resolve(values.source), resolve(values.build)];
  for (const name of names) {
    if (existsSync(imageOf(name)) && !values.force) continue;
    const started = Date.now();
    mutated(name, source, () =>
      execFileSync(
        'nice',
        ['-n', '5', 'make', '-C', source, `O=${output}`, '-s', `-j${values.jobs}`, ...values.make, 'bzImage'],
        { stdio: ['ignore', 'ignore', 'inherit'] },
      ),
    );
    mkdirSync(folderOf(name), { recursive: true });
    copyFileSync(join(output, 'arch/x86/boot/bzImage'), `${imageOf(name)}.new`);
    renameSync(`${imageOf(name)}.new`, imageOf(name));
    console.log(`${name}: built in ${Math.round((Date.now() - started) / 1000)} s`);
  }
}

/** Runs a catalogue in a machine of the image; a run that goes on for too long is ended, and counts as far as it came. */
async function runIn(name, { checks, catalogue, files, timeoutSeconds }) {
  const [{ Lab }, { inspectImage }, { runChecks }] = await Promise.all(
    ['lab/machine.js', 'lab/image.js', 'smoke/runner.js'].map(dist),
  );
  const lab = new Lab({
    image: inspectImage(imageOf(name)),
    cpus: 2,
    memoryMiB: 1024,
    numaNodes: 2,
    accelerator: 'tcg',
    commandLine: '',
    bootSeconds: 240,
    files,
  });
  const { checks: results } = await runChecks({
    checks,
    device: '/dev/kvm',
    timeoutSeconds,
    tool: { name: 'mutate', version: '1' },
    signal: AbortSignal.timeout(600_000),
    launch: lab.launch,
    ...(catalogue ? { catalogue } : {}),
  });
  return results.map((result) => ({
    name: result.name,
    status: result.status,
    said: result.failure?.message ?? result.reason,
  }));
}

async function run() {
  if (!values.selftests) fail('run needs --selftests');
  const { checks } = await dist('smoke/catalogue.js');
  const selftests = await import('./mutate/selftests.mjs');
  const programs = new Map(
    selftests.files.map((file) => {
      const paths = [file, `x86/${file}`].map((path) => resolve(values.selftests, path));
      return [`selftests/${basename(file)}`, paths.find(existsSync) ?? fail(`${file} is not in ${values.selftests}`)];
    }),
  );
  programs.set('selftests/checks.mjs', join(root, 'scripts/mutate/selftests.mjs'));
  for (const name of names) {
    if (!existsSync(imageOf(name))) {
      console.log(`${name}: has not been built`);
      continue;
    }
    if (existsSync(resultOf(name)) && !values.force) continue;
    const started = Date.now();
    const result = {
      date: new Date().toISOString().slice(0, 10),
      suite: await runIn(name, { checks: checks.filter((check) => !check.stress), timeoutSeconds: 30 }),
      selftests: await runIn(name, {
        checks: selftests.checks.map(({ name: test, title, since }) => ({ name: test, title, since })),
        catalogue: '/selftests/checks.mjs',
        files: programs,
        timeoutSeconds: 90,
      }),
    };
    writeFileSync(resultOf(name), `${JSON.stringify(result, null, 2)}\n`);
    const caught = (list) => list.filter(({ status }) => status === 'fail' || status === 'error').length;
    console.log(
      `${name}: caught by ${caught(result.suite)} checks and ${caught(result.selftests)} selftests, ${Math.round((Date.now() - started) / 1000)} s`,
    );
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
