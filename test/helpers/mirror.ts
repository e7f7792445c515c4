import { execFileSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

const suites = ['trixie', 'trixie-backports'];
const architectures = ['amd64', 'arm64'];

/** An archive of Debian's kind with one kernel in it, served by this process as slowly as wanted. */
export interface Mirror extends AsyncDisposable {
  readonly url: string;
  /** What makes apt take it although nobody has signed it: for APT_CONFIG. */
  readonly aptConfig: string;
  /** The kernel's image, as it must come out. */
  readonly image: Buffer;
  /** Milliseconds that a file of the archive takes. */
  slow: number;
  /** Files that are sent half, and then no more of. */
  stalling: RegExp | undefined;
  /** Paths that were asked for, with the byte that the answer begins with. */
  readonly asked: { path: string; from: number }[];
}

/** Makes the archive of debian-`series` below a folder and serves it. */
export async function serveMirror(folder: string, series: string): Promise<Mirror> {
  const image = randomBytes(6 << 20);
  const archive = join(folder, 'archive');
  const pool = join(archive, 'pool');
  mkdirSync(pool, { recursive: true });
  const release = `${series}.1+deb13-cloud-amd64`;
  const tree = join(folder, 'tree');
  mkdirSync(join(tree, 'boot'), { recursive: true });
  mkdirSync(join(tree, 'DEBIAN'));
  writeFileSync(join(tree, `boot/vmlinuz-${release}`), image);
  const fields = {
    Package: `linux-image-${release}`,
    Version: `${series}.1-1`,
    Architecture: 'amd64',
    Maintainer: 'nobody <nobody@example.org>',
    Description: 'a kernel',
  };
  const lines = (of: Record<string, string | number>) =>
    Object.entries(of)
      .map(([key, value]) => `${key}: ${value}\n`)
      .join('');
  writeFileSync(join(tree, 'DEBIAN/control'), lines(fields));
  const deb = join(pool, 'kernel.deb');
  execFileSync('dpkg-deb', ['-Zgzip', '-z1', '--build', '--root-owner-group', tree, deb], { stdio: 'ignore' });
  const digest = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');
  const bytes = readFileSync(deb);
  const packages = lines({ ...fields, Filename: 'pool/kernel.deb', Size: bytes.length, SHA256: digest(bytes) });
  for (const suite of suites) {
    const sums = architectures.map((architecture) => {
      const name = `main/binary-${architecture}/Packages`;
      const path = join(archive, 'dists', suite, name);
      mkdirSync(dirname(path), { recursive: true });
      const text = Buffer.from(suite.endsWith('backports') && architecture === 'amd64' ? packages : '');
      writeFileSync(path, text);
      return ` ${digest(text)} ${text.length} ${name}\n`;
    });
    const head = { Origin: 'Debian', Suite: suite, Codename: suite, Date: new Date().toUTCString() };
    const rest = { Architectures: architectures.join(' '), Components: 'main' };
    writeFileSync(join(archive, 'dists', suite, 'Release'), `${lines({ ...head, ...rest })}SHA256:\n${sums.join('')}`);
  }
  const aptConfig = join(folder, 'apt.conf');
  writeFileSync(
    aptConfig,
    'Acquire::AllowInsecureRepositories "true";\nAPT::Get::AllowUnauthenticated "true";\nAcquire::http::Proxy::127.0.0.1 "DIRECT";\n',
  );

  const server = createServer(async ({ url = '', headers }, response) => {
    const path = join(archive, decodeURIComponent(url));
    const file = statSync(path, { throwIfNoEntry: false });
    if (!file?.isFile()) {
      response.writeHead(404).end();
      return;
    }
    // A part goes only with the whole that it was taken of.
    const same = headers['if-range'] === file.mtime.toUTCString();
    const from = same ? Number(/^bytes=(\d+)-$/.exec(headers.range ?? '')?.[1] ?? 0) : 0;
    mirror.asked.push({ path: url, from });
    const all = readFileSync(path);
    if (from >= all.length && from > 0) {
      response.writeHead(416, { 'Content-Range': `bytes */${all.length}` }).end();
      return;
    }
    response.writeHead(from > 0 ? 206 : 200, {
      'Content-Length': all.length - from,
      'Last-Modified': file.mtime.toUTCString(),
      ...(from > 0 ? { 'Content-Range': `bytes ${from}-${all.length - 1}/${all.length}` } : {}),
    });
    await send(response, all.subarray(from), url);
  });
  const send = async (response: ServerResponse, bytes: Buffer, path: string) => {
    const parts = 20;
    const stalls = mirror.stalling?.test(path);
    for (let i = 0; i < parts; i++) {
      if (response.destroyed) return;
      if (stalls && i === parts / 2) return;
      response.write(bytes.subarray((i * bytes.length) / parts, ((i + 1) * bytes.length) / parts));
      await delay(mirror.slow / parts);
    }
    response.end();
  };
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const mirror: Mirror = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    aptConfig,
    image,
    slow: 0,
    stalling: undefined,
    asked: [],
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((done) => server.close(done));
    },
  };
  return mirror;
}
