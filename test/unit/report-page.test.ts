import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { type BrowserContext, chromium, type Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { compare } from '../../lib/reporters/compare.ts';
import { html } from '../../lib/reporters/html.ts';
import { type Report, single } from '../../lib/reporters/report.ts';
import type { CheckResult } from '../../lib/smoke/model.ts';
import { checks, hostile, passing, resultOf } from '../helpers/results.ts';

const executable = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find(existsSync);
const reason = executable ? undefined : 'there is no Chromium (Debian: apt-get install chromium)';
if (reason && process.env['GMEM_REQUIRE_CHROMIUM'] === '1') throw new Error(`GMEM_REQUIRE_CHROMIUM=1, but ${reason}`);
if (reason) console.warn(`the report's page is not tried in a browser: ${reason}`);

const failing = (count: number): CheckResult[] =>
  passing(count).map((check) => ({ ...(checks[1] as CheckResult), name: check.name }));

const reports: Record<string, Report> = {
  green: single(resultOf(passing(30))),
  full: single(resultOf()),
  failures: single(resultOf([...failing(60), ...passing(90).map((one) => ({ ...one, name: `more/${one.name}` }))])),
  matrix: {
    title: 'ten kernels',
    columns: [
      { kernel: { name: '6.12.1' }, result: resultOf() },
      ...Array.from({ length: 8 }, (_, at) => ({ kernel: { name: `6.${at + 13}.0` }, result: resultOf(passing(150)) })),
      { kernel: { name: 'broken' }, problem: 'The kernel panicked.\nThe end of its console:\n  <oops>' },
    ],
    surprises: [{ kernel: '6.12.1', check: 'file/fails', expected: 'pass', got: 'fail', reason: hostile }],
  },
  small: {
    title: 'three kernels',
    columns: [
      { kernel: { name: '6.12.1' }, result: resultOf() },
      { kernel: { name: '6.13.1' }, result: resultOf(passing(5)) },
      { kernel: { name: 'broken' }, problem: 'The kernel panicked.' },
    ],
    surprises: [{ kernel: '6.12.1', check: 'file/fails', expected: 'pass', got: 'fail', reason: hostile }],
  },
  compared: {
    title: 'old and new',
    columns: [
      { kernel: { name: 'old' }, result: resultOf(passing(10)) },
      { kernel: { name: 'new' }, result: resultOf([...failing(3), ...passing(8).slice(3)]) },
    ],
    comparison: compare(resultOf(passing(10)), resultOf([...failing(3), ...passing(8).slice(3)])),
  },
};

test('its policy lets nothing run but its own script', () => {
  expect(html(single(resultOf()))).toMatch(
    /Content-Security-Policy" content="default-src &#39;none&#39;; style-src &#39;unsafe-inline&#39;; script-src &#39;sha256-/,
  );
});

// One browser for all: it takes a second to start.
describe.skipIf(reason)(reason ? `the page (skipped: ${reason})` : 'the page', { timeout: 300_000 }, () => {
  let folder = '';
  let browser: BrowserContext;
  const said: string[] = [];
  const requests: string[] = [];

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'gmem-page-'));
    for (const [name, report] of Object.entries(reports)) writeFileSync(join(folder, `${name}.html`), html(report));
    const flags = ['gpu', 'quic', 'background-networking', 'component-update', 'sync'].map((one) => `--disable-${one}`);
    browser = await chromium.launchPersistentContext(join(folder, 'profile'), {
      executablePath: executable ?? '',
      args: ['--headless', '--no-sandbox', '--no-first-run', ...flags],
      // axe is put into the page, which its own policy forbids.
      bypassCSP: true,
    });
  }, 120_000);
  afterAll(async () => {
    await browser?.close();
    rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
  });

  async function open(name: string, width = 1280, colorScheme: 'light' | 'dark' = 'light', hash = ''): Promise<Page> {
    const page = await browser.newPage();
    page.on('console', (message) => said.push(message.text()));
    page.on('pageerror', (error) => said.push(error.message));
    page.on('request', (request) => requests.push(request.url()));
    await page.setViewportSize({ width, height: 900 });
    await page.emulateMedia({ colorScheme });
    await page.goto(pathToFileURL(join(folder, `${name}.html`)).href + hash);
    return page;
  }

  const shown = (page: Page) => page.locator('.check:visible').count();

  test('asks nothing of the network, and says nothing on the console', async () => {
    for (const name of Object.keys(reports)) await (await open(name)).close();
    expect(said).toEqual([]);
    expect([...new Set(requests.map((url) => new URL(url).protocol))]).toEqual(['file:']);
    expect(requests).toHaveLength(Object.keys(reports).length);
  });

  test('texts are shown as they are, and never are markup', async () => {
    const page = await open('full');
    const text = (await page.locator('body').textContent()) ?? '';
    expect(text).toContain('a "quoted" <b>&amp; \'x\' # SKIP not a directive ]]> --> <!-- ::error');
    expect(text).toContain('\\x1b[31m');
    expect(await page.locator('.body b').allTextContents()).not.toContain('&');
    await page.close();
  });

  test('filters by status, searches causes and traces, and takes it all back', async () => {
    const page = await open('full');
    const all = await shown(page);
    expect(all).toBe(checks.length);
    await page.getByRole('button', { name: /^failed/ }).click();
    expect(await shown(page)).toBe(2);
    expect(await page.getByRole('status').textContent()).toBe(`2 of ${all} checks`);
    await page.getByRole('button', { name: /^skipped/ }).click();
    expect(await shown(page)).toBe(5);
    await page.keyboard.press('/');
    await page.keyboard.type('ONE node');
    expect(await shown(page)).toBe(2);
    await page.keyboard.press('Escape');
    expect(await shown(page)).toBe(all);
    await page.getByRole('searchbox').fill('kvm_create_vm');
    expect(await shown(page)).toBe(1);
    await page.getByRole('searchbox').fill('no such thing');
    expect(await page.getByText('No check is like that.').isVisible()).toBe(true);
    await page.close();
  });

  test('unfolds by keyboard: cause, known bug with its commit, trace, vCPU and the picture of memory', async () => {
    const page = await open('full');
    const failed = page.locator('#run1-file-fails');
    expect(await failed.getAttribute('open')).not.toBeNull(); // a failure is what one has come for
    expect(await failed.locator('.strip li').allInnerTexts()).toMatchObject(
      [/shared 4 KiB/i, /hole 4 KiB/i, /private 2 MiB/i, /untouched 1 GiB/i].map((one) => expect.stringMatching(one)),
    );
    const trace = failed.locator('.trace', { hasText: 'kernel calls' });
    expect(await trace.locator('table').isVisible()).toBe(false);
    await trace.locator('summary').focus();
    await page.keyboard.press('Enter');
    expect(await trace.locator('tbody tr').count()).toBe(4);
    expect(await trace.locator('.refused').innerText()).toMatch(/fallocate[\s\S]*EINVAL/);
    const known = page.locator('#run1-binding-is-known');
    await known.locator('summary').first().focus();
    await page.keyboard.press('Space');
    expect(await known.locator('.bug a').getAttribute('href')).toBe('https://git.kernel.org/linus/eba85fee7fc6');
    await page.getByRole('button', { name: 'Unfold all' }).click();
    expect(await page.locator('#checks details:not([open])').count()).toBe(0);
    await page.close();
  });

  test('an address of a check opens it, also in a run that is folded', async () => {
    const page = await open('matrix');
    const target = page.locator('#run3-subject-1-property-1');
    expect(await target.isVisible()).toBe(false);
    await page.locator('.matrix a[href="#run3-subject-1-property-1"]').click();
    expect(await target.locator('.body').isVisible()).toBe(true);
    await page.close();
    const direct = await open('matrix', 1280, 'light', '#run3-subject-1-property-1');
    expect(await direct.locator('#run3-subject-1-property-1 .body').isVisible()).toBe(true);
    await direct.close();
  });

  test('shows ten runs side by side, and what changed between two', async () => {
    const page = await open('matrix');
    expect(await page.locator('.matrix thead th').allInnerTexts()).toHaveLength(11);
    expect(await page.locator('.matrix tbody tr').count()).toBe(checks.length + 150);
    await page.getByRole('searchbox').fill('file/fails');
    expect(await page.locator('.matrix tbody tr:visible').count()).toBe(1);
    expect(await page.locator('body').innerText()).toMatch(/1 not as expected/);
    expect(await page.locator('#run10').textContent()).toContain('The kernel panicked.');
    await page.close();
    const compared = await open('compared');
    expect(await compared.locator('#changes').innerText()).toMatch(/Regressions 3\n[\s\S]*Gone 2/);
    await compared.close();
  });

  test('fits 360 pixels', async () => {
    for (const name of Object.keys(reports)) {
      const page = await open(name, 360);
      await page.getByRole('button', { name: 'Unfold all' }).click();
      expect(await page.evaluate('document.documentElement.scrollWidth'), name).toBe(360);
      await page.close();
    }
  });

  test('is dark where the reader wants it', async () => {
    const background = async (scheme: 'light' | 'dark') => {
      const page = await open('green', 1280, scheme);
      const colour = await page.evaluate('getComputedStyle(document.body).backgroundColor');
      await page.close();
      return colour;
    };
    expect([await background('light'), await background('dark')]).toEqual(['rgb(246, 248, 250)', 'rgb(13, 17, 23)']);
  });

  test('prints what is not a pass in full, and folds it again', async () => {
    const page = await open('full');
    const folded = await page.locator('.check:not([open])').count();
    await page.evaluate('dispatchEvent(new Event("beforeprint"))');
    await page.emulateMedia({ media: 'print' });
    expect(await page.locator('#run1-numa-skipped .body').isVisible()).toBe(true);
    expect(await page.locator('.toolbar').isVisible()).toBe(false);
    await page.evaluate('dispatchEvent(new Event("afterprint"))');
    expect(await page.locator('.check:not([open])').count()).toBe(folded);
    await page.close();
  });

  test('has nothing that axe objects to, light and dark, wide and narrow', async () => {
    const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
    for (const [name, scheme, width] of [
      ['full', 'light', 1280],
      ['full', 'dark', 360],
      ['small', 'dark', 1280],
      ['compared', 'light', 360],
      ['green', 'light', 1280],
    ] as const) {
      const page = await open(name, width, scheme);
      if (name === 'full') await page.getByRole('button', { name: 'Unfold all' }).click();
      await page.evaluate(axe);
      const { violations } = (await page.evaluate('axe.run()')) as {
        violations: { id: string; nodes: { html: string }[] }[];
      };
      expect(
        violations.map(({ id, nodes }) => `${id}: ${nodes[0]?.html}`),
        `${name} ${scheme} ${width}`,
      ).toEqual([]);
      await page.close();
    }
  });
});
