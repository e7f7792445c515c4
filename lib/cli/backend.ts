import { parseArgs } from 'node:util';
import { createMemoryBackend, type MemoryBackend, type MemoryBackendState } from '../backends/backend.ts';
import { BackendError } from '../backends/error.ts';
import { type Exercise, exerciseBackend } from '../backends/exercise.ts';
import { typeHelp, typesHelp } from '../backends/help.ts';
import { formatObjectOption, parseObjectOption } from '../backends/object-option.ts';
import type { Preallocated } from '../backends/prealloc.ts';
import type { MemoryBackendOptions, ObjectOptions } from '../backends/properties.ts';
import { createThreadContext } from '../backends/thread-context.ts';
import { objectType } from '../backends/types.ts';
import { checkObjects } from '../backends/validate.ts';
import { formatSize } from '../backends/values.ts';
import { KvmError } from '../kvm/errors.ts';
import { Kvm } from '../kvm/kvm.ts';
import { ExitCode, type Io, parsing, UsageError } from './io.ts';
import { tool } from './tool.ts';

const help = `Usage: gmem backend OBJECT… [options]
       gmem backend help [TYPE]

Checks memory backends as QEMU's -object takes them: TYPE,id=ID,key=value,… or JSON. Prints each in its shortest form.
With --run they are made on this host, each is attached to a VM, and a guest writes and reads every page.

Options:
  --run            make them, and tell what came out
  --json           as JSON: { schemaVersion, tool, objects: [{ options, text, run? }] }
  --vm-type N      the type of the VM: 0 default, 1 software-protected (default: 0)
  --device PATH    the KVM device (default: /dev/kvm)
  -h, --help       this text

Exit status: 0 all is well, 1 the guest or the host read something else than was written, 2 an object or this host's
answer to it is wrong, 4 there is no usable KVM, 130 interrupted.
`;

/** What `gmem backend --run` tells of a backend. Bytes and milliseconds. */
interface RunReport extends Exercise {
  readonly createTime: number;
  readonly prealloc: Preallocated | undefined;
  readonly residentBefore: number;
  /** As MemoryBackend.query() tells it, after the guest. */
  readonly state: MemoryBackendState;
  /** Bytes on each NUMA node, of what the host has touched. */
  readonly nodes: Readonly<Record<string, number>>;
}

interface ObjectReport {
  readonly options: ObjectOptions;
  readonly text: string;
  readonly run?: RunReport;
}

async function run(
  options: MemoryBackendOptions,
  objects: readonly ObjectOptions[],
  kvm: Kvm,
  vmType: number,
  io: Io,
  signal: AbortSignal,
): Promise<RunReport> {
  using vm = kvm.createVm({ type: vmType });
  const contexts = objects.flatMap((one) => (one['qom-type'] === 'thread-context' ? [createThreadContext(one)] : []));
  const started = performance.now();
  const live = io.stderr.isTTY === true;
  using backend = await createMemoryBackend(options, {
    vm,
    contexts,
    signal,
    ...(live
      ? { onProgress: (done, size) => io.stderr.write(`\r\x1b[K${options.id}: ${Math.floor((100 * done) / size)} %`) }
      : {}),
  });
  if (live) io.stderr.write('\r\x1b[K');
  const createTime = performance.now() - started;
  const residentBefore = backend.query()['resident-bytes'];
  const exercise = exerciseBackend(backend, vm);
  return {
    ...exercise,
    createTime,
    prealloc: backend.preallocated,
    residentBefore,
    state: backend.query(),
    nodes: nodesOf(backend),
  };
}

function nodesOf(backend: MemoryBackend): Record<string, number> {
  try {
    return Object.fromEntries(backend.placement());
  } catch (error) {
    // A kernel without NUMA cannot tell where pages are.
    if (error instanceof KvmError && error.code === 'ENOSYS') return {};
    throw error;
  }
}

const milliseconds = (time: number) => `${time < 10 ? time.toFixed(1) : Math.round(time)} ms`;

const plural = (count: number, noun: string) => `${count} ${noun}${count === 1 ? '' : 's'}`;

