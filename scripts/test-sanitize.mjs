// The whole host test suite with the addon built with ASan and UBSan.
import { run } from './cmake.mjs';
import { sanitized } from './sanitized.mjs';

run(process.execPath, ['node_modules/vitest/vitest.mjs', 'run', '--project', 'host', '--testTimeout', '120000'], {
  env: { ...process.env, ...sanitized('address,undefined') },
});
