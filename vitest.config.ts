import { defineConfig } from 'vitest/config';
import { slowness } from './test/helpers/slowness.ts';

const coverage = process.env['GMEM_PROCESS_COVERAGE'];

export default defineConfig({
  test: {
    globalSetup: 'test/helpers/build.ts',
    pool: 'forks',
    execArgv: ['--expose-gc'],
    testTimeout: 30_000 * slowness,
    expect: { poll: { timeout: 5000 * slowness } },
    // Where processes that tests start write what they execute: npm run coverage wants it.
    env: coverage === undefined ? {} : { NODE_V8_COVERAGE: coverage },
    projects: [
      { extends: true, test: { name: 'unit', include: ['test/unit/**/*.test.ts'] } },
      { extends: true, test: { name: 'host', include: ['test/host/**/*.test.ts'] } },
      // Each test starts machines, which want a processor to themselves.
      {
        extends: true,
        test: { name: 'lab', include: ['test/lab/**/*.test.ts'], testTimeout: 300_000, fileParallelism: false },
      },
    ],
  },
});
