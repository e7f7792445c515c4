import { closeSync, mkdirSync, openSync, statSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import type { KernelCall } from '../smoke/model.ts';
import type { Reproducer } from '../smoke/protocol.ts';
import { type Io, UsageError } from './io.ts';

// Files that `gmem smoke` writes while the checks run.

/** Where kernel calls go, a line of JSON each: { check, call, arguments, result or errno, atMs, durationMs, … }. */
export function openTrace(path: string): { write(check: string, call: KernelCall): void; close(): void } {
  let fd: number;
  try {
    fd = openSync(path, 'w');
  } catch (error) {
    throw new UsageError(`--trace: ${(error as Error).message}`);
  }
  return {
    write: (check, call) => {
      writeSync(fd, `${JSON.stringify({ check, ...call })}\n`);
    },
    close: () => closeSync(fd),
  };
}

/** Where C programs go: a file for each failed check, its name the check's. */
export function openReproducers(
  directory: string,
  io: Io,
  command: string,
): { write(check: string, reproducer: Reproducer): void } {
  try {
    mkdirSync(directory, { recursive: true });
    if (!statSync(directory).isDirectory()) throw new Error(`${directory} is not a folder`);
  } catch (error) {
    throw new UsageError(`--reproducer: ${(error as Error).message}`);
  }
  return {
    write: (check, { source, problem }) => {
      if (source === undefined) {
        io.stderr.write(`${command}: no reproducer of ${check}: ${problem}\n`);
        return;
      }
      try {
        writeFileSync(join(directory, `${check.replaceAll('/', '-')}.c`), source);
      } catch (error) {
        io.stderr.write(`${command}: the reproducer of ${check} could not be written: ${(error as Error).message}\n`);
      }
    },
  };
}
