// Builds what is older than its sources: the addon (build/) with node-gyp, the TypeScript (dist/) with tsc, and from that
// the library as one module.
//
//   node scripts/build.mjs [native] [ts] [--force]
//
// npm runs this after `npm ci`, and once more at the first `npx gmem`: for a command of the package it stands in, npx links
// the package into its cache as if it were being installed. The second time must cost next to nothing.
import { execFileSync } from 'node:child_process';
import { chmodSync, readdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';

const parts = process.argv.slice(2).filter((part) => !part.startsWith('--'));
const force = process.argv.includes('--force');

/** When the newest file below the paths was changed. */
function newest(paths) {
  return Math.max(
    ...paths.map((path) => {
      const stat = statSync(path);
      return stat.isDirectory() ? newest(readdirSync(path).map((name) => join(path, name))) : stat.mtimeMs;
    }),
  );
}

function isCurrent(output, inputs) {
  try {
    return !force && statSync(output).mtimeMs >= newest(inputs);
  } catch {
    return false;
  }
}

function run(program, args) {
  try {
    execFileSync(program, args, { stdio: 'inherit' });
  } catch (error) {
    process.exit(error.status ?? 1); // it has said what is wrong
  }
}

/**
 * Takes Node's own modules as objects instead of importing them: an import of `node:fs` reads every property of it, also those
 * that load another module when they are read, and so loads all of Node's streams (docs/benchmarks.md).
 */
const builtinsAsObjects = {
  name: 'builtins-as-objects',
  renderChunk: (code) =>
    code.replace(
      /^import (\{.*\}|\* as \w+|\w+) from "(node:[\w/]+)";$/gm,
      (_line, names, module) =>
        `const ${names.replace(/^\* as /, '').replaceAll(' as ', ': ')} = process.getBuiltinModule("${module}");`,
    ),
};

if (parts.length === 0 || parts.includes('native')) {
  const sources = ['native/addon', 'native/core', 'native/guest', 'native/lab', 'native/uapi', 'binding.gyp'];
  const outputs = ['build/Release/guest_memfd.node', 'build/Release/gm_init'];
  if (!outputs.every((output) => isCurrent(output, sources))) {
    // Through npm's PATH and environment, which tells node-gyp where to find Node's headers.
    run('node-gyp', ['rebuild', '--loglevel=warn']);
  }
}

if (parts.length === 0 || parts.includes('ts')) {
  if (!isCurrent('dist/gmem/main.js', ['lib', 'tsconfig.json'])) {
    // From nothing, so that no file of an earlier build is left.
    rmSync('dist', { recursive: true, force: true });
    run(process.execPath, ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.json']);
    chmodSync('dist/cli/main.js', 0o755);
    // Node takes half a millisecond for each module that it finds, reads and links (docs/benchmarks.md): the library becomes
    // one, and the commands share a few. Both lie two folders down, as the modules that they are made of do, and find the
    // addon, the schemas and the style sheet from there.
    const { rolldown } = await import('rolldown');
    for (const [input, output] of [
      [{ index: 'dist/index.js' }, 'dist/bundle'],
      [
        {
          main: 'dist/cli/main.js',
          worker: 'dist/smoke/worker.js',
          racer: 'dist/smoke/stress/racer.js',
          guest: 'dist/lab/guest.js',
        },
        'dist/gmem',
      ],
    ]) {
      const build = await rolldown({ input, platform: 'node', plugins: [builtinsAsObjects] });
      await build.write({ dir: output, comments: false });
      await build.close();
    }
    chmodSync('dist/gmem/main.js', 0o755);
  }
}
