// npm run coverage: which lines the tests execute, of the TypeScript (v8: by vitest, and in the processes that tests start) and
// of the C++ (gcov: native tests, and the addon under the same vitest run); what needs KVM in lab machines.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { relative, resolve } from 'node:path';
import { build, run } from './cmake.mjs';
import { documentOf } from './coverage/document.mjs';
import { measureInLab } from './coverage/lab.mjs';
import { linesOfProcesses } from './coverage/processes.mjs';
import { reasonFor } from './coverage/reasons.mjs';
import { optionsOf } from './options.mjs';

const folder = resolve('out/native-coverage');
const processes = resolve('out/coverage/processes');
const gcda = resolve('out/coverage/gcda');
const kernelsFile = 'out/coverage/kernels.json';
const { native: onlyNative, again } = optionsOf(
  `
Usage: npm run coverage -- [--native | --again]

Runs all tests and writes docs/coverage.md: what they execute, and why the rest is not, by scripts/coverage/reasons.mjs.
Takes about 12 minutes, most of them in lab machines; without a lab (npm run lab:setup) what these execute is missing.

  --native  only the native tests; nothing is written
  --again   run nothing, and write it again of what was measured last

Exit status: 0 all that is not executed has a reason, 1 it has not, or a test failed, 2 wrong usage.
`,
  { native: false, again: false },
);

/** Lines by file: how many there are, and which were not executed. */
function fromGcov(folders) {
  const notes = folders.flatMap((place) =>
    readdirSync(place, { recursive: true })
      .filter((name) => name.endsWith('.gcda'))
      .map((name) => resolve(place, name)),
  );
  const counts = new Map();
  for (const note of notes) {
    const text = execFileSync('gcov', ['--json-format', '--stdout', note], {
      cwd: folder,
      encoding: 'utf8',
      maxBuffer: 1 << 28,
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    for (const json of text.split('\n').filter(Boolean))
      for (const file of JSON.parse(json).files) {
        const path = relative(process.cwd(), resolve(folder, file.file));
        if (!/^native\/(?!test|fuzz)/.test(path)) continue;
        const lines = counts.get(path) ?? new Map();
        counts.set(path, lines);
        for (const { line_number: line, count } of file.lines) lines.set(line, (lines.get(line) ?? 0) + count);
      }
  }
  return [...counts].map(([file, lines]) => ({
    file,
    total: lines.size,
    missed: [...lines].filter(([, count]) => count === 0).map(([line]) => line),
  }));
}

function fromVitest() {
  const elsewhere = linesOfProcesses(processes, 'out/coverage/js');
  const { default: _, ...files } = JSON.parse(readFileSync('out/coverage/vitest/coverage-final.json', 'utf8'));
  return Object.values(files).map(({ path, statementMap, s }) => {
    const lines = new Map();
    for (const [id, { start }] of Object.entries(statementMap))
      lines.set(start.line, Math.max(lines.get(start.line) ?? 0, s[id]));
    const file = relative(process.cwd(), path);
    return {
      file,
      total: lines.size,
      missed: [...lines]
        .filter(([line, count]) => count === 0 && !elsewhere.get(file)?.has(line))
        .map(([line]) => line),
    };
  });
}

function measureNative() {
  build(folder, '', true, ['--CDGM_COVERAGE=ON']);
  for (const name of readdirSync(folder, { recursive: true }))
    if (name.endsWith('.gcda')) rmSync(resolve(folder, name));
  run('ctest', ['--output-on-failure', '--test-dir', folder]);
}

async function measureAll() {
  rmSync('out/coverage', { recursive: true, force: true });
  mkdirSync(processes, { recursive: true });
  run(process.execPath, ['scripts/build.mjs']);
  const maps = ['--sourceMap', '--declaration', 'false', '--outDir', 'out/coverage/js'];
  run(process.execPath, ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.json', ...maps]);
  // The faults know the addon's calls by their functions, of which a build without optimisation has more.
  const projects = ['--project', 'unit', '--project', 'host', '--exclude', 'test/host/faults.test.ts'];
  run(
    process.execPath,
    [
      ...['node_modules/vitest/vitest.mjs', 'run', ...projects, '--testTimeout', '120000', '--coverage.enabled'],
      ...[
        '--coverage.include=lib/**/*.ts',
        '--coverage.reporter=json',
        '--coverage.reportsDirectory=out/coverage/vitest',
      ],
    ],
    {
      env: {
        ...process.env,
        GMEM_ADDON: resolve(folder, 'RelWithDebInfo/guest_memfd.node'),
        GMEM_PROCESS_COVERAGE: processes,
      },
    },
  );
  const addon = resolve(folder, 'RelWithDebInfo/guest_memfd.node');
  writeFileSync(kernelsFile, JSON.stringify(await measureInLab({ addon, native: folder, processes, gcda })));
}

if (!again) {
  measureNative();
  if (!onlyNative) await measureAll();
}
const kernels = onlyNative || !existsSync(kernelsFile) ? [] : JSON.parse(readFileSync(kernelsFile, 'utf8'));
const native = fromGcov([folder, ...kernels.map((name) => resolve(gcda, name))]);
const files = [...native, ...(onlyNative ? [] : fromVitest())].sort((a, b) => a.file.localeCompare(b.file));
const unexplained = files.filter(({ file, missed }) => missed.length > 0 && !reasonFor(file));
const share = (list) => {
  const total = list.reduce((sum, file) => sum + file.total, 0);
  const missed = list.reduce((sum, file) => sum + file.missed.length, 0);
  return `${total - missed} of ${total} lines, ${((100 * (total - missed)) / total).toFixed(1)} %`;
};
console.log(`C++: ${share(files.filter(({ file }) => file.startsWith('native/')))}`);
if (!onlyNative) {
  console.log(`TypeScript: ${share(files.filter(({ file }) => file.startsWith('lib/')))}`);
  writeFileSync('docs/coverage.md', documentOf(files, share, kernels));
  if (unexplained.length > 0) {
    console.error(
      `without a reason in scripts/coverage/reasons.mjs: ${unexplained.map(({ file }) => file).join(', ')}`,
    );
    process.exitCode = 1;
  }
}
