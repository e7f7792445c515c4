import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { accessSync, constants, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import type { LabFacts } from '../smoke/model.ts';
import { type Assignment, lines, type RunningWorker, type WorkerEnd, type WorkerMessage } from '../smoke/protocol.ts';
import { complaintsIn, consoleLines, tail } from './console.ts';
import { LabError } from './error.ts';
import { configurationOf, type Image } from './image.ts';
import { hostArchitecture, makeInitramfs } from './initramfs.ts';
import { bound } from './process.ts';
import { makeScratch } from './scratch.ts';

/** How lab machines are made. */
export interface MachineOptions {
  readonly image: Image;
  /** A folder with the kernel's modules, where KVM is one. */
  readonly modules?: string | undefined;
  readonly cpus: number;
  /** As QEMU's -m, in MiB. */
  readonly memoryMiB: number;
  readonly numaNodes: number;
  readonly accelerator: 'tcg' | 'kvm';
  /** More words for the kernel's command line. */
  readonly commandLine: string;
  /** Seconds from the start of QEMU to the first check. */
  readonly bootSeconds: number;
  /** More files for the machine, by where they come to lie in it. */
  readonly files?: ReadonlyMap<string, string> | undefined;
  /** Where the console, the initramfs and QEMU's command line are left, instead of being removed. */
  readonly keep?: string | undefined;
}

/** A machine of which nothing more is said than what it boots. */
const defaults = { cpus: 2, memoryMiB: 1024, numaNodes: 1, commandLine: '', bootSeconds: 300 } as const;

const powerOffSeconds = 20;

/** What init tells, besides what the worker tells. */
type InitMessage =
  | { readonly type: 'init' }
  | { readonly type: 'module'; readonly path: string; readonly errno: number }
  | { readonly type: 'ended'; readonly code: number | null; readonly signal: NodeJS.Signals | null };

const emulators = { x86_64: 'qemu-system-x86_64', aarch64: 'qemu-system-aarch64' } as const;
const packages = { x86_64: 'qemu-system-x86', aarch64: 'qemu-system-arm' } as const;

/** The first line that the emulator says of itself. */
export function emulatorVersion(architecture: Image['architecture']): string {
  const program = emulators[architecture];
  try {
    return execFileSync(program, ['--version'], { encoding: 'utf8' }).split('\n')[0] ?? program;
  } catch (error) {
    throw new LabError(
      `${program} cannot be started (${(error as NodeJS.ErrnoException).code ?? (error as Error).message})`,
      `Install it (Debian: apt-get install ${packages[architecture]})`,
    );
  }
}

/** KVM in the lab machine needs nested virtualisation of the host's; everything else is emulated. */
export function chooseAccelerator(wanted: 'auto' | 'tcg' | 'kvm', architecture: Image['architecture']): 'tcg' | 'kvm' {
  if (wanted === 'tcg') return wanted;
  const nested = ['kvm_intel', 'kvm_amd'].some((module) => {
    try {
      return /^[1Y]/.test(readFileSync(`/sys/module/${module}/parameters/nested`, 'utf8'));
    } catch {
      return false;
    }
  });
  let usable = true;
  try {
    accessSync('/dev/kvm', constants.R_OK | constants.W_OK);
  } catch {
    usable = false;
  }
  if (nested && usable && architecture === hostArchitecture) return 'kvm';
  if (wanted === 'auto') return 'tcg';
  if (architecture !== hostArchitecture)
    throw new LabError(`KVM of this machine cannot run ${architecture}`, 'Use --accel tcg');
  if (!usable) throw new LabError('/dev/kvm of this machine cannot be opened', 'Use --accel tcg');
  throw new LabError(
    'this machine has no nested virtualisation, which KVM inside a KVM guest needs',
    'Use --accel tcg',
  );
}

function commandLineOf(options: MachineOptions): string {
  const console = options.image.architecture === 'x86_64' ? 'ttyS0' : 'ttyAMA0';
  // On a busy host the kernel takes late ticks of the emulated timer for a broken one, and panics.
  const timer = options.image.architecture === 'x86_64' ? ' no_timer_check' : '';
  // loglevel=5 shows warnings, which `quiet` would hide; printk.devkmsg lets the marks of the checks through unlimited.
  const words = `console=${console} panic=-1 loglevel=5 printk.devkmsg=on${timer} ${options.commandLine}`.trim();
  // Compiling machine code costs more than it saves in a run of seconds under software emulation.
  // Finding and linking a hundred modules takes an emulated processor a second, so they are joined; but what brings checks of
  // its own imports modules of dist/, and is to meet the same ones as the suite.
  const guest = options.files ? 'dist/lab/guest.js' : 'dist/gmem/guest.js';
  return `${words} -- /bin/node --jitless /gmem/${guest}`;
}

function qemuArguments(options: MachineOptions, initramfs: string, socket: string): string[] {
  const { image, cpus, memoryMiB, numaNodes, accelerator } = options;
  const machine =
    image.architecture === 'x86_64' ? ['-machine', 'q35'] : ['-machine', 'virt,gic-version=3,virtualization=on'];
  const numa: string[] = [];
  for (let node = 0; numaNodes > 1 && node < numaNodes; node++) {
    const size = Math.floor(memoryMiB / numaNodes) + (node === 0 ? memoryMiB % numaNodes : 0);
    const own = [...Array(cpus).keys()].filter((cpu) => cpu % numaNodes === node);
    numa.push('-object', `memory-backend-ram,id=node${node},size=${size}M`);
    numa.push('-numa', ['node', `nodeid=${node}`, `memdev=node${node}`, ...own.map((cpu) => `cpus=${cpu}`)].join(','));
  }
  return [
    ...machine,
    '-accel',
    // One thread for all processors: where each has its own, QEMU 7.2 lets one execute what another has just patched, and
    // kernels that patch themselves at runtime (KVM's preempt notifiers do) die of a stray breakpoint in the scheduler.
    accelerator === 'tcg' ? 'tcg,thread=single' : 'kvm',
    '-cpu',
    accelerator === 'tcg' ? 'max' : 'host',
    '-smp',
    // A socket that spans nodes makes the kernel warn of its topology.
    numaNodes > 1 ? `${cpus},sockets=${cpus},cores=1,threads=1` : String(cpus),
    '-m',
    `${memoryMiB}M`,
    ...numa,
    '-nodefaults',
    '-no-user-config',
    '-display',
    'none',
    '-no-reboot',
    '-kernel',
    image.path,
    '-initrd',
    initramfs,
    '-append',
    commandLineOf(options),
    '-chardev',
    'stdio,id=console,signal=off',
    '-serial',
    'chardev:console',
    '-chardev',
    `socket,id=channel,path=${socket}`,
    '-device',
    'virtio-serial-pci',
    '-device',
    'virtserialport,chardev=channel,name=gmem',
  ];
}

/** What a machine gets to see besides the package: what it was asked to, and its kernel's configuration, for causes. */
function filesOf({ image, modules, files }: MachineOptions): ReadonlyMap<string, string> {
  const configuration = configurationOf(image.path, modules);
  return new Map([...(files ?? []), ...(configuration === undefined ? [] : [['boot/config', configuration] as const])]);
}

/** A kernel booted in QEMU, with the worker of the suite in it. */
export class Lab {
  readonly #options: MachineOptions;
  readonly #emulator: string;
  #modules: readonly string[] = [];
  #bootMs = 0;
  #boots = 0;

  /** @param given what is left out is 2 processors, 1 GiB, one node, 300 s to boot, and KVM where it can be had */
  constructor(given: Pick<MachineOptions, 'image'> & Partial<MachineOptions>) {
    const { architecture } = given.image;
    this.#options = { ...defaults, accelerator: chooseAccelerator('auto', architecture), ...given };
    this.#emulator = emulatorVersion(architecture);
  }

  get facts(): Omit<LabFacts, 'image'> {
    const { image, cpus, memoryMiB, numaNodes, accelerator } = this.#options;
    return {
      architecture: image.architecture,
      accelerator,
      emulator: this.#emulator,
      cpus,
      memory: `${memoryMiB} MiB`,
      numaNodes,
      commandLine: commandLineOf(this.#options),
      modules: this.#modules,
      bootMs: Math.round(this.#bootMs),
      boots: this.#boots,
    };
  }

  /** Starts a machine that works through the assignment. */
  readonly launch = (assignment: Assignment, onMessage: (message: WorkerMessage) => void): RunningWorker => {
    const control = new AbortController();
    return { ended: this.#run(assignment, onMessage, control.signal), kill: () => control.abort() };
  };

  async #run(
    assignment: Assignment,
    onMessage: (message: WorkerMessage) => void,
    stop: AbortSignal,
  ): Promise<WorkerEnd> {
    const { keep, modules, image, bootSeconds } = this.#options;
    const scratch = keep === undefined ? makeScratch('gmem-lab-') : undefined;
    const directory = keep ?? scratch?.path ?? '';
    let qemu: ChildProcess | undefined;
    const kill = () => qemu?.kill('SIGKILL');
    // For an end that nobody waits for: QEMU first, then what it had open.
    const leave = () => {
      kill();
      scratch?.remove();
    };
    process.on('exit', leave);
    try {
      const initramfs = makeInitramfs(image.architecture, assignment, modules, filesOf(this.#options), directory);
      this.#modules = initramfs.modules;
      const socket = join(directory, 'channel');
      const started = performance.now();
      let reached = 'nothing' as Course['reached'];
      let end = undefined as Course['end'];
      let late = undefined as string | undefined;
      let timer: NodeJS.Timeout | undefined;
      const limit = (seconds: number, why: string) => {
        clearTimeout(timer);
        timer = setTimeout(() => {
          late = why;
          kill();
        }, seconds * 1000);
      };
      const hear = (line: string) => {
        let message: WorkerMessage | InitMessage;
        try {
          message = JSON.parse(line) as WorkerMessage | InitMessage;
        } catch {
          return; // half a line of a machine that died
        }
        if (message.type === 'init') reached = 'init';
        else if (message.type === 'module') return;
        else if (message.type === 'ended') {
          end = message;
          limit(powerOffSeconds, `did not switch itself off within ${powerOffSeconds} s after the checks`);
        } else {
          if (reached !== 'worker') {
            reached = 'worker';
            this.#bootMs = Math.max(this.#bootMs, performance.now() - started);
            clearTimeout(timer);
          }
          onMessage(message);
        }
      };
      const server = createServer((connection) => {
        connection.setEncoding('utf8').on('data', lines(hear)).on('error', kill);
        channelClosed = new Promise((resolve) => connection.on('close', () => resolve()));
      });
      let channelClosed = Promise.resolve();
      await new Promise<void>((resolve, reject) => server.on('error', reject).listen(socket, resolve));
      this.#boots++;
      const emulator = emulators[image.architecture];
      qemu = spawn(...bound('KILL', emulator, qemuArguments(this.#options, initramfs.path, socket)), {
        stdio: ['ignore', 'pipe', 'pipe'],
      });
      limit(bootSeconds, `had not come to the first check after ${bootSeconds} s`);
      if (stop.aborted) kill();
      stop.addEventListener('abort', kill, { once: true });
      let console = '';
      let complaint = '';
      qemu.stdout?.setEncoding('latin1').on('data', (text: string) => {
        console += text;
      });
      qemu.stderr?.setEncoding('utf8').on('data', (text: string) => {
        complaint = (complaint + text).slice(-4096);
      });
      const exit = await new Promise<{ code: number | null; signal: NodeJS.Signals | null }>((resolve, reject) => {
        qemu?.on('error', (error) =>
          reject(new LabError(`setpriv cannot be started (${error.message})`, 'Install util-linux')),
        );
        qemu?.on('close', (code, signal) => resolve({ code, signal }));
      });
      clearTimeout(timer);
      await channelClosed;
      server.close();
      if (keep) {
        writeFileSync(join(keep, 'console.log'), console, 'latin1');
        writeFileSync(
          join(keep, 'command.json'),
          `${JSON.stringify([emulator, ...qemuArguments(this.#options, initramfs.path, socket)], null, 2)}\n`,
        );
      }
      // Before the kernel's first word an end of QEMU is QEMU's own.
      if (exit.code !== 0 && !stop.aborted && late === undefined && reached === 'nothing' && console === '')
        throw new LabError(
          `${emulator} ended with ${exit.code ?? exit.signal}: ${complaint.trim() || 'it said nothing'}`,
        );
      const complaints = complaintsIn(console);
      const story = storyOf({ reached, end, late, stopped: stop.aborted, console, complaints });
      return {
        code: end?.code ?? exit.code,
        signal: end?.signal ?? exit.signal,
        stderr: '',
        story,
        complaints: reached === 'worker' ? complaints : [],
      };
    } finally {
      process.off('exit', leave);
      leave();
    }
  }
}

interface Course {
  readonly reached: 'nothing' | 'init' | 'worker';
  readonly end: { readonly code: number | null; readonly signal: NodeJS.Signals | null } | undefined;
  readonly late: string | undefined;
  readonly stopped: boolean;
  readonly console: string;
  readonly complaints: readonly { readonly kind: string; readonly text: string }[];
}

/** What happened to a machine, in a sentence, with the end of its console. */
function storyOf({ reached, end, late, stopped, console, complaints }: Course): string {
  const said = tail(console);
  // A complaint is told whole beside the story.
  const withTail = (text: string) =>
    complaints.length > 0 && reached === 'worker'
      ? text
      : said === ''
        ? `${text} Its serial console has shown nothing.`
        : `${text} The end of its console:\n${said}`;
  const where =
    reached === 'nothing'
      ? 'before it reached init'
      : reached === 'init'
        ? 'before the first check'
        : 'during the checks';
  const text = consoleLines(console).join('\n');
  if (stopped) return withTail(`The machine was stopped ${where}.`);
  // What came before the end of the room is there: it may be init, and the half of what it starts.
  if (reached !== 'worker' && /Initramfs unpacking failed: write error/.test(text))
    return withTail(
      'The initramfs of about 100 MB does not fit into the memory of the machine: give it more with --memory.',
    );
  if (reached === 'nothing' && /Unable to mount root fs|No working init found|VFS: Cannot open root device/.test(text))
    return withTail(
      'The kernel does not unpack an initramfs: it needs CONFIG_BLK_DEV_INITRD, and CONFIG_BINFMT_ELF to start what is in it.',
    );
  if (complaints.some(({ kind }) => kind === 'panic')) {
    const [, why] = /Kernel panic - not syncing: (.*)/.exec(text) ?? [];
    return withTail(`The kernel panicked ${where}: ${why ?? 'no reason given'}.`);
  }
  if (/gm_init: no channel/.test(text))
    return withTail(
      'The kernel has no virtio-serial port, by which results travel: it needs CONFIG_VIRTIO_PCI and CONFIG_VIRTIO_CONSOLE, or their modules with --modules.',
    );
  if (late !== undefined) {
    if (said === '' && reached === 'nothing')
      return `The machine ${late}, and its serial console has shown nothing: the kernel hangs early, or has no serial console (CONFIG_SERIAL_8250_CONSOLE, on arm64 CONFIG_SERIAL_AMBA_PL011_CONSOLE).`;
    return withTail(`The machine hangs: it ${late}.`);
  }
  if (end) {
    const how = end.signal ? `was ended by ${end.signal}` : `exited with code ${end.code}`;
    return withTail(`The process of the checks ${how} ${where}.`);
  }
  return withTail(`The machine reset or switched itself off ${where}.`);
}
