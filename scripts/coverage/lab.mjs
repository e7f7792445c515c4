// Coverage of what needs KVM where there is none: counted in lab machines, each with another kernel.
import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { gunzipSync } from 'node:zlib';

const library = { path: '/lab/library.mjs' };
const conversion = { path: '/lab/conversion.mjs' };
// They fail on purpose, so that programs that reproduce it are written.
const wrong = { path: '/lab/wrong-checks.mjs', wrong: true };
const backends = { path: '/lab/backends.mjs', without: ['inPlace'] };

/** What is run in machines, by their kernels. */
const machines = {
  'sw-protected-7.3': [library, conversion, wrong, backends],
  'in-place-7.3': [conversion, { path: '/lab/backends.mjs', only: 'inPlace' }],
  'debian-6.18': [wrong, { ...backends, without: ['inPlace', 'privateVm'] }],
};

/**
 * Runs everything in machines, and writes down what was counted there as if it had been counted here.
 *
 * @param addon built for gcov in the folder `native`
 * @param given.processes where Node's counts come to lie
 * @param given.gcda where those of gcov come to lie, a folder for each machine
 * @returns the kernels; none where this machine has no lab
 */
export async function measureInLab({ addon, native, processes, gcda }) {
  const { inspectImage } = await import('../../dist/lab/image.js');
  const { cachedKernel } = await import('../../dist/lab/kernel-cache.js');
  const { Lab } = await import('../../dist/lab/machine.js');
  const { makeScratch } = await import('../../dist/lab/scratch.js');
  const { runChecks } = await import('../../dist/smoke/runner.js');
  const kernels = Object.keys(machines)
    .map(cachedKernel)
    .filter((kernel) => kernel !== undefined);
  const scratch = makeScratch('gmem-coverage-');
  process.env['GMEM_ADDON'] = addon;
  try {
    for (const { name, image: path, modules: kernelModules } of kernels) {
      const modules = machines[name];
      const job = join(scratch.path, 'coverage.json');
      writeFileSync(job, JSON.stringify({ modules }));
      const lab = new Lab({
        image: inspectImage(path),
        modules: kernelModules,
        memoryMiB: 3072,
        numaNodes: 2,
        files: new Map([
          ['lab/coverage.json', job],
          ['gmem/scripts/coverage/in-lab.mjs', resolve('scripts/coverage/in-lab.mjs')],
          ...modules.map((module) => [module.path.slice(1), resolve(module.path.replace('/lab/', 'test/lab/'))]),
        ]),
      });
      const { checks } = await runChecks({
        checks: ['commands', ...modules.map((module) => basename(module.path)), 'counts'].map((title) => ({
          name: `coverage/${title}`,
          title,
          since: '',
        })),
        device: '/dev/kvm',
        timeoutSeconds: 1800,
        tool: { name: 'coverage', version: '0' },
        launch: lab.launch,
        catalogue: '/gmem/scripts/coverage/in-lab.mjs',
        onResult: ({ name: check, status, durationMs }) =>
          console.log(`${name}: ${check} ${status}, ${Math.round(durationMs / 1000)} s`),
      });
      const failed = checks.filter(({ status }) => status !== 'pass');
      if (failed.length > 0)
        throw new Error(failed.map((one) => `${one.name}: ${one.reason ?? one.failure?.message}`).join('\n'));
      const told = JSON.parse(gunzipSync(Buffer.from(checks.at(-1).notes[0], 'base64')).toString());
      const here = pathToFileURL(resolve('dist')).href;
      for (const [i, text] of told.v8.entries())
        writeFileSync(join(processes, `lab-${name}-${i}.json`), text.replaceAll('file:///gmem/dist', here));
      for (const [inside, content] of Object.entries(told.gcov)) {
        const below = `/${inside}`.slice(resolve(native).length + 1);
        const target = join(gcda, name, below);
        mkdirSync(dirname(target), { recursive: true });
        writeFileSync(target, Buffer.from(content, 'base64'));
        const notes = below.replace(/gcda$/, 'gcno');
        copyFileSync(join(native, notes), join(gcda, name, notes));
      }
    }
  } finally {
    scratch.remove();
  }
  return kernels.map(({ name }) => name);
}
