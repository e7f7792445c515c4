// Unit tests of the native core under CTest: plain, and with ASan and UBSan.
import { resolve } from 'node:path';
import { build, compareSources, run } from './cmake.mjs';

compareSources();
for (const [folder, sanitizers] of [
  ['out/native', ''],
  ['out/native-asan', 'address,undefined'],
]) {
  console.log(`\n${folder}${sanitizers && ` (${sanitizers})`}`);
  build(resolve(folder), sanitizers);
  run('ctest', ['--output-on-failure'], {
    cwd: folder,
    // The tests make faults on purpose, and handle them before ASan would.
    env: { ...process.env, ASAN_OPTIONS: 'allow_user_segv_handler=1:detect_leaks=1', UBSAN_OPTIONS: 'halt_on_error=1' },
  });
}
