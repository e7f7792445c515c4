import { closeSync, fstatSync, ftruncateSync, openSync, statSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import type { KernelCall } from '../smoke/model.ts';
import type { Reproducer } from '../smoke/protocol.ts';
import { makeDirectory } from '../system/make-directory.ts';
import { type Io, UsageError } from './io.ts';
import { writeWhole } from './write-whole.ts';

// Files that `gmem smoke` writes while the checks run.

/**
 * Where kernel calls go, a line of JSON each: { check, call, arguments, result or errno, atMs, durationMs, … }. What ends the
 * run ends the trace at its last whole line. `close()` tells whether all of it is there.
 */
export function openTrace(
  path: string,
  io: Io,
  command: string,
): { write(check: string, call: KernelCall): void; close(): boolean } {
  let fd: number;
  try {
    fd = openSync(path, 'w');
  } catch (error) {
    throw new UsageError(`--trace: ${(error as Error).message}`);
  }
  let written = 0;
  let complete = true;
  return {
    write: (check, call) => {
      if (!complete) return;
      const line = Buffer.from(`${JSON.stringify({ check, ...call })}\n`);
      try {
        // The last bytes of a disk take a part of it; the next try is told that it is full.
        for (let at = 0; at < line.length; ) at += writeSync(fd, line, at);
        written += line.length;
      } catch (error) {
        complete = false;
        io.stderr.write(`${command}: the trace in ${path} is not complete: ${(error as Error).message}\n`);
        if (fstatSync(fd).isFile()) ftruncateSync(fd, written);
      }
    },
    close: () => {
      closeSync(fd);
      return complete;
    },
  };
}

/** Where C programs go: a file for each failed check, its name the check's. */
export function openReproducers(
  directory: string,
  io: Io,
  command: string,
): { write(check: string, reproducer: Reproducer): void } {
  try {
    makeDirectory(directory);
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
        writeWhole(join(directory, `${check.replaceAll('/', '-')}.c`), source);
      } catch (error) {
        io.stderr.write(`${command}: the reproducer of ${check} could not be written: ${(error as Error).message}\n`);
      }
    },
  };
}
