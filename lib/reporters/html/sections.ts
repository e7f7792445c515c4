import type { CheckResult, SuiteResult } from '../../smoke/model.ts';
import { skipCauses } from '../causes.ts';
import { changeTitles } from '../compare.ts';
import { causeCounts, headings, matrixCauses, surpriseText } from '../matrix.ts';
import { bytes, type Change, type Column, duration, onlyResult, type Report, rows } from '../report.ts';
import { checkId, commit, pill, statuses, statusNames } from './check.ts';
import { html, type Markup } from './markup.ts';

/** Shares of the statuses, as a bar and in numbers. */
export function counts({ summary, checks }: SuiteResult): Markup {
  const present = statuses.filter((status) => summary[status] > 0);
  return html`<div class="bar" aria-hidden="true">${present.map(
    (status) => html`<span class="b-${status}" style="flex-grow:${summary[status]}"></span>`,
  )}</div><ul class="counts">${statuses.map(
    (status) =>
      html`<li${summary[status] === 0 && html` class="none"`}><b class="t-${status}">${summary[status]}</b> ${statusNames[status]}</li>`,
  )}<li class="all"><b>${checks.length}</b> ${checks.length === 1 ? 'check' : 'checks'} in ${duration(summary.durationMs)}</li></ul>`;
}

/** The machine and its kernel. */
export function host({ host: facts, lab, tool, startedAt, seed }: SuiteResult): Markup {
  const known: [string, string | undefined][] = [
    ['Kernel', `${facts.kernelRelease} ${facts.kernelVersion}`],
    ['Processor', `${facts.cpu}, ${facts.cpus} × ${facts.architecture}`],
    ['Memory', `${bytes(facts.memoryBytes)} in pages of ${bytes(facts.pageSize)}`],
    ['NUMA nodes', facts.numaNodes === undefined ? undefined : String(facts.numaNodes)],
    ['VM types', facts.vmTypes?.join(', ')],
    ['Lab', lab && `${lab.image}, ${lab.emulator ?? 'QEMU'} (${lab.accelerator})`],
    ['Command line', lab?.commandLine],
    ['Modules', lab?.modules?.join(', ')],
    ['Boot', lab?.bootMs === undefined ? undefined : `${duration(lab.bootMs)}, ${lab.boots} times`],
    ['Started', startedAt],
    ['Seed', seed === undefined ? undefined : String(seed)],
    ['Suite', `${tool.name} ${tool.version}${facts.nodeVersion ? `, Node ${facts.nodeVersion}` : ''}`],
    [
      'Capabilities',
      Object.entries(facts.capabilities ?? {})
        .map(([name, value]) => `${name}=${value}`)
        .join(' '),
    ],
  ];
  return html`<dl class="facts host">${known.map(([name, value]) => value && html`<dt>${name}</dt><dd>${value}</dd>`)}</dl>`;
}

const section = (id: string, title: string, content: Markup) =>
  html`<section id="${id}" aria-labelledby="${id}-title"><h2 id="${id}-title">${title}</h2>${content}</section>`;

/** Where a check of a name is, in the column that tells most of it. */
function link({ columns }: Report, name: string): Markup {
  const column = columns.findLastIndex(({ result }) => result?.checks.some((check) => check.name === name));
  return html`<a href="#${checkId(Math.max(0, column), name)}">${name}</a>`;
}

/** What became of checks from one run to the next. */
export function comparison(report: Report): Markup | undefined {
  const { comparison: changes, columns } = report;
  if (!changes) return undefined;
  const kinds = (Object.keys(changeTitles) as Change['change'][]).map((kind) => ({
    title: changeTitles[kind],
    found: changes.filter(({ change }) => change === kind),
  }));
  const list = kinds.map(
    ({ title, found }) =>
      found.length > 0 &&
      html`<h3>${title} <span class="dim">${found.length}</span></h3><ul class="plain">${found.map(
        ({ check, before, after }) =>
          html`<li>${before && pill(before)}${before && after && html` <span aria-label="then">→</span> `}${after && pill(after)} ${link(report, check)}</li>`,
      )}</ul>`,
  );
  const between = html`<p>From <b>${columns[0]?.kernel.name}</b> to <b>${columns[1]?.kernel.name}</b>.</p>`;
  return section('changes', 'What changed', html`${between}${changes.length === 0 ? html`<p>Nothing did.</p>` : list}`);
}

function cell(check: CheckResult | undefined, column: number): Markup {
  if (!check) return html`<td class="absent"><span class="hidden">not run</span></td>`;
  return html`<td class="c-${check.status}"><a href="#${checkId(column, check.name)}">${check.status}</a></td>`;
}

