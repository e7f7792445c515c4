import type { Complaint } from '../smoke/protocol.ts';

/** What the guest writes into the kernel's log when a check begins, and when it has ended. */
export const mark = { start: 'gmem-lab: check', end: 'gmem-lab: end of' } as const;

/** How the kernel's complaints begin, most telling first: a report can match several. */
const kinds: readonly [kind: string, pattern: RegExp][] = [
  ['panic', /Kernel panic - not syncing/],
  ['KASAN', /BUG: KASAN:/],
  ['KFENCE', /BUG: KFENCE:/],
  ['UBSAN', /UBSAN: /],
  [
    'lockdep',
    /WARNING: (possible |inconsistent lock|suspicious RCU|bad unlock|held lock|nested lock)|INFO: (possible|trying to register)/,
  ],
  ['hung task', /INFO: task .* blocked for more than|blocked in I\/O wait for more than/],
  ['RCU stall', /rcu.*(self-detected stall|detected stalls|detected expedited stalls)/],
  ['soft lockup', /BUG: soft lockup|watchdog: .*lockup/],
  ['BUG', /kernel BUG at|BUG: (?!KASAN|KFENCE|soft)/],
  ['oops', /Oops: |Internal error: |general protection fault|Unable to handle kernel/],
  ['WARNING', /WARNING: /],
];

/** The lines at which a report is over, where the kernel says so. */
const reportEnd = /---\[ end (trace|Kernel panic)|^=+$/;
/** What follows a complaint and says nothing new. */
const longest = 60;

/** The kernel's time stamp, and the level that some consoles show. */
const stamp = /^(<\d+>)?(\[ *\d+\.\d+\](\[[^\]]*\])? ?)?/;

// biome-ignore lint/suspicious/noControlCharactersInRegex: escape sequences begin with one
const escapeSequence = /\x1b(\[[0-9;?=]*[A-Za-z]|[c78=>])/g;

/** The lines of a console without escape sequences, which firmware writes, and without time stamps. */
export function consoleLines(text: string): string[] {
  return text
    .replace(escapeSequence, '')
    .split(/\r*\n/)
    .map((line) => line.replace(/\r/g, '').replace(stamp, ''));
}

function kindOf(line: string): string | undefined {
  return kinds.find(([, pattern]) => pattern.test(line))?.[0];
}

/**
 * Finds what the kernel complained of, and during which check. A complaint that comes while another is being told (the oops
 * after its BUG, the panic after its oops) belongs to that one.
 */
export function complaintsIn(console: string): Complaint[] {
  const complaints: { check: string | undefined; kind: string; lines: string[] }[] = [];
  let check: string | undefined;
  let open: (typeof complaints)[number] | undefined;
  for (const line of consoleLines(console)) {
    const starts = line.indexOf(mark.start);
    if (starts !== -1 || line.includes(mark.end)) {
      check = starts === -1 ? undefined : line.slice(starts + mark.start.length).trim();
      open = undefined;
      continue;
    }
    const kind = kindOf(line);
    if (!open && kind) {
      open = { check, kind, lines: [] };
      complaints.push(open);
    } else if (open && kind === 'panic') open.kind = 'panic';
    if (!open) continue;
    // Reports of KASAN and lockdep are framed by lines of equals signs; the first of those comes before the report.
    open.lines.push(line);
    if (open.lines.length >= longest || (open.kind !== 'panic' && open.lines.length > 2 && reportEnd.test(line)))
      open = undefined;
  }
  return complaints.map(({ lines, ...rest }) => ({ ...rest, text: lines.join('\n').trim() }));
}

/** The last lines of a console, for a person to see what went on. */
export function tail(console: string, count = 15): string {
  return consoleLines(console)
    .filter((line) => line.trim() !== '' && !line.includes('gmem-lab: '))
    .slice(-count)
    .map((line) => `  ${line}`)
    .join('\n');
}
