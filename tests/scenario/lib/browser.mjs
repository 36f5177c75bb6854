// browser - the live page in the distribution's Chromium.
//
//   const { page, seen } = await openPage(t, gate.url);
//   ...
//   seen.assertClean();          no error, nothing asked elsewhere, nothing that the policy forbids
//
// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import fs from 'node:fs';

import { chromium } from 'playwright-core';

import { after } from './after.mjs';
import { get } from './penstock.mjs';
import { slowness } from './wait.mjs';

const PROGRAMS = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/snap/bin/chromium', '/usr/bin/google-chrome'];
const program = PROGRAMS.find((file) => fs.existsSync(file));

/// Why stories with a browser are left out, or false.
export const noBrowser = program === undefined && 'Chromium is not installed';

let browser;

/// One browser for all stories of a file; each has a context of its own.
async function launch() {
  browser ??= await chromium.launch({ executablePath: program, args: ['--no-sandbox', '--disable-dev-shm-usage'] });
  return browser;
}

export async function closeBrowser() {
  await browser?.close();
}

/// Is the page in this build? Without npm it is not.
export async function hasPage(gate) {
  return (await get(gate.port, '/dashboard.html'))?.headers['content-type'].startsWith('text/html') ?? false;
}

/// What the page did that it must not do.
class Seen {
  constructor(page, origin) {
    this.errors = [];
    this.foreign = [];
    this.frames = [];
    this.requests = [];
    this.expected = () => false;
    page.on('console', (message) => ['error', 'warning'].includes(message.type()) && this.errors.push(message.text()));
    page.on('pageerror', (error) => this.errors.push(String(error.stack)));
    page.on('request', (request) => {
      const url = request.url();
      this.requests.push(url);
      if (!url.startsWith(origin) && !url.startsWith('data:')) {
        this.foreign.push(url);
      }
    });
    page.on('websocket', (socket) => {
      if (!socket.url().startsWith(origin.replace('http', 'ws'))) {
        this.foreign.push(socket.url());
      }
      socket.on('framereceived', ({ payload }) => this.frames.push(JSON.parse(String(payload))));
    });
  }

  /// expected(text): errors that the story itself has made.
  assertClean(expected = () => false) {
    assert.deepEqual(this.errors.filter((text) => !expected(text)), []);
    assert.deepEqual(this.foreign, []);
  }
}

/// Opens a page. Options: scheme, width, height, path, waits (false: not for the first figures).
export async function openPage(t, url, { scheme = 'dark', width = 1440, height = 900, path = '/', waits = true, ...more } = {}) {
  const context = await (await launch()).newContext({ viewport: { width, height }, colorScheme: scheme, ...more });
  after(t, () => context.close());
  context.setDefaultTimeout(15000 * slowness);
  const page = await context.newPage();
  const seen = new Seen(page, url);
  await page.addInitScript(() => {
    window.violations = [];
    document.addEventListener('securitypolicyviolation', (event) => window.violations.push(`${event.violatedDirective} ${event.blockedURI}`));
  });
  const response = await page.goto(`${url}${path}`);
  if (waits) {
    await page.locator('.uplot canvas').first().waitFor();
  }
  return { page, context, seen, response };
}

/// A panel by its id, and its parts.
export function panel(page, id) {
  const element = page.locator(`#panel-${id}`);
  const button = (text) => element.locator('.legend button').filter({ has: page.locator('.name', { hasText: new RegExp(`^${text}$`) }) });
  return {
    element, button,
    plot: element.locator('.u-over'),
    value: (text) => button(text).locator('.value').textContent(),
    isShown: async (text) => (await button(text).getAttribute('aria-pressed')) === 'true',
    // Enlarged it says from when to when it shows; hover is not needed, for the button takes the focus.
    enlarge: () => element.locator('.expand').press('Enter'),
    caption: () => element.locator('caption').textContent(),
  };
}
