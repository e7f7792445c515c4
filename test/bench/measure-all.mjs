import { freemem } from 'node:os';
import { Baseline } from './baseline.mjs';
import { cases } from './cases.mjs';
import { machineFacts } from './facts.mjs';
import { select } from './options.mjs';
import { measure } from './run.mjs';

const MiB = 2 ** 20;

/** Measures the cases that were asked for, and tells of each when it is done. */
export async function measureAll({ names, rounds, quick, program, emulated }, tell) {
  const selected = select(cases, names);
  const facts = machineFacts(rounds, emulated);
  const baseline = new Baseline(program);
  const results = [];
  try {
    for (const one of selected) {
      const terms = {
        baseline,
        rounds,
        quick,
        emulated,
        // An emulated processor needs longer until everything is compiled and warm.
        roundNs: (quick ? 2e6 : 2e7) * (emulated ? 10 : 1),
        // 2 GiB where twice that is free: QEMU's and ours never live at once, but the kernel wants room.
        size: quick || freemem() < 4096 * MiB ? 64 * MiB : 2048 * MiB,
      };
      const result = await measure(one, terms).catch((error) => ({
        name: one.name,
        title: one.title,
        status: 'failed',
        reason: error.stack ?? String(error),
        bars: one.bars.map((bar) => ({ ...bar, status: 'unjudged' })),
      }));
      results.push(result);
      tell(result);
    }
  } finally {
    baseline.close();
  }
  return { facts, results };
}
