// npm run fuzz: any call of the package's public surface, with any arguments, in any order. The calls are made in processes
// of their own (player.mjs), which this one watches; one that crashes or hangs is made shorter here, one step less at a time.
import { mkdtempSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { optionsOf } from '../../scripts/options.mjs';
import { sanitized } from '../../scripts/sanitized.mjs';
import { play as playIn } from './watched.mjs';

const help = `
Usage: npm run fuzz -- [--sequences N] [--seed S] [--first N] [--seconds N] [--jobs N] [--plain]

Plays sequences of calls of the public surface, and says which of them broke what (docs/robustness.md).

  --sequences N  how many (1000)
  --seed S       what they are made of, with their numbers: --seed S --first N --sequences 1 plays number N again
  --first N      the number of the first one (0)
  --seconds N    end sooner, after so many seconds
  --jobs N       processes that play at the same time (one for each processor)
  --plain        without ASan and UBSan

Exit status: 0 nothing broke, 1 something did, 2 wrong usage.
`;
const values = optionsOf(help, {
  sequences: { least: 1, otherwise: 1000 },
  seed: { least: 0, otherwise: Date.now() % 1_000_000 },
  first: { least: 0, otherwise: 0 },
  seconds: { least: 1, otherwise: Number.POSITIVE_INFINITY },
  jobs: { least: 1, otherwise: availableParallelism() },
  plain: false,
});
const { sequences: count, seed, first, jobs } = values;

const { shrink } = await import(`file://${resolve('dist/smoke/stress/shrink.js')}`);
// Into a folder of its own: a player may make files of any name, and one that crashes leaves them there.
const folder = mkdtempSync(join(tmpdir(), 'gmem-fuzz-run-'));
const env = { ...process.env, TMPDIR: folder, ...(values.plain ? {} : sanitized('address,undefined')) };
// What is freed is kept for some sequences, not for thousands, and told where it came from by fewer frames: every fork copies
// the tables of all memory there is.
if (!values.plain) env.ASAN_OPTIONS += ':quarantine_size_mb=16:malloc_context_size=8';
const play = (task, quiet) => playIn({ seed, ...task }, { folder, env, quiet });

async function explainCrash(at, how) {
  const known = await play({ replay: true, first: at }, true);
  const steps = known.told.find((message) => message.type === 'steps');
  const title = `sequence ${at} ${how}${known.ended ? '' : ', but not when it was played again'}`;
  if (!known.ended || !steps) return console.log(`${title}\n${known.errors || steps?.text}\n`);
  const fails = async (only) => (await play({ replay: true, first: at, only }, true)).ended !== undefined;
  const shortest = await shrink([...Array(steps.count).keys()], fails);
  const { told, errors } = await play({ replay: true, first: at, only: shortest }, true);
  console.log(`${title}\n${told[0]?.text}\n${errors}\n`);
}

let failures = 0;
let played = 0;
const calls = {};
let hasKvm = false;
const begin = performance.now();
const left = () => Number(values.seconds) - (performance.now() - begin) / 1000;

/** Plays what lies between two numbers, in one process after the other where one crashes. */
async function playAll(from, end) {
  for (let at = from; at < end && failures < 10 && left() > 0; ) {
    const { told, sequence, ended } = await play({ first: at, count: end - at, seconds: left() });
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
    if (!ended) return;
    failures++;
    played += sequence - at + 1;
    await explainCrash(sequence, ended);
    at = sequence + 1;
  }
}

// Loading a sanitized Node takes as long as hundreds of sequences.
const share = Math.max(100, Math.ceil(count / jobs));
const shares = Array.from({ length: Math.ceil(count / share) }, (_, i) => i * share);
await Promise.all(shares.map((from) => playAll(first + from, first + Math.min(from + share, count))));
rmSync(folder, { recursive: true, force: true });

const sum = (what) => Object.values(calls).reduce((total, one) => total + one[what], 0);
const never = Object.entries(calls).filter(([, { returned }]) => returned === 0);
console.log(
  `${played} sequences${played < count ? ` of ${count}` : ''} from seed ${seed}, ${values.plain ? 'plain' : 'with ASan and UBSan'}: ${sum('returned')} calls came back, ${sum('threw')} threw, ${failures} failures, ${Math.round((performance.now() - begin) / 1000)} s`,
);
/** What came back from no call of a long run is not really played with, and this list says why that is right. */
const neverBack =
  /^new (?!\w*Error$)|^(?:capabilities|conversionModel|memoryOf|Kvm\.open|GuestAgent\.create|MemoryBackend\.prototype\.attach)$/;
const idle = never
  .filter(([name]) => !neverBack.test(name))
  .map(([name, { threw }]) => `${name} (threw ${threw} times)`);
if (idle.length > 0 && played >= 4000) {
  // What a KVM does is its kernel's affair: Linux 6.18 as it is released converts nothing.
  console.log(`${hasKvm ? 'of note' : 'failed'}: nothing came back from ${idle.join(', ')}`);
  if (!hasKvm) failures++;
}
if (!hasKvm) console.log('left out, for want of a usable /dev/kvm: methods of objects that only KVM makes');
process.exit(failures > 0 ? 1 : 0);
