/**
 * Finds a shorter list that still fails: leaves out halves, then quarters, down to single steps, as long as that helps (delta
 * debugging). Needs steps that may be left out, whatever the others are.
 *
 * @param fails whether a list still fails
 * @param mayGoOn false ends the search early, with the shortest list found
 */
export async function shrink<Step>(
  steps: readonly Step[],
  fails: (steps: readonly Step[]) => Promise<boolean>,
  mayGoOn: () => boolean = () => true,
): Promise<readonly Step[]> {
  let shortest = steps;
  for (let size = Math.ceil(shortest.length / 2); size >= 1; ) {
    let shorter = false;
    // From the end: late steps are the ones that most often do not matter, and the failing one stays the last.
    for (let at = shortest.length - size; at > -size && mayGoOn(); at -= size) {
      const without = [...shortest.slice(0, Math.max(0, at)), ...shortest.slice(at + size)];
      if (without.length < shortest.length && (await fails(without))) {
        shortest = without;
        shorter = true;
      }
    }
    if (!mayGoOn()) break;
    // What could not be left out before may be when others are gone.
    if (!shorter || size > 1) size = size === 1 ? 0 : Math.ceil(size / 2);
  }
  return shortest;
}
