import { execFileSync } from 'node:child_process';
import { resolve } from 'node:path';
import { build } from './cmake.mjs';

/**
 * Builds the addon with ASan and UBSan, and gives the environment in which Node loads it: the sanitizers' run-time libraries
 * have to be there before anything else. What ends by force does not free everything, so leaks are not looked for unless asked.
 */
export function sanitized(sanitizers) {
  const folder = resolve('out/addon-asan');
  build(folder, sanitizers, false);
  const runtime = ['libasan.so', 'libubsan.so'].map((name) =>
    execFileSync('g++', [`-print-file-name=${name}`], { encoding: 'utf8' }).trim(),
  );
  return {
    GMEM_ADDON: resolve(folder, 'RelWithDebInfo/guest_memfd.node'),
    LD_PRELOAD: runtime.join(':'),
    ASAN_OPTIONS: 'detect_leaks=0:allow_user_segv_handler=1:abort_on_error=1',
    UBSAN_OPTIONS: 'halt_on_error=1:abort_on_error=1:print_stacktrace=1',
  };
}
