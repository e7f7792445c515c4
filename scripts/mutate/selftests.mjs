// The kernel's own selftests as checks of the suite's runner: in a lab machine their programs lie in /selftests, with
// nothing else beside them.
import { spawnSync } from 'node:child_process';

/** What kselftest programs exit with when they cannot be asked here. */
const skipped = 4;

/** By the name in the table: the program, and what it is given. */
const runs = [
  ['guest_memfd_test', []],
  ['set_memory_region_test', []],
  ['pre_fault_memory_test', []],
  ['private_mem_conversions_test', []],
  ['private_mem_conversions_test', ['-n', '2', '-m', '4']],
  ['private_mem_kvm_exits_test', []],
  ['vm_types_test', []],
];

/** The programs, each once. */
export const programs = [...new Set(runs.map(([program]) => program))];

export const selftests = runs.map(([program, args]) => ({
  name: `selftest/${[program, ...args].join(' ')}`,
  title: [program, ...args].join(' '),
  since: '',
  run() {
    const { status, signal, error, stdout, stderr } = spawnSync(`/selftests/${program}`, args, { encoding: 'utf8' });
    if (error) throw error;
    if (status !== 0 && status !== skipped)
      throw new Error(`ended with ${signal ?? status}: ${`${stdout}${stderr}`.trim().slice(-2000)}`);
  },
}));
