// The tests of test/host that need KVM, where there is one: each file is a check, by vitest in a copy of the checkout.
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, rmSync } from 'node:fs';

const list = '/checkout/host-tests.json';
const report = '/tmp/host-tests.json';
/** Each by its path in the checkout. */
const files = existsSync(list) ? JSON.parse(readFileSync(list, 'utf8')) : [];

export const nameOf = (file) => `host/${/([\w-]+)\.test\.ts$/.exec(file)[1]}`;

export const checks = files.map((file) => ({
  name: nameOf(file),
  title: file,
  since: '',
  run: (context) => {
    rmSync(report, { force: true });
    const how = ['--project', 'host', '--reporter', 'json', '--outputFile', report];
    const { status, signal, stdout, stderr } = spawnSync(
      process.execPath,
      ['node_modules/vitest/vitest.mjs', 'run', ...how, file],
      {
        cwd: '/checkout',
        encoding: 'utf8',
        env: { ...process.env, HOME: '/tmp', PATH: '/bin', GMEM_REQUIRE_KVM: '1', GMEM_TEST_SLOWNESS: '10' },
        maxBuffer: 1 << 26,
      },
    );
    if (!existsSync(report)) throw new Error(`vitest ended with ${status ?? signal}:\n${stdout}\n${stderr}`);
    for (const { message, assertionResults } of JSON.parse(readFileSync(report, 'utf8')).testResults) {
      if (message) context.note(JSON.stringify({ test: file, status: 'failed', said: message }));
      for (const { fullName, status: outcome, failureMessages } of assertionResults)
        context.note(JSON.stringify({ test: fullName, status: outcome, said: failureMessages?.join('\n') }));
    }
    if (status !== 0) throw new Error(`vitest ended with ${status ?? signal}: ${stderr}`);
  },
}));
