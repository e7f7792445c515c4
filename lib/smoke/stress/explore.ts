import { GuestExitError } from '../../guest/agent.ts';
import { KvmError, MemoryAccessError } from '../../kvm/errors.ts';
import type { CheckContext } from '../context.ts';
import { CheckFailure } from '../expect.ts';
import { randomFrom } from '../random.ts';
import { shrink } from './shrink.ts';

/** A kernel object under test beside a model of what it must be like. */
export interface World<Step> extends Disposable {
  /** Does a step to both, and throws where they differ. Any step may come after any other. */
  apply(step: Step): void | Promise<void>;
  /** Throws where what can be seen at the end is not as the model has it. */
  verify(): void | Promise<void>;
}

/** What a random check is made of. */
export interface Exploration<Step> {
  /** A new world, as every list of steps begins with. */
  create(): World<Step>;
  /** A step, by numbers from 0 to below 1. */
  step(random: () => number): Step;
  /** Steps in a list. */
  readonly length: number;
}

/** Milliseconds that a failing list may take to be made shorter. */
const shrinkingMs = 15_000;

/** What a list of steps ends with; undefined where kernel and model agree. */
async function outcome<Step>({ create }: Exploration<Step>, steps: readonly Step[]): Promise<Error | undefined> {
  using world = create();
  try {
    for (const step of steps) await world.apply(step);
    await world.verify();
    return undefined;
  } catch (error) {
    // The kernel disagrees with the model. Anything else is a bug of the check.
    if (
      error instanceof CheckFailure ||
      error instanceof KvmError ||
      error instanceof MemoryAccessError ||
      error instanceof GuestExitError
    )
      return error;
    throw error;
  }
}

/**
 * Plays random lists of steps until the deadline. The first that fails is made as short as can be, and told as a list.
 *
 * List number i is made of the seed plus i: the seed that a failure names has its list first.
 */
export async function explore<Step>(check: CheckContext, exploration: Exploration<Step>): Promise<void> {
  let lists = 0;
  do {
    const seed = (check.seed + lists) >>> 0;
    const random = randomFrom(seed);
    const steps = Array.from({ length: exploration.length }, () => exploration.step(random));
    const failure = await outcome(exploration, steps);
    if (failure) {
      const until = performance.now() + shrinkingMs;
      const shortest = await shrink(
        steps,
        async (fewer) => (await outcome(exploration, fewer)) !== undefined,
        () => performance.now() < until,
      );
      // Once more, so that the calls told with the failure are those of the short list.
      check.configuration = `seed ${seed}`;
      const last = (await outcome(exploration, shortest)) ?? failure;
      const list = shortest.map((step) => JSON.stringify(step)).join('\n');
      throw new CheckFailure(
        `${last.message}\nafter these ${shortest.length} of ${steps.length} steps, which --seed ${seed} plays first:\n${list}`,
        last instanceof CheckFailure ? last.expected : undefined,
        last instanceof CheckFailure ? last.got : undefined,
      );
    }
    lists++;
  } while (performance.now() < check.deadline);
  check.note(`${lists} lists of ${exploration.length} steps`);
}

/** A number from 0 to below `count`. */
export function below(random: () => number, count: number): number {
  return Math.floor(random() * count);
}

/** One of several. */
export function one<T>(random: () => number, of: readonly T[]): T {
  return of[below(random, of.length)] as T;
}
