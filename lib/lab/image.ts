import { closeSync, existsSync, openSync, readFileSync, readSync, statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { gunzipSync } from 'node:zlib';

/** Processors that the lab has machines for, by the kernel's names. */
export const architectures = ['x86_64', 'aarch64'] as const;
export type Architecture = (typeof architectures)[number];

/** A kernel image that can be booted. */
export interface Image {
  readonly path: string;
  readonly architecture: Architecture;
  readonly format: 'bzImage' | 'vmlinux' | 'Image' | 'Image.gz';
}

/**
 * The configuration that an image was built with, where it lies as distributions and the kernel's build leave it; undefined
 * where it does not.
 */
export function configurationOf(image: string, modules: string | undefined): string | undefined {
  const folder = dirname(image);
  const release =
    /^vmlinuz-(.+)$/.exec(basename(image))?.[1] ?? (modules === undefined ? undefined : basename(modules));
  return [
    join(folder, 'config'),
    ...(release === undefined ? [] : [join(folder, `config-${release}`)]),
    ...(modules === undefined ? [] : [join(modules, 'config'), join(modules, '../../../../boot', `config-${release}`)]),
    // arch/x86/boot/bzImage and arch/arm64/boot/Image of a build
    ...(/\/arch\/\w+\/boot$/.test(folder) ? [join(folder, '../../../.config')] : []),
  ].find((path) => existsSync(path));
}

/** What was given is not a kernel image that the lab can boot. */
export class ImageError extends Error {}

const elfMachine: Record<number, Architecture> = { 62: 'x86_64', 183: 'aarch64' };

function head(path: string): Buffer {
  const buffer = Buffer.alloc(4096);
  const fd = openSync(path, 'r');
  try {
    return buffer.subarray(0, readSync(fd, buffer, 0, buffer.length, 0));
  } finally {
    closeSync(fd);
  }
}

/** The image that `bytes` begin with; undefined when it is none. */
function formatOf(bytes: Buffer): Pick<Image, 'architecture' | 'format'> | undefined {
  // Documentation/arch/x86/boot.rst: "HdrS" at 0x202, boot flag 0xAA55 at 0x1fe.
  if (bytes.length > 0x210 && bytes.toString('latin1', 0x202, 0x206) === 'HdrS' && bytes.readUInt16LE(0x1fe) === 0xaa55)
    return { architecture: 'x86_64', format: 'bzImage' };
  // Documentation/arch/arm64/booting.rst: "ARM\x64" at 56.
  if (bytes.length > 64 && bytes.toString('latin1', 56, 60) === 'ARMd')
    return { architecture: 'aarch64', format: 'Image' };
  if (bytes.length > 20 && bytes.toString('latin1', 0, 4) === '\x7fELF') {
    const architecture = elfMachine[bytes.readUInt16LE(18)];
    if (architecture === 'x86_64') return { architecture, format: 'vmlinux' };
    if (architecture)
      throw new ImageError('an arm64 kernel is booted from arch/arm64/boot/Image, not from the ELF file vmlinux');
  }
  return undefined;
}

/**
 * Says what a file is by its first bytes.
 *
 * @throws {ImageError} with a sentence about the file
 */
export function inspectImage(path: string): Image {
  let bytes: Buffer;
  try {
    if (statSync(path).isDirectory()) throw new ImageError(`${path} is a directory, not a kernel image`);
    bytes = head(path);
  } catch (error) {
    if (error instanceof ImageError) throw error;
    throw new ImageError(`${path} cannot be read: ${(error as Error).message}`);
  }
  const found = formatOf(bytes);
  if (found) return { path, ...found };
  if (bytes.toString('latin1', 4, 8) === 'zimg')
    throw new ImageError(
      `${path} is a compressed EFI image (vmlinuz.efi), which QEMU does not boot by itself; give arch/arm64/boot/Image`,
    );
  if (bytes[0] === 0x1f && bytes[1] === 0x8b) {
    try {
      if (formatOf(gunzipSync(readFileSync(path)))?.format === 'Image')
        return { path, architecture: 'aarch64', format: 'Image.gz' };
    } catch (error) {
      if (error instanceof ImageError) throw error; // else it is no gzip file after all
    }
  }
  throw new ImageError(
    `${path} is not a kernel image: expected a bzImage or vmlinux for x86-64, an Image for arm64, or a .deb with one inside`,
  );
}
