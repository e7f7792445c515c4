import { appendFileSync } from 'node:fs';
import { resolve } from 'node:path';
import type { Screen } from '../reporters/pretty.ts';
import type { Report } from '../reporters/report.ts';
import { painter } from '../reporters/style.ts';
import { type Io, UsageError } from './io.ts';
import { writeWhole } from './write-whole.ts';

type Render = (report: Report, screen: Screen, env: NodeJS.ProcessEnv) => string;

/** Every reporter, loaded when it is asked for. */
const reporters = {
  pretty: async () => (await import('../reporters/pretty.ts')).pretty,
  html: async () => (await import('../reporters/html.ts')).html,
  json: async () => (await import('../reporters/json.ts')).json,
  ktap: async () => (await import('../reporters/ktap.ts')).ktap,
  junit: async () => (await import('../reporters/junit.ts')).junit,
  kcidb: async () => {
    const { kcidb } = await import('../reporters/kcidb.ts');
    return (report, _screen, env) => kcidb(report, kcidbIdentity(env));
  },
  lava: async () => (await import('../reporters/lava.ts')).lava,
  github: async () => (await import('../reporters/github.ts')).github,
  markdown: async () => (await import('../reporters/matrix.ts')).markdown,
} satisfies Record<string, () => Promise<Render>>;

type Name = keyof typeof reporters;

/** For `--help`. */
export const reporterHelp = `  --reporter NAME[=FILE]    to standard output or FILE; may be given several times (default: pretty). NAME is one of
                            ${Object.keys(reporters).slice(0, 5).join(', ')},
                            ${Object.keys(reporters).slice(5).join(', ')}`;

/** A reporter, and where its report goes: standard output when no file is given. */
export interface Reporter {
  readonly name: Name;
  readonly file: string | undefined;
}

function parseReporter(text: string): Reporter {
  const [name = '', ...rest] = text.split('=');
  if (!Object.hasOwn(reporters, name))
    throw new UsageError(`there is no reporter "${name}"; there are: ${Object.keys(reporters).join(', ')}`);
  const file = text.includes('=') ? rest.join('=') : undefined;
  if (file === '') throw new UsageError(`--reporter ${text}: the file name is missing`);
  return { name: name as Name, file };
}

function kcidbIdentity(env: NodeJS.ProcessEnv): { origin: string; buildId: string | undefined } {
  return { origin: env['KCIDB_ORIGIN'] || 'gmem', buildId: env['KCIDB_BUILD_ID'] || undefined };
}

/**
 * What `--reporter` was given, `pretty` when nothing was.
 *
 * @throws {UsageError} for a reporter that does not exist, two reports in one file, or an identity that KCIDB would refuse
 */
export function parseReporters(texts: readonly string[] | undefined, env = process.env): Reporter[] {
  const wanted = (texts ?? ['pretty']).map(parseReporter);
  const files = wanted.flatMap(({ file }) => (file === undefined ? [] : [resolve(file)]));
  const twice = files.find((file, at) => files.indexOf(file) !== at);
  if (twice !== undefined && !twice.startsWith('/dev/'))
    throw new UsageError(`two reporters write to ${twice}; give each a file of its own`);
  if (wanted.some(({ name }) => name === 'kcidb')) {
    const { origin, buildId } = kcidbIdentity(env);
    if (!/^[a-z0-9_]+$/.test(origin))
      throw new UsageError(`KCIDB_ORIGIN may hold a to z, 0 to 9 and _ only, not "${origin}"`);
    if (buildId !== undefined && !/^[a-z0-9_]+:./.test(buildId))
      throw new UsageError(`KCIDB_BUILD_ID is origin:id, not "${buildId}"`);
  }
  return wanted;
}

/** GitHub's own two places, without being asked for: annotations, and the summary of the step. */
function automatic(wanted: readonly Reporter[], env: NodeJS.ProcessEnv): boolean {
  return env['GITHUB_ACTIONS'] === 'true' && !wanted.some(({ name }) => name === 'github');
}

/** GitHub refuses a summary above 1 MiB. */
const mostOfSummary = 1_000_000;

interface Output {
  readonly name: string;
  /** For messages: where it goes. */
  readonly place: string;
  write(text: string): Promise<void> | void;
  readonly render: () => Promise<string>;
}

/** Waits until it is written, or cannot be: what listens to the stream's errors tells that. */
const toStream = (stream: NodeJS.WriteStream, text: string) =>
  new Promise<void>((done) => {
    stream.write(text, () => done());
  });

function outputs(report: Report, wanted: readonly Reporter[], io: Io, env: NodeJS.ProcessEnv): Output[] {
  const rendering = (name: Name, screen: Screen) => async () => {
    const render: Render = await reporters[name]();
    return render(report, screen, env);
  };
  const all = wanted.map(({ name, file }): Output => {
    const screen =
      file === undefined
        ? { paint: painter(io.stdout), width: io.stdout.isTTY ? io.stdout.columns : undefined }
        : { paint: painter({}) };
    return {
      name,
      place: file ?? 'standard output',
      render: rendering(name, screen),
      write: (text) => (file === undefined ? toStream(io.stdout, text) : writeWhole(file, text)),
    };
  });
  const plain: Screen = { paint: (_format, text) => text };
  const byItself = automatic(wanted, env);
  // To standard error, which GitHub reads as well: standard output may be somebody's JSON.
  if (byItself)
    all.push({
      name: 'github',
      place: 'standard error',
      render: rendering('github', plain),
      write: (text) => toStream(io.stderr, text),
    });
  const summary = env['GITHUB_STEP_SUMMARY'];
  if (summary && (byItself || wanted.some(({ name }) => name === 'github')))
    all.push({
      name: 'markdown',
      place: summary,
      render: rendering('markdown', plain),
      write: (text) =>
        appendFileSync(
          summary,
          Buffer.byteLength(text) <= mostOfSummary ? text : `${text.slice(0, mostOfSummary / 4)}\n\n… and more.\n`,
        ),
    });
  return all;
}

/**
 * Writes every report, whatever becomes of the others.
 *
 * @returns false when one could not be written; what and why is told on standard error
 */
export async function writeReports(
  report: Report,
  wanted: readonly Reporter[],
  io: Io,
  command: string,
  env: NodeJS.ProcessEnv = process.env,
): Promise<boolean> {
  let complete = true;
  for (const { name, place, render, write } of outputs(report, wanted, io, env)) {
    try {
      await write(await render());
    } catch (error) {
      complete = false;
      const { code, syscall, message, stack } = error as NodeJS.ErrnoException;
      // Anything but a system call's failure is a mistake of ours: its place must be told.
      const why = code === undefined || syscall === undefined ? stack : message;
      io.stderr.write(`${command}: the ${name} report could not be written to ${place}: ${why}\n`);
    }
  }
  return complete;
}
