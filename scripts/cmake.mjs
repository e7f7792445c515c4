import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

/** Runs a program, shows what it prints, and ends with its status when it fails. */
export function run(program, args, options = {}) {
  try {
    execFileSync(program, args, { stdio: 'inherit', ...options });
  } catch (error) {
    if (error.code === 'ENOENT')
      console.error(
        program === 'cmake-js'
          ? 'cmake-js is on the PATH of npm scripts only: start this with "npm run …"'
          : `${program} is not installed (Debian: apt-get install ${program})`,
      );
    process.exit(error.status ?? 1);
  }
}

/** Builds native/ through cmake-js in a folder below out/, which node-gyp leaves alone. */
export function build(folder, sanitizers = '', tests = true, more = []) {
  run('cmake', ['--version'], { stdio: 'ignore' });
  const options = [`--CDGM_SANITIZE=${sanitizers}`, `--CDGM_TESTS=${tests ? 'ON' : 'OFF'}`];
  run('cmake-js', [
    'build',
    '--log-level',
    'warn',
    '-d',
    'native',
    '-O',
    folder,
    '--config',
    'RelWithDebInfo',
    ...options,
    ...more,
  ]);
}

/** node-gyp and CMake must build the same sources. */
export function compareSources() {
  const gyp = [...readFileSync('binding.gyp', 'utf8').matchAll(/"native\/((?!lab\/)[\w/.]+)"/g)]
    .map((match) => match[1])
    .sort();
  const cmake = [...readFileSync('native/CMakeLists.txt', 'utf8').matchAll(/^\s+((?:core|guest|addon)\/[\w.]+)$/gm)]
    .map((match) => match[1])
    .sort();
  if (gyp.join() === cmake.join()) return;
  const missing = [...gyp.filter((one) => !cmake.includes(one)), ...cmake.filter((one) => !gyp.includes(one))];
  console.error(`binding.gyp and native/CMakeLists.txt do not list the same sources: ${missing.join(', ')}`);
  process.exit(1);
}
