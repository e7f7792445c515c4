// The whole host test suite with the addon built with ASan and UBSan; then rounds of everything, of which LSan finds nothing
// left at the end.
import { spawnSync } from 'node:child_process';
import { run } from './cmake.mjs';
import { sanitized } from './sanitized.mjs';

const env = { ...process.env, ...sanitized('address,undefined') };
// Walking a sanitized process's stack at each system call takes strace minutes, limits of memory are less than the sanitizer
// itself takes, and apt, started with the sanitizer in it, hangs in a child that it forks; what these three ask of the addon is
// the same without.
const left = ['faults', 'exhausted', 'killed'].flatMap((name) => ['--exclude', `test/host/${name}.test.ts`]);
const options = ['--project', 'host', '--testTimeout', '120000', ...left];
run(process.execPath, ['node_modules/vitest/vitest.mjs', 'run', ...options], { env });
const leaks = { ...env, ASAN_OPTIONS: 'detect_leaks=1:allow_user_segv_handler=1:quarantine_size_mb=1' };
const endurance = ['test/endurance/run.mjs', '--sanitized'];
run(process.execPath, [...endurance, '--rounds', '500', '--workers', '8'], { env: leaks });
// That would be worth nothing where LSan finds nothing.
const leaking = ['--rounds', '16', '--workers', '0', '--leak', 'out/addon-asan/RelWithDebInfo/leak.node'];
const { status, stderr } = spawnSync(process.execPath, [...endurance, ...leaking], { env: leaks, encoding: 'utf8' });
if (status === 0 || !stderr.includes('Direct leak of 4321 byte(s)')) {
  console.error(`LeakSanitizer does not find a leak on purpose:\n${stderr}`);
  process.exit(1);
}
console.log('LeakSanitizer finds a leak on purpose, and nothing else');
