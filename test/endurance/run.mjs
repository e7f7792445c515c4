// npm run endurance: make, use and close everything, and see that nothing piles up.
import { optionsOf } from '../../scripts/options.mjs';
import { endure } from './rounds.mjs';
import { endWorkers } from './workers.mjs';

const help = `
Usage: npm run endurance -- [--rounds N] [--workers N] [--sanitized] [--leak ADDON]

Makes, uses and closes everything N times, then ends N worker threads in the midst of their work (docs/robustness.md).

  --rounds N     how often (20000); 16 at least, for what is held at first is compared with what is held at last
  --workers N    how many worker threads (40)
  --sanitized    under ASan, which keeps what is freed for a while: LSan judges memory then, and not its size
  --leak ADDON   load an addon that leaks, to see that LSan tells of it

Exit status: 0 flat, 1 something piles up, 2 wrong usage.
`;
const values = optionsOf(help, {
  rounds: { least: 16, otherwise: 20_000 },
  workers: { least: 0, otherwise: 40 },
  sanitized: false,
  leak: '',
});
if (values.leak) process.dlopen({ exports: {} }, values.leak);
const library = new URL('../../dist/index.js', import.meta.url).href;
const g = await import(library);
const shown = ({ rounds, seconds, fds, mappings, threads, beside, heap }) =>
  console.log(
    `${String(rounds).padStart(8)} rounds ${String(seconds).padStart(5)} s: ${fds} fds, ${mappings} mappings, ${threads} threads, ${(heap / 1048576).toFixed(1)} MiB of heap in use, ${(beside / 1048576).toFixed(1)} MiB resident beside it`,
  );
const { rounds, kvm, problems: all } = await endure(g, values.rounds, shown);
const problems = values.sanitized ? all.filter((problem) => !/memory/.test(problem)) : all;
console.log(`${rounds} rounds ${kvm ? 'with a guest' : 'of what needs no KVM'}: ${problems.join(', ') || 'flat'}`);
const ended = await endWorkers(library, values.workers);
console.log(
  `${ended.terminated} workers ended at any moment, ${ended.kvm ? 'with vCPUs running' : 'without KVM'}, ${ended.faults} faults handled: ${ended.problems.join(', ') || 'nothing left'}`,
);
process.exitCode = problems.length + ended.problems.length > 0 ? 1 : 0;
