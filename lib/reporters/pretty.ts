import type { CheckResult, Status, SuiteResult } from '../smoke/model.ts';
import type { Paint } from './style.ts';

const marks: Record<Status, [text: string, format: Parameters<Paint>[0]]> = {
  pass: ['pass', 'green'],
  fail: ['FAIL', ['red', 'bold']],
  xfail: ['xfail', 'yellow'],
  skip: ['skip', 'cyan'],
  error: ['ERROR', ['red', 'bold']],
};

function milliseconds(duration: number): string {
  return duration >= 1000 ? `${(duration / 1000).toFixed(2)} s` : `${duration.toFixed(1)} ms`;
}

function subjectOf(check: CheckResult): string {
  return check.name.slice(0, check.name.indexOf('/'));
}

function details(check: CheckResult, paint: Paint): string[] {
  const lines: string[] = [];
  if (check.failure) {
    const { message, expected, got, configuration } = check.failure;
    lines.push(check.title, `but: ${message}`);
    if (expected !== undefined) lines.push(`expected: ${expected}`);
    if (got !== undefined) lines.push(`got:      ${got}`);
    if (configuration !== undefined) lines.push(`with:     ${configuration}`);
  }
  if (check.status === 'error' && check.reason) lines.push(...check.reason.split('\n'));
  if (check.knownBug) {
    const { id, title, fixedBy } = check.knownBug;
    lines.push(
      check.unexpectedPass
        ? `known bug ${id} (${title}) is not in this kernel, though its release was expected to have it: fixed by a backport of ${fixedBy}?`
        : `known kernel bug ${id}: ${title}; fixed by commit ${fixedBy}`,
    );
  }
  for (const note of check.notes ?? []) lines.push(note);
  return lines.map((line) => paint('dim', `           ${line}`));
}

/** Skips by cause: one cause is often behind many. */
function skipLines(checks: readonly CheckResult[], paint: Paint): string[] {
  const byCause = new Map<string, CheckResult[]>();
  for (const check of checks) {
    if (check.status !== 'skip') continue;
    const cause = [check.reason, check.remedy].filter(Boolean).join('. ');
    byCause.set(cause, [...(byCause.get(cause) ?? []), check]);
  }
  if (byCause.size === 0) return [];
  const lines = [paint('bold', 'Skipped')];
  for (const [cause, skipped] of byCause)
    lines.push(`  ${cause}`, paint('dim', `    ${skipped.map((check) => check.name).join(', ')}`));
  return [...lines, ''];
}

/** The result for a person, as text that ends in a newline. */
export function pretty(result: SuiteResult, paint: Paint): string {
  const { host, summary, checks } = result;
  const lines = [
    `${paint('bold', `guest_memfd smoke test`)} on Linux ${host.kernelRelease}, ${host.architecture}, ${host.cpu}`,
    '',
  ];
  const subjects = [...new Set(checks.map(subjectOf))];
  for (const subject of subjects) {
    lines.push(paint('bold', subject));
    for (const check of checks) {
      if (subjectOf(check) !== subject) continue;
      const [mark, format] = marks[check.status];
      const upstream = check.upstream ? ` ${paint('dim', `[${check.upstream.join(' ')}]`)}` : '';
      const duration = check.status === 'skip' ? '' : ` ${paint('dim', milliseconds(check.durationMs))}`;
      lines.push(`  ${paint(format, mark.padEnd(5))}  ${check.name.slice(subject.length + 1)}${upstream}${duration}`);
      if (check.status !== 'skip') lines.push(...details(check, paint));
    }
    lines.push('');
  }
  lines.push(...skipLines(checks, paint));
  if (result.interrupted) lines.push(paint('yellow', 'The run was interrupted.'), '');
  const counts = (['pass', 'fail', 'xfail', 'skip', 'error'] as const)
    .filter((status) => summary[status] > 0 || status === 'pass' || status === 'fail')
    .map((status) => {
      const text = `${summary[status]} ${status}`;
      return summary[status] > 0 ? paint(marks[status][1], text) : text;
    });
  lines.push(`${checks.length} checks: ${counts.join(', ')} in ${milliseconds(summary.durationMs)}`);
  return `${lines.join('\n')}\n`;
}
