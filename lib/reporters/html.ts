import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { checkItem, statuses, statusNames } from './html/check.ts';
import { Markup, html as markup } from './html/markup.ts';
import { comparison, counts, host, knownBugs, matrix, skips, surprises, unable } from './html/sections.ts';
import { headings } from './matrix.ts';
import { bySubject, type Column, isTrouble, type Report } from './report.ts';

const asset = (name: string) => readFileSync(new URL(`../../assets/${name}`, import.meta.url), 'utf8');

/** Failures that are open from the start; of many, the reader opens what they want to see. */
const mostOpen = 5;

function verdict({ columns, comparison: changes, surprises: found }: Report): [text: string, isGood: boolean] {
  const regressions = changes?.filter(({ change }) => change === 'regression').length ?? 0;
  if (changes) return regressions > 0 ? [`${regressions} regressed`, false] : ['No regression', true];
  const trouble = columns.flatMap(({ result }) => result?.checks ?? []).filter(isTrouble).length;
  const idle = columns.filter(({ result }) => !result).length;
  const words = [
    trouble > 0 && `${trouble} ${trouble === 1 ? 'check' : 'checks'} failed`,
    idle > 0 && `${idle} could not run`,
    found && found.length > 0 && `${found.length} not as expected`,
  ].filter(Boolean);
  if (words.length > 0) return [words.join(', '), false];
  return [found ? 'As expected' : 'No unexpected failure', true];
}

function toolbar(report: Report): Markup {
  const total = (status: (typeof statuses)[number]) =>
    report.columns.reduce((sum, { result }) => sum + (result?.summary[status] ?? 0), 0);
  const buttons = statuses
    .filter((status) => total(status) > 0)
    .map(
      (status) =>
        markup`<button type="button" data-filter="${status}" aria-pressed="false"><i class="b-${status}"></i>${statusNames[status]} <span class="dim">${total(status)}</span></button>`,
    );
  // Hidden where no script runs, which it would be of no use without.
  return markup`<form class="toolbar" role="search" aria-label="Checks" hidden><label class="search"><span class="hidden">Search checks, causes and traces</span><input type="search" placeholder="Search checks, causes, traces (press /)" autocomplete="off" spellcheck="false"></label><div class="filters" role="group" aria-label="Show only">${buttons}</div><button type="button" data-unfold aria-pressed="false">Unfold all</button><p class="found" role="status"></p></form>`;
}

function run(column: Column, at: number, many: boolean): Markup {
  const { result, kernel } = column;
  const failed = result?.checks.filter(isTrouble).slice(0, mostOpen) ?? [];
  const groups = [...bySubject(result?.checks ?? [])].map(
    ([subject, checks]) =>
      markup`<div class="group"><h3>${subject}</h3>${checks.map((check) => checkItem(check, at, failed.includes(check)))}</div>`,
  );
  const interrupted = result?.interrupted && markup`<p class="message">The run was interrupted.</p>`;
  const content = result ? markup`${interrupted}${groups}` : unable(column);
  if (!many) return markup`<div class="run" id="run1">${content}</div>`;
  const sum =
    result &&
    markup`<span class="dim">${result.summary.pass} of ${result.checks.length} passed${
      failed.length > 0 && markup`, <b class="t-fail">${result.summary.fail + result.summary.error} failed</b>`
    }</span>`;
  return markup`<details class="run" id="run${at + 1}"${failed.length > 0 && markup` open`}><summary class="run-head"><span class="kernel">${kernel.name}</span> ${sum}</summary>${
    result &&
    markup`${counts(result)}<details class="machine"><summary class="fold">Machine and kernel</summary>${host(result)}</details>`
  }${content}</details>`;
}

/** One page that holds all of it, and asks nothing of the network. */
export function html(report: Report): string {
  const { columns, title } = report;
  const many = columns.length > 1;
  const [only] = columns;
  const [words, isGood] = verdict(report);
  const script = asset('report.js');
  const policy = `default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-${createHash('sha256').update(script).digest('base64')}'`;
  const result = many ? undefined : only?.result;
  const times = columns.flatMap((column) => (column.result ? [column.result.startedAt.slice(0, 10)] : [])).sort();
  const when = [...new Set([times[0], times.at(-1)])].filter(Boolean).join(' to ');
  const about = result
    ? `Linux ${result.host.kernelRelease} on ${result.host.architecture}, ${result.host.cpu}`
    : `${columns.length} runs: ${[...headings(columns).values()].join(', ')}`;
  const sections = [comparison(report), matrix(report), surprises(report), knownBugs(report), skips(report)];
  const page = markup`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<title>${title}: ${words}</title>
<style>${new Markup(asset('report.css'))}</style>
</head>
<body>
<a class="skip-link" href="#checks">Skip to the checks</a>
<header><p class="verdict ${isGood ? 'good' : 'bad'}">${words}</p><h1>${title}</h1><p class="dim">${about}</p><p class="dim small">${when}</p></header>
<main>
${
  result &&
  markup`<section id="summary" aria-label="Summary">${counts(result)}<details class="machine"><summary class="fold">Machine and kernel</summary>${host(result)}</details></section>`
}
${toolbar(report)}
${many && sections}
<section id="checks" aria-labelledby="checks-title"><h2 id="checks-title">Checks</h2>${columns.map((column, at) => run(column, at, many))}<p class="nothing" hidden>No check is like that.</p></section>
${!many && sections}
</main>
<footer class="dim small">Made by guest-memfd${result && ` ${result.tool.version}`}. Press / to search, Escape to see everything again.</footer>
<script>${new Markup(script)}</script>
</body>
</html>
`;
  return page.text;
}
