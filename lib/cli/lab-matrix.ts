import { parseArgs } from 'node:util';
import { isLacking } from '../lab/error.ts';
import { type CachedKernel, cachedKernels } from '../lab/kernel-cache.ts';
import { parseName } from '../lab/kernel-names.ts';
import { provide } from '../lab/kernels.ts';
import { defaultJobs, runMatrix } from '../lab/matrix.ts';
import { checks } from '../smoke/catalogue.ts';
import { selectChecks } from '../smoke/select.ts';
import { ExitCode, type Io, parsing, UsageError } from './io.ts';
import { archiveFlags, archiveOptions, interruptible } from './lab-kernels.ts';
import { parseReporters, reporterHelp, writeReports } from './reporters.ts';
import { tool } from './tool.ts';

const help = `Usage: gmem lab matrix [NAME…] [options] [-- PATTERN…]

Runs the smoke suite on several kernels of the lab and shows the results side by side: checks down, kernels across. Each
cell is compared with what is expected of its release. Without NAME: every kernel in the cache. NAMEs that are not there are
fetched or built first. Patterns select checks, as with gmem smoke.

Options:
${reporterHelp}
  --stress S               run the stress checks too, each for S seconds
  --jobs N                 machines at once (default: one for each processor of this one)
  --accel HOW              tcg, kvm or auto, as with gmem lab run
  --timeout S              seconds from power-on to the first check (default: 180)
  --mirror URL, --offline  as with gmem lab kernels
  -h, --help               this text

Exit status: 0 all as expected, 1 not, 2 wrong usage, 4 nothing could run, 130 interrupted.
`;

function count(name: string, text: string, most: number): number {
  if (!/^\d+$/.test(text) || Number(text) < 1 || Number(text) > most)
    throw new UsageError(`--${name} takes 1 to ${most}, not "${text}"`);
  return Number(text);
}

/** `gmem lab matrix`. */
export async function labMatrixCommand(argv: readonly string[], io: Io): Promise<number> {
  const separator = argv.indexOf('--');
  const own = separator === -1 ? argv : argv.slice(0, separator);
  const patterns = separator === -1 ? [] : argv.slice(separator + 1);
  const { values, positionals: names } = parsing(() =>
    parseArgs({
      args: [...own],
      allowPositionals: true,
      options: {
        ...archiveFlags,
        reporter: { type: 'string', multiple: true },
        jobs: { type: 'string', default: String(defaultJobs) },
        accel: { type: 'string', default: 'auto' },
        stress: { type: 'string' },
        timeout: { type: 'string', default: '180' },
        help: { type: 'boolean', short: 'h' },
      },
    }),
  );
  if (values.help) {
    io.stdout.write(help);
    return ExitCode.ok;
  }
  const reporters = parseReporters(values.reporter);
  const { accel } = values;
  if (accel !== 'auto' && accel !== 'tcg' && accel !== 'kvm')
    throw new UsageError(`--accel takes auto, tcg or kvm, not "${accel}"`);
  const jobs = count('jobs', values.jobs, 64);
  const bootSeconds = count('timeout', values.timeout, 86_400);
  const stressSeconds = values.stress === undefined ? undefined : count('stress', values.stress, 86_400);
  for (const name of names)
    if (!parseName(name)) throw new UsageError(`"${name}" is no name of a kernel; gmem lab kernels list shows them`);
  const { selected, unmatched } = selectChecks(checks, patterns);
  if (unmatched.length > 0) throw new UsageError(`no check matches ${unmatched.join(', ')}; see gmem smoke --list`);
  const options = archiveOptions(values, io);
  const stop = new AbortController();
  const onSignal = () => stop.abort();
  try {
    const kernels: CachedKernel[] = [];
    if (names.length === 0) kernels.push(...cachedKernels());
    else
      await interruptible(async () => {
        for (const name of names) kernels.push(await provide(name, options));
        return ExitCode.ok;
      });
    if (kernels.length === 0)
      throw new UsageError('there is no kernel in the cache; name some, gmem lab kernels list shows them');
    process.on('SIGINT', onSignal).on('SIGTERM', onSignal);
    let done = 0;
    const matrix = await runMatrix({
      kernels,
      checks: selected.filter((check) => !check.stress || stressSeconds !== undefined),
      stressSeconds,
      tool,
      accelerator: accel,
      bootSeconds,
      timeoutSeconds: 30,
      jobs,
      signal: stop.signal,
      onColumn: ({ kernel, result, problem }) => {
        done++;
        const { pass, fail, error } = result?.summary ?? { pass: 0, fail: 0, error: 0 };
        const what = result ? `${pass} pass, ${fail + error} fail` : `could not run: ${problem?.split('\n')[0]}`;
        io.stderr.write(`[${done}/${kernels.length}] ${kernel.name}: ${what}\n`);
      },
    });
    const complete = await writeReports(matrix, reporters, io, 'gmem lab matrix');
    if (stop.signal.aborted) return ExitCode.interrupted;
    if (matrix.columns.every(({ result }) => result === undefined)) return ExitCode.nothingRan;
    const asExpected =
      complete && matrix.surprises.length === 0 && matrix.columns.every(({ result }) => result !== undefined);
    return asExpected ? ExitCode.ok : ExitCode.failed;
  } catch (error) {
    if (stop.signal.aborted) return ExitCode.interrupted;
    if (!isLacking(error)) throw error;
    io.stderr.write(`gmem lab matrix: ${error.message}\n`);
    return ExitCode.nothingRan;
  } finally {
    process.off('SIGINT', onSignal).off('SIGTERM', onSignal);
  }
}
