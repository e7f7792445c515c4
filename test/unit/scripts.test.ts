import { spawnSync } from 'node:child_process';
import { expect, test } from 'vitest';

function start(script: string, ...args: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [script, ...args], { encoding: 'utf8' });
  return { status, stdout, stderr };
}

test.each([
  ['test/fuzz/run.mjs', ['--sequences', 'many'], '--sequences takes a whole number from 1 on, not "many"'],
  ['test/fuzz/run.mjs', ['--jobs', '0'], '--jobs takes a whole number from 1 on, not "0"'],
  ['test/endurance/run.mjs', ['--rounds', '1e9'], '--rounds takes a whole number from 16 on, not "1e9"'],
  ['scripts/fuzz-native.mjs', ['--seconds', '-1'], "Option '--seconds' argument is ambiguous"],
  ['scripts/coverage.mjs', ['--nonsense'], "Unknown option '--nonsense'"],
])('%s %j says what is wrong, and how it is used', (script, args, message) => {
  const { status, stdout, stderr } = start(script, ...args);
  expect({ status, stdout }).toEqual({ status: 2, stdout: '' });
  expect(stderr.startsWith(message), stderr).toBe(true);
  expect(stderr).toContain('Usage: npm run ');
  expect(stderr.trim().split('\n').length, stderr).toBe(1);
});

test.each(['test/fuzz/run.mjs', 'test/endurance/run.mjs', 'scripts/fuzz-native.mjs', 'scripts/coverage.mjs'])(
  '%s explains itself',
  (script) => {
    const { status, stdout, stderr } = start(script, '--help');
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    expect(stdout).toMatch(/^Usage: npm run [\s\S]*Exit status: 0 /);
  },
);
