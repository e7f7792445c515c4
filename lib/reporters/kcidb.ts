import { createHash } from 'node:crypto';
import type { CheckResult, KnownBugShown, Status, SuiteResult } from '../smoke/model.ts';
import { explain, headline } from './explain.ts';
import type { Column, Report } from './report.ts';
import { atMost, clean, oneLine } from './text.ts';

/** What a submitter to KernelCI's database goes by. */
export interface KcidbIdentity {
  /** The name of the CI system: small letters, digits and underscores. */
  readonly origin: string;
  /** The build that was tested, where it is one that was submitted before: 'origin:id'. */
  readonly buildId?: string | undefined;
}

/** A known bug is a failure here, with the issue that it is: the format's own way of telling it from a regression. */
const statuses: Readonly<Record<Status, string>> = {
  pass: 'PASS',
  fail: 'FAIL',
  xfail: 'FAIL',
  skip: 'SKIP',
  error: 'ERROR',
};

const architectures: Readonly<Record<string, string>> = { x64: 'x86_64', arm64: 'aarch64' };
const mostOfLog = 16_384;

/** The same result, rendered again, has the same ids. */
const digest = (...parts: readonly string[]) =>
  createHash('sha256').update(parts.join('\0')).digest('hex').slice(0, 32);

/** A path in the tree of tests: dots between names of letters, digits, '_' and '-'. */
const path = (name: string) =>
  `gmem.${name
    .split('/')
    .map((part) => part.replace(/[^\w-]+/g, '_') || '_')
    .join('.')}`;

const environment = ({ host, lab }: SuiteResult) => ({
  comment: oneLine(`${host.cpu}, ${host.cpus} processors${lab ? `, in QEMU (${lab.accelerator})` : ''}`),
  misc: { host, ...(lab ? { lab } : {}) },
});

interface Ids {
  readonly origin: string;
  readonly run: string;
  readonly build: string;
}

function test(check: CheckResult, result: SuiteResult, { origin, run, build }: Ids) {
  const told = explain(check).join('\n');
  const comment = headline(check) || oneLine(check.title);
  return {
    id: `${origin}:${digest(run, check.name)}`,
    origin,
    build_id: build,
    path: path(check.name),
    status: statuses[check.status],
    start_time: result.startedAt,
    duration: check.durationMs / 1000,
    ...(comment ? { comment } : {}),
    ...(told ? { log_excerpt: atMost(told, mostOfLog) } : {}),
    environment: environment(result),
    misc: {
      title: clean(check.title),
      gmem_status: check.status,
      ...(check.upstream ? { upstream: check.upstream } : {}),
      ...(check.seed === undefined ? {} : { seed: check.seed }),
    },
  };
}

const issueId = (origin: string, { id }: KnownBugShown) => `${origin}:gmem_${id.replace(/[^\w-]+/g, '_')}`;

function issue(origin: string, bug: KnownBugShown) {
  return {
    id: issueId(origin, bug),
    version: 1,
    origin,
    comment: oneLine(bug.title),
    culprit: { code: true, tool: false, harness: false },
    misc: { fixed_by: clean(bug.fixedBy) },
  };
}

/** Where nothing ran, that is what there is to tell. */
const missing = (column: Column, { origin, run, build }: Ids) => ({
  id: `${origin}:${digest(run)}`,
  origin,
  build_id: build,
  path: 'gmem',
  status: 'MISS',
  comment: oneLine(column.problem ?? 'nothing could run'),
});

/** KCIDB's version 5.3. */
export function kcidb({ columns }: Report, { origin, buildId }: KcidbIdentity): string {
  const parts = columns.map((column) => {
    const { result, kernel } = column;
    const host = result?.host;
    const version = [host?.kernelRelease ?? kernel.name, host?.kernelVersion ?? kernel.version ?? ''].join(' ');
    const architecture = host?.architecture ?? kernel.architecture ?? '';
    const known = `${origin}:${digest(version, architecture)}`;
    const build = buildId ?? known;
    const ids = { origin, build, run: digest(result?.startedAt ?? '', kernel.name, version, architecture) };
    const bugs = (result?.checks ?? []).flatMap((check) => (check.knownBug ? [{ check, bug: check.knownBug }] : []));
    return {
      // A build that was submitted before has its checkout already.
      checkouts: buildId ? [] : [{ id: known, origin, comment: oneLine(`Linux ${version}`) }],
      builds: buildId
        ? []
        : [
            {
              id: known,
              checkout_id: known,
              origin,
              architecture: architectures[architecture] ?? architecture.replace(/[^a-z0-9_]/g, '_'),
              status: 'PASS',
              comment: oneLine(version),
            },
          ],
      tests: result ? result.checks.map<object>((check) => test(check, result, ids)) : [missing(column, ids)],
      issues: bugs.map(({ bug }) => issue(origin, bug)),
      incidents: bugs.map(({ bug, check }) => ({
        id: `${origin}:${digest(ids.run, check.name, bug.id)}`,
        origin,
        issue_id: issueId(origin, bug),
        issue_version: 1,
        test_id: `${origin}:${digest(ids.run, check.name)}`,
        present: !check.unexpectedPass,
      })),
    };
  });
  // The same kernel and the same bug may be in several columns.
  const once = <T extends { id: string }>(things: T[]) => [...new Map(things.map((one) => [one.id, one])).values()];
  const data = {
    version: { major: 5, minor: 3 },
    checkouts: once(parts.flatMap((part) => part.checkouts)),
    builds: once(parts.flatMap((part) => part.builds)),
    tests: parts.flatMap((part) => part.tests),
    issues: once(parts.flatMap((part) => part.issues)),
    incidents: parts.flatMap((part) => part.incidents),
  };
  return `${JSON.stringify(data, null, 2)}\n`;
}
