import XMLBuilder from 'fast-xml-builder';
import type { CheckResult, SuiteResult } from '../smoke/model.ts';
import { explain, headline } from './explain.ts';
import { bySubject, type Column, propertyOf, type Report } from './report.ts';
import { clean, oneLine } from './text.ts';

// What Jenkins, GitLab and Ant's readers all take. They have no word for a failure that is a known bug of the kernel's: that
// is skipped, with the bug in its message, as pytest does it with its xfail.

type Element = Readonly<Record<string, unknown>>;

const seconds = (milliseconds: number) => (milliseconds / 1000).toFixed(6);

function verdict(check: CheckResult): Element {
  const text = `${explain(check).join('\n')}\n`;
  const message = headline(check);
  switch (check.status) {
    case 'fail':
      return { failure: { '@message': message, '@type': 'assertion', '#text': text } };
    case 'error':
      return { error: { '@message': message, '@type': check.cause ?? 'exception', '#text': text } };
    case 'xfail':
      return { skipped: { '@message': `known kernel bug ${check.knownBug?.id ?? ''}: ${message}`, '#text': text } };
    case 'skip':
      return { skipped: { '@message': message, '#text': text } };
    default:
      return {};
  }
}

const properties = ({ host, lab, tool, seed }: SuiteResult) => ({
  'kernel.release': host.kernelRelease,
  'kernel.version': host.kernelVersion,
  architecture: host.architecture,
  cpu: host.cpu,
  'numa.nodes': host.numaNodes,
  tool: `${tool.name} ${tool.version}`,
  ...(seed === undefined ? {} : { seed }),
  ...(lab ? { 'lab.image': lab.image, 'lab.accelerator': lab.accelerator } : {}),
});

function suite(name: string, checks: readonly CheckResult[], column: Column, id: number): Element {
  const { result } = column;
  const count = (...statuses: CheckResult['status'][]) =>
    checks.filter(({ status }) => statuses.includes(status)).length;
  const notes = checks
    .filter(({ status }) => status === 'pass')
    .flatMap((check) => explain(check).map((line) => `${clean(check.name)}: ${line}`));
  return {
    '@name': oneLine(name) || '_',
    '@package': 'gmem',
    '@id': id,
    // The schema has no place for a zone.
    '@timestamp': (result?.startedAt ?? '1970-01-01T00:00:00').slice(0, 19),
    '@hostname': oneLine(column.kernel.name) || 'localhost',
    '@tests': checks.length,
    '@failures': count('fail'),
    '@errors': count('error'),
    '@skipped': count('skip', 'xfail'),
    '@time': seconds(checks.reduce((sum, { durationMs }) => sum + durationMs, 0)),
    properties: {
      property: Object.entries(result ? properties(result) : { kernel: column.kernel.name }).map(([key, value]) => ({
        '@name': key,
        '@value': oneLine(String(value)),
      })),
    },
    testcase: checks.map((check) => ({
      '@name': oneLine(propertyOf(check.name)) || '_',
      '@classname': oneLine(`gmem.${name}`.replaceAll('/', '.')),
      '@time': seconds(check.durationMs),
      ...verdict(check),
    })),
    'system-out': notes.length > 0 ? `${notes.join('\n')}\n` : '',
    'system-err': '',
  };
}

/** A run that never came to a check is one test in error: a suite without tests looks like success. */
const unable = ({ problem = 'nothing could run' }: Column): CheckResult => ({
  name: 'lab/boot',
  title: 'The suite can run on this kernel',
  status: 'error',
  durationMs: 0,
  since: '',
  reason: problem,
});

/** JUnit XML: a suite for each subject of each run. */
export function junit({ columns }: Report): string {
  const several = columns.length > 1;
  const suites = columns
    .flatMap((column) =>
      [...bySubject(column.result?.checks ?? [unable(column)])].map(([subject, checks]) => ({
        column,
        subject,
        checks,
      })),
    )
    .map(({ column, subject, checks }, id) =>
      suite(several ? `${column.kernel.name}/${subject}` : subject, checks, column, id),
    );
  const builder = new XMLBuilder({
    ignoreAttributes: false,
    attributeNamePrefix: '@',
    format: true,
    indentBy: '  ',
    suppressEmptyNode: true,
    suppressBooleanAttributes: false,
  });
  return builder.build({
    '?xml': { '@version': '1.0', '@encoding': 'UTF-8' },
    // Ant's schema has no attributes here.
    testsuites: { testsuite: suites },
  });
}
