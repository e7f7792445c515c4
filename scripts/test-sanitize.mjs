// The whole host test suite with the addon built with ASan and UBSan; then rounds of everything, of which LSan finds nothing
// left at the end.
import { run } from './cmake.mjs';
import { sanitized } from './sanitized.mjs';

const env = { ...process.env, ...sanitized('address,undefined') };
// Walking a sanitized process's stack at each system call takes strace minutes, and limits of memory are less than the
// sanitizer itself takes; what these two ask of the addon is the same without.
const left = ['faults', 'exhausted'].flatMap((name) => ['--exclude', `test/host/${name}.test.ts`]);
const options = ['--project', 'host', '--testTimeout', '120000', ...left];
run(process.execPath, ['node_modules/vitest/vitest.mjs', 'run', ...options], { env });
run(process.execPath, ['test/endurance/run.mjs', '--sanitized', '--rounds', '500', '--workers', '8'], {
  env: { ...env, ASAN_OPTIONS: 'detect_leaks=1:allow_user_segv_handler=1:quarantine_size_mb=1' },
});
