// What the worker of a lab machine runs: each case in a process of its own, for the worker's Node compiles nothing.
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { cases } from './cases.mjs';

const measureOne = `
import { writeFileSync } from 'node:fs';
import { measureAll } from ${JSON.stringify(new URL('measure-all.mjs', import.meta.url).href)};
const measured = await measureAll(JSON.parse(process.argv[1]), () => {});
writeFileSync('/tmp/measured.json', JSON.stringify(measured));
`;

export const checks = cases.map(({ name, title }) => ({
  name,
  title,
  since: '',
  run(check) {
    const options = { ...JSON.parse(readFileSync('/lab/bench.json', 'utf8')), names: [name], program: '/lab/baseline' };
    const { status, stderr } = spawnSync(
      process.execPath,
      ['--input-type=module', '--eval', measureOne, JSON.stringify(options)],
      { cwd: fileURLToPath(new URL('.', import.meta.url)), encoding: 'utf8', stdio: ['ignore', 'inherit', 'pipe'] },
    );
    if (status !== 0) throw new Error(`measuring ended with ${status}: ${stderr}`);
    check.note(readFileSync('/tmp/measured.json', 'utf8'));
  },
}));