function pretty({ text, run: report }: ObjectReport): string {
  if (!report) return `${text}\n`;
  const { state, prealloc } = report;
  const nodes = Object.entries(report.nodes).map(([node, bytes]) => `${formatSize(bytes)} on node ${node}`);
  const honoured = state['policy-honoured'];
  const allocated =
    prealloc && `, of which ${milliseconds(prealloc.time)} to allocate with ${plural(prealloc.threads, 'thread')}`;
  const lines: readonly (readonly [name: string, value: string | undefined])[] = [
    ['attached as', report.mode],
    ['path', state.path],
    ['page size', formatSize(state['page-size'])],
    ['made in', `${milliseconds(report.createTime)}${allocated ?? ''}`],
    ['guest', `wrote ${plural(report.written, 'page')} and read ${report.read} in ${milliseconds(report.time)}`],
    ['resident', `${formatSize(state['resident-bytes'])} (${formatSize(report.residentBefore)} before the guest)`],
    ['nodes', nodes.length > 0 ? nodes.join(', ') : undefined],
    ['policy', honoured === undefined ? undefined : `${state.policy} ${honoured ? 'honoured' : 'ignored'}`],
    ...state.notes.map((note) => [note.kind, `${note.property}: ${note.message}`] as const),
    [
      'WRONG',
      report.differ + report.differOnHost > 0
        ? `${plural(report.differ, 'page')} differ for the guest, ${report.differOnHost} for the host`
        : undefined,
    ],
  ];
  const told = lines.filter(([, value]) => value !== undefined);
  return `${text}\n${told.map(([name, value]) => `  ${name.padEnd(12)} ${value}\n`).join('')}`;
}

function helpCommand(names: readonly string[], io: Io): number {
  const [name, more] = names;
  if (more !== undefined) throw new UsageError('backend help takes one type');
  if (name === undefined) {
    io.stdout.write(typesHelp());
    return ExitCode.ok;
  }
  const type = objectType(name);
  if (!type) throw new UsageError(`there is no object type "${name}"; gmem backend help lists them`);
  io.stdout.write(typeHelp(type.name));
  return ExitCode.ok;
}

/** `gmem backend`. */
export async function backendCommand(argv: readonly string[], io: Io): Promise<number> {
  const { values, positionals } = parsing(() =>
    parseArgs({
      args: [...argv],
      allowPositionals: true,
      options: {
        run: { type: 'boolean' },
        json: { type: 'boolean' },
        'vm-type': { type: 'string', default: '0' },
        device: { type: 'string', default: '/dev/kvm' },
        help: { type: 'boolean', short: 'h' },
      },
    }),
  );
  if (values.help) {
    io.stdout.write(help);
    return ExitCode.ok;
  }
  if (positionals[0] === 'help') return helpCommand(positionals.slice(1), io);
  if (positionals.length === 0)
    throw new UsageError('backend: give an object, for example memory-backend-ram,id=ram0,size=64M');
  if (!/^\d{1,9}$/.test(values['vm-type']))
    throw new UsageError(`--vm-type takes a number, not "${values['vm-type']}"`);

  const interrupt = new AbortController();
  const onSignal = () => interrupt.abort();
  process.on('SIGINT', onSignal).on('SIGTERM', onSignal);
  try {
    const objects = positionals.map((text) => parseObjectOption(text));
    checkObjects(objects);
    const reports: ObjectReport[] = objects.map((options) => ({ options, text: formatObjectOption(options) }));
    if (values.run) await runAll(reports, values.device, Number(values['vm-type']), io, interrupt.signal);
    const printed = values.json
      ? `${JSON.stringify({ schemaVersion: 1, tool, objects: reports }, bigints, 2)}\n`
      : reports.map(pretty).join('');
    io.stdout.write(printed);
    const wrong = reports.some(({ run: report }) => report && report.differ + report.differOnHost > 0);
    return wrong ? ExitCode.failed : ExitCode.ok;
  } catch (error) {
    if (error instanceof BackendError) throw new UsageError(`backend: ${error.message}`);
    if (error instanceof NoKvmError) {
      io.stderr.write(`gmem backend: ${error.message}\n`);
      return ExitCode.nothingRan;
    }
    if (interrupt.signal.aborted) return ExitCode.interrupted;
    throw error;
  } finally {
    process.off('SIGINT', onSignal).off('SIGTERM', onSignal);
  }
}

class NoKvmError extends Error {}

async function runAll(
  reports: ObjectReport[],
  device: string,
  vmType: number,
  io: Io,
  signal: AbortSignal,
): Promise<void> {
  let kvm: Kvm;
  try {
    kvm = Kvm.open({ path: device });
    kvm.createVm({ type: vmType }).close();
  } catch (error) {
    if (error instanceof KvmError) throw new NoKvmError(error.message);
    throw error;
  }
  try {
    const objects = reports.map(({ options }) => options);
    for (const [i, report] of reports.entries())
      if (report.options['qom-type'] !== 'thread-context')
        reports[i] = { ...report, run: await run(report.options, objects, kvm, vmType, io, signal) };
  } finally {
    kvm.close();
  }
}

/** Sizes above 2^53 are written as JSON numbers cannot be: as texts. */
function bigints(_key: string, value: unknown): unknown {
  return typeof value === 'bigint' ? String(value) : value;
}
