import { parseArgs } from 'node:util';
import { single } from '../reporters/report.ts';
import { checks as catalogue } from '../smoke/catalogue.ts';
import type { SuiteResult } from '../smoke/model.ts';
import type { Launch } from '../smoke/protocol.ts';
import { NothingRanError, runChecks } from '../smoke/runner.ts';
import { selectChecks, shard } from '../smoke/select.ts';
import { ExitCode, type Io, parsing, UsageError } from './io.ts';
import { parseReporters, reporterHelp, writeReports } from './reporters.ts';
import { catalogueJson, explanation, listing } from './smoke-catalogue.ts';
import { openReproducers, openTrace } from './smoke-files.ts';
import { parseInteger, parseRequired, parseSeconds, parseShard } from './smoke-options.ts';
import { tool } from './tool.ts';

const help = `Usage: gmem smoke [PATTERN…] [options]

Runs the smoke suite on this machine's KVM and tells what its guest_memfd really does.
PATTERN is a part of a check's name, a glob over the whole name, or the id of one of the kernel's selftests (G5).

Options:
  --list [--json]           list the checks and run none
  --explain NAME            tell what a check asserts and needs, and run none
${reporterHelp}
  --timeout S               seconds that one check may take (default: 10)
  --require FEATURE,…       fail checks that would be skipped for want of one of these (--explain shows their names)
  --strict                  count expected failures (xfail) as failures
  --retries N               try a check that fails so many times more (default: 0); a pass then is noted
  --shard I/N               run the I-th of N parts of the checks
  --stress S                run the stress checks too, each for S seconds
  --seed N                  what random checks are driven by (default: any; told in the result)
  --trace FILE              write every kernel call of the checks to FILE, a line of JSON each
  --reproducer DIR          write a C program to DIR for each check that fails
  --device PATH             the KVM device (default: /dev/kvm)
  -h, --help                this text

Exit status: 0 no unexpected failure, 1 a check failed, 2 wrong usage, 4 nothing could run, 130 interrupted.
`;

function exitCode({ summary, interrupted }: SuiteResult, strict: boolean): number {
  if (interrupted) return ExitCode.interrupted;
  if (summary.fail + summary.error + (strict ? summary.xfail : 0) > 0) return ExitCode.failed;
  return summary.pass + summary.xfail > 0 ? ExitCode.ok : ExitCode.nothingRan;
}

/** Where the suite runs, when it is not this machine. */
export interface SmokePlace {
  /** What messages begin with. */
  readonly command: string;
  readonly launch: Launch;
  /** How many workers share so many checks. */
  readonly workers: (checks: number) => number;
  /** Seconds for a check, where none are given. */
  readonly timeout: string;
  /** Adds what is known of the place to the result. */
  readonly describe: (result: SuiteResult) => SuiteResult;
  /** Makes an exit code of what came out, instead of the usual one. */
  readonly judge?: (result: SuiteResult | NothingRanError) => number;
}

/** `gmem smoke`; also what follows `--` of `gmem lab run`. */
export async function smokeCommand(argv: readonly string[], io: Io, place?: SmokePlace): Promise<number> {
  const command = place?.command ?? 'gmem smoke';
  const { values, positionals } = parsing(() =>
    parseArgs({
      args: [...argv],
      allowPositionals: true,
      options: {
        list: { type: 'boolean' },
        json: { type: 'boolean' },
        explain: { type: 'string' },
        require: { type: 'string', multiple: true },
        strict: { type: 'boolean', default: false },
        retries: { type: 'string', default: '0' },
        shard: { type: 'string' },
        stress: { type: 'string' },
        seed: { type: 'string' },
        trace: { type: 'string' },
        reproducer: { type: 'string' },
        reporter: { type: 'string', multiple: true },
        timeout: { type: 'string', default: place?.timeout ?? '10' },
        device: { type: 'string', default: '/dev/kvm' },
        help: { type: 'boolean', short: 'h' },
      },
    }),
  );
  if (values.help) {
    io.stdout.write(help);
    return ExitCode.ok;
  }
  const reporters = parseReporters(values.reporter);
  const timeoutSeconds = parseSeconds('timeout', values.timeout);
  const stressSeconds = values.stress === undefined ? undefined : parseSeconds('stress', values.stress);
  const seed = values.seed === undefined ? undefined : parseInteger('seed', values.seed, 2 ** 32 - 1);
  const retries = parseInteger('retries', values.retries, 100);
  const required = parseRequired(values.require ?? [], catalogue);
  const [part, parts] = parseShard(values.shard ?? '1/1');
  if (values.json && !values.list)
    throw new UsageError('--json goes with --list; --reporter json gives results as JSON');
  if (values.explain !== undefined) {
    io.stdout.write(explanation(values.explain, catalogue));
    return ExitCode.ok;
  }
  const { selected, unmatched } = selectChecks(catalogue, positionals);
  if (unmatched.length > 0)
    throw new UsageError(
      `no check matches ${unmatched.map((pattern) => `"${pattern}"`).join(', ')}; see gmem smoke --list`,
    );
  if (values.list) {
    io.stdout.write(values.json ? catalogueJson(selected) : listing(selected));
    return ExitCode.ok;
  }
  const wanted = selected.filter((check) => !check.stress || stressSeconds !== undefined);
  if (wanted.length === 0)
    throw new UsageError('only stress checks match, which run when told for how long: --stress SECONDS');
  const checks = shard(wanted, part, parts);
  if (checks.length === 0) throw new UsageError(`--shard ${values.shard}: there are only ${wanted.length} checks`);
  const trace = values.trace === undefined ? undefined : openTrace(values.trace, io, command);
  const reproducers = values.reproducer === undefined ? undefined : openReproducers(values.reproducer, io, command);

  let traced: boolean | undefined;
  const closeTrace = () => {
    traced ??= trace?.close();
    return traced;
  };

  const interrupt = new AbortController();
  const onSignal = () => interrupt.abort();
  process.on('SIGINT', onSignal).on('SIGTERM', onSignal);
  const live = io.stderr.isTTY === true;
  const clear = () => live && io.stderr.write('\r\x1b[K');
  try {
    const found = await runChecks({
      checks,
      device: values.device,
      timeoutSeconds,
      stressSeconds,
      seed,
      retries,
      required,
      tool,
      onCall: trace?.write,
      onReproducer: reproducers?.write,
      signal: interrupt.signal,
      ...(place ? { launch: place.launch, workers: place.workers(checks.length) } : {}),
      onStart: (name, index) => live && io.stderr.write(`\r\x1b[K[${index + 1}/${checks.length}] ${name}`),
    });
    clear();
    const result = place ? place.describe(found) : found;
    const reported = await writeReports(single(result), reporters, io, command);
    const complete = (closeTrace() ?? true) && reported;
    const code = place?.judge && !result.interrupted ? place.judge(result) : exitCode(result, values.strict);
    if (code === ExitCode.nothingRan)
      io.stderr.write(`${command}: every check was skipped: ${result.checks[0]?.reason ?? 'no reason is known'}\n`);
    return complete || code !== ExitCode.ok ? code : ExitCode.failed;
  } catch (error) {
    clear();
    if (!(error instanceof NothingRanError)) throw error;
    io.stderr.write(`${command}: nothing could run. ${error.message}\n`);
    if (interrupt.signal.aborted) return ExitCode.interrupted;
    return place?.judge ? place.judge(error) : ExitCode.nothingRan;
  } finally {
    closeTrace();
    process.off('SIGINT', onSignal).off('SIGTERM', onSignal);
  }
}
