/** A syntax error in JSON, and where. */
export class JsonSyntaxError extends Error {}

/** What {@link parseJson} gives: integers as bigint, other numbers as number. */
export type Json = null | boolean | number | bigint | string | Json[] | Map<string, Json>;

const maxDepth = 64;

/**
 * Parses JSON as QEMU reads it: strings may stand in single quotes, a key that is there twice is an error, and integers
 * keep all their digits (JSON.parse() has none of these).
 */
export function parseJson(text: string): Json {
  let at = 0;
  const fail = (expected: string): never => {
    const found = at < text.length ? `"${text.slice(at, at + 10)}"` : 'the end';
    throw new JsonSyntaxError(`expected ${expected} at character ${at + 1}, found ${found}`);
  };
  const token = (pattern: RegExp): string | undefined => {
    const sticky = new RegExp(`[ \\t\\n\\r]*(${pattern.source})`, 'y');
    sticky.lastIndex = at;
    const match = sticky.exec(text);
    if (match) at = sticky.lastIndex;
    return match?.[1];
  };
  const string = (): string | undefined => {
    const quoted = token(/"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'/);
    if (quoted === undefined) return undefined;
    const inner = quoted.slice(1, -1).replaceAll("\\'", "'");
    try {
      return JSON.parse(quoted[0] === '"' ? quoted : `"${inner.replace(/\\.|"/g, (c) => (c === '"' ? '\\"' : c))}"`);
    } catch {
      return fail('a string without unknown escapes before this');
    }
  };
  const separated = (close: RegExp, item: () => void) => {
    if (token(close)) return;
    do item();
    while (token(/,/));
    if (!token(close)) fail(`, or ${close.source.slice(1)}`);
  };
  const value = (depth: number): Json => {
    if (depth > maxDepth) fail('less nesting');
    if (token(/\{/)) {
      const members = new Map<string, Json>();
      separated(/\}/, () => {
        const key = string() ?? fail('a key');
        if (members.has(key)) throw new JsonSyntaxError(`the key "${key}" is there twice`);
        if (!token(/:/)) fail(':');
        members.set(key, value(depth + 1));
      });
      return members;
    }
    if (token(/\[/)) {
      const items: Json[] = [];
      separated(/\]/, () => items.push(value(depth + 1)));
      return items;
    }
    const word = token(/(?:true|false|null)\b/);
    if (word !== undefined) return word === 'null' ? null : word === 'true';
    const number = token(/-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/);
    if (number !== undefined) return /[.eE]/.test(number) ? Number(number) : BigInt(number);
    return string() ?? fail('a value');
  };
  const result = value(0);
  if (token(/[^ \t\n\r]/) !== undefined) {
    at--;
    fail('the end');
  }
  return result;
}
