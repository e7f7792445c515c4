import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

setFlagsFromString('--expose-gc');
/** Collects what is garbage, also where Node was not started with --expose-gc. */
export const collect = runInNewContext('gc');

/** What this process holds of the machine's: numbers, and resident memory in bytes. */
export function held() {
  const status = readFileSync('/proc/self/status', 'utf8');
  const number = (name) => Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(status)?.[1]);
  return {
    fds: readdirSync('/proc/self/fd').length,
    mappings: readFileSync('/proc/self/maps', 'latin1').split('\n').length,
    threads: number('Threads'),
    rss: number('VmRSS') * 1024,
  };
}

/** The same once finalizers have had their time: resident memory is the least of some looks. */
export async function settled() {
  let least = held();
  for (let i = 0; i < 5; i++) {
    collect();
    await delay(5);
    const now = held();
    least = { ...now, rss: Math.min(least.rss, now.rss) };
  }
  return least;
}
