/** Where a command writes. */
export interface Io {
  readonly stdout: NodeJS.WriteStream;
  readonly stderr: NodeJS.WriteStream;
}

/** What the user got wrong: told without a stack, exit 2. */
export class UsageError extends Error {}

/** Exit codes of every command. */
export const ExitCode = {
  ok: 0,
  /** A check failed. */
  failed: 1,
  usage: 2,
  /** Nothing could run, usually for want of a usable /dev/kvm. */
  nothingRan: 4,
  /** Ended by Ctrl-C: 128 + SIGINT. */
  interrupted: 130,
} as const;

/** Turns what `util.parseArgs` throws into a UsageError. */
export function parsing<T>(parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code?.startsWith('ERR_PARSE_ARGS')) throw new UsageError(message);
    throw error;
  }
}
