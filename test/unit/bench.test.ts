import { execFile } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';
import { parseOptions, select, UsageError } from '../bench/options.mjs';
import { measure, together } from '../bench/run.mjs';
import { duration, judge, quantile, spread } from '../bench/statistics.mjs';
import { barText, count, markdown } from '../bench/table.mjs';
import { kill } from '../helpers/left.mjs';

describe('the arithmetic of the bench', () => {
  test('quantiles lie between values in proportion', () => {
    expect(quantile([3, 1, 2], 0.5)).toBe(2);
    expect(quantile([4, 1, 2, 3], 0.5)).toBe(2.5);
    expect(quantile([10, 20], 0.25)).toBe(12.5);
    expect(quantile([7], 0.9)).toBe(7);
    expect(() => quantile([], 0.5)).toThrow(RangeError);
    expect(spread([5, 1, 3, 2, 4])).toEqual({ median: 3, low: 2, high: 4 });
  });

  test('a ratio is that of rounds, not that of medians', () => {
    // The machine was ten times slower in the second round: for both.
    const rounds = { ours: [2, 20, 2], C: [1, 10, 2] };
    const bar = { against: 'C', most: 1.9 };
    expect(judge(bar, rounds)).toEqual({ ...bar, median: 2, low: 1.5, high: 2, status: 'missed' });
    expect(judge({ ...bar, most: 2 }, rounds).status).toBe('holds');
  });

  test('a bar may be a difference or a time', () => {
    const rounds = { ours: [100, 130, 120], memcpy: [50, 50, 50] };
    expect(judge({ against: 'memcpy', as: 'over', most: 70 }, rounds)).toMatchObject({ median: 70, status: 'holds' });
    expect(judge({ as: 'alone', most: 119 }, rounds)).toMatchObject({ median: 120, status: 'missed' });
  });

  test('what was not there, and times of an emulated machine, are not judged', () => {
    const rounds = { ours: [1], C: [1] };
    expect(judge({ against: 'QEMU', most: 1 }, rounds).status).toBe('unjudged');
    expect(judge({ as: 'alone', most: 0.5 }, rounds, 'TCG').status).toBe('unjudged');
    expect(judge({ against: 'C', most: 0.5 }, rounds, 'TCG').status).toBe('missed');
  });

  test('durations show three digits', () => {
    expect([0.5, 12.34, 999, 1234, 56_789, 2_345_678, 3e9].map(duration)).toEqual([
      '0.500 ns',
      '12.3 ns',
      '999 ns',
      '1.23 µs',
      '56.8 µs',
      '2.35 ms',
      '3.00 s',
    ]);
    expect(duration(-1500)).toBe('-1.50 µs');
  });
});

describe('a measured case', () => {
  const terms = { rounds: 4, roundNs: 1000 };
  const bars = [{ against: 'other', most: 1 }];

  test('gives every contestant the same rounds, each beginning with another', async () => {
    const turns: string[] = [];
    let closed = false;
    const contestant = (who: string, ns: number) => (operations: number) => {
      turns.push(who);
      return ns * operations;
    };
    const result = await measure(
      {
        name: 'a',
        title: 'A',
        bars,
        open: () => ({
          contestants: { ours: contestant('ours', 10), other: contestant('other', 20) },
          operations: 5,
          close: () => {
            closed = true;
          },
        }),
      },
      terms,
    );
    expect(result).toMatchObject({
      status: 'measured',
      operations: 5,
      contestants: { ours: { median: 10 }, other: { median: 20 } },
      bars: [{ median: 0.5, status: 'holds' }],
    });
    expect(turns.slice(2).join(' ')).toBe('ours other other ours other ours ours other');
    expect(closed).toBe(true);
  });

  test('takes as many operations as fill a round, whenever something else wanted the processor', async () => {
    for (const interrupted of [0, 1, 3, 7]) {
      let calls = 0;
      const ours = (operations: number) => 10 * operations + (calls++ === interrupted ? 1e6 : 0);
      const open = () => ({ contestants: { ours, other: (operations: number) => 20 * operations } });
      const { operations } = await measure({ name: 'a', title: 'A', bars, open }, terms);
      expect(operations, `interrupted in call ${interrupted}`).toBe(100);
    }
  });

  test('is one case where several processes have measured it', async () => {
    const part = (ns: number) =>
      measure(
        {
          name: 'a',
          title: 'A',
          bars,
          open: () => ({ contestants: { ours: () => ns, other: () => 20 }, operations: 1 }),
        },
        { ...terms, rounds: 2 },
      );
    const parts = [await part(10), await part(40), await part(30)];
    const whole = together({ bars }, parts, undefined);
    expect(whole).toMatchObject({
      status: 'measured',
      bars: [{ median: 1.5, low: 0.75, high: 1.875, status: 'missed' }],
    });
    expect(whole.rounds?.['ours']).toEqual([10, 10, 40, 40, 30, 30]);
    const failed = { ...whole, status: 'failed', reason: 'no' } as const;
    expect(together({ bars }, [whole, failed], undefined)).toBe(failed);
  });

  test('is closed when a contestant fails', async () => {
    let closed = false;
    const open = () => ({
      contestants: {
        ours: () => {
          throw new Error('no');
        },
      },
      close: () => {
        closed = true;
      },
    });
    await expect(measure({ name: 'a', title: 'A', bars, open }, terms)).rejects.toThrow('no');
    expect(closed).toBe(true);
  });

  test('is skipped with the cause where it cannot run', async () => {
    const result = await measure({ name: 'a', title: 'A', bars, unmet: () => 'no device', open: () => null }, terms);
    expect(result).toMatchObject({ status: 'skipped', reason: 'no device', bars: [{ status: 'unjudged' }] });
    expect(count([result])).toEqual({ holds: 0, missed: 0, unjudged: 1 });
    const facts = { date: 'd', kernel: 'k', cpu: 'c', cpus: 2, node: 'n', rounds: 4, load: '0.1' };
    expect(markdown({ facts, results: [result] })).toContain('| `a` | A | – | ≤ 1 × other | – | skipped: no device |');
  });
});

