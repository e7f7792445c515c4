import { errnoName } from '../../kvm/errors.ts';
import { fragments } from './fragments.ts';
import { architectureMacros, vcpuFragments } from './vcpu-fragments.ts';

const all = { ...fragments, ...vcpuFragments };

/** A number as C has it. */
export function number(value: number | bigint): string {
  const wide = BigInt(value);
  if (wide >= -9n && wide < 4096n) return String(wide);
  const unsigned = BigInt.asUintN(64, wide);
  return `0x${unsigned.toString(16)}${unsigned > 0xffff_ffffn ? 'ull' : ''}`;
}

/** The symbol of an errno. */
export function errnoSymbol(result: number): string {
  return errnoName(result);
}

/** A text as a C string. */
export function quote(text: string): string {
  const escaped = text.replace(/[\\"]/g, '\\$&').replace(/\n/g, '\\n').replace(/%/g, '%');
  return `"${escaped.replace(/[^\x20-\x7e]/g, '?')}"`;
}

/** A text that may stand in a C comment. */
export function comment(text: string): string {
  return text.replaceAll('*/', '* /');
}

/** A C program that grows statement by statement. */
export class Program {
  readonly #used = new Set<string>();
  readonly #declarations: string[] = [];
  readonly #statements: string[] = [];
  readonly #counts = new Map<string, number>();
  readonly #architecture: string;

  constructor(architecture: string) {
    this.#architecture = architecture;
  }

  get size(): number {
    return this.#statements.length;
  }

  /** Asks for a piece of the prelude, and gives its name. */
  use(name: string): string {
    if (this.#used.has(name)) return name;
    this.#used.add(name);
    for (const needed of all[name]?.needs ?? []) this.use(needed);
    return name;
  }

  /** A name that no other has: 'vm1', 'vm2'. */
  fresh(prefix: string): string {
    const count = (this.#counts.get(prefix) ?? 0) + 1;
    this.#counts.set(prefix, count);
    return `${prefix}${count}`;
  }

  declare(text: string): void {
    this.#declarations.push(text);
  }

  add(...statements: readonly string[]): void {
    this.#statements.push(...statements);
  }

  /** An array with these bytes. */
  bytes(content: Uint8Array, name = this.fresh('bytes')): string {
    const rows: string[] = [];
    for (let at = 0; at < content.length; at += 16)
      rows.push(`\t${[...content.subarray(at, at + 16)].map((byte) => `0x${byte.toString(16)},`).join(' ')}`);
    this.declare(`static const unsigned char ${name}[${content.length}] = {\n${rows.join('\n')}\n};`);
    return name;
  }

  /** The whole text, below a comment. */
  text(header: string): string {
    const pieces = Object.entries(all).filter(([name]) => this.#used.has(name));
    const macros = this.#used.has('vcpu') ? [architectureMacros[this.#architecture] ?? ''] : [];
    return [
      header,
      '#define _GNU_SOURCE',
      ...[
        'errno.h',
        'fcntl.h',
        'linux/falloc.h',
        'pthread.h',
        'setjmp.h',
        'signal.h',
        'stdint.h',
        'stdio.h',
        'stdlib.h',
        'string.h',
        'sys/ioctl.h',
        'sys/mman.h',
        'sys/stat.h',
        'sys/syscall.h',
        'sys/time.h',
        'sys/uio.h',
        'sys/vfs.h',
        'sys/wait.h',
        'time.h',
        'unistd.h',
      ].map((file) => `#include <${file}>`),
      '',
      ...macros,
      ...pieces.map(([, { text }]) => `${text}\n`),
      '/* ---- what the check did ---- */',
      '',
      ...this.#declarations,
      '',
      'int main(void)',
      '{',
      ...(this.#statements.some((line) => /\brc\b/.test(line)) ? ['\tlong rc;', ''] : []),
      '\tsetvbuf(stdout, NULL, _IONBF, 0);',
      ...this.#statements.map((line) => (line === '' ? '' : `\t${line}`)),
      '}',
      '',
    ].join('\n');
  }
}
