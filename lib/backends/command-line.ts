import { splitPairs } from './object-option.ts';

/** An option of a QEMU command line with its argument. */
export interface CommandOption {
  readonly name: string;
  readonly argument: string | undefined;
}

/** Splits a command line as a shell does: spaces, quotes, backslashes. Variables and the like stay as they are. */
export function splitShell(text: string): string[] {
  const words: string[] = [];
  const pattern = /\s*((?:[^\s"'\\]|\\[\s\S]|"(?:[^"\\]|\\[\s\S])*"|'[^']*')+|\S)/y;
  for (let match = pattern.exec(text); match; match = pattern.exec(text)) {
    const word = (match[1] ?? '').replace(
      /\\\n|\\([\s\S])|"((?:[^"\\]|\\[\s\S])*)"|'([^']*)'/g,
      (all, escaped?: string, double?: string, single?: string) => {
        if (all === '\\\n') return '';
        return escaped ?? double?.replace(/\\([$`"\\])|\\\n/g, '$1') ?? single ?? '';
      },
    );
    if (word !== '' || match[1] !== '\\\n') words.push(word);
  }
  return words.filter((word) => word !== '');
}

/** The options of a command line; a word that does not begin with `-` belongs to the option before it. */
export function readOptions(words: readonly string[]): CommandOption[] {
  const options: CommandOption[] = [];
  for (let i = 0; i < words.length; i++) {
    const word = words[i] ?? '';
    if (!/^--?[a-zA-Z]/.test(word)) continue;
    const next = words[i + 1];
    const takes = next !== undefined && !/^-[a-zA-Z-]/.test(next);
    options.push({ name: word.replace(/^--?/, ''), argument: takes ? next : undefined });
    if (takes) i++;
  }
  return options;
}

/** The values of a key in `-machine`, `-numa`, `-m` and others of their kind. */
export function valuesOf(argument: string | undefined, key: string, first = ''): string[] {
  return splitPairs(argument ?? '')
    .map((pair, i) => (i === 0 && pair.key === 'qom-type' ? { ...pair, key: first } : pair))
    .filter((pair) => pair.key === key)
    .map((pair) => pair.value);
}
