// Writes the generated parts of docs/backends.md from the tables in lib/backends.
//
//   npm run build:ts && node scripts/docs-backends.mjs
//
// A test compares the page with the tables.
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const page = fileURLToPath(new URL('../docs/backends.md', import.meta.url));

/** A Markdown table with its columns in line. */
function table(head, rows) {
  const cells = [head, ...rows].map((row) => row.map((cell) => cell.replaceAll('|', '\\|')));
  const widths = head.map((_, column) => Math.max(3, ...cells.map((row) => row[column].length)));
  const line = (row) => `| ${row.map((cell, column) => cell.padEnd(widths[column])).join(' | ')} |`;
  const rule = `| ${widths.map((width) => '-'.repeat(width)).join(' | ')} |`;
  return [line(cells[0]), rule, ...cells.slice(1).map(line)].join('\n');
}

const short = (type) => type.replace('memory-backend-', '');
const since = (release) => release ?? 'none';
const fits = { yes: 'yes', partly: '~', no: 'no' };

/** Each generated part by its name in the page. */
function parts({ objectTypes, properties, propertiesOf, adviceTable, combinations, kindText }) {
  const memory = objectTypes.filter(({ name }) => name !== 'thread-context').map(({ name }) => name);
  const whose = (types) => (types.length === memory.length ? 'all' : types.map(short).join(', '));
  const rows = [...adviceTable, ...combinations];
  return {
    types: table(
      ['type', 'QEMU', 'own properties', 'what it is'],
      objectTypes.map(({ name, since: release, documentation }) => [
        `\`${name}\``,
        since(release),
        propertiesOf(name)
          .filter(({ types }) => types.length === 1)
          .map((row) => `\`${row.name}\``)
          .join(' '),
        documentation,
      ]),
    ),
    properties: table(
      ['property', 'values', 'default', 'QEMU', 'of', 'later', 'what it does'],
      properties.map((row) => [
        [row.name, ...(row.aliases ?? [])].map((name) => `\`${name}\``).join(', '),
        kindText(row),
        row.default,
        since(row.since),
        whose(row.types),
        row.change === 'live' ? 'may change' : row.change === 'on' ? 'may be switched on' : 'fixed',
        row.documentation,
      ]),
    ),
    matrix: table(
      ['need', ...memory.map(short)],
      rows.map(({ need, cells }) => [need, ...memory.map((type) => fits[cells[type].fit])]),
    ),
    reasons: table(
      ['need', 'backend', '', 'why'],
      rows.flatMap(({ need, cells }) =>
        memory.map((type) => [need, short(type), fits[cells[type].fit], cells[type].reason]),
      ),
    ),
  };
}

/** The page with its generated parts as the tables have them. */
export function renewed(text, tables) {
  return Object.entries(parts(tables)).reduce((result, [name, part]) => {
    const pattern = new RegExp(`(<!-- generated: ${name} -->\n)[\\s\\S]*?(<!-- end -->)`);
    if (!pattern.test(result)) throw new Error(`docs/backends.md has no place for "${name}"`);
    return result.replace(pattern, (_, begin, end) => `${begin}\n${part}\n\n${end}`);
  }, text);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const dist = (name) => import(new URL(`../dist/backends/${name}.js`, import.meta.url));
  const modules = await Promise.all(['types', 'properties', 'advice-table', 'help'].map(dist));
  writeFileSync(page, renewed(readFileSync(page, 'utf8'), Object.assign({}, ...modules)));
}
