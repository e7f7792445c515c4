import { type CheckResult, type SuiteResult, summarise } from '../../lib/smoke/model.ts';

/** Characters that formats stumble over: markup, comments, directives, controls, colours, halves of pairs, right to left. */
export const hostile =
  'a "quoted" <b>&amp; \'x\' # SKIP not a directive ]]> --> <!-- ::error::no %0A | `c` \\ \u0000\u0007\u001b[31m\ud800 ü€😀\u202e\u2028 end';

const base = { title: 'It holds', durationMs: 1.25, since: '6.8' };
const bug = { id: 'B4', title: 'overflow', fixedBy: 'eba85fee7fc6' };

/** Checks that have everything a result can have. */
export const checks: readonly CheckResult[] = [
  { ...base, name: 'file/passes', status: 'pass', notes: ['a note'], upstream: ['G1'] },
  {
    ...base,
    name: 'file/fails',
    status: 'fail',
    failure: {
      message: 'the guest reads another page',
      expected: '0x1',
      got: '0x2',
      configuration: 'VM type 0',
      calls: [
        { call: 'ioctl(KVM_CREATE_VM)', arguments: { type: 0 }, result: 7, atMs: 0.1, durationMs: 0.02 },
        {
          call: 'fallocate',
          arguments: { offset: '0x1000', length: 1 },
          errno: 'EINVAL',
          atMs: 0.2,
          durationMs: 0.003,
        },
        { call: 'run', arguments: {}, outcome: 'MMIO exit', result: 0, atMs: 0.3, durationMs: 1 },
        { call: 'run', arguments: {}, unfinished: true, atMs: 1.3, durationMs: 1 },
      ],
      guest: { rip: '0xfffff010', exit: 'MEMORY_FAULT' },
      memory: [
        { gpa: '0x100000000', size: 4096, state: 'shared' },
        { gpa: '0x100001000', size: 4096, state: 'hole' },
        { gpa: '0x100002000', size: 2 ** 21, state: 'private' },
        { gpa: '0x100202000', size: 2 ** 30, state: 'untouched' },
      ],
    },
  },
  { ...base, name: 'binding/is-known', status: 'xfail', failure: { message: 'accepted' }, knownBug: bug },
  { ...base, name: 'binding/is-fixed', status: 'pass', unexpectedPass: true, knownBug: bug },
  { ...base, name: 'binding/hung', status: 'error', cause: 'timeout', reason: 'it did not end within 10 s' },
  { ...base, name: 'binding/broke', status: 'error', cause: 'exception', reason: 'TypeError: no\n    at x\n    at y' },
  {
    ...base,
    name: 'numa/skipped',
    status: 'skip',
    reason: 'one node',
    remedy: 'Use two',
    chain: ['there is one', 'no more were built'],
    requirement: 'nodes',
  },
  { ...base, name: 'numa/skipped-too', status: 'skip', reason: 'one node', remedy: 'Use two' },
  { ...base, name: `hostile/${hostile}`, title: hostile, status: 'fail', failure: { message: hostile, got: hostile } },
  { ...base, name: 'hostile/error', status: 'error', cause: 'crash', reason: `${hostile}\n${hostile}` },
  { ...base, name: 'hostile/skip', status: 'skip', reason: hostile, remedy: hostile },
  { ...base, name: 'hostile/note', status: 'pass', notes: [hostile], seed: 7 },
  {
    ...base,
    name: 'hostile/known',
    status: 'xfail',
    reason: hostile,
    knownBug: { id: '#1 B', title: hostile, fixedBy: hostile },
  },
];

/** A result with these checks. */
export function resultOf(list: readonly CheckResult[] = checks, kernelRelease = '6.18.44'): SuiteResult {
  return {
    schemaVersion: 2,
    tool: { name: 'guest-memfd', version: '0.0.0' },
    startedAt: '2026-11-24T00:00:00.123Z',
    seed: 7,
    host: {
      kernelRelease,
      kernelVersion: '#1 SMP',
      architecture: 'x64',
      cpu: 'AMD <EPYC>',
      cpus: 2,
      memoryBytes: 2 ** 31,
      pageSize: 4096,
      numaNodes: 1,
      nodeVersion: 'v20.0.0',
      capabilities: { GUEST_MEMFD: 1 },
      vmTypes: [0],
    },
    lab: {
      image: 'debian-6.18',
      architecture: 'x86_64',
      accelerator: 'tcg',
      emulator: 'QEMU emulator version 7.2',
      cpus: 2,
      memory: '1024 MiB',
      numaNodes: 1,
      commandLine: 'console=ttyS0',
      modules: ['kvm'],
      bootMs: 1000,
      boots: 1,
    },
    summary: summarise(list, 1234),
    checks: list,
  };
}

/** Checks of all that is well, as many as wanted. */
export const passing = (count: number): CheckResult[] =>
  Array.from({ length: count }, (_, at) => ({ ...base, name: `subject-${at % 10}/property-${at}`, status: 'pass' }));
