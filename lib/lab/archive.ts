import { existsSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import { makeDirectory } from '../system/make-directory.ts';
import { makeCacheDirectory } from './cache.ts';
import { LabError } from './error.ts';
import { execBound, spawnBound } from './process.ts';

/** Debian's suites that the lab takes kernels from: stable has the long-term kernel, backports the ones after it. */
const suites = ['trixie', 'trixie-backports'];
/** How long an index is taken for current, in milliseconds: kernels come out every few days. */
const indexAge = 24 * 3600 * 1000;
const helper = '/usr/lib/apt/apt-helper';
const keyring = '/usr/share/keyrings/debian-archive-keyring.gpg';

/** How the archive is reached. */
export interface ArchiveOptions {
  /** The mirror, when not the one that this machine's apt uses. */
  readonly mirror?: string | undefined;
  /** Use what is there and ask nobody. */
  readonly offline: boolean;
  /** Told of each long step, a line each. */
  readonly progress: (line: string) => void;
}

function apt(tool: string, args: readonly string[]): string {
  try {
    return execBound(tool, args, { stdio: ['ignore', 'pipe', 'pipe'], maxBuffer: 1 << 28 });
  } catch (error) {
    const { code, stderr } = error as NodeJS.ErrnoException & { stderr?: string };
    if (code === 'ENOENT')
      throw new LabError(
        `${tool} is not here`,
        "Kernels of Debian's are fetched by apt; elsewhere give gmem lab run an image",
      );
    throw new LabError(
      `${tool} ${args.filter((arg) => !arg.includes('=') && arg !== '-o').join(' ')} failed: ${stderr?.trim()}`,
    );
  }
}

/** Runs what fetches, to its end or ours. */
function fetching(what: string, program: string, args: readonly string[]): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawnBound(program, args, { stdio: ['ignore', 'ignore', 'pipe'] });
    let said = '';
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      said += text;
    });
    child.on('error', reject);
    child.on('close', (code) =>
      code === 0
        ? resolve()
        : reject(new LabError(`fetching ${what} failed: ${said.trim() || `${program} ended with ${code}`}`)),
    );
  });
}

/** The Debian mirror that apt uses on this machine. */
function configuredMirror(): string {
  const uris = apt('apt-get', ['indextargets', '--format', '$(REPO_URI)', 'Created-By: Packages']).split('\n');
  const mirror = uris.find((uri) => /\/debian\/?$/.test(uri));
  if (!mirror)
    throw new LabError('apt is configured with no mirror of Debian', 'Give --mirror URL, or set GMEM_DEBIAN_MIRROR');
  return mirror;
}

/**
 * Debian's archive by way of apt, which finds packages in the suites' indexes and checks them against these, and the
 * indexes against Debian's signature. Its state is the cache's own; this machine's is neither used nor changed.
 */
export class Archive {
  readonly #options: ArchiveOptions;
  readonly #directory: string;
  #ready = false;

  constructor(options: ArchiveOptions) {
    this.#options = options;
    this.#directory = makeCacheDirectory('apt');
  }

