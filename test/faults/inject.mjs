// Every call that the addon makes in a small program, answered with every error that it can give: what comes of it.
import { errnosOf, expected, isLasting, unbreakable } from './errnos.mjs';
import { Target } from './target.mjs';

/** Parts of the program whose calls are those of threads that begin in it. */
const threadParts = new Set(['populate', 'vcpu']);

/** All system calls that the addon could make: the first round finds which it makes. */
const watched = ['%desc', '%memory', '%process', '%signal', '%ipc', 'futex', 'sched_setaffinity', 'sched_yield'];
const andTimers = ['timer_create', 'timer_settime', 'timer_delete', 'io_uring_setup', 'io_uring_register', 'unlink'];

/** How often a fault that hit nothing, or something else, is put in again. */
const attempts = 8;

function isTarget(call, main, part) {
  if (!call.origin || call.origin.via.some((name) => /^(malloc|calloc|realloc|operator new)/.test(name))) return false;
  return threadParts.has(part) ? call.thread !== main : call.thread === main;
}

/** One of so many parts of all errors. */
export const partChoice =
  ([part, parts]) =>
  ({ nth }, all) =>
    all.filter((_errno, i) => (i + nth) % parts === part - 1);

/** For a short run: one error for each call, another for the next call of the same name, so that all have their turn. */
export const shortChoice = ({ nth }, all) => all.slice((nth - 1) % all.length || 0).slice(0, 1);

/** The addon's calls of one round, numbered among those of the same name in the same thread. */
function sitesOf({ calls, main }, part) {
  const counts = new Map();
  const labels = new Map();
  const sites = [];
  for (const call of calls) {
    const at = `${call.thread} ${call.name}`;
    counts.set(at, (counts.get(at) ?? 0) + 1);
    if (!isTarget(call, main, part)) continue;
    const labelAt = `${call.thread} ${call.label}`;
    const nth = (labels.get(labelAt) ?? 0) + 1;
    labels.set(labelAt, nth);
    sites.push({ name: call.name, label: call.label, function: call.origin.function, nth, when: counts.get(at) });
  }
  return sites;
}

const keyOf = ({ label, function: from, nth }) => `${label} ${from} ${nth}`;

/** What the addon has mapped in a round and not given back, in bytes. */
function leakedBytes(calls) {
  let ranges = [];
  const remove = (begin, end) => {
    ranges = ranges.flatMap(([from, to]) =>
      to <= begin || end <= from
        ? [[from, to]]
        : [
            [from, begin],
            [end, to],
          ].filter(([a, b]) => a < b),
    );
  };
  for (const { name, args, result, errno, origin } of calls) {
    if (errno || !origin || origin.via.some((via) => /^(malloc|calloc|realloc|operator new|pthread_create)/.test(via)))
      continue;
    const begin = Number(name === 'mmap' ? result : args[0]);
    const end = begin + Math.ceil(Number(args[1]) / 4096) * 4096;
    if (name !== 'mmap' && name !== 'munmap') continue;
    remove(begin, end);
    if (name === 'mmap') ranges.push([begin, end]);
  }
  return ranges.reduce((sum, [begin, end]) => sum + end - begin, 0);
}

const show = ({ name, code, syscall, cause }) =>
  [name, code, syscall, cause && `(${show(cause)})`].filter(Boolean).join(' ');

/** What came of a round, and what is wrong with it. */
function judge(round, wanted) {
  if (round.hung) return { outcome: 'hangs', problem: 'the program does not go on' };
  if (round.ended) return { outcome: 'crashes', problem: `the program ended by ${round.ended}` };
  if (round.uncaught) return { outcome: 'uncaught', problem: round.uncaught };
  const { thrown, closing, before, after, calls } = round;
  if (!after) return { outcome: 'crashes', problem: 'the program did not live to tell what it holds' };
  const errors = [...thrown, ...closing];
  let outcome = errors.length === 0 ? 'goes on' : errors.map(show).join('; ');
  const problems = [];
  const isWanted = (one) => one === outcome || (/^ConversionError \w+ \((.*)\)$/.exec(outcome)?.[1] ?? outcome) === one;
  if (!wanted.split(' or ').some(isWanted)) problems.push(`expected: ${wanted}`);
  for (const error of errors) if (!error.own) problems.push(`not an error of this package: ${error.message}`);
  for (const kind of ['fds', 'children', 'threads'])
    if (String(before[kind]) !== String(after[kind]))
      problems.push(`${kind} before: ${before[kind]}; after: ${after[kind]}`);
  const leaked = leakedBytes(calls);
  const reserved = wanted === 'goes on' && calls.some(({ name, injected }) => injected && name === 'munmap');
  if (leaked > 0 && reserved) outcome += '; the addresses stay reserved';
  else if (leaked > 0) problems.push(`${leaked} bytes are still mapped`);
  return { outcome, problem: problems.join('; ') || undefined };
}

