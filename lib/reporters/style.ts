import { styleText } from 'node:util';

type Format = Parameters<typeof styleText>[0];

/** Paints text, or leaves it as it is. */
export type Paint = (format: Format, text: string) => string;

/**
 * Colours for a stream: on a terminal unless NO_COLOR is set, and where FORCE_COLOR is set to anything but 0. styleText
 * would decide by itself, but by standard output, whatever stream the text is for.
 */
export function painter(stream: { isTTY?: boolean }, env: NodeJS.ProcessEnv = process.env): Paint {
  const forced = env['FORCE_COLOR'];
  const wanted =
    forced !== undefined && forced !== ''
      ? forced !== '0'
      : stream.isTTY === true && !env['NO_COLOR'] && env['TERM'] !== 'dumb';
  return wanted ? (format, text) => styleText(format, text, { validateStream: false }) : (_format, text) => text;
}
