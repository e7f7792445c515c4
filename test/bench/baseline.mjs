import { execFileSync, spawn } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const here = fileURLToPath(new URL('.', import.meta.url));

/** Builds the C program into a folder; `linking` is '-static' for a machine without the C library. */
export function build(directory, linking = []) {
  const output = join(directory, 'baseline');
  execFileSync(
    process.env.CC ?? 'cc',
    ['-std=gnu17', '-O2', '-Wall', '-Wextra', ...linking, '-pthread', 'baseline.c', 'baseline_kvm.c', '-o', output],
    { cwd: here, stdio: ['ignore', 'inherit', 'inherit'] },
  );
  return output;
}

/** The C program, alive. */
export class Baseline {
  #child;
  #lines;

  /** @param program what {@link build} gave */
  constructor(program) {
    this.#child = spawn(program, { stdio: ['pipe', 'pipe', 'inherit'] });
    this.#lines = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
  }

  /** A contestant: nanoseconds that so many operations of a case took. */
  contestant(name, argument = 0) {
    return async (operations) => {
      this.#child.stdin.write(`${name} ${operations} ${argument}\n`);
      const { value = 'error the program has ended' } = await this.#lines.next();
      if (!/^\d+$/.test(value)) throw new Error(`the C program: ${value.replace(/^error /, '')}`);
      return Number(value);
    };
  }

  close() {
    this.#child.stdin.end();
  }
}
