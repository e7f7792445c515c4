import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { parseArgs } from 'node:util';
import { compare } from '../reporters/compare.ts';
import { ResultError, readColumns } from '../reporters/read.ts';
import { type Column, defaultTitle, type Report, tellApart } from '../reporters/report.ts';
import { ExitCode, type Io, parsing, UsageError } from './io.ts';
import { parseReporters, reporterHelp, writeReports } from './reporters.ts';

const help = `Usage: gmem report RESULT.json… [options]
       gmem report --compare OLD.json NEW.json [options]

Renders results that --reporter json of gmem smoke, gmem lab run or gmem lab matrix has saved. Several are shown side by
side; the same kernel twice is told apart by its file. A RESULT of - is read from standard input.

Options:
${reporterHelp}
  --compare                 tell what changed from the first result to the second
  --title TEXT              what the report is called
  -h, --help                this text

Exit status: 0 rendered, 1 a check regressed (with --compare) or a report could not be written, 2 wrong usage or not a
result.
`;

/** The runs in a file, each with the file's name. */
function readFile(path: string): { column: Column; file: string }[] {
  const file = path === '-' ? 'standard input' : basename(path).replace(/\.json$/, '');
  try {
    return readColumns(readFileSync(path === '-' ? 0 : path, 'utf8')).map((column) => ({ column, file }));
  } catch (error) {
    const { syscall, message } = error as NodeJS.ErrnoException;
    if (syscall !== undefined) throw new UsageError(message.includes(path) ? message : `${path}: ${message}`);
    if (error instanceof ResultError) throw new UsageError(`${path} is not a result: ${message}`);
    throw error;
  }
}

function reportOf(paths: readonly string[], title: string | undefined, comparing: boolean): Report {
  const read = paths.flatMap(readFile);
  const columns = tellApart(read);
  if (!comparing) return { title: title ?? defaultTitle, columns };
  const [before, after] = columns;
  if (columns.length !== 2) throw new UsageError(`--compare takes two results, not ${columns.length}`);
  const unable = columns.find(({ result }) => !result);
  if (!before?.result || !after?.result)
    throw new UsageError(`--compare: nothing ran on ${unable?.kernel.name}: ${unable?.problem}`);
  const names = `${before.kernel.name} and ${after.kernel.name}`;
  return { title: title ?? `guest_memfd of ${names}`, columns, comparison: compare(before.result, after.result) };
}

/** `gmem report`. */
export async function reportCommand(argv: readonly string[], io: Io): Promise<number> {
  const { values, positionals } = parsing(() =>
    parseArgs({
      args: [...argv],
      allowPositionals: true,
      options: {
        reporter: { type: 'string', multiple: true },
        compare: { type: 'boolean', default: false },
        title: { type: 'string' },
        help: { type: 'boolean', short: 'h' },
      },
    }),
  );
  if (values.help) {
    io.stdout.write(help);
    return ExitCode.ok;
  }
  const reporters = parseReporters(values.reporter);
  if (positionals.length === 0) throw new UsageError('gmem report needs the result of a run: gmem report RESULT.json');
  const report = reportOf(positionals, values.title, values.compare);
  const complete = await writeReports(report, reporters, io, 'gmem report');
  const regressed = report.comparison?.some(({ change }) => change === 'regression');
  return complete && !regressed ? ExitCode.ok : ExitCode.failed;
}
