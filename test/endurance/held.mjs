import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

setFlagsFromString('--expose-gc');
/** Collects what is garbage, also where Node was not started with --expose-gc. */
export const collect = runInNewContext('gc');

/**
 * What this process holds of the machine's: numbers, and memory in bytes. V8 takes and gives back memory for its heap by steps of
 * many MiB, so what is resident beside it is told apart from what the heap is used for.
 */
export function held() {
  const status = readFileSync('/proc/self/status', 'utf8');
  const number = (name) => Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(status)?.[1]);
  const { heapTotal, heapUsed } = process.memoryUsage();
  return {
    fds: readdirSync('/proc/self/fd').length,
    mappings: readFileSync('/proc/self/maps', 'latin1').split('\n').length,
    threads: number('Threads'),
    rss: number('VmRSS') * 1024,
    beside: number('VmRSS') * 1024 - heapTotal,
    heap: heapUsed,
  };
}

/** The same once finalizers have had their time: memory is the least of some looks. */
export async function settled() {
  let least = held();
  for (let i = 0; i < 5; i++) {
    collect();
    await delay(5);
    const now = held();
    const of = (name) => Math.min(least[name], now[name]);
    least = { ...now, rss: of('rss'), beside: of('beside'), heap: of('heap') };
  }
  return least;
}
