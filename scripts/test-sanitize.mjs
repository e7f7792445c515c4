// The whole host test suite with the addon built with ASan and UBSan, which ASan's run-time library, loaded into Node first,
// makes possible. Leaks are looked for in the native unit tests only: Node itself does not free everything at its end.
import { execFileSync } from 'node:child_process';
import { resolve } from 'node:path';
import { build, run } from './cmake.mjs';

const folder = resolve('out/addon-asan');
build(folder, 'address,undefined', false);
const runtime = ['libasan.so', 'libubsan.so'].map((name) =>
  execFileSync('g++', [`-print-file-name=${name}`], { encoding: 'utf8' }).trim(),
);
run(process.execPath, ['node_modules/vitest/vitest.mjs', 'run', '--project', 'host', '--testTimeout', '120000'], {
  env: {
    ...process.env,
    GMEM_ADDON: resolve(folder, 'RelWithDebInfo/guest_memfd.node'),
    LD_PRELOAD: runtime.join(':'),
    ASAN_OPTIONS: 'detect_leaks=0:allow_user_segv_handler=1:abort_on_error=1',
    UBSAN_OPTIONS: 'halt_on_error=1:abort_on_error=1:print_stacktrace=1',
  },
});
