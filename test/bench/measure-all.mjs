import { fork } from 'node:child_process';
import { freemem } from 'node:os';
import { makeScratch } from '../../dist/lab/scratch.js';
import { Baseline, build } from './baseline.mjs';
import { cases } from './cases.mjs';
import { machineFacts } from './facts.mjs';
import { select } from './options.mjs';
import { measure, together } from './run.mjs';

const MiB = 2 ** 20;

/**
 * Processes that share the rounds of a case. Where its code and its memory come to lie makes one process slower than the next
 * by more than many a bar allows, for as long as it lives: copies of 64 bytes took 50 ns in one and 88 in another.
 */
const processes = 3;

const failed = ({ name, title, bars }, reason) => ({
  name,
  title,
  status: 'failed',
  reason,
  bars: bars.map((bar) => ({ ...bar, status: 'unjudged' })),
});

/** Measures in this process. */
async function measureHere(one, { program, rounds, quick, emulated }) {
  const baseline = new Baseline(program);
  try {
    return await measure(one, {
      baseline,
      rounds,
      quick,
      emulated,
      // An emulated processor needs longer until everything is compiled and warm.
      roundNs: (quick ? 2e6 : 2e7) * (emulated ? 10 : 1),
      // 2 GiB where twice that is free: QEMU's and ours never live at once, but the kernel wants room.
      size: quick || freemem() < 4096 * MiB ? 64 * MiB : 2048 * MiB,
    });
  } catch (error) {
    return failed(one, error.stack ?? String(error));
  } finally {
    baseline.close();
  }
}

/** Measures in a process of its own: this module again, see its end. */
function measureApart(one, options) {
  const child = fork(new URL(import.meta.url), [JSON.stringify({ ...options, name: one.name })]);
  return new Promise((done) => {
    child.on('message', done).on('error', (error) => done(failed(one, error.message)));
    child.on('exit', (code, signal) => done(failed(one, `its process ended with ${signal ?? code}`)));
  });
}

/** Measures the cases that were asked for, and tells of each when it is done. */
export async function measureAll({ names, rounds, quick, program: given, emulated }, tell) {
  const selected = select(cases, names);
  const facts = machineFacts(rounds, emulated);
  const scratch = given ? undefined : makeScratch('gmem-bench-');
  const results = [];
  try {
    const options = { program: given ?? build(scratch.path), quick, emulated };
    // In a lab machine each case has a process of its own already, and a quick look needs none.
    const parts = quick || emulated ? 1 : Math.min(processes, rounds);
    for (const one of selected) {
      const measured = [];
      for (let part = 0; part < parts && measured.every(({ status }) => status === 'measured'); part++) {
        const share = Math.floor((rounds + part) / parts);
        const how = { ...options, rounds: share };
        measured.push(await (parts === 1 ? measureHere(one, how) : measureApart(one, how)));
      }
      const result = together(one, measured, emulated);
      results.push(result);
      tell(result);
    }
  } finally {
    scratch?.remove();
  }
  return { facts, results };
}

if (process.send && process.argv[1] === import.meta.filename) {
  const { name, ...options } = JSON.parse(process.argv[2]);
  process.send(
    await measureHere(
      cases.find((one) => one.name === name),
      options,
    ),
  );
}
