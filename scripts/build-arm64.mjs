// Cross-builds the addon for arm64 with Debian's compiler, and the small init of the lab beside it, where they are older
// than their sources. What to compile and how stands in binding.gyp alone; node-gyp itself cannot be told of another
// architecture's compiler without a set of environment variables, and would build into the folder of this one.
//
//   node scripts/build-arm64.mjs [--out FILE]
//
// Writes build/arm64/guest_memfd.node (or FILE) and build/arm64/gm_init. Exit status: 0 built, 1 not, 2 usage, 4 no compiler.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';

const compiler = { c: 'aarch64-linux-gnu-gcc', cxx: 'aarch64-linux-gnu-g++' };

function fail(code, message) {
  console.error(message);
  process.exit(code);
}

let out;
try {
  ({ out } = parseArgs({ options: { out: { type: 'string', default: 'build/arm64/guest_memfd.node' } } }).values);
} catch (error) {
  fail(2, `${error.message}\nUsage: node scripts/build-arm64.mjs [--out FILE]`);
}
process.chdir(join(import.meta.dirname, '..'));

/** When the newest file below the paths was changed. */
function newest(paths) {
  return Math.max(
    ...paths.map((path) => {
      const stat = statSync(path);
      return stat.isDirectory() ? newest(readdirSync(path).map((name) => join(path, name))) : stat.mtimeMs;
    }),
  );
}

const isCurrent = (output, inputs) => existsSync(output) && statSync(output).mtimeMs >= newest(inputs);

function run(program, args) {
  try {
    execFileSync(program, args, { stdio: 'inherit' });
  } catch (error) {
    if (error.code === 'ENOENT')
      fail(4, `${program} is not here. Install the cross compiler (Debian: apt-get install g++-aarch64-linux-gnu)`);
    fail(1, `${program} failed, see above`);
  }
}

/** Node's own headers: those of node-gyp's --nodedir, those installed with this Node, or those of the system's. */
function nodeHeaders() {
  const places = [
    process.env.npm_config_nodedir && join(process.env.npm_config_nodedir, 'include/node'),
    join(dirname(process.execPath), '../include/node'),
    '/usr/include/node',
  ].filter(Boolean);
  const found = places.find((place) => existsSync(join(place, 'node_api.h')));
  return found ?? fail(1, `Node's headers are in none of ${places.join(', ')}; give npm's option --nodedir`);
}

// JSON, but for comments, which it has none of.
const [target] = JSON.parse(readFileSync('binding.gyp', 'utf8')).targets;
const nodeAddonApi = createRequire(import.meta.url)('node-addon-api').include_dir;

if (
  !isCurrent(out, ['native/addon', 'native/core', 'native/guest', 'native/uapi', 'binding.gyp', import.meta.filename])
) {
  const work = `${out}.objects`;
  rmSync(work, { recursive: true, force: true });
  mkdirSync(work, { recursive: true });
  const common = [
    '-O2',
    '-fPIC',
    ...target.cflags,
    ...target.defines.map((one) => `-D${one}`),
    ...target.include_dirs.flatMap((one) => ['-I', one.startsWith('<!') ? nodeAddonApi : one]),
    '-isystem',
    nodeHeaders(),
  ];
  const objects = target.sources.map((source, i) => {
    const object = join(work, `${i}.o`);
    const isCxx = source.endsWith('.cpp');
    run(isCxx ? compiler.cxx : compiler.c, [
      ...common,
      ...(isCxx ? target.cflags_cc : []),
      '-DNODE_GYP_MODULE_NAME=guest_memfd',
      '-DBUILDING_NODE_EXTENSION',
      '-c',
      source,
      '-o',
      object,
    ]);
    return object;
  });
  // Renamed at the end, so that a build that was interrupted does not count as one.
  run(compiler.cxx, ['-shared', '-pthread', ...target.ldflags, ...objects, '-o', join(work, 'addon')]);
  renameSync(join(work, 'addon'), out);
  rmSync(work, { recursive: true });
  console.log(`built ${out}`);
}

const init = { source: 'native/lab/init.cpp', output: 'build/arm64/gm_init' };
if (existsSync(init.source) && !isCurrent(init.output, [init.source, import.meta.filename])) {
  mkdirSync(dirname(init.output), { recursive: true });
  // Static: it is the first program of a system that has no libraries yet.
  run(compiler.cxx, ['-std=c++20', '-O2', '-Wall', '-Wextra', '-static', init.source, '-o', `${init.output}.new`]);
  renameSync(`${init.output}.new`, init.output);
  console.log(`built ${init.output}`);
}
