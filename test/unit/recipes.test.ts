import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { Job } from 'kubernetes-models/batch/v1';
import { PersistentVolumeClaim } from 'kubernetes-models/v1';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parseAllDocuments, parse as parseYaml } from 'yaml';

const recipe = (name: string) => resolve('recipes', name);
const text = (name: string) => readFileSync(recipe(name), 'utf8');

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'gmem-recipes-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** A program of the shell that stands in for one that a recipe calls. */
function program(name: string, script: string): string {
  const path = join(folder, 'bin', name);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, `#!/bin/sh\n${script}\n`);
  chmodSync(path, 0o755);
  return path;
}

/** Commands of the shell in a manifest, which must at least be some. */
function expectShell(script: string): void {
  const { status, stderr } = spawnSync('bash', ['-n'], { input: script, encoding: 'utf8' });
  expect({ status, stderr }, script).toEqual({ status: 0, stderr: '' });
}

describe('GitHub', () => {
  // Its rules are those of the schemas that editors use; it looks at globs too.
  const validator = createRequire(import.meta.url)('@action-validator/core') as {
    validateWorkflow(text: string): { errors: unknown[] };
    validateAction(text: string): { errors: unknown[] };
  };

  test('the workflow and the action are as their schemas have them', () => {
    expect(validator.validateWorkflow(text('github/smoke.yml')).errors).toEqual([]);
    expect(validator.validateAction(text('github/action/action.yml')).errors).toEqual([]);
    expect(validator.validateWorkflow(text('github/smoke.yml').replace('runs-on', 'run-on')).errors).not.toEqual([]);
    expect(validator.validateAction(text('github/action/action.yml').replace('runs:', 'run:')).errors).not.toEqual([]);
  });

  test('the workflow gives the action inputs that it has, and its scripts are scripts', () => {
    const action = parseYaml(text('github/action/action.yml'));
    const { jobs } = parseYaml(text('github/smoke.yml')) as {
      jobs: Record<string, { steps: { uses?: string; with?: object; run?: string }[] }>;
    };
    const steps = Object.values(jobs).flatMap((job) => job.steps);
    const uses = steps.filter((step) => step.uses === './.github/actions/guest-memfd');
    expect(uses).toHaveLength(2);
    for (const step of uses)
      for (const name of Object.keys(step.with ?? {})) expect(action.inputs).toHaveProperty(name);
    for (const { run } of [...steps, ...action.runs.steps]) if (run) expectShell(run.replace(/\$\{\{.*?\}\}/g, 'x'));
  });

  test('the step of the action runs gmem with what it was given, and hands on its exit status', () => {
    const { runs } = parseYaml(text('github/action/action.yml'));
    const step = runs.steps.find(({ id }: { id?: string }) => id === 'smoke');
    const bin = join(folder, 'gmem/node_modules/.bin');
    mkdirSync(bin, { recursive: true });
    writeFileSync(join(bin, 'gmem'), '#!/bin/sh\necho "$@"\nexit 1\n', { mode: 0o755 });
    const run = (env: NodeJS.ProcessEnv) =>
      spawnSync('bash', ['-eo', 'pipefail', '-c', step.run], {
        encoding: 'utf8',
        env: { ...process.env, RUNNER_TEMP: folder, GITHUB_OUTPUT: join(folder, 'output'), RESULT: 'r', ...env },
      });
    const smoke = run({ KERNEL: '', CHECKS: 'file/* numa' });
    expect(smoke).toMatchObject({
      status: 1,
      stdout: expect.stringMatching(/^smoke file\/\* numa --reporter pretty /),
    });
    expect(readFileSync(join(folder, 'output'), 'utf8')).toBe('status=1\n');
    expect(run({ KERNEL: '/a b', CHECKS: '' }).stdout).toMatch(/^lab run --kernel \/a b -- --reporter pretty /);
  });
});

describe('GitLab', { timeout: 120_000 }, () => {
  const cli = createRequire(import.meta.url).resolve('gitlab-ci-local/src/index.js');
  const list = (file: string) =>
    spawnSync(process.execPath, [cli, '--file', file, '--list-json'], { cwd: folder, encoding: 'utf8' });

  test('the pipeline is as its schema has it, with the jobs that it should have', () => {
    execFileSync('git', ['init', '-q', folder]);
    execFileSync('git', ['-C', folder, 'remote', 'add', 'origin', 'git@example.org:a/b.git']);
    writeFileSync(join(folder, '.gitlab-ci.yml'), text('gitlab/.gitlab-ci.yml'));
    const { status, stdout, stderr } = list('.gitlab-ci.yml');
    expect(status, stderr).toBe(0);
    const jobs = JSON.parse(stdout.slice(stdout.indexOf('['))) as { name: string }[];
    expect(jobs.map(({ name }) => name).sort()).toEqual(['kvm', 'lab: [debian-6.12]', 'lab: [debian-6.18]', 'report']);
    writeFileSync(join(folder, 'bad.yml'), text('gitlab/.gitlab-ci.yml').replace('exit_codes: 4', 'exit_codes: {}'));
    expect(list('bad.yml').status).not.toBe(0);
  });

  test('its scripts are scripts', () => {
    const pipeline = parseYaml(text('gitlab/.gitlab-ci.yml')) as Record<string, { script?: string[] }>;
    for (const { script } of Object.values(pipeline)) if (script) expectShell(script.join('\n'));
  });
});

