import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { makeDirectory } from '../system/make-directory.ts';
import { LabError } from './error.ts';
import { ImageError } from './image.ts';
import { execBound } from './process.ts';

/** What a Debian kernel package holds. */
export interface KernelFiles {
  readonly image: string | undefined;
  readonly modules: string | undefined;
}

/** Unpacks Debian packages, linux-image or linux-binary with linux-modules, into a folder; nothing is installed. */
export function unpackKernel(packages: readonly string[], directory: string): KernelFiles {
  makeDirectory(directory);
  for (const file of packages) {
    try {
      execBound('dpkg-deb', ['-x', file, directory], { stdio: ['ignore', 'ignore', 'pipe'] });
    } catch (error) {
      const { code, stderr } = error as NodeJS.ErrnoException & { stderr?: Buffer };
      if (code === 'ENOENT')
        throw new LabError('dpkg-deb is not here, which unpacks .deb files', 'Install it, or give the image itself');
      throw new ImageError(`${file} is not a Debian package: ${String(stderr).trim()}`);
    }
  }
  return kernelFiles(directory);
}

/** Finds image and modules below a folder that packages were unpacked into. */
export function kernelFiles(directory: string): KernelFiles {
  const base = ['usr/lib/modules', 'lib/modules']
    .map((below) => join(directory, below))
    .find((path) => existsSync(path));
  const modules = base && readdirSync(base).map((version) => join(base, version))[0];
  const boot = join(directory, 'boot');
  const inBoot = existsSync(boot) ? readdirSync(boot).find((name) => /^vmlinu[xz]/.test(name)) : undefined;
  const beside = modules && existsSync(join(modules, 'vmlinuz')) ? join(modules, 'vmlinuz') : undefined;
  return {
    image: inBoot ? join(boot, inBoot) : beside,
    modules: modules && existsSync(join(modules, 'kernel')) ? modules : undefined,
  };
}
