// Whole processes.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { checks } from '../../../dist/smoke/catalogue.js';
import { summarise } from '../../../dist/smoke/model.js';
import { noMapping } from './needs.mjs';

const path = (relative) => fileURLToPath(new URL(relative, import.meta.url));
const gmem = path('../../../dist/gmem/main.js');
const ms = 1e6;

/** Node with these arguments, to its end. */
const node =
  (args, statuses = [0]) =>
  (operations) => {
    for (let i = 0; i < operations; i++) {
      const { status, stderr } = spawnSync(process.execPath, args, { stdio: ['ignore', 'ignore', 'pipe'] });
      if (!statuses.includes(status)) throw new Error(`node ${args.join(' ')} ended with ${status}: ${stderr}`);
    }
  };

/** Why whole processes are not measured in a lab machine, which has not all of the package's files. */
const notEmulated = (terms) => (terms?.emulated ? 'a time of an emulated machine says nothing' : undefined);

const idle = node(['-e', '0']);

/** Results as large as the suite's: every check, one in ten skipped and one in twenty failed. */
function writeResults(directory, count) {
  return Array.from({ length: count }, (_, run) => {
    const list = checks.map(({ name, title, since, upstream }, i) => ({
      name,
      title,
      since,
      durationMs: 1.5,
      ...(upstream ? { upstream } : {}),
      ...((i + run) % 10 === 0
        ? { status: 'skip', reason: 'this kernel has it not', remedy: 'Use a later one', requirement: 'a capability' }
        : (i + run) % 20 === 1
          ? {
              status: 'fail',
              failure: {
                message: 'accepted',
                expected: 'refused with EINVAL',
                got: 'accepted',
                calls: Array.from({ length: 20 }, (_, at) => ({
                  call: 'ioctl(KVM_SET_USER_MEMORY_REGION2)',
                  arguments: { slot: at, size: '0x1000', guestPhysAddr: '0x100000000' },
                  result: 0,
                  atMs: at,
                  durationMs: 0.01,
                })),
              },
            }
          : { status: 'pass' }),
    }));
    const result = {
      schemaVersion: 2,
      tool: { name: 'guest-memfd', version: '0.1.0' },
      startedAt: '2026-11-26T00:00:00.000Z',
      seed: 7,
      host: {
        kernelRelease: `6.${10 + run}.0`,
        kernelVersion: '#1 SMP',
        architecture: 'x64',
        cpu: 'a processor',
        cpus: 2,
        memoryBytes: 2 ** 31,
        pageSize: 4096,
        numaNodes: 1,
        nodeVersion: process.version,
        capabilities: { GUEST_MEMFD: 1 },
        vmTypes: [0],
      },
      summary: summarise(list, 1000),
      checks: list,
    };
    const file = join(directory, `${run}.json`);
    writeFileSync(file, JSON.stringify(result));
    return file;
  });
}

export const cases = [
  {
    name: 'probe',
    title: '`gmem probe`, whole process',
    bars: [{ against: 'node -e 0', most: 1.6 }],
    // 4: there is no device, which is told as everything else is.
    open: () => ({ contestants: { ours: node([gmem, 'probe'], [0, 4]), 'node -e 0': idle }, operations: 1 }),
  },
  {
    name: 'smoke',
    title: '`gmem smoke`, whole process',
    bars: [{ as: 'alone', most: 1200 * ms }],
    unmet: (terms) => noMapping() ?? notEmulated(terms),
    open: () => ({ contestants: { ours: node([gmem, 'smoke'], [0, 1]) }, operations: 1 }),
  },
  {
    name: 'import',
    title: "`import 'guest-memfd'`, whole process",
    bars: [{ against: 'empty module', as: 'over', most: 12 * ms }],
    open: () => ({
      contestants: {
        ours: node([path('../modules/import.mjs')]),
        'empty module': node([path('../modules/empty.mjs')]),
      },
      operations: 1,
    }),
  },
  {
    name: 'report',
    title: `\`gmem report\`, 10 results of ${checks.length} checks to HTML, whole process`,
    bars: [{ as: 'alone', most: 300 * ms }],
    open() {
      const directory = mkdtempSync(join(tmpdir(), 'gmem-bench-'));
      const files = writeResults(directory, 10);
      const html = `html=${join(directory, 'report.html')}`;
      return {
        contestants: { ours: node([gmem, 'report', ...files, '--reporter', html]), 'node -e 0': idle },
        operations: 1,
        close: () => rmSync(directory, { recursive: true }),
      };
    },
  },
];
