import { type PropertyRow, propertiesOf } from './properties.ts';
import { type ObjectType, objectTypes } from './types.ts';

const width = 100;

function wrap(text: string, indent: string): string {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line && indent.length + line.length + 1 + word.length > width) {
      lines.push(indent + line);
      line = word;
    } else line = line ? `${line} ${word}` : word;
  }
  return `${[...lines, indent + line].join('\n')}\n`;
}

/** What a property takes, in a word or two. */
export function kindText(row: PropertyRow): string {
  if (row.values) return row.values.join('|');
  return { size: 'BYTES', bool: 'on|off', uint32: 'N', uint16s: 'N[-N]', string: 'TEXT', enum: '' }[row.kind];
}

/** How a release is told: QEMU 8.2, or that no release has it. */
export function sinceText(since: string | undefined): string {
  return since === undefined ? 'in no QEMU release' : `QEMU ${since}`;
}

/** The list of object types, for `gmem backend help`. */
export function typesHelp(): string {
  return objectTypes
    .map(({ name, since, documentation }) => `${name} (${sinceText(since)})\n${wrap(documentation, '    ')}`)
    .join('');
}

/** One type with its properties, for `gmem backend help TYPE`. */
export function typeHelp(type: ObjectType): string {
  const row = objectTypes.find(({ name }) => name === type);
  const head = `${type} (${sinceText(row?.since)})\n${wrap(row?.documentation ?? '', '  ')}\n`;
  const rows = propertiesOf(type).map((one) => {
    const names = [one.name, ...(one.aliases ?? [])].join(', ');
    const change =
      one.change === 'live' ? ', may change later' : one.change === 'on' ? ', may be switched on later' : '';
    return `  ${names}=${kindText(one)}  (default: ${one.default}; ${sinceText(one.since)}${change})\n${wrap(one.documentation, '      ')}`;
  });
  return head + rows.join('');
}
