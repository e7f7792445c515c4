import { execFileSync, spawn } from 'node:child_process';
import { describe, expect, test } from 'vitest';
import { splitPairs } from '../../lib/backends/object-option.ts';
import { properties } from '../../lib/backends/properties.ts';
import { objectTypes } from '../../lib/backends/types.ts';
import { type ObjectLine, objectLines } from '../helpers/object-lines.ts';
import { objectFolder, realise } from '../helpers/objects.ts';

const program = 'qemu-system-x86_64';

function installed(): string | undefined {
  try {
    return /version (\d+\.\d+)/.exec(execFileSync(program, ['--version'], { encoding: 'utf8' }))?.[1];
  } catch {
    return undefined;
  }
}

const version = installed();
const number = (release: string) => release.split('.').reduce((sum, part) => sum * 1000 + Number(part), 0);
const isNewer = (since: string) => version === undefined || number(since) > number(version);

/** Why the QEMU at hand cannot be asked about a line, by the table and by what the line itself says. */
function whyNotAsked({ objects, since, notAsked }: ObjectLine): string | undefined {
  if (notAsked) return notAsked;
  if (since && isNewer(since)) return `this verdict is QEMU ${since}'s`;
  for (const text of objects) {
    const known = [...objectTypes, ...properties].filter(({ name }) =>
      text.startsWith('{')
        ? text.includes(`"${name}"`)
        : splitPairs(text).some(({ key, value }) => key === name || value === name),
    );
    const newer = known.find((row) => row.since === undefined || isNewer(row.since));
    if (newer) return `${newer.name} needs QEMU ${newer.since ?? 'that no release is'}`;
  }
  return undefined;
}

interface Answer {
  /** What query-memdev gave; undefined where QEMU refused the objects. */
  readonly memdevs: Record<string, unknown>[] | undefined;
  readonly complaint: string;
}

/** Starts QEMU with objects and no machine, asks query-memdev, ends it. */
function ask(objects: readonly string[]): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const child = spawn(
      program,
      [
        ...['-machine', 'none', '-display', 'none', '-nodefaults', '-qmp', 'stdio'],
        ...objects.flatMap((object) => ['-object', object]),
      ],
      { timeout: 60_000 },
    );
    let output = '';
    let complaint = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      output += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      complaint += text;
    });
    child.on('error', reject);
    child.stdin.on('error', () => undefined); // it ended before it was asked
    child.on('close', () => {
      const answers = output
        .split('\n')
        .filter(Boolean)
        .map((line) => JSON.parse(line) as { return?: unknown });
      const memdevs = answers.find((answer) => Array.isArray(answer.return))?.return;
      resolve({ memdevs: memdevs as Record<string, unknown>[] | undefined, complaint });
    });
    for (const command of ['qmp_capabilities', 'query-memdev', 'quit'])
      child.stdin.write(`${JSON.stringify({ execute: command })}\n`);
  });
}

if (!version && process.env['GMEM_REQUIRE_LAB'] === '1')
  throw new Error(`GMEM_REQUIRE_LAB=1, but ${program} is not installed`);
if (!version) console.warn(`object lines are not compared with QEMU: ${program} is not installed`);

describe.skipIf(!version)(`QEMU ${version} and this package agree`, () => {
  const asked = objectLines.filter((line) => whyNotAsked(line) === undefined);

  test('on enough lines', () => {
    for (const line of objectLines) {
      const why = whyNotAsked(line);
      if (why) console.info(`not asked: ${line.objects.join(' ')}: ${why}`);
    }
    expect(asked.length).toBeGreaterThanOrEqual(60);
    expect(asked.filter(({ accepted }) => accepted).length).toBeGreaterThanOrEqual(25);
  });

  test.each(asked.map(({ objects }) => [objects.join(' and '), objects] as const))('%s', async (_text, objects) => {
    using theirs = objectFolder();
    using ours = objectFolder();
    const [answer, verdict] = await Promise.all([
      ask(objects.map((text) => text.replaceAll('@', theirs.path))),
      realise(objects.map((text) => text.replaceAll('@', ours.path))),
    ]);
    expect(verdict.error === undefined, `QEMU: ${answer.complaint}; ours: ${verdict.error?.message}`).toBe(
      answer.memdevs !== undefined,
    );
    const byId = (a: object, b: object) => ((a as { id: string }).id < (b as { id: string }).id ? -1 : 1);
    if (answer.memdevs) expect([...(verdict.memdevs ?? [])].sort(byId)).toEqual(answer.memdevs.sort(byId));
  });
});
