// Compares native/uapi and lib/kvm/constants.ts with the kernel's own headers: by default those of the newest
// linux-libc-dev of Debian's backports, fetched by apt from the mirror it is configured with, unpacked, never installed.
//
//   node scripts/check-uapi.mjs [--header-dir DIR] [--mirror URL] [--suite NAME]
//
// Exit status: 0 equal, 1 different, 2 usage, 4 no header to compare with.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

const usage = 'Usage: node scripts/check-uapi.mjs [--header-dir DIR] [--mirror URL] [--suite NAME]';

class NoHeader extends Error {}

function fail(code, message) {
  console.error(message);
  process.exit(code);
}

let values;
try {
  ({ values } = parseArgs({
    options: {
      'header-dir': { type: 'string' },
      mirror: { type: 'string', default: process.env.GMEM_DEBIAN_MIRROR },
      suite: { type: 'string', default: 'trixie-backports' },
      help: { type: 'boolean', short: 'h' },
    },
  }));
} catch (error) {
  fail(2, `${error.message}\n${usage}`);
}
if (values.help) {
  console.log(usage);
  process.exit(0);
}

const scratch = mkdtempSync(join(tmpdir(), 'gmem-uapi-'));
process.on('exit', () => rmSync(scratch, { recursive: true, force: true }));
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => process.exit(130));

// ---- The kernel's headers -----------------------------------------------------------------------------------------

function run(command, args, options = {}) {
  try {
    return execFileSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'], ...options });
  } catch (error) {
    if (error.code === 'ENOENT') throw new NoHeader(`${command} is not here; give --header-dir DIR`);
    throw new NoHeader(`${command} failed:\n${error.stderr?.trim() ?? error.message}`);
  }
}

// Where the Debian package of the keys puts them; apt's own default trust serves where it is not installed.
const debianKeys = '/usr/share/keyrings/debian-archive-keyring.gpg';

/** The Debian mirror that apt uses here. */
function aptMirror() {
  const lines = run('apt-get', ['indextargets', '--format', '$(REPO_URI)', 'Created-By: Packages']);
  const mirror = lines.split('\n').find((line) => /\/debian\/?$/.test(line));
  if (!mirror) throw new NoHeader('apt is configured with no Debian mirror; give --mirror URL, or --header-dir DIR');
  return mirror;
}

/** Lets apt, with a state of its own so that this machine's stays as it is, download and verify the package. */
function fetchHeader() {
  const uri = values.mirror ?? aptMirror();
  for (const directory of ['lists/partial', 'cache/archives/partial'])
    mkdirSync(join(scratch, directory), { recursive: true });
  writeFileSync(join(scratch, 'status'), '');
  const key = existsSync(debianKeys) ? `[signed-by=${debianKeys}] ` : '';
  writeFileSync(join(scratch, 'sources.list'), `deb ${key}${uri} ${values.suite} main\n`);
  const options = [
    `Dir::State=${scratch}`,
    `Dir::State::status=${scratch}/status`,
    `Dir::Cache=${scratch}/cache`,
    `Dir::Etc::sourcelist=${scratch}/sources.list`,
    'Dir::Etc::sourceparts=/dev/null',
    'Dir::Etc::preferences=/dev/null',
    'Dir::Etc::preferencesparts=/dev/null',
    `APT::Sandbox::User=${userInfo().username}`,
    'APT::Update::Error-Mode=any',
    'Acquire::Languages=none',
  ].flatMap((option) => ['-o', option]);
  run('apt-get', [...options, '-q', 'update']);
  run('apt-get', [...options, '-q', 'download', 'linux-libc-dev'], { cwd: scratch });
  const file = readdirSync(scratch).find((name) => name.endsWith('.deb'));
  if (!file) throw new NoHeader(`${values.suite} has no linux-libc-dev`);
  run('dpkg-deb', ['-x', join(scratch, file), join(scratch, 'root')]);
  const version = run('dpkg-deb', ['-f', join(scratch, file), 'Version']).trim();
  return { directory: join(scratch, 'root/usr/include'), name: `linux-libc-dev ${version}` };
}

/** Where the headers have asm/ of each architecture. `make headers_install` has that of one, beside linux/. */
function architectures(directory) {
  const found = [];
  for (const [name, triplet, kernelName] of [
    ['x86-64', 'x86_64-linux-gnu', 'x86'],
    ['arm64', 'aarch64-linux-gnu', 'arm64'],
  ]) {
    const place = [join(directory, triplet), join(directory, '../lib/linux/uapi', kernelName)].find((one) =>
      existsSync(join(one, 'asm/kvm.h')),
    );
    if (place) found.push({ name, place });
  }
  if (found.length === 0 && existsSync(join(directory, 'asm/kvm.h')))
    found.push({ name: process.arch === 'arm64' ? 'arm64' : 'x86-64', place: directory });
  return found;
}

