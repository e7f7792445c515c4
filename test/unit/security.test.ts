import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';

const text = readFileSync('SECURITY.md', 'utf8');
const promises = text
  .split('\n')
  .filter((line) => line.startsWith('| ') && !line.startsWith('| promise') && !line.startsWith('| ---'))
  .map((line) => line.split('|').map((cell) => cell.trim()))
  .map(([, promise = '', tests = '']) => ({ promise, tests: tests.split('<br>') }));

test('every promise of SECURITY.md names tests that there are', () => {
  expect(promises.length).toBeGreaterThan(5);
  for (const { promise, tests } of promises)
    for (const one of tests) {
      const [, file, name] = /^`(test\/\S+)`: (.+)$/.exec(one) ?? [];
      expect(name, `${promise}: ${one}`).toBeDefined();
      // A name in the file's own text, as the first words of a test's or as those of a table of tests.
      const source = readFileSync(file ?? '', 'utf8');
      expect(source.includes(`${name}`), `${file} has no test "${name}"`).toBe(true);
      expect(source).toMatch(/\btest[.(]/);
    }
});

test('SECURITY.md tells where to report, and invents no address', () => {
  expect(text).toMatch(/private security advisories/);
  expect(text).not.toMatch(/\S+@\S+\.\S+/);
});
