// npm run endurance -- [--rounds N] [--workers N]: make, use and close everything N times, then end N worker threads in the
// midst of their work. Exit status 1 where anything piles up.
import { parseArgs } from 'node:util';
import { endure } from './rounds.mjs';
import { endWorkers } from './workers.mjs';

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '20000' },
    workers: { type: 'string', default: '40' },
    // Under ASan, which keeps what is freed for a while: then LSan judges memory, and not its size.
    sanitized: { type: 'boolean', default: false },
    // An addon that leaks, to see that LSan tells of it.
    leak: { type: 'string' },
  },
});
if (values.leak) process.dlopen({ exports: {} }, values.leak);
const library = new URL('../../dist/index.js', import.meta.url).href;
const g = await import(library);
const shown = ({ rounds, seconds, fds, mappings, threads, beside, heap }) =>
  console.log(
    `${String(rounds).padStart(8)} rounds ${String(seconds).padStart(5)} s: ${fds} fds, ${mappings} mappings, ${threads} threads, ${(heap / 1048576).toFixed(1)} MiB of heap in use, ${(beside / 1048576).toFixed(1)} MiB resident beside it`,
  );
const { rounds, kvm, problems: all } = await endure(g, Number(values.rounds), shown);
const problems = values.sanitized ? all.filter((problem) => !/memory/.test(problem)) : all;
console.log(`${rounds} rounds ${kvm ? 'with a guest' : 'of what needs no KVM'}: ${problems.join(', ') || 'flat'}`);
const ended = await endWorkers(library, Number(values.workers));
console.log(
  `${ended.terminated} workers ended at any moment, ${ended.kvm ? 'with vCPUs running' : 'without KVM'}, ${ended.faults} faults handled: ${ended.problems.join(', ') || 'nothing left'}`,
);
process.exitCode = problems.length + ended.problems.length > 0 ? 1 : 0;
