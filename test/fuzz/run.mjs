// npm run fuzz: any call of the package's public surface, with any arguments, in any order. The calls are made in a process
// of their own (player.mjs), which this one watches; one that crashes or hangs is made shorter here, one step less at a time.
//
//   npm run fuzz -- [--sequences N] [--seed S] [--first N] [--seconds N] [--plain]
//
// A sequence is made of the seed and its number alone: `--seed S --first N --sequences 1` plays number N again.
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { sanitized } from '../../scripts/sanitized.mjs';

const { values } = parseArgs({
  options: {
    sequences: { type: 'string', default: '1000' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
    first: { type: 'string', default: '0' },
    seconds: { type: 'string', default: 'Infinity' },
    plain: { type: 'boolean', default: false },
  },
});
const [count, seed, first] = [values.sequences, values.seed, values.first].map(Number);
if (![count, seed, first].every(Number.isSafeInteger)) {
  console.error('usage: npm run fuzz -- [--sequences N] [--seed S] [--first N] [--seconds N] [--plain]');
  process.exit(2);
}

/** A sequence takes milliseconds; a guest of one runs for 20 at most, ten seconds where a call has no limit of its own. */
const watchdogSeconds = 60;
const library = resolve('dist/index.js');
const { shrink } = await import(`file://${resolve('dist/smoke/stress/shrink.js')}`);
// Into a folder of its own: a player may make files of any name.
const folder = mkdtempSync(join(tmpdir(), 'gmem-fuzz-run-'));
const env = values.plain ? process.env : { ...process.env, ...sanitized('address,undefined') };

/** Plays, and tells how the process ended and what it said. */
function play(task, quiet = false) {
  const child = spawn(process.execPath, [resolve('test/fuzz/player.mjs'), JSON.stringify({ library, seed, ...task })], {
    cwd: folder,
    env,
    stdio: ['ignore', 'inherit', 'pipe', 'pipe'],
  });
  const told = [];
  let sequence = task.first;
  let text = '';
  let errors = '';
  let hung = false;
  const kill = () => {
    hung = true;
    child.kill('SIGKILL');
  };
  let watchdog = setTimeout(kill, watchdogSeconds * 1000);
  child.stdio[3].setEncoding('utf8').on('data', (chunk) => {
    clearTimeout(watchdog);
    watchdog = setTimeout(kill, watchdogSeconds * 1000);
    const lines = (text + chunk).split('\n');
    text = lines.pop() ?? '';
    for (const line of lines) {
      if (/^\d+$/.test(line)) sequence = Number(line);
      else told.push(JSON.parse(line));
    }
  });
  child.stderr.setEncoding('utf8').on('data', (chunk) => {
    errors = (errors + chunk).slice(-10_000);
  });
  return new Promise((done) => {
    child.on('close', (code, signal) => {
      clearTimeout(watchdog);
      if (!quiet) process.stderr.write(errors);
      done({
        sequence,
        told,
        errors,
        ended: hung
          ? `hung for ${watchdogSeconds} s`
          : signal
            ? `was killed by ${signal}`
            : code
              ? `exited with ${code}`
              : undefined,
      });
    });
  });
}

async function explainCrash(at, how) {
  const known = await play({ replay: true, first: at }, true);
  const steps = known.told.find((message) => message.type === 'steps');
  console.log(`sequence ${at} ${how}${known.ended ? '' : ', but not when it was played again'}`);
  if (!known.ended || !steps) return console.log(`${known.errors || steps?.text}\n`);
  const fails = async (only) => (await play({ replay: true, first: at, only }, true)).ended !== undefined;
  const shortest = await shrink([...Array(steps.count).keys()], fails);
  const { told, errors } = await play({ replay: true, first: at, only: shortest }, true);
  console.log(`${told[0]?.text}\n${errors}\n`);
}

let failures = 0;
let played = 0;
const calls = {};
let hasKvm = false;
const begin = performance.now();
const left = () => Number(values.seconds) - (performance.now() - begin) / 1000;
for (let at = first; at < first + count && failures < 10 && left() > 0; ) {
  const { told, sequence, ended } = await play({ first: at, count: first + count - at, seconds: left() });
  for (const { type, ...message } of told) {
    if (type === 'failure') {
      failures++;
      console.log(`sequence ${message.sequence}: ${message.reason}\n${message.steps}\n`);
    }
    if (type === 'end') {
      played += message.played;
      hasKvm = message.hasKvm;
      for (const [name, { returned, threw }] of Object.entries(message.calls)) {
        calls[name] ??= { returned: 0, threw: 0 };
        calls[name].returned += returned;
        calls[name].threw += threw;
      }
    }
  }
  if (!ended) break;
  failures++;
  played += sequence - at + 1;
  await explainCrash(sequence, ended);
  at = sequence + 1;
}
rmSync(folder, { recursive: true, force: true });

const sum = (what) => Object.values(calls).reduce((total, one) => total + one[what], 0);
const never = Object.entries(calls).filter(([, { returned }]) => returned === 0);
console.log(
  `${played} sequences from seed ${seed}, ${values.plain ? 'plain' : 'with ASan and UBSan'}: ${sum('returned')} calls came back, ${sum('threw')} threw, ${failures} failures, ${Math.round((performance.now() - begin) / 1000)} s`,
);
/** What came back from no call of a long run is not really played with, and this list says why that is right. */
const neverBack = hasKvm
  ? /^new (?!\w*Error$)/
  : /^new (?!\w*Error$)|^(?:capabilities|conversionModel|memoryOf|Kvm\.open|GuestAgent\.create|MemoryBackend\.prototype\.attach)$/;
const idle = never
  .filter(([name]) => !neverBack.test(name))
  .map(([name, { threw }]) => `${name} (threw ${threw} times)`);
const long = played >= 4000;
if (idle.length > 0) console.log(`${long ? 'failed' : 'note'}: nothing came back from ${idle.join(', ')}`);
if (idle.length > 0 && long) failures++;
if (!hasKvm) console.log('left out, for want of a usable /dev/kvm: methods of objects that only KVM makes');
process.exit(failures > 0 ? 1 : 0);
