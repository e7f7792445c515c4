import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { parseName } from '../../lib/lab/kernel-names.ts';
import { builtKernels } from '../../lib/lab/recipes.ts';

test('kernels that are built say what of', () => {
  expect(builtKernels).toEqual(['sw-protected', 'in-place']);
  expect(parseName('in-place-7.3')).toMatchObject({
    series: '7.3',
    architecture: 'x86_64',
    swProtected: true,
    inPlace: true,
    debug: false,
    recipe: { config: ['sw-protected', 'in-place'], patches: ['in-place-conversion'] },
  });
  expect(parseName('in-place-7.3-debug')).toMatchObject({
    debug: true,
    recipe: { config: ['sw-protected', 'in-place', 'debug'], patches: ['in-place-conversion'] },
  });
  expect(parseName('sw-protected-7.3')).toMatchObject({ inPlace: false, recipe: { patches: [] } });
  expect(parseName('debian-7.3')?.recipe).toBeUndefined();
  for (const name of ['constructor-7.3', 'in-place', 'in-place-7.3-arm64', 'in-place-7.3-debug-debug'])
    expect(parseName(name)).toBeUndefined();
});

test('a built kernel has its files, and each patch says its licence', () => {
  for (const kind of builtKernels) {
    const { recipe } = parseName(`${kind}-7.3-debug`) ?? {};
    for (const part of recipe?.config ?? [])
      expect(readFileSync(`scripts/lab/config/${part}.config`, 'utf8')).not.toBe('');
    for (const patch of recipe?.patches ?? [])
      expect(readFileSync(`scripts/lab/patches/${patch}.patch`, 'utf8')).toMatch(
        /^# SPDX-License-Identifier: GPL-2\.0-only\n/,
      );
  }
});
