// A player in a process of its own, which this one watches.
import { spawn } from 'node:child_process';
import { closeSync, openSync, readSync } from 'node:fs';
import { join, resolve } from 'node:path';

/** A sequence takes milliseconds; a guest of one runs for 20 at most, ten seconds where a call has no limit of its own. */
const watchdogSeconds = 60;

/** Most code of a sequence runs a few times only: making it faster takes a third of all time. */
const nodeOptions = ['--no-opt'];

let files = 0;

/**
 * Plays, and tells how the process ended and what it said.
 *
 * @param task for player.mjs
 * @param at `folder` for what players write down, and `env`
 */
export function play(task, { folder, env, quiet = false }) {
  // A message for each sequence would wake this process as often, which costs as much as some sequences do.
  const progress = openSync(join(folder, `progress-${files++}`), 'w+');
  const child = spawn(
    process.execPath,
    [...nodeOptions, resolve('test/fuzz/player.mjs'), JSON.stringify({ library: resolve('dist/index.js'), ...task })],
    { cwd: folder, env, stdio: ['ignore', 'inherit', 'pipe', 'pipe', progress] },
  );
  const told = [];
  const number = new BigInt64Array([BigInt(task.first)]);
  let text = '';
  let errors = '';
  let hung = false;
  let lifeSign = performance.now();
  const watchdog = setInterval(() => {
    const [before] = number;
    readSync(progress, number, 0, 8, 0);
    if (number[0] !== before) lifeSign = performance.now();
    if (performance.now() - lifeSign < watchdogSeconds * 1000) return;
    hung = true;
    child.kill('SIGKILL');
  }, 1000);
  child.stdio[3].setEncoding('utf8').on('data', (chunk) => {
    lifeSign = performance.now();
    const lines = (text + chunk).split('\n');
    text = lines.pop() ?? '';
    told.push(...lines.map((line) => JSON.parse(line)));
  });
  child.stderr.setEncoding('utf8').on('data', (chunk) => {
    errors = (errors + chunk).slice(-10_000);
  });
  return new Promise((done) => {
    child.on('close', (code, signal) => {
      clearInterval(watchdog);
      readSync(progress, number, 0, 8, 0);
      closeSync(progress);
      if (!quiet) process.stderr.write(errors);
      done({
        sequence: Number(number[0]),
        told,
        errors,
        ended: hung
          ? `hung for ${watchdogSeconds} s`
          : signal
            ? `was killed by ${signal}`
            : code
              ? `exited with ${code}`
              : undefined,
      });
    });
  });
}
