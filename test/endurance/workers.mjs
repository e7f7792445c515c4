// The addon in eight worker threads at once, each of which is ended at a random moment: while a vCPU runs, while copies of
// memory fault, while preallocation is under way. Nothing of a worker may be left, and nobody else may notice.

import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { settled } from './held.mjs';

const together = 8;

/** @param longest milliseconds that a worker goes on at most once it works */
export async function endWorkers(library, count, longest = 30) {
  // With the first worker of a process Node opens /dev/null for good.
  await new Worker('', { eval: true }).terminate();
  const before = await settled();
  let terminated = 0;
  // Copies that faulted, and workers with a vCPU: a worker that is ended has no last word.
  const counts = new Int32Array(new SharedArrayBuffer(8));
  const problems = [];
  let started = 0;
  const one = async () => {
    while (started < count && problems.length === 0) {
      started++;
      const worker = new Worker(fileURLToPath(new URL('worker.mjs', import.meta.url)), {
        workerData: { library, counts },
      });
      worker.on('error', (error) => problems.push(`a worker threw ${error.stack}`));
      await new Promise((ready) => worker.once('message', ready).once('exit', ready));
      await delay(Math.random() * longest);
      await worker.terminate();
      terminated++;
    }
  };
  await Promise.all(Array.from({ length: together }, one));
  const after = await settled();
  // The pool of libuv's threads starts when it is first needed.
  for (const name of ['fds', 'threads'])
    if (after[name] > before[name] + (name === 'threads' ? 4 : 0))
      problems.push(`${after[name] - before[name]} more ${name}`);
  const [faults = 0, vcpus = 0] = counts;
  if (faults < terminated) problems.push('a worker has had no copy that faulted, so nothing was tried');
  return { terminated, faults, kvm: vcpus > 0, problems };
}
