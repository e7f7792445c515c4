import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, describe, expect, test } from 'vitest';
import { explanation } from '../../lib/cli/smoke-catalogue.ts';
import { parseRequired, parseShard } from '../../lib/cli/smoke-options.ts';
import { MemoryAccessError } from '../../lib/kvm/errors.ts';
import { mapAnonymous } from '../../lib/kvm/mapping.ts';
import { native } from '../../lib/kvm/native.ts';
import { observeCalls } from '../../lib/kvm/trace.ts';
import { checks } from '../../lib/smoke/catalogue.ts';
import { allBytes, inaccessible } from '../../lib/smoke/expect.ts';
import type { Check, CheckResult, HostFacts } from '../../lib/smoke/model.ts';
import type { Launch, WorkerEnd } from '../../lib/smoke/protocol.ts';
import { randomFrom } from '../../lib/smoke/random.ts';
import { reproducer } from '../../lib/smoke/reproducer/reproducer.ts';
import type { Ground } from '../../lib/smoke/requirements.ts';
import { runCheck } from '../../lib/smoke/run-check.ts';
import { type RunnerOptions, runChecks } from '../../lib/smoke/runner.ts';
import { shard } from '../../lib/smoke/select.ts';
import { CallLog, setActiveLog } from '../../lib/smoke/trace/log.ts';

