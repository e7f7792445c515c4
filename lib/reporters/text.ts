const controls =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: those are the ones to be shown
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufffe\uffff]/g;
// biome-ignore lint/suspicious/noControlCharactersInRegex: as above
const suspicious = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]/;

/**
 * Text of a kernel, a check or a stack trace, as every format takes it: what would drive a terminal, break a line or is no
 * character of XML is shown by its number. Tabs and newlines stay.
 */
export function clean(text: string): string {
  // Nearly every text is clean, and a report has ten thousands of them.
  if (!suspicious.test(text)) return text;
  return text
    .replace(/\r\n/g, '\n')
    .replace(controls, (character) => `\\x${character.charCodeAt(0).toString(16).padStart(2, '0')}`)
    .replace(/\p{Surrogate}/gu, '\ufffd');
}

/** The same in one line. */
export const oneLine = (text: string): string =>
  clean(text)
    .replace(/\s*[\n\t]\s*/g, ' ')
    .trim();

/** At most so many characters of a text, with a sign where some are missing. */
export const atMost = (text: string, most: number): string =>
  text.length <= most ? text : `${text.slice(0, most - 1).replace(/\p{Surrogate}$/u, '')}…`;

/** Breaks a line at spaces to fit a width; lines after the first begin with `margin`. A longer word stays whole. */
export function fold(line: string, width: number, margin: string): string[] {
  if (line.length <= width) return [line];
  const start = /^ */.exec(line)?.[0] ?? '';
  const folded: string[] = [];
  let current = start;
  let empty = true;
  for (const word of line.slice(start.length).split(' ')) {
    if (!empty && current.length + 1 + word.length > width) {
      folded.push(current);
      current = margin + word;
    } else current += empty ? word : ` ${word}`;
    empty = false;
  }
  return [...folded, current];
}
