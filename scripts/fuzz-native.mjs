// npm run fuzz:native: the native fuzz targets with clang's libFuzzer, ASan and UBSan.
import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, readdirSync } from 'node:fs';
import { resolve } from 'node:path';
import { run } from './cmake.mjs';
import { optionsOf } from './options.mjs';

const help = `
Usage: npm run fuzz:native -- [--seconds N]

Fuzzes each target of native/fuzz for N seconds (30). What is found is written to out/native-fuzz; it belongs into
native/fuzz/corpus, which npm run test:native plays with any compiler.

Exit status: 0 nothing was found, 1 something was, 2 wrong usage, 4 there is no clang with libFuzzer.
`;
const values = optionsOf(help, { seconds: { least: 1, otherwise: 30 } });
try {
  execFileSync('clang++', ['-fsanitize=fuzzer', '-x', 'c++', '-', '-o', '/dev/null'], {
    input: 'extern "C" int LLVMFuzzerTestOneInput(const unsigned char*, unsigned long) { return 0; }',
    stdio: ['pipe', 'ignore', 'ignore'],
  });
} catch {
  console.error('clang with libFuzzer is not installed (Debian: apt-get install clang)');
  process.exit(4);
}
const folder = resolve('out/native-fuzz');
run('cmake', [
  ...['-S', 'native', '-B', folder, '-DCMAKE_BUILD_TYPE=RelWithDebInfo', '-DGM_LIBFUZZER=ON'],
  ...['-DCMAKE_C_COMPILER=clang', '-DCMAKE_CXX_COMPILER=clang++', '-DCMAKE_ASM_COMPILER=clang'],
  '-DGM_SANITIZE=address,undefined',
]);
const targets = readdirSync('native/fuzz').flatMap((name) => /^(\w+)_fuzz\.cpp$/.exec(name)?.[1] ?? []);
run('cmake', ['--build', folder, '--target', ...targets.map((target) => `${target}_fuzz`)]);
for (const target of targets) {
  // libFuzzer keeps what it finds new in the first folder; the repository's corpus stays small.
  const found = resolve(folder, 'corpus', target);
  mkdirSync(found, { recursive: true });
  cpSync(`native/fuzz/corpus/${target}`, found, { recursive: true });
  console.log(`\n${target}`);
  run(
    resolve(folder, `${target}_fuzz`),
    // The targets handle faults of their own, which ASan and libFuzzer would take for crashes.
    [
      found,
      `-max_total_time=${values.seconds}`,
      '-handle_bus=0',
      '-handle_segv=0',
      '-print_final_stats=1',
      '-verbosity=0',
    ],
    { cwd: folder, env: { ...process.env, ASAN_OPTIONS: 'allow_user_segv_handler=1:handle_segv=1:handle_sigbus=1' } },
  );
}
