// Checks of which the first wants more memory than its cgroup has, and the runner that is to outlive it:
//
//   greedy-checks.mjs DIST CGROUP     joins the cgroup, runs the checks in it, tells what came out as JSON
import { writeFileSync } from 'node:fs';
import { argv } from 'node:process';
import { fileURLToPath } from 'node:url';

const file = fileURLToPath(import.meta.url);
const isProgram = argv[1] === file;
const dist = isProgram ? argv[2] : process.env.GMEM_TEST_DIST;

const greedy = (name, make) => ({
  name: `greedy/${name}`,
  title: name,
  since: '6.18',
  run: async (context) => {
    // So that it, and not the runner, is chosen to end.
    writeFileSync('/proc/self/oom_score_adj', '1000');
    const g = await import(`${dist}/index.js`);
    await g.populate(make(g, context), { threads: 2 });
  },
});
const size = 400 << 20;

export const checks = [
  greedy('anonymous', (g) => g.mapAnonymous({ size })),
  greedy('memfd', (g) => {
    const memory = g.MemoryFile.memfd();
    memory.resize(size);
    return memory.map();
  }),
  greedy('guest-memfd', (g, context) => {
    const flags = g.GuestMemfdFlag.MMAP | g.GuestMemfdFlag.INIT_SHARED;
    return context.use(context.vm()).createGuestMemfd({ size, flags }).map();
  }),
  { name: 'greedy/modest', title: 'modest', since: '6.18', run: () => {} },
];

if (isProgram) {
  writeFileSync(`${argv[3]}/cgroup.procs`, String(process.pid));
  process.env.GMEM_TEST_DIST = dist;
  const { runChecks } = await import(`${dist}/smoke/runner.js`);
  const result = await runChecks({
    checks: checks.map(({ name, title, since }) => ({ name, title, since, isolated: true })),
    device: '/dev/kvm',
    timeoutSeconds: 60,
    tool: { name: 'test', version: '0' },
    catalogue: file,
  });
  console.log(JSON.stringify(result.checks.map(({ status, reason, failure }) => [status, reason ?? failure?.message])));
}
