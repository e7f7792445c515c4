/** The lab could not do its part; the kernel under test has nothing to do with it. */
export class LabError extends Error {
  readonly remedy: string | undefined;

  constructor(message: string, remedy?: string) {
    super(remedy ? `${message}. ${remedy}` : message);
    this.remedy = remedy;
  }
}
