/** What a random test is driven by: GMEM_TEST_SEED, or any. It is printed, so that what failed can be played again. */
export function anySeed(name: string): number {
  const seed = Number(process.env['GMEM_TEST_SEED'] ?? Math.floor(Math.random() * 2 ** 32));
  console.log(`${name}: GMEM_TEST_SEED=${seed}`);
  return seed;
}