  get #settings(): string[] {
    const directory = this.#directory;
    return [
      `Dir::State=${directory}`,
      `Dir::State::status=${directory}/status`,
      `Dir::Cache=${directory}/cache`,
      // Container images switch these off, and apt then reads 20 MB of indexes at every call.
      'Dir::Cache::pkgcache=pkgcache.bin',
      'Dir::Cache::srcpkgcache=srcpkgcache.bin',
      `Dir::Etc::sourcelist=${directory}/sources.list`,
      'Dir::Etc::sourceparts=/dev/null',
      'Dir::Etc::preferences=/dev/null',
      'Dir::Etc::preferencesparts=/dev/null',
      'APT::Architectures::=amd64',
      'APT::Architectures::=arm64',
      `APT::Sandbox::User=${userInfo().username}`,
      'APT::Update::Error-Mode=any',
      'Acquire::Languages=none',
      'Acquire::Retries=3',
    ].flatMap((setting) => ['-o', setting]);
  }

  /** Fetches the suites' indexes, unless they are fresh. */
  async #update(): Promise<void> {
    if (this.#ready) return;
    const directory = this.#directory;
    const lists = join(directory, 'lists');
    const stamp = join(directory, 'updated');
    const fresh = existsSync(stamp) && Date.now() - statSync(stamp).mtimeMs < indexAge;
    if (this.#options.offline && !existsSync(stamp))
      throw new LabError('there is no index of the archive in the cache, and --offline forbids to fetch it');
    if (!fresh && !this.#options.offline) {
      this.#options.progress('fetching the index of the archive (20 MB)');
      for (const below of ['lists/partial', 'cache/archives/partial']) makeDirectory(join(directory, below));
      writeFileSync(join(directory, 'status'), '');
      const mirror = this.#options.mirror ?? configuredMirror();
      const key = existsSync(keyring) ? `[signed-by=${keyring}] ` : '';
      writeFileSync(
        join(directory, 'sources.list'),
        suites.map((suite) => `deb ${key}${mirror} ${suite} main\n`).join(''),
      );
      await fetching('the index of the archive', 'apt-get', [...this.#settings, '-q', 'update']);
      writeFileSync(stamp, '');
    }
    if (!existsSync(lists)) throw new LabError(`the index of the archive is not in ${lists}`);
    this.#ready = true;
  }

  /** Names of the packages that begin with a text, for one architecture ('amd64', 'arm64', 'all'). */
  async names(beginning: string): Promise<string[]> {
    await this.#update();
    return apt('apt-cache', [...this.#settings, 'pkgnames', beginning])
      .split('\n')
      .filter(Boolean);
  }

  /** Version of a package, as 'linux-source-7.3' or 'linux-binary-…:arm64'. */
  async version(name: string): Promise<string> {
    await this.#update();
    const [, version] =
      /^Version: (.*)$/m.exec(apt('apt-cache', [...this.#settings, 'show', '--no-all-versions', name])) ?? [];
    if (!version) throw new LabError(`the archive has no package ${name}`);
    return version;
  }

  /** Downloads packages into a folder. What is there of them already is not fetched again. */
  async download(packages: readonly string[], directory: string): Promise<string[]> {
    await this.#update();
    if (this.#options.offline)
      throw new LabError(`${packages.join(', ')}: not in the cache, and --offline forbids to fetch it`);
    makeDirectory(directory);
    const shown = apt('apt-get', [...this.#settings, 'download', '--print-uris', ...packages]);
    const files = [...shown.matchAll(/^'(\S+)' (\S+) (\d+) (\S+)$/gm)].map(
      ([, uri = '', name = '', size, digest = '']) => ({
        uri,
        path: join(directory, name),
        size: Number(size),
        digest,
      }),
    );
    const bytes = files.reduce((sum, { size }) => sum + size, 0);
    this.#options.progress(`fetching ${packages.join(', ')} (${Math.round(bytes / 1e6)} MB)`);
    const started = performance.now();
    // APT writes what it has so far beside; progress is how much of that there is.
    const timer = setInterval(() => {
      const have = readdirSync(directory, { recursive: true, withFileTypes: true })
        .filter((entry) => entry.isFile())
        .reduce(
          (sum, entry) => sum + (statSync(join(entry.parentPath, entry.name), { throwIfNoEntry: false })?.size ?? 0),
          0,
        );
      const seconds = (performance.now() - started) / 1000;
      const left = have > 0 ? Math.ceil((seconds * (bytes - have)) / have) : undefined;
      this.#options.progress(
        `  ${Math.round(have / 1e6)} of ${Math.round(bytes / 1e6)} MB${left === undefined ? '' : `, ${left} s left`}`,
      );
    }, 5000);
    try {
      // `apt-get download` itself begins each file anew.
      const wanted = files.flatMap(({ uri, path, digest }) => [uri, path, digest]);
      await fetching(packages.join(', '), helper, [...this.#settings, '-q', 'download-file', ...wanted]);
    } finally {
      clearInterval(timer);
    }
    return files.map(({ path }) => path);
  }
}
