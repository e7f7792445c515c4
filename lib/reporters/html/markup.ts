import { clean } from '../text.ts';

/** HTML that is safe to insert: only {@link html} makes it, which escapes everything else. */
export class Markup {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }
}

type Insertable = Markup | string | number | undefined | false | readonly Insertable[];

const entities: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

function insert(value: Insertable): string {
  if (value instanceof Markup) return value.text;
  if (value === undefined || value === false) return '';
  if (typeof value === 'string') {
    const text = clean(value);
    return /[&<>"']/.test(text) ? text.replace(/[&<>"']/g, (character) => entities[character] ?? '') : text;
  }
  if (typeof value === 'number') return String(value);
  return value.map(insert).join('');
}

/** Markup from a template: values are text unless they are markup, `false` and undefined are nothing. */
export function html(parts: TemplateStringsArray, ...values: Insertable[]): Markup {
  // Joined, not added: sums of strings are trees, and that of a page of megabytes takes longer to write than to make.
  const all = [parts[0]];
  for (let at = 0; at < values.length; at++) all.push(insert(values[at]), parts[at + 1]);
  return new Markup(all.join(''));
}
