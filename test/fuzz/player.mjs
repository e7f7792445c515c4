// The process that plays: what crashes it or makes it hang is its parent's to tell (run.mjs).
//
//   node player.mjs '{"first": 0, "count": 1000, "seed": 1, …}'
import { mkdirSync, mkdtempSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { collect } from '../endurance/held.mjs';
import { Game, held, makersOf, Violation } from './game.mjs';
import { describe, sequences } from './steps.mjs';
import { surfaceOf } from './surface.mjs';

/**
 * @param library the package's module
 * @param tell is told what happens
 * @param favoured for sequences()
 * @param group sequences between two looks at what is held, which cost as much as a sequence
 */
export async function player({ library, tell, favoured, group = 50 }) {
  const folder = fileURLToPath(new URL('.', library));
  const g = await import(library);
  const { shrink } = await import(new URL('smoke/stress/shrink.js', library));
  let hasKvm = true;
  try {
    g.Kvm.open().close();
  } catch {
    hasKvm = false;
  }
  const makers = makersOf(g, hasKvm);
  // Objects of these classes come from others only.
  const mapping = g.mapAnonymous({ size: g.pageSize });
  const extra = ['pin', 'forkChild'].map((method) => {
    const one = mapping[method]();
    one.close();
    return one.constructor;
  });
  mapping.close();
  const surface = surfaceOf(g, folder, extra);
  const known = new Set([...Object.keys(makers), ...Object.keys(makersOf(g, true))]);
  for (const type of surface.classes)
    if (!known.has(type.name) && !(type.prototype instanceof Error))
      throw new Error(`test/fuzz/game.mjs has no way to make a ${type.name}`);
  const files = mkdtempSync(join(tmpdir(), 'gmem-fuzz-'));
  const game = new Game(g, surface, makers, files);
  // Methods of objects that cannot be had here would make most steps nothing.
  const playable = surface.calls.filter(({ how, owner }) => !['method', 'get'].includes(how) || makers[owner.name]);
  const arbitrary = sequences(g, playable, favoured);
  let stray;
  const caught = (error) => {
    stray ??= error;
  };
  process.on('uncaughtException', caught);
  process.on('unhandledRejection', caught);

  /** What is held beyond `before`, once finalizers have had their time. */
  async function leaked(before) {
    let now = held();
    for (let i = 0; i < 20 && (now.fds > before.fds || now.files > before.files); i++) {
      collect();
      await delay(1);
      now = held();
    }
    if (now.fds > before.fds) return `${now.fds - before.fds} file descriptors are left open`;
    if (now.files > before.files) return `${now.files - before.files} mappings of files are left`;
    return undefined;
  }

  async function playOne(steps, strict) {
    const before = strict ? held() : undefined;
    try {
      await game.play(steps);
      if (strict) {
        collect();
        await delay(2); // timers and finalizers that a step left behind
      }
      if (stray) throw new Violation(`nobody could catch ${stray?.stack ?? stray}`);
      const left = before && (await leaked(before));
      if (left) throw new Violation(left);
    } finally {
      stray = undefined;
    }
  }

  const sequence = (seed, i) => fc.sample(arbitrary, { seed: (seed * 1_000_003 + i) | 0, numRuns: 1 })[0];

  const reported = new Set();

  /** Makes a sequence that failed as short as can be: steps are left out, then fast-check makes what is left simpler. */
  async function shrunk(seed, i, strict, first) {
    const signature = first.message.split('\n')[0];
    if (reported.has(signature)) return { sequence: i, reason: `again: ${signature}`, steps: '' };
    reported.add(signature);
    const until = performance.now() + 20_000;
    let reason = first.message;
    const fails = (steps) =>
      playOne(steps, strict).then(
        () => false,
        (error) => {
          reason = error.message;
          return error instanceof Violation;
        },
      );
    const found = await fc.check(
      fc.asyncProperty(arbitrary, async (steps) => !(await fails(steps))),
      { seed: (seed * 1_000_003 + i) | 0, numRuns: 1, interruptAfterTimeLimit: 10_000 },
    );
    const steps = found.counterexample?.[0];
    if (!steps) return { sequence: i, reason: `not again: ${first.message}`, steps: describe(sequence(seed, i)) };
    const shortest = await shrink(steps, fails, () => performance.now() < until);
    await fails(shortest);
    return { sequence: i, reason, steps: describe(shortest) };
  }

  return {
    game,
    hasKvm,
    /** One sequence, or some steps of it: what a parent finds the cause of a crash with. */
    async replay({ seed, first, only }) {
      const steps = sequence(seed, first);
      const chosen = only ? steps.filter((_, i) => only.includes(i)) : steps;
      tell({ type: 'steps', count: steps.length, text: describe(chosen) });
      await playOne(chosen, true);
    },
    async play({ seed, first, count, until = Number.POSITIVE_INFINITY }) {
      let played = 0;
      let failures = 0;
      await playOne([], false); // what is made once
      collect();
      let before = held();
      const fail = async (i, strict, error) => {
        failures++;
        tell({ type: 'failure', ...(await shrunk(seed, i, strict, error)) });
      };
      for (let at = first; at < first + count && failures < 10 && performance.now() < until; at += group) {
        const end = Math.min(at + group, first + count);
        for (let i = at; i < end && performance.now() < until; i++) {
          tell({ type: 'sequence', i });
          try {
            await playOne(sequence(seed, i), false);
          } catch (error) {
            if (!(error instanceof Violation)) throw error;
            await fail(i, false, error);
          }
          played++;
        }
        await delay(1);
        // Their names are never used twice, so it is early enough to remove files here.
        rmSync(files, { recursive: true, force: true });
        mkdirSync(files);
        const left = await leaked(before);
        if (left) {
          // Which of them was it?
          const count = failures;
          for (let i = at; i < end && failures === count; i++) {
            tell({ type: 'sequence', i });
            await playOne(sequence(seed, i), true).catch((error) => fail(i, true, error));
          }
          if (failures === count)
            tell(
              {
                type: 'failure',
                sequence: at,
                reason: `${left} after sequences ${at} to ${end - 1}, not after any one of them`,
                steps: '',
              },
              failures++,
            );
        }
        before = held();
      }
      rmSync(files, { recursive: true, force: true });
      tell({
        type: 'end',
        played,
        failures,
        mappings: held().mappings,
        rss: process.memoryUsage().rss,
        hasKvm,
        calls: Object.fromEntries(
          [...game.calls].filter(
            ([name]) =>
              !surface.calls.some((call) => call.name === name) || playable.some((call) => call.name === name),
          ),
        ),
      });
    },
  };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const task = JSON.parse(process.argv[2]);
  // Numbers of sequences go to a file, for a line of JSON each would cost more than some sequences do.
  const at = new BigInt64Array(1);
  const tell = (message) => {
    if (message.type !== 'sequence') return writeSync(3, `${JSON.stringify(message)}\n`);
    at[0] = BigInt(message.i);
    return writeSync(4, at, 0, 8, 0);
  };
  const one = await player({ library: new URL(`file://${task.library}`).href, tell });
  await (task.replay
    ? one.replay(task)
    : one.play({ ...task, until: performance.now() + (task.seconds ?? Number.POSITIVE_INFINITY) * 1000 })
  ).then(
    () => process.exit(0),
    (error) => {
      console.error(error);
      process.exit(1);
    },
  );
}
