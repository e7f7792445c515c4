// The same bench inside a lab machine. Figures of an emulated processor are not those of a real one, and neither are ratios;
// what they show is that everything runs, and about how many instructions it takes.
import { readdirSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { inspectImage } from '../../dist/lab/image.js';
import { cachedKernel } from '../../dist/lab/kernel-cache.js';
import { chooseAccelerator, Lab } from '../../dist/lab/machine.js';
import { makeScratch } from '../../dist/lab/scratch.js';
import { runChecks } from '../../dist/smoke/runner.js';
import { build } from './baseline.mjs';
import { cases } from './cases.mjs';
import { select, UsageError } from './options.mjs';

const root = fileURLToPath(new URL('../..', import.meta.url));

/** Files below a folder of this checkout, by where they lie in the machine. */
function filesOf(folder, accept) {
  return readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && accept.test(entry.name))
    .map((entry) => {
      const path = join(entry.parentPath, entry.name);
      return [`gmem/${relative(root, path)}`, path];
    });
}

/** Measures in a machine with a kernel of the lab's, a case at a time. */
export async function measureInLab(options, tell) {
  const kernel = cachedKernel(options.lab);
  if (!kernel) throw new UsageError(`--lab ${options.lab}: no such kernel here; see gmem lab kernels list`);
  // What needs no KVM is better measured outside.
  const selected = options.names.length === 0 ? cases.filter((one) => one.unmet) : select(cases, options.names);
  const scratch = makeScratch('gmem-bench-');
  const image = inspectImage(kernel.image);
  const accelerator = chooseAccelerator('auto', image.architecture);
  const job = join(scratch.path, 'bench.json');
  const { rounds, quick } = options;
  writeFileSync(job, JSON.stringify({ rounds, quick, emulated: accelerator === 'tcg' ? 'QEMU, TCG' : undefined }));
  const lab = new Lab({
    image,
    modules: kernel.modules,
    memoryMiB: 2048,
    accelerator,
    files: new Map([
      ['lab/bench.json', job],
      ['lab/baseline', build(scratch.path, ['-static'])],
      ...filesOf('test/bench', /\.mjs$/),
      ...filesOf('node_modules/koffi', /\.c?js$|^package\.json$/),
      ...filesOf(`node_modules/@koromix/koffi-linux-${process.arch}`, /\.js$|\.node$|^package\.json$/),
    ]),
  });
  let facts;
  const results = [];
  try {
    await runChecks({
      checks: selected.map(({ name, title }) => ({ name, title, since: '' })),
      device: '/dev/kvm',
      timeoutSeconds: 1200,
      tool: { name: 'bench', version: '0' },
      launch: lab.launch,
      catalogue: '/gmem/test/bench/in-lab.mjs',
      onResult({ name, title, notes, reason, failure }) {
        const measured = notes && JSON.parse(notes[0]);
        facts ??= measured?.facts;
        const [result] = measured?.results ?? [
          { name, title, status: 'failed', reason: reason ?? failure?.message, bars: [] },
        ];
        results.push(result);
        tell(result);
      },
    });
  } finally {
    scratch.remove();
  }
  return { facts, results };
}
