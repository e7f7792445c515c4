/** The lab could not do its part; the kernel under test has nothing to do with it. */
export class LabError extends Error {
  readonly remedy: string | undefined;

  constructor(message: string, remedy?: string) {
    super(remedy ? `${message}. ${remedy}` : message);
    this.remedy = remedy;
  }
}

/** Whether an error tells of what this machine lacks for the lab: one of ours, or a system call's, as at a full disk. */
export function isLacking(error: unknown): error is Error {
  const { code, syscall } = error as NodeJS.ErrnoException;
  return error instanceof LabError || (code !== undefined && syscall !== undefined);
}
