// The native tests that need KVM, in a lab machine where this one has none. This module runs here and in the machine.
import { spawnSync } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

/** vcpu under ThreadSanitizer: see native/CMakeLists.txt. */
const programs = [
  ...['native/vm_test', 'native/vcpu_test', 'native-asan/vm_test', 'native-asan/vcpu_test'],
  'native-tsan/vm_test',
];

/** What sanitizers are told: the tests make faults on purpose, and handle them before ASan would. */
export const environment = {
  ASAN_OPTIONS: 'allow_user_segv_handler=1:detect_leaks=1',
  UBSAN_OPTIONS: 'halt_on_error=1',
  TSAN_OPTIONS: 'halt_on_error=1',
};

export const checks = programs.map((program) => ({
  name: program,
  title: `out/${program}`,
  since: '',
  run: (context) => {
    const { status, signal, stdout, stderr } = spawnSync(`/out/${program}`, [], {
      encoding: 'utf8',
      env: { ...environment, GMEM_REQUIRE_KVM: '1' },
    });
    if (status !== 0) throw new Error(`it ended with ${status ?? signal}:\n${stdout}${stderr}`);
    context.note(`${stdout.match(/^ok /gm)?.length} tests`);
  },
}));

function kvmIsHere() {
  try {
    accessSync('/dev/kvm', constants.R_OK | constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

/** Ends the process with 1 when one of them fails. */
export async function testInLab() {
  if (kvmIsHere()) return;
  const dist = (path) => import(pathToFileURL(resolve('dist/lab', path)).href);
  const [{ cachedKernel }, { inspectImage }, { linked }, { Lab }] = await Promise.all(
    ['kernel-cache.js', 'image.js', 'initramfs.js', 'machine.js'].map(dist),
  );
  const { runChecks } = await dist('../smoke/runner.js');
  const kernel = cachedKernel('debian-6.18');
  if (!kernel) {
    console.log(
      '\ntests of VMs and vCPUs were skipped: no /dev/kvm here, and no debian-6.18 (npm run lab:setup gets it)',
    );
    return;
  }
  console.log(`\ntests of VMs and vCPUs in a lab machine, for there is no /dev/kvm here (${kernel.name})`);
  const lab = new Lab({
    image: inspectImage(kernel.image),
    modules: kernel.modules,
    memoryMiB: 2048,
    // As setarch -R does here, for ThreadSanitizer.
    commandLine: 'norandmaps',
    files: new Map([
      ['lab/native.mjs', fileURLToPath(import.meta.url)],
      ...programs.map((program) => [`out/${program}`, resolve('out', program)]),
      ...linked(programs.map((program) => resolve('out', program))),
    ]),
  });
  const { checks: results } = await runChecks({
    checks,
    device: '/dev/kvm',
    timeoutSeconds: 300,
    tool: { name: 'test', version: '0' },
    launch: lab.launch,
    catalogue: '/lab/native.mjs',
    onResult: ({ title, status, notes, reason, failure }) =>
      console.log(`${title}: ${status}, ${notes ?? failure?.message ?? reason}`),
  });
  if (results.some(({ status }) => status !== 'pass')) process.exitCode = 1;
}
