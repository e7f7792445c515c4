// Compares native/uapi and lib/kvm/constants.ts with a header of the kernel's: by default the newest linux-libc-dev of
// Debian's backports, found through the mirror that apt is configured with, unpacked and never installed.
//
//   node scripts/check-uapi.mjs [--header-dir DIR] [--mirror URL] [--suite NAME]
//
// Exit status: 0 equal, 1 different, 2 usage, 4 no header to compare with.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
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
if (values.help) fail(0, usage);

const scratch = mkdtempSync(join(tmpdir(), 'gmem-uapi-'));
process.on('exit', () => rmSync(scratch, { recursive: true, force: true }));
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(130));

/** The Debian mirror that apt uses here. */
function aptMirror() {
  let text;
  try {
    text = execFileSync('apt-get', ['indextargets', '--format', '$(REPO_URI)', 'Created-By: Packages'], {
      encoding: 'utf8',
    });
  } catch {
    throw new NoHeader('apt is not here to tell a Debian mirror; give --mirror URL, or --header-dir DIR');
  }
  const mirror = text.split('\n').find((line) => /\/debian\/?$/.test(line));
  if (!mirror) throw new NoHeader('apt is configured with no Debian mirror; give --mirror URL, or --header-dir DIR');
  return mirror;
}

async function download(url) {
  let response;
  try {
    response = await fetch(url);
  } catch (error) {
    throw new NoHeader(`${url} cannot be reached: ${error.cause?.message ?? error.message}`);
  }
  if (!response.ok) throw new NoHeader(`${url}: ${response.status} ${response.statusText}`);
  return Buffer.from(await response.arrayBuffer());
}

/** Downloads and unpacks the package; gives its include directory and what it is. */
async function fetchHeader(mirror, suite) {
  const base = mirror.replace(/\/$/, '');
  const packed = await download(`${base}/dists/${suite}/main/binary-amd64/Packages.xz`);
  const index = execFileSync('xz', ['-dc'], { input: packed, maxBuffer: 1 << 30 }).toString('utf8');
  const stanzas = index.split('\n\n').filter((stanza) => stanza.startsWith('Package: linux-libc-dev\n'));
  const field = (stanza, name) => new RegExp(`^${name}: (.*)$`, 'm').exec(stanza)?.[1];
  const newest = stanzas.reduce((best, stanza) => {
    if (!best) return stanza;
    try {
      execFileSync('dpkg', ['--compare-versions', field(stanza, 'Version'), 'gt', field(best, 'Version')]);
      return stanza;
    } catch {
      return best;
    }
  }, undefined);
  if (!newest) throw new NoHeader(`${suite} has no linux-libc-dev`);
  const deb = await download(`${base}/${field(newest, 'Filename')}`);
  const sum = createHash('sha256').update(deb).digest('hex');
  if (sum !== field(newest, 'SHA256')) throw new NoHeader('the package does not have the SHA256 that the index says');
  const file = join(scratch, 'linux-libc-dev.deb');
  writeFileSync(file, deb);
  execFileSync('dpkg-deb', ['-x', file, join(scratch, 'root')]);
  return { directory: join(scratch, 'root/usr/include'), name: `linux-libc-dev ${field(newest, 'Version')}` };
}

// What is not in any released header yet.
const pending = /ATTRIBUTES2|attributes2/;

/** Names of our header: constants, structs and their fields as the static_asserts name them. */
function ourNames() {
  const text = readFileSync('native/uapi/kvm.hpp', 'utf8');
  const constants = [...text.matchAll(/constexpr [\w: ]+ (KVM_\w+) =/g)].map((match) => match[1]);
  const fields = [...text.matchAll(/offsetof\((\w+), ([\w.]+)\)/g)].map((match) => [match[1], match[2]]);
  const structs = [...text.matchAll(/sizeof\((kvm_\w+)\) ==/g)].map((match) => match[1]);
  return { constants, fields, structs };
}