describe('LAVA', () => {
  test('the test definition reports what ran, and that nothing could', () => {
    const { run, metadata } = parseYaml(text('lava/guest-memfd.yaml'));
    expect(metadata).toMatchObject({ format: 'Lava-Test Test Definition 1.0', name: 'guest-memfd' });
    program('npm', 'exit 0');
    program('lava-test-case', 'echo "case $@"');
    for (const [status, stdout] of [
      [0, 'ran\n'],
      [1, 'ran\n'],
      [4, 'ran\ncase guest-memfd --result skip\n'],
    ] as const) {
      program('gmem', `echo ran; exit ${status}`);
      // As lava-test-runner has it: one script, with -e.
      const ended = spawnSync('sh', ['-ec', run.steps.join('\n')], {
        encoding: 'utf8',
        env: { ...process.env, PATH: `${join(folder, 'bin')}:${process.env['PATH']}`, PACKAGE: 'x', CHECKS: '' },
      });
      expect(ended).toMatchObject({ status: 0, stdout });
    }
  });

  // Debian's lava-common has the schema; no package of npm's has.
  const hasLava = spawnSync('/usr/bin/python3', ['-c', 'import lava_common.schemas']).status === 0;
  if (!hasLava) console.warn('the LAVA job is not validated: lava-common is not installed (Debian)');

  test('the job names the definition that is here, and has what every job must have', () => {
    const job = parseYaml(text('lava/job.yaml'));
    expect(Object.keys(job)).toEqual(
      expect.arrayContaining(['job_name', 'timeouts', 'visibility', 'actions', 'device_type', 'priority']),
    );
    const { definitions } = job.actions[2].test;
    expect(existsSync(resolve(definitions[0].path))).toBe(true);
  });

  test.skipIf(!hasLava)("the job is valid by LAVA's own schema", () => {
    const script =
      'import sys, yaml; from lava_common.schemas import validate; validate(yaml.safe_load(open(sys.argv[1])), strict=False)';
    expect(spawnSync('/usr/bin/python3', ['-c', script, recipe('lava/job.yaml')], { encoding: 'utf8' })).toMatchObject({
      status: 0,
      stderr: '',
    });
  });
});

describe('Kubernetes', () => {
  const documents = ['kubernetes/job.yaml', 'kubernetes/merge.yaml'].flatMap((name) =>
    parseAllDocuments(text(name)).map((one) => one.toJSON()),
  );

  test('the manifests are as the API has them', () => {
    expect(documents.map(({ kind }) => kind)).toEqual(['PersistentVolumeClaim', 'Job', 'Job']);
    for (const one of documents) {
      const Kind = one.kind === 'Job' ? Job : PersistentVolumeClaim;
      expect(() => new Kind(one).validate(), one.metadata.name).not.toThrow();
    }
    const wrong = structuredClone(documents[1]);
    wrong.spec.template.spec.containers[0].image = 1;
    expect(() => new Job(wrong).validate()).toThrow(/image/);
  });

  test('what one job writes the other reads, and the scripts are scripts', () => {
    const [claim, smoke, merge] = documents;
    for (const job of [smoke, merge]) {
      const { volumes, containers } = job.spec.template.spec;
      expect(volumes[0].persistentVolumeClaim.claimName).toBe(claim.metadata.name);
      expectShell(containers[0].args[0]);
    }
    expect(smoke.spec.template.spec.containers[0].args[0]).toContain('json=/results/');
    expect(merge.spec.template.spec.containers[0].args[0]).toContain('gmem report /results/*.json');
  });
});

describe('scripts', { timeout: 60_000 }, () => {
  test('bisect: what does not build cannot be told, and the verdict is the lab command’s', () => {
    const gmem = program('lab', 'echo "$@"; exit 1');
    const run = (env: NodeJS.ProcessEnv) =>
      spawnSync(recipe('bisect/bisect.sh'), [], {
        cwd: folder,
        encoding: 'utf8',
        env: { ...process.env, GMEM: gmem, IMAGE: 'image', CHECK: 'file/stat', BUILD: 'touch image', ...env },
      });
    expect(run({ BUILD: 'false' }).status).toBe(125);
    expect(run({ BUILD: 'true', IMAGE: 'none' }).status).toBe(125);
    expect(run({})).toMatchObject({ status: 1, stdout: 'lab run --kernel image --bisect file/stat\n' });
    expect(run({ CHECK: '' })).toMatchObject({ status: expect.any(Number), stderr: expect.stringContaining('CHECK') });
  });

  test('virtme-ng: gmem gets the patterns, and the folder of the result can be written to', () => {
    program('vng', 'for word in "$@"; do echo "$word"; done; exit 3');
    const { status, stdout } = spawnSync(recipe('virtme-ng/run.sh'), ['file/*'], {
      cwd: folder,
      encoding: 'utf8',
      env: { ...process.env, PATH: `${join(folder, 'bin')}:${process.env['PATH']}`, OUT: 'x.json', GMEM: 'gmem' },
    });
    expect(status).toBe(3);
    expect(stdout).toContain(`--rwdir\n${folder}\n--\n`);
    expect(stdout).toContain(`gmem smoke --reporter pretty --reporter json='${join(folder, 'x.json')}' 'file/*'\n`);
  });
});
