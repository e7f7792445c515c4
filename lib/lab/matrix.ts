import { availableParallelism } from 'node:os';
import type { Column, Report, Surprise } from '../reporters/report.ts';
import { checks as catalogue } from '../smoke/catalogue.ts';
import type { Check, SuiteResult } from '../smoke/model.ts';
import { NothingRanError, runChecks } from '../smoke/runner.ts';
import { surprises } from './expectations.ts';
import { inspectImage } from './image.ts';
import type { CachedKernel } from './kernel-cache.ts';
import { chooseAccelerator, Lab } from './machine.ts';

/** The suite on several kernels, as `--reporter json` prints it. */
export interface Matrix extends Report {
  readonly columns: readonly Column[];
  readonly surprises: readonly Surprise[];
}

export interface MatrixOptions {
  readonly kernels: readonly CachedKernel[];
  readonly checks: readonly Check[];
  readonly tool: SuiteResult['tool'];
  readonly accelerator: 'auto' | 'tcg' | 'kvm';
  readonly bootSeconds: number;
  readonly timeoutSeconds: number;
  /** Seconds that each stress check goes on. */
  readonly stressSeconds?: number | undefined;
  /** How many machines at once. */
  readonly jobs: number;
  readonly signal: AbortSignal;
  readonly onColumn: (column: Column) => void;
}

/** How many machines run at once: the processors of one are emulated by one thread. */
export const defaultJobs = availableParallelism();

/** Two, so that the checks of NUMA policies run. */
const numaNodes = 2;

async function column(kernel: CachedKernel, options: MatrixOptions): Promise<Column> {
  const { name, series, architecture, version } = kernel;
  const about = { name, series, architecture, version };
  const image = inspectImage(kernel.image);
  const lab = new Lab({
    image,
    modules: kernel.modules,
    numaNodes,
    // KASAN keeps an eighth of the memory to itself, and everything is larger.
    memoryMiB: kernel.debug ? 3072 : 1024,
    accelerator: chooseAccelerator(options.accelerator, image.architecture),
    bootSeconds: options.bootSeconds,
  });
  try {
    const result = await runChecks({
      checks: options.checks,
      device: '/dev/kvm',
      timeoutSeconds: options.timeoutSeconds,
      stressSeconds: options.stressSeconds,
      tool: options.tool,
      signal: options.signal,
      launch: lab.launch,
    });
    return { kernel: about, result: { ...result, lab: { image: kernel.name, ...lab.facts } }, problem: undefined };
  } catch (error) {
    if (!(error instanceof NothingRanError)) throw error;
    return { kernel: about, result: undefined, problem: error.message };
  }
}

/** Runs the suite on every kernel, some at a time, and compares with what is expected. */
export async function runMatrix(options: MatrixOptions): Promise<Matrix> {
  const columns: Column[] = [];
  const left = options.kernels.map((kernel, index) => ({ kernel, index }));
  const work = async () => {
    for (let next = left.shift(); next && !options.signal.aborted; next = left.shift()) {
      const done = await column(next.kernel, options);
      columns[next.index] = done;
      options.onColumn(done);
    }
  };
  await Promise.all(Array.from({ length: Math.min(options.jobs, options.kernels.length) }, work));
  const found = columns.flatMap(({ result }, index) => {
    const kernel = options.kernels[index];
    return kernel && result && !result.interrupted ? surprises(catalogue, kernel, numaNodes, result.checks) : [];
  });
  const done = columns.filter((one) => one !== undefined);
  return { title: 'guest_memfd on kernels of the lab', columns: done, surprises: found };
}
