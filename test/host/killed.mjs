// gmem where it needs KVM, ended at a random moment: by SIGKILL, and by Ctrl-C. Checks for the runner: on a host with KVM in a
// process of it (killed.test.ts), else in a lab machine (test/lab/killed.test.ts), where the same files lie below /gmem.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { flags, kill, marked } from '../helpers/left.mjs';

const main = fileURLToPath(new URL('../../dist/gmem/main.js', import.meta.url));
const times = 4;
const formats = ['pretty', 'html', 'json', 'ktap', 'junit', 'kcidb', 'lava', 'github', 'markdown'];
const patterns = ['file', 'memslot', 'binding'];

/** Does something in a folder of its own, with $TMPDIR below it. */
async function inFolder(action) {
  const folder = mkdtempSync(join(tmpdir(), 'gmem-test-'));
  const temporary = join(folder, 'tmp');
  mkdirSync(temporary);
  try {
    return await action({ folder, temporary, env: { TMPDIR: temporary } });
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const sharedMemory = () => readdirSync('/dev/shm').filter((name) => /gmem|^#/.test(name));

/** Kills a command some times, each at any moment of the time that it takes; nothing may be left but what is `fine`. */
async function killAtAnyTime(check, args, { folder, temporary, env, fine, looks = () => {} }) {
  const random = check.random();
  const begin = performance.now();
  const whole = await kill(args, { after: () => false, env, folders: [folder], fine });
  // The first run takes longest, and one that has come to its end is not killed.
  const takes = 0.7 * (performance.now() - begin);
  assert.deepEqual(whole, { how: '0', left: [] });
  const objects = sharedMemory();
  let killed = 0;
  for (let i = 0; i < times; i++) {
    const after = random() * takes;
    // A worker whose parent is gone before it has loaded the addon ends at its first word.
    const { how, left } = await kill(args, {
      after,
      env,
      folders: [folder, temporary],
      fine,
      patience: takes + 20_000,
    });
    assert.deepEqual(left, [], `killed after ${after} ms`);
    assert.deepEqual(sharedMemory(), objects, `killed after ${after} ms`);
    if (how === 'SIGKILL') killed++;
    looks();
  }
  check.notes.push(`${killed} of ${times} killed within ${Math.round(takes)} ms`);
}

/** Runs gmem smoke, and presses Ctrl-C when checks have been run and others have not: the whole process group is told. */
async function interrupt({ folder, env }, args) {
  const trace = join(folder, 'trace');
  rmSync(trace, { force: true });
  const mark = `interrupted-${process.pid}-${performance.now()}`;
  const child = spawn(process.execPath, [...flags, main, 'smoke', ...patterns, '--trace', trace, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
    env: { ...process.env, NO_COLOR: '1', GITHUB_ACTIONS: '', ...env, GMEM_TEST_MARK: mark },
  });
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (text) => {
    stdout += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text) => {
    stderr += text;
  });
  const ended = new Promise((done) => child.on('close', (code, signal) => done(signal ?? code)));
  const traced = () => (existsSync(trace) ? new Set(readFileSync(trace, 'utf8').match(/"check":"[^"]+"/g)).size : 0);
  while (traced() < 3 && child.exitCode === null) await delay(2);
  process.kill(-child.pid, 'SIGINT');
  // Some press it twice.
  await delay(5);
  if (child.exitCode === null) process.kill(-child.pid, 'SIGINT');
  assert.equal(await ended, 130, stderr);
  // What --jitless makes Node say in a lab machine.
  assert.equal(stderr.replaceAll(/^Warning: disabling flag.*\n/gm, ''), '');
  assert.deepEqual(marked(mark), []);
  // Every line of the trace is whole.
  for (const line of readFileSync(trace, 'utf8').trimEnd().split('\n')) JSON.parse(line);
  return stdout;
}

function test(name, run) {
  return { name: `killed/${name.replaceAll(' ', '-')}`, title: name, since: '6.18', run };
}

export const checks = [
  test('smoke killed at any time leaves nothing', (check) =>
    inFolder(async (place) => {
      const report = join(place.folder, 'report.json');
      await killAtAnyTime(check, [main, 'smoke', ...patterns, '--reporter', `json=${report}`], {
        ...place,
        fine: /\/report\.json$/,
        looks: () => existsSync(report) && JSON.parse(readFileSync(report, 'utf8')),
      });
    })),
  test('backends killed at any time leave nothing', (check) =>
    inFolder((place) => {
      const files = join(place.folder, 'files');
      mkdirSync(files);
      const objects = ['ram', 'memfd', 'shm', `file,mem-path=${files}`].map(
        (type, i) => `memory-backend-${type},id=m${i},size=4M,prealloc=on`,
      );
      return killAtAnyTime(check, [main, 'backend', ...objects, '--run'], { ...place, fine: /^$/ });
    })),
  // What comes out is looked at where the readers of the formats are: it is told in notes.
  ...formats.map((format) =>
    test(`Ctrl-C leaves a whole report on standard output as ${format}`, (check) =>
      inFolder(async (place) => {
        const json = join(place.folder, 'json');
        const stdout = await interrupt(place, ['--reporter', format, '--reporter', `json=${json}`]);
        check.notes.push(JSON.stringify({ format, result: readFileSync(json, 'utf8'), text: stdout }));
      })),
  ),
  test('Ctrl-C leaves whole reports in all files', (check) =>
    inFolder(async (place) => {
      const file = (format) => join(place.folder, `report.${format}`);
      const stdout = await interrupt(
        place,
        formats.flatMap((format) => ['--reporter', `${format}=${file(format)}`]),
      );
      assert.equal(stdout, '');
      const result = readFileSync(file('json'), 'utf8');
      for (const format of formats)
        check.notes.push(JSON.stringify({ format, result, text: readFileSync(file(format), 'utf8') }));
    })),
];