/** Numbers of lib/kvm/constants.ts under the kernel's names. */
function typescriptConstants() {
  const text = readFileSync('lib/kvm/constants.ts', 'utf8');
  const prefixes = {
    Capability: 'KVM_CAP_',
    GuestMemfdFlag: 'GUEST_MEMFD_FLAG_',
    MemoryRegionFlag: 'KVM_MEM_',
    MemoryAttribute: 'KVM_MEMORY_ATTRIBUTE_',
    ExitReason: 'KVM_EXIT_',
  };
  const found = [];
  for (const [object, prefix] of Object.entries(prefixes)) {
    const body = new RegExp(`export const ${object} = \\{([\\s\\S]*?)\\} as const`).exec(text)?.[1] ?? '';
    for (const [, name, value] of body.matchAll(/^\s*(\w+): (\d+)|(?<=\{)\s*(\w+): (\d+)/gm))
      if (name) found.push([prefix + name, value]);
    if (!/\n/.test(body))
      for (const [, name, value] of body.matchAll(/(\w+): (\d+)/g)) found.push([prefix + name, value]);
  }
  return found;
}

// The kernel's unions are anonymous in other ways, and it calls its IO data `io`; everything else has the same path.
function lines({ constants, fields, structs }, prefix) {
  return [
    ...constants.map((name) => `printf("${name} %lu\\n", (unsigned long)${prefix}${name});`),
    ...structs.map((name) => `printf("sizeof ${name} %zu\\n", sizeof(struct ${prefix}${name}));`),
    ...fields.map(
      ([type, field]) => `printf("${type}.${field} %zu\\n", __builtin_offsetof(struct ${prefix}${type}, ${field}));`,
    ),
  ];
}

function compileAndRun(compiler, name, source, args) {
  const file = join(scratch, name);
  writeFileSync(file, source);
  execFileSync(compiler, [...args, '-o', `${file}.out`, file], { stdio: ['ignore', 'inherit', 'inherit'] });
  return new Map(
    execFileSync(`${file}.out`, { encoding: 'utf8' })
      .trim()
      .split('\n')
      .map((line) => {
        const at = line.lastIndexOf(' ');
        return [line.slice(0, at), line.slice(at + 1)];
      }),
  );
}

async function main() {
  const header = values['header-dir']
    ? { directory: values['header-dir'], name: values['header-dir'] }
    : await fetchHeader(values.mirror ?? aptMirror(), values.suite);
  if (!existsSync(join(header.directory, 'linux/kvm.h')))
    throw new NoHeader(`${header.directory} holds no linux/kvm.h`);

  const all = ourNames();
  const released = {
    constants: all.constants.filter((name) => !pending.test(name)),
    fields: all.fields.filter(([type]) => !pending.test(type)),
    structs: all.structs.filter((name) => !pending.test(name)),
  };
  const typescript = typescriptConstants();
  const includes = [
    '-isystem',
    header.directory,
    '-isystem',
    join(header.directory, `${process.arch === 'arm64' ? 'aarch64' : 'x86_64'}-linux-gnu`),
  ];
  const kernelLines = [
    ...lines(released, ''),
    ...typescript.map(([name]) => `printf("${name} %lu\\n", (unsigned long)${name});`),
  ];
  const theirs = compileAndRun(
    'cc',
    'theirs.c',
    `#include <stddef.h>\n#include <linux/kvm.h>\n#include <stdio.h>\nint main(void) {\n${kernelLines.join('\n')}\nreturn 0;\n}\n`,
    includes,
  );
  const ours = compileAndRun(
    'c++',
    'ours.cpp',
    `#include "uapi/kvm.hpp"\n#include <cstdio>\nint main() {\n${lines(released, 'gm::uapi::').join('\n')}\n}\n`,
    ['-std=c++20', '-Inative'],
  );
  for (const [name, value] of typescript) ours.set(name, value);

  let different = 0;
  for (const [name, value] of ours) {
    if (theirs.get(name) === value) continue;
    different++;
    console.log(`${name}: ours is ${value}, the kernel's is ${theirs.get(name) ?? 'absent'}`);
  }
  for (const name of [...all.constants, ...all.structs].filter((one) => pending.test(one)))
    console.log(`${name}: pending in the kernel, not compared`);
  console.log(
    `${released.constants.length} numbers, ${released.structs.length} structs and ${released.fields.length} fields of native/uapi, ` +
      `${typescript.length} constants of lib/kvm: ${different === 0 ? 'equal to' : `${different} different from`} ${header.name}`,
  );
  return different === 0 ? 0 : 1;
}

try {
  process.exitCode = await main();
} catch (error) {
  if (!(error instanceof NoHeader)) throw error;
  fail(4, `no kernel header to compare with: ${error.message}`);
}