const folder = mkdtempSync(join(tmpdir(), 'gmem-diagnosis-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const page = 4096;
const host = { kernelRelease: '6.18.1', kernelVersion: '#1', architecture: 'x64', cpu: 'any' } as HostFacts;
const ground = { host } as unknown as Ground;

/** Runs a check of this process's memory, recorded as the worker does it. */
async function record(run: Check['run'], whole = true) {
  const check: Check = { name: 'unit/check', title: 'It holds */', since: '', run };
  const log = new CallLog(whole);
  setActiveLog(log);
  observeCalls(log);
  log.reset();
  return { check, outcome: await runCheck(check, ground, { seed: 7, deadline: 0 }, log) };
}
afterEach(() => {
  observeCalls(undefined);
  setActiveLog(undefined);
});

describe('recording', () => {
  test('exchanges the functions of the addon and puts them back', () => {
    const before = native.mappingFill;
    observeCalls(new CallLog());
    expect(native.mappingFill).not.toBe(before);
    observeCalls(undefined);
    expect(native.mappingFill).toBe(before);
  });

  test('a failure shows the calls that led there, and no later ones', async () => {
    const { outcome } = await record((context) => {
      const mapping = context.use(mapAnonymous({ size: page }));
      mapping.fill(0xaa);
      allBytes(mapping, 0, page, 0xab, 'the memory');
    });
    const { failure } = outcome.result;
    expect(failure).toMatchObject({ expected: '0xab', got: '0xaa' });
    expect(failure?.calls?.map(({ call }) => call)).toEqual(['mmap', 'fill memory', 'compare memory']);
    expect(failure?.calls?.[0]).toMatchObject({
      arguments: { length: '0x1000', protection: 'READ | WRITE', flags: 'PRIVATE | ANONYMOUS | NORESERVE' },
    });
    expect(failure?.calls?.[2]).toMatchObject({ outcome: 'differs at byte 0' });
  });

  test('bytes that are detached fail no call by being recorded', async () => {
    const { outcome } = await record((context) => {
      const mapping = context.use(mapAnonymous({ size: page }));
      const bytes = new Uint8Array(8);
      structuredClone(bytes.buffer, { transfer: [bytes.buffer] });
      mapping.write(0, bytes);
      const lying = (name: string) => Object.defineProperty(new Uint8Array(8), name, { value: 16 });
      mapping.write(0, lying('byteLength'));
      expect(() => mapping.write(0, lying('length'))).toThrow('8 bytes were done before');
    });
    expect(outcome.result).toMatchObject({ status: 'pass' });
  });

  test('an access that faults is told as such', async () => {
    const { outcome } = await record((context) => {
      const mapping = context.use(mapAnonymous({ size: 2 * page }));
      mapping.protect(0, page);
      mapping.fill(1);
    });
    expect(outcome.error).toBeInstanceOf(MemoryAccessError);
    expect(outcome.result.failure?.calls?.at(-1)).toMatchObject({
      call: 'fill memory',
      outcome: `faults after ${page} bytes`,
    });
  });

  test('keeps the last calls only, unless all are wanted', async () => {
    const many: Check['run'] = (context) => {
      const mapping = context.use(mapAnonymous({ size: page }));
      for (let i = 0; i < 1000; i++) mapping.fill(1, 0, 1);
      allBytes(mapping, 0, 1, 2, 'one byte');
    };
    expect((await record(many, false)).outcome.result.failure?.calls).toHaveLength(32);
    expect((await record(many, false)).outcome.calls).toBeUndefined();
    expect((await record(many, true)).outcome.calls?.length).toBeGreaterThan(1000);
  });

  test('tells the memory under test, and the seed of a check that asked for it', async () => {
    const { outcome } = await record((context) => {
      context.memory = [{ gpa: '0x1000', size: page, state: 'private' }];
      expect(context.seed).toBe(7);
      const mapping = context.use(mapAnonymous({ size: page }));
      inaccessible('memory', () => mapping.read(0, 1));
    });
    expect(outcome.result).toMatchObject({ seed: 7, failure: { memory: [{ state: 'private' }] } });
    expect((await record(() => {})).outcome.result).not.toHaveProperty('seed');
  });
});

describe('reproducers', () => {
  /** Compiles one without a warning and gives what it says; 4 where there is no KVM to ask. */
  function verdict(source: string | undefined): { status: number | null; stdout: string } {
    const path = join(folder, 'reproducer');
    writeFileSync(`${path}.c`, source ?? '');
    execFileSync('cc', ['-Wall', '-Werror', '-o', path, `${path}.c`], { stdio: 'pipe' });
    const { status, stdout } = spawnSync(path, { encoding: 'utf8' });
    return { status, stdout };
  }

  test('are C programs that compile without a warning and find the same', async () => {
    const { check, outcome } = await record((context) => {
      const mapping = context.use(mapAnonymous({ size: 2 * page }));
      mapping.fill(0xaa, 0, page);
      mapping.write(page, BigUint64Array.of(1n, 5n));
      mapping.protect(1, page);
      expect(() => mapping.fill(0, page)).toThrow(MemoryAccessError);
      allBytes(mapping, 0, page, 0xab, 'the "memory"');
    });
    const { source } = reproducer(check, outcome, host);
    expect(source).toContain('property:   It holds * /');
    const { status, stdout } = verdict(source);
    // Without /dev/kvm nothing can be asked; with it the program must find what was asserted wrongly.
    expect([status, stdout]).toEqual(
      existsSync('/dev/kvm')
        ? [1, 'MISBEHAVES: expected: the "memory", at offset 0x0: 0xab\n']
        : [4, expect.stringMatching(/^cannot be asked here: \/dev\/kvm/)],
    );
  });

  test('are not written where nothing would show', async () => {
    const nothing = await record(() => allBytes({} as never, 0, 0, 0, ''));
    expect(reproducer(nothing.check, nothing.outcome, host).problem).toBeTruthy();
    const passed = await record(() => {});
    expect(reproducer(passed.check, passed.outcome, host).problem).toBeTruthy();
  });
});

describe('the runner', () => {
  const base: Omit<CheckResult, 'status'> = { name: '', title: '', since: '', durationMs: 1 };

  /** A worker that answers at once with what `answer` gives for each check and attempt. */
  function answering(answer: (name: string, attempt: number) => Partial<CheckResult>): Launch {
    const attempts = new Map<string, number>();
    return ({ names }, onMessage) => {
      onMessage({ type: 'ready', host });
      for (const name of names) {
        const attempt = (attempts.get(name) ?? 0) + 1;
        attempts.set(name, attempt);
        onMessage({ type: 'start', name });
        onMessage({ type: 'result', result: { ...base, name, status: 'pass', ...answer(name, attempt) } });
      }
      return { ended: Promise.resolve({ code: 0, signal: null, stderr: '' }), kill: () => {} };
    };
  }

  const run = (names: readonly string[], launch: Launch, options: Partial<RunnerOptions> = {}) =>
    runChecks({
      checks: names.map((name) => ({ name, title: name, since: '' })),
      device: '/dev/kvm',
      timeoutSeconds: 1,
      tool: { name: 'test', version: '0' },
      launch,
      ...options,
    });
  const failing = { status: 'fail', failure: { message: 'it did not' } } as const;

  test('tries again as often as it is told, and notes it', async () => {
    const launch = () => answering((name, attempt) => (name === 'a' && attempt < 3 ? failing : {}));
    const twice = await run(['a', 'b'], launch(), { retries: 2 });
    expect(twice.checks.map(({ status }) => status)).toEqual(['pass', 'pass']);
    expect(twice.checks[0]?.notes).toEqual(['passed after it had failed 2 times: it did not; it did not']);
    const once = await run(['a', 'b'], launch(), { retries: 1 });
    expect(once.checks.map(({ status }) => status)).toEqual(['fail', 'pass']);
    expect((await run(['a'], launch())).checks[0]).not.toHaveProperty('notes');
  });

  test('makes a skip a failure where its requirement is required', async () => {
    const skip = { status: 'skip', reason: 'one node', requirement: '2 NUMA nodes', chain: ['no NUMA'] } as const;
    const launch = () => answering(() => skip);
    const required = await run(['a'], launch(), { required: ['2-numa-nodes'] });
    expect(required.checks[0]).toMatchObject({
      status: 'fail',
      failure: { message: '2 NUMA nodes is required here, but one node; because no NUMA' },
    });
    expect((await run(['a'], launch(), { required: ['mmap'] })).checks[0]).toMatchObject(skip);
  });

  test('tells the seed, the given one or one of its own', async () => {
    const launch = answering(() => ({}));
    expect((await run(['a'], launch, { seed: 12 })).seed).toBe(12);
    expect(Number.isInteger((await run(['a'], launch)).seed)).toBe(true);
  });

  test('shares checks among workers, and gives their results in the order of the checks', async () => {
    const shares: (readonly string[])[] = [];
    const answer = answering((name) => (name === 'b' ? failing : {}));
    const launch: Launch = (assignment, onMessage) => {
      shares.push(assignment.names);
      return answer(assignment, onMessage);
    };
    const { checks, summary } = await run(['a', 'b', 'c', 'd', 'e'], launch, { workers: 2 });
    expect(shares).toEqual([
      ['a', 'c', 'e'],
      ['b', 'd'],
    ]);
    expect(checks.map(({ name }) => name)).toEqual(['a', 'b', 'c', 'd', 'e']);
    expect(summary).toMatchObject({ pass: 4, fail: 1 });
    // No more workers than checks.
    shares.length = 0;
    await run(['a'], launch, { workers: 5 });
    expect(shares).toEqual([['a']]);
  });

  test('ends all workers where one finds that nothing can run', async () => {
    const launch: Launch = ({ names }, onMessage) => {
      let end = () => {};
      const ended = new Promise<WorkerEnd>((resolve) => {
        end = () => resolve({ code: null, signal: 'SIGKILL', stderr: '' });
      });
      onMessage(names[0] === 'a' ? { type: 'ready', host } : { type: 'unusable', reason: 'no KVM here' });
      if (names[0] !== 'a') end();
      return { ended, kill: end };
    };
    await expect(run(['a', 'b'], launch, { workers: 2 })).rejects.toThrow('no KVM here');
  });

  test('tells the kernel call under way where a process ended, and the program for a failure', async () => {
    const call = { call: 'fallocate', arguments: { mode: 3 }, atMs: 1, durationMs: 0, unfinished: true } as const;
    const told: unknown[] = [];
    const dying: Launch = (_, onMessage) => {
      onMessage({ type: 'ready', host });
      onMessage({ type: 'start', name: 'a' });
      onMessage({ type: 'begin', check: 'a', call });
      return { ended: Promise.resolve({ code: null, signal: 'SIGSEGV', stderr: '' }), kill: () => {} };
    };
    const { checks } = await run(['a'], dying, { onCall: (check, one) => told.push([check, one]) });
    expect(told).toEqual([['a', call]]);
    expect(checks[0]).toMatchObject({ status: 'error', cause: 'crash' });
    expect(checks[0]?.reason).toMatch(/SIGSEGV[\s\S]*under way was fallocate \(mode=3\)/);
  });
});

describe('options', () => {
  test('shards are all checks together, and about alike in number', () => {
    const all = [...Array(11).keys()];
    const parts = [1, 2, 3].map((part) => shard(all, part, 3));
    expect(parts.flat().sort((a, b) => a - b)).toEqual(all);
    expect(parts.map((part) => part.length)).toEqual([4, 4, 3]);
    expect(parseShard('2/3')).toEqual([2, 3]);
    for (const text of ['0/3', '4/3', '1', 'a/b']) expect(() => parseShard(text)).toThrow(/--shard takes/);
  });

  test('--require takes the names of the catalogue, and no others', () => {
    expect(parseRequired(['guest_memfd,MMAP', 'memory attributes'], checks)).toHaveLength(3);
    expect(() => parseRequired(['guest_memfd,nonsense'], checks)).toThrow(
      /no check needs "nonsense"; there are: .*mmap/,
    );
  });

  test('--explain tells what a check asserts, or what it may have meant', () => {
    const text = explanation('binding/offset-overflow', checks);
    expect(text).toMatch(/upstream: +G16\n.*bug B4/);
    expect(() => explanation('offset-overflow', checks)).toThrow(/did you mean binding\/offset-overflow/);
  });

  test('a seed gives the same numbers again, from 0 to below 1', () => {
    const first = randomFrom(7);
    const numbers = Array.from({ length: 1000 }, first);
    const second = randomFrom(7);
    expect(Array.from({ length: 1000 }, second)).toEqual(numbers);
    expect(Math.min(...numbers)).toBeGreaterThanOrEqual(0);
    expect(Math.max(...numbers)).toBeLessThan(1);
    expect(randomFrom(8)()).not.toBe(numbers[0]);
  });
});
