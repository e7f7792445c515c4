// What the processes that tests start execute of the TypeScript: Node writes it by the offsets of the compiled files
// (NODE_V8_COVERAGE), source maps lead back to lines.
import { readdirSync, readFileSync } from 'node:fs';
import { SourceMap } from 'node:module';
import { join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Marks what one process executed of a script: ranges inside of others have the last word. */
function mark(executed, functions) {
  const counts = new Uint8Array(executed.length);
  for (const { ranges } of functions)
    for (const { startOffset, endOffset, count } of ranges) counts.fill(count > 0 ? 1 : 0, startOffset, endOffset);
  for (const [at, count] of counts.entries()) if (count > 0) executed[at] = 1;
}

/** Lines of the source that lie behind marked offsets of the compiled text. */
function sourceLines(text, map, executed) {
  const lines = new Set();
  let offset = 0;
  for (const [line, content] of text.split('\n').entries()) {
    for (let column = 0; column < content.length; column++) {
      if (!executed[offset + column] || content[column] === ' ') continue;
      const { generatedLine, originalLine } = map.findEntry(line, column);
      if (generatedLine === line) lines.add(originalLine + 1);
    }
    offset += content.length + 1;
  }
  return lines;
}

/**
 * Lines that were executed, by the file's path.
 *
 * @param written where Node wrote
 * @param mapped the same compiled files as in dist/, with source maps
 */
export function linesOfProcesses(written, mapped) {
  const scripts = new Map();
  for (const name of readdirSync(written)) {
    const { result } = JSON.parse(readFileSync(join(written, name), 'utf8'));
    for (const { url, functions } of result) {
      const path = url.startsWith('file://') ? relative(resolve('dist'), fileURLToPath(url)) : '..';
      if (/^(?:\.\.|gmem|bundle)/.test(path)) continue;
      const script = scripts.get(path) ?? { text: readFileSync(join(mapped, path), 'utf8') };
      script.executed ??= new Uint8Array(script.text.length);
      scripts.set(path, script);
      mark(script.executed, functions);
    }
  }
  return new Map(
    [...scripts].map(([path, { text, executed }]) => {
      const map = new SourceMap(JSON.parse(readFileSync(join(mapped, `${path}.map`), 'utf8')));
      return [`lib/${path.replace(/js$/, 'ts')}`, sourceLines(text, map, executed)];
    }),
  );
}
