// Runs the C programs of /lab/reproducers inside a lab machine, a check for each: the note tells its exit code and output.
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';

const folder = '/lab/reproducers';

export const checks = readdirSync(folder).map((name) => ({
  name: `reproducer/${name}`,
  title: name,
  since: '',
  run: (context) => {
    const { status, signal, stdout, stderr } = spawnSync(`${folder}/${name}`, { encoding: 'utf8' });
    context.note(`${status ?? signal}: ${stdout}${stderr}`);
  },
}));
