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
import { chat } from './client.mjs';
import { get, startPenstock } from './penstock.mjs';
import { startSim } from './sim.mjs';
import { sleep, slowness } from './wait.mjs';

const PROGRAMS = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/snap/bin/chromium', '/usr/bin/google-chrome'];
const program = PROGRAMS.find((file) => fs.existsSync(file));

/// Why stories with a browser are left out, or false.
export const noBrowser = program === undefined && 'Chromium is not installed';

let browser;

/// One browser for all stories of a file; each has a context of its own.
export async function launch() {
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
    new MutationObserver((_, observer) => {
      if (document.querySelector('.uplot canvas') !== null) {
        requestAnimationFrame(() => { window.firstChart = performance.now(); });
        observer.disconnect();
      }
    }).observe(document, { childList: true, subtree: true });
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

/// A gateway with a simulated server, and requests through it until the test ends.
export async function trafficStage(t, { config = '', every = 40, port } = {}) {
  const sim = await startSim(t, 'vllm');
  const gate = await startPenstock(t, { port, config: `upstreams: [{name: gpu, engine: vllm, endpoints: ["${sim.url}"]}]\n${config}` });
  const timer = setInterval(() => {
    chat(gate.port, { body: { max_tokens: 8, stream: true } }).catch(() => {});
  }, every * slowness);
  after(t, () => clearInterval(timer));
  return { gate, sim };
}

/// What the page holds after a collection: bytes of its heap, nodes and listeners.
async function sizeOf(session) {
  await session.send('HeapProfiler.collectGarbage');
  const { metrics } = await session.send('Performance.getMetrics');
  const of = (name) => metrics.find((metric) => metric.name === name).value;
  return { heap: of('JSHeapUsedSize'), nodes: of('Nodes'), listeners: of('JSEventListeners') };
}

/// Fails when the page grows while it is used for that long: after a first part, in which the store fills up.
export async function staysSmall(t, { minutes }) {
  const { gate } = await trafficStage(t);
  if (!(await hasPage(gate))) {
    t.skip('this build has no page');
    return;
  }
  const { page, context, seen } = await openPage(t, gate.url);
  const session = await context.newCDPSession(page);
  await session.send('Performance.enable');
  const use = async (ms) => {
    const end = Date.now() + ms;
    for (let i = 0; Date.now() < end; i++) {
      seen.frames.length = 0;
      seen.requests.length = 0;
      await page.keyboard.press(['3', '2', 't', ',', '+', 'Escape', ' ', ' '][i % 8]);
      await page.mouse.move(400 + (i % 50) * 10, 500);
      await page.mouse.wheel(0, i % 2 === 0 ? 900 : -900);
      await sleep(400);
    }
  };
  await use(minutes * 60000 * 0.4);
  const before = await sizeOf(session);
  await use(minutes * 60000 * 0.6);
  const after = await sizeOf(session);
  t.diagnostic(`heap ${(before.heap / 1e6).toFixed(2)} -> ${(after.heap / 1e6).toFixed(2)} MB, nodes ${before.nodes} -> ${after.nodes}, listeners ${before.listeners} -> ${after.listeners}`);
  assert.ok(after.heap < before.heap * 1.25 + 1e6, `the heap grew from ${before.heap} to ${after.heap} bytes`);
  assert.ok(after.nodes < before.nodes * 1.25 + 300, `from ${before.nodes} to ${after.nodes} nodes`);
  assert.ok(after.listeners < before.listeners * 1.25 + 100, `from ${before.listeners} to ${after.listeners} listeners`);
  seen.assertClean();
}
