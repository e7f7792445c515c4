import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, describe, expect, test } from 'vitest';
import { configurationOf, ImageError, inspectImage } from '../../lib/lab/image.ts';

const folder = mkdtempSync(join(tmpdir(), 'gmem-test-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function file(name: string, ...pieces: readonly (readonly [offset: number, bytes: string])[]): string {
  const bytes = Buffer.alloc(8192);
  for (const [offset, text] of pieces) bytes.write(text, offset, 'latin1');
  const path = join(folder, name);
  writeFileSync(path, bytes);
  return path;
}

const arm64 = [56, 'ARMd'] as const;

describe('inspectImage', () => {
  test('knows the images that QEMU boots', () => {
    const bzImage = file('bzImage', [0x1fe, '\x55\xaa'], [0x202, 'HdrS']);
    expect(inspectImage(bzImage)).toEqual({ path: bzImage, architecture: 'x86_64', format: 'bzImage' });
    const vmlinux = file('vmlinux', [0, '\x7fELF'], [18, '\x3e\x00']);
    expect(inspectImage(vmlinux)).toMatchObject({ architecture: 'x86_64', format: 'vmlinux' });
    const image = file('Image', arm64);
    expect(inspectImage(image)).toMatchObject({ architecture: 'aarch64', format: 'Image' });
    const compressed = join(folder, 'Image.gz');
    writeFileSync(compressed, gzipSync(Buffer.from(`${'\0'.repeat(56)}ARMd${'\0'.repeat(64)}`, 'latin1')));
    expect(inspectImage(compressed)).toMatchObject({ architecture: 'aarch64', format: 'Image.gz' });
  });

  test.each([
    ['a text', () => file('text', [0, '#!/bin/sh\n']), /is not a kernel image: expected a bzImage or vmlinux/],
    ['a folder', () => folder, /is a directory/],
    ['nothing', () => join(folder, 'nowhere'), /cannot be read: ENOENT/],
    ['a boot sector', () => file('sector', [0x1fe, '\x55\xaa']), /is not a kernel image/],
    ['an arm64 vmlinux', () => file('arm', [0, '\x7fELF'], [18, '\xb7\x00']), /arch\/arm64\/boot\/Image/],
    ['a RISC-V vmlinux', () => file('riscv', [0, '\x7fELF'], [18, '\xf3\x00']), /is not a kernel image/],
    ['a compressed EFI image', () => file('efi', [0, 'MZ'], [4, 'zimg']), /compressed EFI image/],
    ['a broken gzip file', () => file('broken.gz', [0, '\x1f\x8b\x08']), /is not a kernel image/],
    [
      'an empty file',
      () => {
        writeFileSync(join(folder, 'empty'), '');
        return join(folder, 'empty');
      },
      /is not a kernel image/,
    ],
  ])('says of %s what it is not', (_what, make, message) => {
    const path = make();
    expect(() => inspectImage(path)).toThrow(ImageError);
    expect(() => inspectImage(path)).toThrow(message);
  });
});

describe('configurationOf', () => {
  const place = (path: string) => {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), '');
    return join(folder, path);
  };

  test.each([
    ['beside an image that was built here', 'own/bzImage', undefined, 'own/config'],
    ['in /boot', 'root/boot/vmlinuz-6.18.15', undefined, 'root/boot/config-6.18.15'],
    [
      'among the modules',
      'new/usr/lib/modules/7.3.4/vmlinuz',
      'new/usr/lib/modules/7.3.4',
      'new/usr/lib/modules/7.3.4/config',
    ],
    [
      'in /boot, with the image among the modules',
      'deb/usr/lib/modules/7.3.4/vmlinuz',
      'deb/usr/lib/modules/7.3.4',
      'deb/boot/config-7.3.4',
    ],
    ['in the tree of a build', 'linux/arch/x86/boot/bzImage', undefined, 'linux/.config'],
  ])('finds it %s', (_, image, modules, config) => {
    place(image);
    const path = place(config);
    expect(configurationOf(join(folder, image), modules && join(folder, modules))).toBe(path);
  });

  test('finds none where there is none', () => {
    expect(configurationOf(place('alone/bzImage'), undefined)).toBeUndefined();
  });
});
