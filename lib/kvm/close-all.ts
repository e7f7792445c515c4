/** Closes everything, whatever becomes of the others, and then throws the first of what was thrown. */
export function closeAll(...things: readonly ({ close(): void } | undefined)[]): void {
  const errors: unknown[] = [];
  for (const thing of things) {
    try {
      thing?.close();
    } catch (error) {
      errors.push(error);
    }
  }
  if (errors.length > 0) throw errors[0];
}
