import { expect, test } from 'vitest';
import type { Matrix } from '../../lib/lab/matrix.ts';
import { gmemLab } from '../helpers/process.ts';
import { describeLab } from './lab.ts';

const kernels = ['debian-6.12', 'debian-6.18', 'debian-7.3', 'debian-7.3-arm64', 'sw-protected-7.3', 'in-place-7.3'];

describeLab('gmem lab matrix', kernels, () => {
  test('finds every check as it is expected of each release', { timeout: 1_200_000 }, async () => {
    const { stdout, code } = await gmemLab('matrix', ...kernels, '--offline', '--reporter', 'json');
    const matrix = JSON.parse(stdout) as Matrix;
    expect(matrix.surprises).toEqual([]);
    expect(matrix.columns.map(({ kernel, problem }) => [kernel.name, problem])).toEqual(
      kernels.map((name) => [name, undefined]),
    );
    expect(code).toBe(0);
    // What it skips needs in-place conversion, or another processor: nothing for want of attributes or nodes.
    const own = matrix.columns.find(({ kernel }) => kernel.name === 'sw-protected-7.3')?.result;
    const skipped = own?.checks.filter(({ status, name }) => status === 'skip' && !name.startsWith('in-place/'));
    expect(skipped?.map(({ name }) => name)).toEqual(['errno/region-not-mappable']);
  });
});
