// Unit tests of the native core under CTest: plain, with ASan and UBSan, and with TSan.
import { resolve } from 'node:path';
import { build, compareSources, run } from './cmake.mjs';
import { environment, testInLab } from './native-in-lab.mjs';

compareSources();
for (const [folder, sanitizers] of [
  ['out/native', ''],
  ['out/native-asan', 'address,undefined'],
  ['out/native-tsan', 'thread'],
]) {
  console.log(`\n${folder}${sanitizers && ` (${sanitizers})`}`);
  build(resolve(folder), sanitizers);
  // ThreadSanitizer of gcc 12 wants addresses where it knows them: kernels spread them wider by now.
  const [program, ...args] = sanitizers === 'thread' ? ['setarch', '-R', 'ctest'] : ['ctest'];
  run(program, [...args, '--output-on-failure'], {
    cwd: folder,
    env: { ...process.env, ...environment },
  });
}
await testInLab();
