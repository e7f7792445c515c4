import type { CheckResult, KernelCall, MemoryRange } from '../smoke/model.ts';
import { bytes } from './report.ts';
import { clean, oneLine } from './text.ts';

/** Why a check has no verdict, in a few words. */
export const causeText: Readonly<Record<NonNullable<CheckResult['cause']>, string>> = {
  timeout: 'it did not end in time',
  crash: 'it took its process down',
  exception: 'the check itself broke',
  kernel: 'the kernel complained',
};

/** What a call gave back: '3', 'EINVAL'. */
export function callResult({ result, errno, outcome, unfinished }: KernelCall): string {
  if (unfinished) return 'had not come back';
  const value = errno ?? (result === undefined ? undefined : String(result));
  return [value, outcome].filter((part) => part !== undefined).join(', ');
}

/** 'size=4096 flags=0x3' */
export const callArguments = (call: KernelCall): string =>
  Object.entries(call.arguments)
    .map(([name, value]) => `${name}=${value}`)
    .join(' ');

function callLine(call: KernelCall): string {
  const what = oneLine(`${call.call} ${callArguments(call)} → ${callResult(call)}`);
  return `${call.atMs.toFixed(3).padStart(9)} ms  ${what} (${call.durationMs.toFixed(3)} ms)`;
}

const rangeLine = ({ gpa, size, state }: MemoryRange) => oneLine(`${gpa}  ${bytes(size).padStart(9)}  ${state}`);

/** A known bug in a sentence. */
export function bugText({ knownBug, unexpectedPass }: CheckResult): string | undefined {
  if (!knownBug) return undefined;
  const { id, title, fixedBy } = knownBug;
  return oneLine(
    unexpectedPass
      ? `known bug ${id} (${title}) is not in this kernel, though its release was expected to have it: fixed by a backport of ${fixedBy}?`
      : `known kernel bug ${id}: ${title}; fixed by ${/^[0-9a-f]{7,40}$/.test(fixedBy) ? 'commit ' : ''}${fixedBy}`,
  );
}

/** What happened, in a line: for places with room for no more. */
export function headline(check: CheckResult): string {
  const { failure, reason = '', cause } = check;
  // Before a check is without a verdict for the kernel's complaint, it may have failed by itself.
  if (failure && check.status !== 'error')
    return oneLine(failure.got === undefined ? failure.message : `${failure.message}: got ${failure.got}`);
  const first = oneLine(reason.split('\n')[0] ?? '');
  return cause && !first ? causeText[cause] : first;
}

/** What there is to know of a check besides its status, in lines for a person; the first level has no margin. */
export function explain(check: CheckResult): string[] {
  const { failure, status, reason, remedy, chain = [], notes = [] } = check;
  const lines: string[] = [];
  if (failure) {
    const { message, expected, got, configuration } = failure;
    lines.push(clean(check.title), ...`but: ${clean(message)}`.split('\n'));
    if (expected !== undefined) lines.push(`expected: ${oneLine(expected)}`);
    if (got !== undefined) lines.push(`got:      ${oneLine(got)}`);
    if (configuration !== undefined) lines.push(`with:     ${oneLine(configuration)}`);
  }
  if (check.cause) lines.push(`no verdict: ${causeText[check.cause]}`);
  if (reason) lines.push(...clean(reason).split('\n'));
  if (status === 'skip') lines.push(...chain.map((link) => `because ${oneLine(link)}`));
  if (remedy) lines.push(`to do: ${oneLine(remedy)}`);
  const bug = bugText(check);
  if (bug) lines.push(bug);
  if (check.seed !== undefined) lines.push(`seed: ${check.seed}`);
  lines.push(...notes.map(oneLine));
  if (failure?.memory?.length) lines.push('memory:', ...failure.memory.map((range) => `  ${rangeLine(range)}`));
  if (failure?.guest) {
    lines.push('vCPU:');
    for (const [name, value] of Object.entries(failure.guest)) lines.push(`  ${oneLine(`${name.padEnd(8)} ${value}`)}`);
  }
  if (failure?.calls?.length)
    lines.push(`the last ${failure.calls.length} kernel calls:`, ...failure.calls.map((call) => `  ${callLine(call)}`));
  return lines;
}
