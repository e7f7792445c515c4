import { list, text } from '../kvm/arguments.ts';
import { readOptions, splitShell, valuesOf } from './command-line.ts';
import { BackendError } from './error.ts';
import { parseObjectOption, splitPairs } from './object-option.ts';
import type { MemoryBackendOptions, ObjectOptions } from './properties.ts';
import { properties } from './properties.ts';
import { remarksOn } from './remarks.ts';
import { objectType } from './types.ts';
import { isShared } from './validate.ts';
import { formatSize, parseSize } from './values.ts';

/** One thing that lint has to say. */
export interface LintFinding {
  /** 'error': QEMU refuses it; 'ignored': it has no effect; 'better': another way serves better; 'version': no released QEMU takes it. */
  readonly level: 'error' | 'ignored' | 'better' | 'version';
  /** The option and its argument, as written. */
  readonly where: string;
  readonly property: string | undefined;
  readonly message: string;
}

const confidential = /^(?:sev-guest|sev-snp-guest|tdx-guest|pef-guest|s390-pv-guest|arm-rme-guest|arm-cca-guest)$/;

interface Found {
  readonly where: string;
  readonly options: MemoryBackendOptions;
}

/** Reads one -object; what is not of our types is none of ours. */
function readObject(argument: string): ObjectOptions | undefined {
  const type = argument.startsWith('{')
    ? /["']qom-type["']\s*:\s*["']([^"']*)["']/.exec(argument)?.[1]
    : splitPairs(argument).find(({ key }) => key === 'qom-type')?.value;
  const ours = type === undefined || type.startsWith('memory-backend') || objectType(type);
  return ours ? parseObjectOption(argument) : undefined;
}

/**
 * Looks at the memory in a QEMU command line: every -object memory-backend-* and thread-context, -machine memory-backend=,
 * -numa memdev= and -m, each by itself and how they go together.
 *
 * @param commandLine one text as for a shell, or its words
 * @returns findings in the order of the command line; none where all is well
 *
 * @example
 * lintCommandLine('qemu-system-x86_64 -m 2G -object memory-backend-ram,id=ram0,size=1G -machine memory-backend=ram0');
 * // [{ level: 'error', property: 'size', message: '…', … }]
 */
export function lintCommandLine(commandLine: string | readonly string[]): LintFinding[] {
  const words =
    typeof commandLine === 'string'
      ? splitShell(commandLine)
      : list('commandLine', commandLine).map((word) => text('commandLine', word));
  const options = readOptions(words);
  const findings: LintFinding[] = [];
  const say = (level: LintFinding['level'], where: string, property: string | undefined, message: string) =>
    findings.push({ level, where, property, message });
  const named = (name: string) => options.filter((one) => one.name === name);

  const backends = new Map<string, Found>();
  const contexts = new Set<string>();
  const ids = new Set<string>();
  for (const { argument = '' } of named('object')) {
    const where = `-object ${argument}`;
    try {
      const object = readObject(argument);
      if (!object) {
        const id = valuesOf(argument, 'id')[0];
        if (id !== undefined) ids.add(id);
        continue;
      }
      if (ids.has(object.id)) say('error', where, 'id', `another object has the id "${object.id}"`);
      ids.add(object.id);
      if (object['qom-type'] === 'thread-context') contexts.add(object.id);
      else backends.set(object.id, { where, options: object });
      for (const { key, value, short } of argument.startsWith('{') ? [] : splitPairs(argument))
        if (short) say('better', where, key, `write ${key}=${value}: QEMU warns of switches without a value`);
    } catch (error) {
      if (!(error instanceof BackendError)) throw error;
      say('error', where, error.property, error.message);
    }
  }

  const machines = named('machine').concat(named('M'));
  const isConfidential =
    machines.some(({ argument }) => valuesOf(argument, 'confidential-guest-support').length > 0) ||
    named('object').some(({ argument }) => confidential.test(splitPairs(argument ?? '')[0]?.value ?? ''));
  const hasVhostUser =
    named('device').some(({ argument = '' }) => argument.startsWith('vhost-user')) ||
    named('netdev').some(({ argument = '' }) => argument.startsWith('vhost-user'));

  // Who uses which backend.
  const uses: { where: string; id: string; by: 'machine' | 'numa' | 'device' }[] = [];
  for (const { argument } of machines)
    for (const id of valuesOf(argument, 'memory-backend'))
      uses.push({ where: `-machine ${argument}`, id, by: 'machine' });
  for (const { argument } of named('numa'))
    for (const id of valuesOf(argument, 'memdev')) uses.push({ where: `-numa ${argument}`, id, by: 'numa' });
  for (const { argument } of named('device'))
    for (const id of valuesOf(argument, 'memdev')) uses.push({ where: `-device ${argument}`, id, by: 'device' });

  for (const [i, { where, id, by }] of uses.entries()) {
    if (!backends.has(id)) say('error', where, by === 'machine' ? 'memory-backend' : 'memdev', unknownId(id, findings));
    if (uses.slice(0, i).some((other) => other.id === id))
      say(
        'error',
        where,
        by === 'machine' ? 'memory-backend' : 'memdev',
        `"${id}" is used already, and memory is used once`,
      );
  }
  const onMachine = uses.find(({ by }) => by === 'machine');
  const onNode = uses.filter(({ by }) => by === 'numa');
  if (onMachine && onNode[0])
    say(
      'error',
      onNode[0].where,
      'memdev',
      'a machine takes its memory from -machine memory-backend= or from -numa memdev=, not from both',
    );

  const size = memorySize(named('m').at(-1)?.argument);
  const parts = onMachine ? [onMachine] : onNode;
  const sizes = parts.map(({ id }) => backends.get(id)?.options.size);
  if (parts[0] && sizes.every((one) => one !== undefined)) {
    const total = sizes.reduce<bigint>((sum, one) => sum + BigInt(one), 0n);
    const wanted = size ?? 128n * 1024n * 1024n;
    if (total !== wanted)
      say(
        'error',
        parts[0].where,
        'size',
        `the backends have ${formatSize(total)} and the machine has ${formatSize(wanted)} (${size === undefined ? 'without -m' : '-m'}); they must be equal`,
      );
  }

  for (const { where, options: backend } of backends.values()) {
    for (const { level, property, message } of remarksOn(backend)) say(level, where, property, message);
    const context = backend['prealloc-context'];
    if (context !== undefined && !contexts.has(context))
      say('error', where, 'prealloc-context', `there is no thread-context with the id "${context}"`);
    const used = uses.some(({ id }) => id === backend.id);
    if (!used) say('ignored', where, 'id', `nothing uses "${backend.id}"; add -machine memory-backend=${backend.id}`);
    if (hasVhostUser && !isShared(backend))
      say(
        'error',
        where,
        'share',
        'a vhost-user device maps guest memory in another process: use share=on and a backend with a file',
      );
    else if (hasVhostUser && backend['qom-type'] === 'memory-backend-ram')
      say(
        'error',
        where,
        'qom-type',
        'a vhost-user device gets guest memory as a file descriptor, which memory-backend-ram has none of; use memory-backend-memfd',
      );
    if (isConfidential && 'hugetlb' in backend && backend.hugetlb)
      say(
        'better',
        where,
        'hugetlb',
        'shared huge pages are never given back when the guest makes memory private, so it is there twice',
      );
    if (isConfidential && backend['qom-type'] === 'memory-backend-file' && !backend['mem-path'].startsWith('/dev/'))
      say(
        'better',
        where,
        'qom-type',
        'what the guest shares lands on a disk; memory-backend-memfd keeps it in memory',
      );
    for (const { property, needs } of newer(backend)) say('version', where, property, needs);
  }
  const order = (finding: LintFinding) => words.indexOf(finding.where.replace(/^-\w+ /, ''));
  return findings.sort((a, b) => order(a) - order(b));
}

function unknownId(id: string, findings: readonly LintFinding[]): string {
  const broken = findings.some(({ level, where }) => level === 'error' && where.includes(`id=${id}`));
  return broken ? `"${id}" is the object that is wrong above` : `there is no memory backend with the id "${id}"`;
}

/** What no released QEMU takes. */
function newer(backend: MemoryBackendOptions): { property: string; needs: string }[] {
  const found: { property: string; needs: string }[] = [];
  if (objectType(backend['qom-type'])?.since === undefined)
    found.push({
      property: 'qom-type',
      needs: `no released QEMU has ${backend['qom-type']}; QEMU's development has memory-backend-memfd,x-guest-memfd=on,share=on instead`,
    });
  for (const row of properties)
    if (row.name in backend && row.since === undefined)
      found.push({ property: row.name, needs: `no released QEMU has ${row.name} yet` });
  return found;
}

/** The bytes of `-m`: a number is MiB there. */
function memorySize(argument: string | undefined): bigint | undefined {
  if (argument === undefined) return undefined;
  const text = valuesOf(argument, 'size', 'size').at(-1);
  if (text === undefined) return undefined;
  const size = parseSize(/^\d+$/.test(text) ? `${text}M` : text);
  return size === undefined ? undefined : BigInt(size);
}
