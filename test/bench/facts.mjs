import { arch, availableParallelism, cpus, loadavg, release } from 'node:os';

/** The machine and the moment. */
export const machineFacts = (rounds, emulated) => ({
  date: new Date().toISOString().slice(0, 16).replace('T', ' '),
  kernel: release(),
  architecture: arch(),
  cpu: cpus()[0]?.model.trim() || 'a processor without a name',
  cpus: availableParallelism(),
  node: process.versions.node,
  rounds,
  load: loadavg()[0]?.toFixed(1),
  ...(emulated ? { emulated } : {}),
});