/**
 * Puts every fault in, one after the other.
 *
 * @param part of program.mjs
 * @param options.library the compiled library, dist/index.js
 * @param options.seconds after which a round hangs: long, for strace takes a while to walk the stack of every call where others
 *   want the processor too
 * @param options.choose which errors of a site to take, given all of them; by default all
 * @param options.onRow is told of each row
 * @returns rows of { part, label, function, nth, errno, outcome, problem }
 */
export async function injectFaults(part, { library, seconds = 300, choose = (_site, all) => all, onRow }) {
  const open = () => new Target(part, { library, seconds, threads: threadParts.has(part) });
  let target = open();
  const rows = [];
  try {
    // The first round loads what is loaded at first use.
    for (const round of [await target.round([]), await target.round([])])
      if (!round.after || round.thrown.length + round.closing.length > 0)
        throw new Error(`the program fails without a fault: ${JSON.stringify(round)} ${target.stderr}`);
    const whole = await target.round([...watched, ...andTimers]);
    if (!whole.after) throw new Error(`the program does not come to its end under strace: ${JSON.stringify(whole)}`);
    const sites = sitesOf(whole, part);
    const seen = new Set();
    for (const site of sites) {
      // Threads that do the same get the same faults.
      if (seen.has(keyOf(site))) continue;
      seen.add(keyOf(site));
      const errors = errnosOf(site.label);
      if (errors.length === 0 && !Object.hasOwn(unbreakable, site.label))
        throw new Error(`${site.label} in ${site.function}: test/faults/errnos.mjs does not know this call`);
      for (const errno of choose(site, errors)) {
        const wanted = expected(site, errno);
        let { when } = site;
        let found;
        for (let attempt = 0; attempt < attempts && !found; attempt++) {
          const inject = `${site.name}:error=${errno}:when=${when}${isLasting(site, errno) ? '+' : ''}`;
          const round = await target.round([site.name, 'rt_sigprocmask'], inject);
          // The C library gives the stack of a thread back at its end, and does not look at the answer.
          const hits = round.calls.filter((call) => call.injected && !(call.name === 'madvise' && !call.origin));
          const hit =
            hits.length > 0 &&
            (isLasting(site, errno)
              ? isSite(hits[0], round, part, site)
              : hits.every((call) => isSite(call, round, part, site)));
          if (hit || (!round.after && hits.length === 0 && attempt === attempts - 1)) found = judge(round, wanted);
          // Node has made more of these calls than last time, or fewer.
          else if (round.after) when = whenOf(round, part, site) ?? site.when;
          if (!round.after) {
            if (!found && hits.length === 0) found = judge(round, wanted);
            await target.close();
            target = open();
            await target.round([]);
          }
        }
        found ??= { outcome: 'not reached', problem: `the fault could not be put in ${attempts} times` };
        const row = { part, label: site.label, function: site.function, nth: site.nth, errno, ...found };
        rows.push(row);
        onRow?.(row);
      }
    }
  } finally {
    await target.close();
  }
  return rows;
}

function isSite(call, round, part, site) {
  const numbered = numberedCalls(round, part);
  const found = numbered.get(call);
  return found !== undefined && keyOf(found) === keyOf(site);
}

function numberedCalls({ calls, main }, part) {
  const own = calls.filter((call) => isTarget(call, main, part));
  const counts = new Map();
  return new Map(
    own.map((call) => {
      const at = `${call.thread} ${call.label}`;
      const nth = (counts.get(at) ?? 0) + 1;
      counts.set(at, nth);
      return [call, { label: call.label, function: call.origin.function, nth }];
    }),
  );
}

function whenOf(round, part, site) {
  return sitesOf(round, part).find((one) => keyOf(one) === keyOf(site))?.when;
}
