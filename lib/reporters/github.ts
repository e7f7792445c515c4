import { bugText, explain, headline } from './explain.ts';
import type { Report } from './report.ts';
import { clean } from './text.ts';

/** GitHub shows so many annotations of each level for a step, and drops the others without a word. */
const most = 10;

const escapeMessage = (text: string) => text.replaceAll('%', '%25').replaceAll('\r', '%0D').replaceAll('\n', '%0A');
const escapeProperty = (text: string) => escapeMessage(text).replaceAll(':', '%3A').replaceAll(',', '%2C');

const command = (level: string, title: string, message: string) =>
  `::${level} title=${escapeProperty(clean(title))}::${escapeMessage(clean(message))}`;

/** At most ten of a level, the last of which tells how many there are besides. */
function annotations(level: string, found: readonly { title: string; message: string }[]): string[] {
  const shown = found.length <= most ? found : found.slice(0, most - 1);
  const lines = shown.map(({ title, message }) => command(level, title, message));
  if (shown.length < found.length)
    lines.push(
      command(level, 'gmem', `${found.length - shown.length} more; the summary of the step tells all of them`),
    );
  return lines;
}

/** GitHub's workflow commands: errors for failures, warnings for bugs that are not there, notices for those that are. */
export function github({ columns, comparison = [] }: Report): string {
  const checks = columns.flatMap(({ kernel, result }) =>
    (result?.checks ?? []).map((check) => ({
      check,
      title: columns.length > 1 ? `${check.name} on ${kernel.name}` : check.name,
    })),
  );
  const unable = columns
    .filter(({ result }) => !result)
    .map(({ kernel, problem = '' }) => ({ title: `${kernel.name} could not run`, message: problem }));
  const worse = comparison
    .filter(({ change }) => change === 'regression')
    .map(({ check, before, after }) => ({ title: `${check}: regression`, message: `was ${before}, is ${after}` }));
  const of = (status: string) => checks.filter(({ check }) => check.status === status);
  const lines = [
    ...annotations('error', [
      ...worse,
      ...unable,
      ...[...of('fail'), ...of('error')].map(({ check, title }) => ({ title, message: explain(check).join('\n') })),
    ]),
    ...annotations(
      'warning',
      checks
        .filter(({ check }) => check.unexpectedPass)
        .map(({ check, title }) => ({ title, message: bugText(check) ?? '' })),
    ),
    ...annotations(
      'notice',
      of('xfail').map(({ check, title }) => ({ title, message: `${bugText(check) ?? ''}\n${headline(check)}` })),
    ),
  ];
  return lines.length === 0 ? '' : `${lines.join('\n')}\n`;
}
