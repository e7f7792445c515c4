import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { expect, onTestFinished, test } from 'vitest';
import { interrupted } from '../faults/target.mjs';

test('a tracer that a signal does not reach is told to go again', { timeout: 30_000 }, async () => {
  // Hears the first signal and does nothing, as strace does where it comes between its look for one and its wait.
  const deaf = "process.once('SIGINT', () => {}); setInterval(() => {}, 1000); console.log('here');";
  const child = spawn(process.execPath, ['-e', deaf], { stdio: ['ignore', 'pipe', 'inherit'] });
  onTestFinished(() => void child.kill('SIGKILL'));
  await once(child.stdout, 'data');
  await interrupted(child);
  expect(child.signalCode).toBe('SIGINT');
  await interrupted(child); // has ended: nothing to wait for
});