// ---- Our names ----------------------------------------------------------------------------------------------------

/** Paths of the fields between the braces of a struct: `a`, and `io.port` for a member of a named inner struct. */
function fieldPaths(body) {
  const paths = [];
  let rest = body;
  for (;;) {
    const inner = /\b(?:struct|union)\s*\{/.exec(rest);
    const plain = inner ? rest.slice(0, inner.index) : rest;
    for (const [, names] of plain.matchAll(/[\w:]+\s+([\w\s,[\]]+);/g))
      for (const name of names.split(',')) paths.push(/\w+/.exec(name)[0]);
    if (!inner) return paths;
    let at = inner.index + inner[0].length;
    const start = at;
    for (let depth = 1; depth > 0; at++) depth += rest[at] === '{' ? 1 : rest[at] === '}' ? -1 : 0;
    const [whole, name] = /^\s*(\w*)\s*;/.exec(rest.slice(at));
    for (const path of fieldPaths(rest.slice(start, at - 1))) paths.push(name ? `${name}.${path}` : path);
    rest = rest.slice(at + whole.length);
  }
}

/** Every constant, struct and field of our header; what stands under `#if defined(__x86_64__)` is x86's alone. */
function nativeNames() {
  const text = readFileSync('native/uapi/kvm.hpp', 'utf8').replace(/\/\/.*$/gm, '');
  const x86Blocks = [...text.matchAll(/#if defined\(__x86_64__\)[\s\S]*?#endif/g)];
  const x86 = (index) => x86Blocks.some((block) => index >= block.index && index < block.index + block[0].length);
  const names = [];
  for (const match of text.matchAll(/constexpr [\w: ]+ ([A-Z]\w+)\s*=/g))
    names.push({ kind: 'constant', name: match[1], x86: x86(match.index) });
  for (const match of text.matchAll(/^struct (\w+) \{([\s\S]*?)^\};/gm)) {
    const [, struct, body] = match;
    // The kernel's kvm_run goes on behind the part that we define.
    if (struct !== 'kvm_run') names.push({ kind: 'struct', name: struct, x86: x86(match.index) });
    for (const path of fieldPaths(body))
      names.push({ kind: 'field', name: `${struct}.${path}`, x86: x86(match.index) });
  }
  return names;
}

// How the kernel names the members of the objects of constants.ts.
const typescriptGroups = {
  Capability: (name) => `KVM_CAP_${name}`,
  VmType: (name) => `KVM_X86_${name}_VM`,
  GuestMemfdFlag: (name) => `GUEST_MEMFD_FLAG_${name}`,
  MemoryRegionFlag: (name) => `KVM_MEM_${name}`,
  MemoryAttribute: (name) => `KVM_MEMORY_ATTRIBUTE_${name}`,
  ExitReason: (name) => `KVM_EXIT_${name}`,
  Protection: (name) => `PROT_${name}`,
  MapFlag: (name) => `MAP_${name}`,
  FallocateMode: (name) => `FALLOC_FL_${name}`,
  Advice: (name) => `MADV_${name}`,
  MemoryPolicy: (name) => `MPOL_${name}`,
  BindFlag: (name) => `MPOL_MF_${name}`,
  HypercallNumber: (name) => `KVM_HC_${name}`,
  FileSystemMagic: (name) => ({ GUEST_MEMFD: 'GUEST_MEMFD_MAGIC', ANON_INODE: 'ANON_INODE_FS_MAGIC' })[name],
};

function typescriptConstants() {
  const text = readFileSync('lib/kvm/constants.ts', 'utf8').replace(/\/\*[\s\S]*?\*\/|\/\/.*$/gm, '');
  const found = new Map();
  for (const [, group, body] of text.matchAll(/export const (\w+) = \{([\s\S]*?)\} as const/g)) {
    const kernelName = typescriptGroups[group];
    if (!kernelName) throw new Error(`constants.ts has a group ${group} that this script has no kernel name for`);
    for (const [, name, value] of body.matchAll(/(\w+): (\w+?)n?\b/g)) found.set(kernelName(name), `${BigInt(value)}`);
  }
  return found;
}

// ---- The comparison -----------------------------------------------------------------------------------------------

// In no released header yet.
const pending = /ATTRIBUTES2|attributes2/;

/** A program that prints what it knows of each name, and leaves out what its header does not have. */
function printer(names, scope, isEnumerator) {
  return names.map(({ kind, name }) => {
    if (kind === 'constant') {
      const line = `printf("${name} %llu\\n", (unsigned long long)(${scope}${name}));`;
      return scope || isEnumerator(name) ? line : `#ifdef ${name}\n${line}\n#endif`;
    }
    const [struct, ...path] = name.split('.');
    const field = path.join('.');
    const test = kind === 'struct' ? 'sizeof(T)' : `t.${field}`;
    const facts = kind === 'struct' ? 'sizeof(T)' : `__builtin_offsetof(T, ${field}), sizeof(((T*)0)->${field})`;
    const format = kind === 'struct' ? 'size %zu' : 'offset %zu, size %zu';
    return `[]<class T>(T*) { if constexpr (requires(T t) { ${test}; }) printf("${name} ${format}\\n", ${facts}); }((struct ${scope || '::'}${struct}*)0);`;
  });
}

function compileAndRun(name, lines, args) {
  const file = join(scratch, `${name}.cpp`);
  writeFileSync(file, lines.join('\n'));
  execFileSync('c++', ['-std=c++20', '-w', ...args, '-o', `${file}.out`, file], { stdio: 'inherit' });
  const text = execFileSync(`${file}.out`, { encoding: 'utf8' });
  return new Map([...text.matchAll(/^(\S+) (.*)$/gm)].map((match) => [match[1], match[2]]));
}

const headers = [
  'linux/kvm.h',
  'linux/kvm_para.h',
  'linux/mman.h',
  'linux/falloc.h',
  'linux/mempolicy.h',
  'linux/magic.h',
];
const declarePrintf = 'extern "C" int printf(const char*, ...);';

function compare({ name, place }, directory) {
  const here = { x64: 'x86-64', arm64: 'arm64' }[process.arch];
  // Our x86 structs are there only where this runs on x86; the kernel's can be read by the compiler of either.
  const native = nativeNames().filter((one) => !one.x86 || (name === 'x86-64' && here === 'x86-64'));
  const typescript = typescriptConstants();
  const inKernel = [...typescript.keys()]
    .filter((one) => name === 'x86-64' || !one.startsWith('KVM_X86_'))
    .map((one) => ({ kind: 'constant', name: one }));
  const policies = readFileSync(join(directory, 'linux/mempolicy.h'), 'utf8');
  const isEnumerator = (one) => new RegExp(`^\\s+${one},`, 'm').test(policies);
  const ours = compileAndRun(
    'ours',
    ['#include "uapi/kvm.hpp"', declarePrintf, 'int main() {', ...printer(native, 'gm::uapi::', () => false), '}'],
    ['-Inative'],
  );
  const theirs = compileAndRun(
    'theirs',
    [
      ...headers.map((header) => `#include <${header}>`),
      declarePrintf,
      // A struct that the header does not have is incomplete instead of unknown: the requirements below then fail.
      ...new Set(native.filter(({ kind }) => kind !== 'constant').map((one) => `struct ${one.name.split('.')[0]};`)),
      'int main() {',
      ...printer([...native, ...inKernel], '', isEnumerator),
      '}',
    ],
    ['-isystem', place, '-isystem', directory],
  );
  for (const { name: constant } of inKernel) ours.set(constant, typescript.get(constant));

  let different = 0;
  let waiting = 0;
  for (const [one, value] of ours) {
    const kernel = theirs.get(one);
    if (kernel === value) continue;
    if (kernel === undefined && pending.test(one)) {
      waiting++;
      continue;
    }
    different++;
    console.log(`${name}: ${one}: ours ${value}, the kernel's ${kernel ?? 'absent'}`);
  }
  const count = (kind) =>
    native.filter((one) => one.kind === kind && !(pending.test(one.name) && !theirs.has(one.name))).length;
  return {
    different,
    waiting,
    summary:
      `${name}: native/uapi ${count('constant')} constants, ${count('struct')} structs, ${count('field')} fields; ` +
      `lib/kvm ${inKernel.length} constants`,
  };
}

try {
  const header = values['header-dir'] ? { directory: values['header-dir'], name: values['header-dir'] } : fetchHeader();
  const found = architectures(header.directory);
  if (!existsSync(join(header.directory, 'linux/kvm.h')) || found.length === 0)
    throw new NoHeader(`${header.directory} holds no linux/kvm.h, or no asm/kvm.h of x86-64 or arm64`);
  for (const architecture of found) {
    const { different, waiting, summary } = compare(architecture, header.directory);
    const verdict = different === 0 ? 'equal to' : `${different} different from`;
    console.log(
      `${summary}: ${verdict} ${header.name}${waiting ? ` (${waiting} names pending, not in the header)` : ''}`,
    );
    if (different > 0) process.exitCode = 1;
  }
} catch (error) {
  if (!(error instanceof NoHeader)) throw error;
  fail(4, `no kernel header to compare with: ${error.message}`);
}
