import { shown, type U64 } from '../kvm/arguments.ts';
import { formatSize } from './values.ts';

/**
 * An object that cannot be: its text, its values, how they go together, or this host refuse it.
 *
 * @example
 * try {
 *   parseObjectOption('memory-backend-ram,id=a,size=0');
 * } catch (error) {
 *   if (error instanceof BackendError) console.log(error.property, error.message);
 * }
 */
export class BackendError extends Error {
  readonly code = 'ERR_BACKEND';
  /** The property that is wrong; undefined where the text as a whole is. */
  readonly property: string | undefined;
  /** The value that is wrong, as written where it came from a text. */
  readonly value: unknown;
  /** What to do instead. */
  readonly remedy: string | undefined;

  /** @internal */
  constructor(
    reason: string,
    details: { property?: string | undefined; value?: unknown; remedy?: string | undefined; cause?: unknown } = {},
  ) {
    const { property, value, remedy, cause } = details;
    const what = property === undefined ? '' : `${property}${value === undefined ? '' : `=${show(value)}`}: `;
    super(`${what}${reason}${remedy ? `. ${remedy}` : ''}`, cause === undefined ? {} : { cause });
    this.property = property;
    this.value = value;
    this.remedy = remedy;
  }
}
Object.defineProperty(BackendError.prototype, 'name', { value: 'BackendError', configurable: true, writable: true });

function show(value: unknown): string {
  if (typeof value === 'boolean') return value ? 'on' : 'off';
  if (typeof value === 'bigint' || Number.isInteger(value)) return formatSize(value as U64);
  if (Array.isArray(value) && value.every((one) => typeof one === 'number')) return value.join('+');
  const text = typeof value === 'string' ? value : shown(value);
  return text.length > 200 ? `${text.slice(0, 200)}…` : text;
}