/** Checks down, runs across. */
export function matrix(report: Report): Markup | undefined {
  const { columns } = report;
  if (columns.length < 2) return undefined;
  const names = [...headings(columns).values()];
  const sums: readonly [string, (result: SuiteResult) => string | number][] = [
    ['passed', ({ summary }) => summary.pass],
    ['failed or error', ({ summary }) => summary.fail + summary.error],
    ['known bugs', ({ summary }) => summary.xfail],
    ['skipped', ({ summary }) => summary.skip],
    ['time', ({ summary }) => duration(summary.durationMs)],
  ];
  const table = html`<table class="matrix"><thead><tr><th scope="col">check</th>${names.map(
    (name, at) => html`<th scope="col"><a href="#run${at + 1}">${name}</a></th>`,
  )}</tr></thead><tbody>${rows(report).map(
    ({ name, cells }) =>
      html`<tr data-statuses="${[...new Set(cells.map((one) => one?.status))].join(' ')}"><th scope="row">${name}</th>${cells.map(cell)}</tr>
`,
  )}</tbody><tfoot>${sums.map(
    ([name, value]) =>
      html`<tr><th scope="row">${name}</th>${columns.map(({ result }) => html`<td>${result ? value(result) : '–'}</td>`)}</tr>`,
  )}</tfoot></table>`;
  return section(
    'matrix',
    'Matrix',
    html`<div class="scroll tall" role="region" aria-label="Matrix of checks and kernels" tabindex="0">${table}</div>`,
  );
}

/** What was not as expected of a kernel. */
export function surprises({ surprises: found }: Report): Markup | undefined {
  if (!found) return undefined;
  const list =
    found.length === 0
      ? html`<p>Every check ended as is expected of its kernel's release.</p>`
      : html`<ul>${found.map((one) => html`<li>${surpriseText(one)}</li>`)}</ul>`;
  return section('expected', 'Not as expected', list);
}

/** Kernel bugs that were met. */
export function knownBugs(report: Report): Markup | undefined {
  const names = headings(report.columns);
  const met = report.columns.flatMap((column, at) =>
    (column.result?.checks ?? []).flatMap((check) =>
      check.knownBug ? [{ bug: check.knownBug, check, column, at }] : [],
    ),
  );
  if (met.length === 0) return undefined;
  const bugs = [...new Map(met.map(({ bug }) => [bug.id, bug])).values()];
  const many = report.columns.length > 1;
  const items = bugs.map(
    (bug) =>
      html`<li><p><b>${bug.id}</b> ${bug.title}. Fixed by ${commit(bug.fixedBy)}.</p><p class="small">${met
        .filter((one) => one.bug.id === bug.id)
        .map(
          ({ check, column, at }) =>
            html`<a class="ref" href="#${checkId(at, check.name)}">${check.name}${many && ` on ${names.get(column)}`}${check.unexpectedPass && ' (bug is gone)'}</a> `,
        )}</p></li>`,
  );
  return section('bugs', 'Known kernel bugs', html`<ul class="cards">${items}</ul>`);
}

const skipped = (items: readonly Markup[]) =>
  items.length > 0 && section('skipped', 'Why checks were skipped', html`<ul class="cards">${items}</ul>`);

/** Why checks were skipped, by cause: with the checks for a run, with their numbers for several. */
export function skips(report: Report): Markup | false {
  const result = onlyResult(report);
  if (!result)
    return skipped(
      matrixCauses(report).map(
        (cause) => html`<li><p>${cause.reason}.</p><p class="small dim">${causeCounts(cause)}</p></li>`,
      ),
    );
  return skipped(
    skipCauses(result.checks).map(
      ({ reason, remedy, chain, checks }) =>
        html`<li><p>${reason}.${remedy && html` <span class="dim">${remedy}.</span>`}</p>${
          chain.length > 0 && html`<ol class="chain">${chain.map((one) => html`<li>because ${one}</li>`)}</ol>`
        }<details><summary class="fold">${checks.length} ${checks.length === 1 ? 'check' : 'checks'}</summary><p class="small">${checks.map(
          ({ name }) => html`<a class="ref" href="#${checkId(0, name)}">${name}</a> `,
        )}</p></details></li>`,
    ),
  );
}

/** A column that never came to a check. */
export const unable = ({ problem = 'Nothing could run.' }: Column): Markup =>
  html`<p class="message">Nothing could run.</p><pre class="scroll" tabindex="0">${problem}</pre>`;
