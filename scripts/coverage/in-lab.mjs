// What runs in a lab machine: the commands that need KVM and the lab's tests of the library, in processes that count what they
// execute of this package.
import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { runChecks } from '../../dist/smoke/runner.js';

const counts = '/coverage';
// What is started from here on counts: Node by the first of them, the addon by the other.
process.env.NODE_V8_COVERAGE = join(counts, 'v8');
process.env.GCOV_PREFIX = join(counts, 'gcov');

const { modules } = JSON.parse(readFileSync('/lab/coverage.json', 'utf8'));
const backends = ['guest-memfd', 'memfd,guest-memfd=on', 'ram', 'memfd', 'shm'].map(
  (type, i) => `memory-backend-${type},id=m${i},size=4M,prealloc=on`,
);
const commands = [
  ['probe'],
  ['probe', '--json'],
  ...['text', 'svg', 'json'].map((format) => ['map', '--format', format]),
  ['map', '--output', '/tmp/map'],
  ...['--coco', '--in-place', '--hugepages', '--numa', '--vfio', '--ksm'].map((need) => ['advise', need, '--check']),
  ['backend', ...backends, '--run'],
  ['backend', ...backends, '--run', '--json'],
  [
    ...['smoke', '--timeout', '120', '--stress', '5', '--trace', '/tmp/trace', '--reproducer', '/tmp/reproducers'],
    // The others are modules of npm's that the machine has not, and the unit tests render them all.
    ...['--reporter', 'pretty', '--reporter', 'json=/tmp/report.json'],
  ],
];

function test(name, run) {
  return { name: `coverage/${name}`, title: name, since: '', run };
}

function runCommand(args) {
  const main = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));
  const { status, signal, stderr } = spawnSync(process.execPath, [...process.execArgv, main, ...args], {
    encoding: 'utf8',
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  // What this host lacks of what is asked for is an answer as well.
  const answers = args[0] === 'advise' ? [0, 1] : [0];
  if (!answers.includes(status)) throw new Error(`gmem ${args.join(' ')} ended with ${status ?? signal}: ${stderr}`);
}

async function runModule({ path, only, without = [], wrong }) {
  const all = (await import(path)).checks;
  const selected = all.filter((check) => (!only || check[only]) && without.every((name) => !check[name]));
  const { checks } = await runChecks({
    checks: selected.map(({ name, title }) => ({ name, title, since: '' })),
    device: '/dev/kvm',
    timeoutSeconds: 300,
    tool: { name: 'coverage', version: '0' },
    catalogue: path,
    ...(wrong ? { onReproducer: () => {} } : {}),
  });
  const failed = wrong ? [] : checks.filter(({ status }) => status !== 'pass');
  if (failed.length > 0)
    throw new Error(failed.map(({ name, reason, failure }) => `${name}: ${reason ?? failure?.message}`).join('\n'));
}

/** Files below a folder, by their path in it. */
function filesOf(folder) {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(folder.length + 1));
}

/** What Node's built-in modules executed says nothing, and is most of it. */
function own(text) {
  const { result } = JSON.parse(text);
  return JSON.stringify({ result: result.filter(({ url }) => url.startsWith('file:///gmem/dist/')) });
}

export const checks = [
  test('commands', () => {
    mkdirSync(counts, { recursive: true });
    for (const command of commands) runCommand(command);
  }),
  ...modules.map((module) => test(basename(module.path), () => runModule(module))),
  test('counts', (check) => {
    const { NODE_V8_COVERAGE: v8, GCOV_PREFIX: gcov } = process.env;
    const told = {
      v8: filesOf(v8).map((path) => own(readFileSync(join(v8, path), 'utf8'))),
      gcov: Object.fromEntries(filesOf(gcov).map((path) => [path, readFileSync(join(gcov, path), 'base64')])),
    };
    check.note(gzipSync(JSON.stringify(told)).toString('base64'));
  }),
];
