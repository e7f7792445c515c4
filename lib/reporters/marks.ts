import type { Status } from '../smoke/model.ts';
import type { Paint } from './style.ts';

/** How a status looks in text: failures must be found in a long list, without colour too. */
export const marks: Readonly<Record<Status, readonly [text: string, format: Parameters<Paint>[0]]>> = {
  pass: ['pass', 'green'],
  fail: ['FAIL', ['red', 'bold']],
  xfail: ['xfail', 'yellow'],
  skip: ['skip', 'cyan'],
  error: ['ERROR', ['red', 'bold']],
};
