import { describe, expect, test } from 'vitest';
import { randomFrom } from '../../lib/smoke/random.ts';
import { below } from '../../lib/smoke/stress/explore.ts';
import { privateStep } from '../../lib/smoke/stress/private-world.ts';
import { pages, sharedStep } from '../../lib/smoke/stress/shared-world.ts';
import { shrink } from '../../lib/smoke/stress/shrink.ts';

const numbers = (count: number) => Array.from({ length: count }, (_, i) => i);

describe('shrinking a list that fails', () => {
  test.each([[[17]], [[0, 59]], [[3, 4, 5]], [[0, 29, 30, 59]], [[1, 2, 5, 11, 23, 47]]])(
    'finds the steps that matter: %j',
    async (needed) => {
      let tries = 0;
      const shortest = await shrink(numbers(60), async (steps) => {
        tries++;
        return needed.every((step) => steps.includes(step));
      });
      expect(shortest).toEqual(needed);
      expect(tries).toBeLessThan(500);
    },
  );

  test('keeps the order, and leaves nothing that could be left out by itself', async () => {
    const fails = async (steps: readonly number[]) => steps.includes(7) && steps.includes(8) === steps.includes(20);
    const shortest = await shrink(numbers(40), fails);
    expect(shortest).toEqual([...shortest].sort((a, b) => a - b));
    for (const step of shortest) expect(await fails(shortest.filter((other) => other !== step))).toBe(false);
  });

  test('ends early with the shortest list found, which still fails', async () => {
    let left = 10;
    const fails = async (steps: readonly number[]) => steps.includes(50);
    const shortest = await shrink(numbers(60), fails, () => left-- > 0);
    expect(shortest).toContain(50);
    expect(shortest.length).toBeLessThan(60);
  });

  test('leaves a list of one step as it is', async () => {
    expect(await shrink([1], async (steps) => steps.length > 0)).toEqual([1]);
  });
});

describe('random steps', () => {
  test.each([
    ['shared', sharedStep],
    ['private', privateStep],
  ])('of %s memory are the same for the same seed', (_, step) => {
    const list = (seed: number) => {
      const random = randomFrom(seed);
      return numbers(50).map(() => step(random));
    };
    expect(list(7)).toEqual(list(7));
    expect(list(7)).not.toEqual(list(8));
  });

  test('are of every kind', () => {
    const random = randomFrom(1);
    const kinds = (step: (random: () => number) => { do: string }) =>
      [...new Set(numbers(2000).map(() => step(random).do))].sort().join(' ');
    expect(kinds(sharedStep)).toBe('allocate bind discard guestRead guestWrite punch read remap unbind write');
    expect(kinds(privateStep)).toBe('allocate discard guestRead guestWrite preFault private punch rebind shared write');
  });

  test('of private memory stay inside', () => {
    const random = randomFrom(3);
    for (const { offset, count } of numbers(2000).map(() => privateStep(random)))
      expect(offset + count).toBeLessThanOrEqual(pages);
    expect(below(() => 0.999_999, 3)).toBe(2);
  });
});
