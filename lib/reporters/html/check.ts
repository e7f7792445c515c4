import type { CheckResult, KnownBugShown, Status } from '../../smoke/model.ts';
import { callArguments, callResult, causeText } from '../explain.ts';
import { duration, propertyOf, subjectOf } from '../report.ts';
import { html, type Markup } from './markup.ts';
import { memoryPicture } from './memory.ts';

export const statusNames: Readonly<Record<Status, string>> = {
  fail: 'failed',
  error: 'error',
  xfail: 'known bug',
  pass: 'passed',
  skip: 'skipped',
};

export const statuses = Object.keys(statusNames) as Status[];

/** A status in its colour, and in words. */
export const pill = (status: Status): Markup => html`<span class="pill s-${status}">${statusNames[status]}</span>`;

/** Where a check is to be found in the page. */
export const checkId = (column: number, name: string): string => `run${column + 1}-${name.replace(/[^\w-]+/g, '-')}`;

/** A commit of the mainline tree as a link, anything else as it is. */
export const commit = (fixedBy: string): Markup =>
  /^[0-9a-f]{7,40}$/.test(fixedBy)
    ? html`commit <a href="https://git.kernel.org/linus/${fixedBy}" rel="noreferrer"><code>${fixedBy}</code></a>`
    : html`${fixedBy}`;

const bug = ({ id, title, fixedBy }: KnownBugShown, isGone: boolean) =>
  html`<p class="bug"><b>Known kernel bug ${id}</b>: ${title}. Fixed by ${commit(fixedBy)}.${
    isGone && html` It is <b>not in this kernel</b>, though its release was expected to have it: a backport?`
  }</p>`;

const row = (name: string, value: string | undefined) =>
  value !== undefined && html`<dt>${name}</dt><dd><code>${value}</code></dd>`;

function calls({ failure }: CheckResult): Markup | undefined {
  if (!failure?.calls?.length) return undefined;
  return html`<details class="trace"><summary class="fold">The last ${failure.calls.length} kernel calls</summary><div class="scroll" role="region" aria-label="Kernel calls" tabindex="0"><table><thead><tr><th scope="col">at ms</th><th scope="col">call</th><th scope="col">result</th><th scope="col">took ms</th></tr></thead><tbody>${failure.calls.map(
    (call) =>
      html`<tr${call.errno !== undefined && html` class="refused"`}><td class="n">${call.atMs.toFixed(3)}</td><td><code>${call.call}</code> <code class="dim">${callArguments(call)}</code></td><td><code>${callResult(call)}</code></td><td class="n">${call.durationMs.toFixed(3)}</td></tr>`,
  )}</tbody></table></div></details>`;
}

function guest({ failure }: CheckResult): Markup | undefined {
  if (!failure?.guest) return undefined;
  return html`<details class="trace"><summary class="fold">The vCPU</summary><dl class="registers">${Object.entries(
    failure.guest,
  ).map(([name, value]) => html`<div><dt>${name}</dt><dd><code>${value}</code></dd></div>`)}</dl></details>`;
}

function body(check: CheckResult): Markup {
  const { failure, reason, remedy, chain, cause, notes, seed, since, upstream, knownBug } = check;
  return html`<div class="body"><p>${check.title}.</p>${
    failure &&
    html`<p class="message">${failure.message}</p><dl class="facts">${row('expected', failure.expected)}${row('got', failure.got)}${row('with', failure.configuration)}</dl>`
  }${cause && html`<p>No verdict: <b>${causeText[cause]}</b>.</p>`}${
    reason && (reason.includes('\n') ? html`<pre class="scroll" tabindex="0">${reason}</pre>` : html`<p>${reason}.</p>`)
  }${chain && chain.length > 0 && html`<ol class="chain">${chain.map((link) => html`<li>because ${link}</li>`)}</ol>`}${
    remedy && html`<p><b>What to do:</b> ${remedy}.</p>`
  }${knownBug && bug(knownBug, check.unexpectedPass === true)}${
    failure?.memory && failure.memory.length > 0 && memoryPicture(failure.memory)
  }${guest(check)}${calls(check)}${notes && notes.length > 0 && html`<ul class="notes">${notes.map((note) => html`<li>${note}</li>`)}</ul>`}<p class="dim small">${
    since ? `Expected since Linux ${since}.` : 'Expected of every release.'
  }${upstream && ` Upstream: ${upstream.join(', ')}.`}${seed !== undefined && ` Seed: ${seed}.`}</p></div>`;
}

/** A check that unfolds. Those that a reader has come for are open. */
export function checkItem(check: CheckResult, column: number, open: boolean): Markup {
  const { status, name, durationMs } = check;
  return html`<details class="check" id="${checkId(column, name)}" data-status="${status}"${open && html` open`}><summary class="head">${pill(status)}<span class="name"><span class="dim">${subjectOf(name)}/</span>${propertyOf(name)}${
    check.unexpectedPass && html` <span class="tag">bug is gone</span>`
  }</span><span class="time">${status !== 'skip' && duration(durationMs)}</span></summary>${body(check)}</details>
`;
}