test('bars are told in words', () => {
  expect(barText({ against: 'C', most: 1.65 })).toBe('≤ 1.65 × C');
  expect(barText({ against: 'memcpy', as: 'over', most: 60 })).toBe('≤ 60.0 ns over memcpy');
  expect(barText({ as: 'alone', most: 1.2e9 })).toBe('≤ 1.20 s');
});

describe('the command line of the bench', () => {
  test.each([
    [['--rounds', '0'], /--rounds/],
    [['--rounds', '1.5'], /--rounds/],
    [['--json', ''], /--json/],
    [['--nonsense'], /nonsense/],
    [['--check', '--quick'], /--check/],
  ])('refuses %j', (argv, message) => {
    expect(() => parseOptions(argv)).toThrow(UsageError);
    expect(() => parseOptions(argv)).toThrow(message);
  });

  test('has 18 rounds, 3 for a quick look, or as many as are told', () => {
    expect(parseOptions([]).rounds).toBe(18);
    expect(parseOptions(['--quick']).rounds).toBe(3);
    expect(parseOptions(['--quick', '--rounds', '5', 'read']).rounds).toBe(5);
    expect(parseOptions(['read', 'write']).names).toEqual(['read', 'write']);
  });

  test('selects by name, by part of a name, and refuses what fits none', () => {
    const cases = ['read-64b', 'run', 'run-async'].map((name) => ({ name }));
    expect(select(cases, [])).toEqual(cases);
    expect(select(cases, ['run'])).toEqual([{ name: 'run' }]);
    expect(select(cases, ['re', 'async'])).toEqual([{ name: 'read-64b' }, { name: 'run-async' }]);
    expect(() => select(cases, ['writ'])).toThrow(/no case is called "writ"/);
  });
});

describe('the bench itself', () => {
  const bench = async (...argv: string[]) => {
    try {
      const { stdout } = await promisify(execFile)(process.execPath, ['test/bench/bench.mjs', ...argv]);
      return { status: 0, stdout, stderr: '' };
    } catch (error) {
      const { code, stdout, stderr } = error as { code: number; stdout: string; stderr: string };
      return { status: code, stdout, stderr };
    }
  };

  test('measures, and writes what it measured', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'gmem-test-'));
    const [json, table] = ['result.json', 'table.md'].map((name) => join(directory, name)) as [string, string];
    try {
      const { status, stdout } = await bench('--quick', 'read-64b', 'books', '--json', json, '--markdown', table);
      expect(status).toBe(0);
      expect(stdout).toMatch(/measured {2}read-64b: ours .+ [nµm]s, memcpy .+ [nµm]s/);
      const { facts, results } = JSON.parse(readFileSync(json, 'utf8'));
      expect(facts.rounds).toBe(3);
      expect(results[0].rounds.memcpy).toHaveLength(3);
      expect(results[0].contestants.ours.median).toBeGreaterThan(0);
      expect(readFileSync(table, 'utf8')).toMatch(/^\| `read-64b` \|/m);
    } finally {
      rmSync(directory, { recursive: true });
    }
  });

  test('shares rounds among processes', { timeout: 120_000 }, async () => {
    const directory = mkdtempSync(join(tmpdir(), 'gmem-test-'));
    const json = join(directory, 'result.json');
    try {
      expect(await bench('--rounds', '7', 'books', '--json', json)).toMatchObject({ status: 0 });
      const [{ processes, rounds, bars }] = JSON.parse(readFileSync(json, 'utf8')).results;
      expect([processes, rounds.ours.length, rounds['1 GiB'].length]).toEqual([3, 7, 7]);
      expect(bars[0].status).toMatch(/holds|missed/);
    } finally {
      rmSync(directory, { recursive: true });
    }
  });

  test('leaves nothing behind Ctrl-C', { timeout: 60_000 }, async () => {
    const directory = mkdtempSync(join(tmpdir(), 'gmem-test-'));
    try {
      const found = await kill(['test/bench/bench.mjs', 'books', 'view'], {
        after: () => readdirSync(directory).length > 0,
        signal: 'SIGINT',
        env: { TMPDIR: directory },
        folders: [directory],
      });
      expect(found).toEqual({ how: 'SIGINT', left: [] });
    } finally {
      rmSync(directory, { recursive: true });
    }
  });

  test('refuses a wrong command line, and lists its cases', async () => {
    expect(await bench('no-such-case')).toEqual({
      status: 2,
      stdout: '',
      stderr: expect.stringMatching(/no case is called "no-such-case"/),
    });
    // Before it measures, not behind minutes of that.
    for (const [path, why] of [
      ['/nowhere/result.json', 'ENOENT'],
      [tmpdir(), 'is a folder'],
    ] as const)
      expect(await bench('books', '--json', path)).toEqual({
        status: 2,
        stdout: '',
        stderr: expect.stringMatching(new RegExp(`^bench: --json: .*${why}.*\\n$`)),
      });
    const { status, stdout } = await bench('--list');
    expect(status).toBe(0);
    expect(stdout).toMatch(/^check-extension +KVM_CHECK_EXTENSION$/m);
  });
});
