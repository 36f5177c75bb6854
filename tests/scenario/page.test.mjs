// timeout: 400
// tags: plain
//
// page - the live page in a real browser: what it shows is what the program says, and it can be used by all.
//
// The pictures in docs/images are made here, from the demo: PENSTOCK_PICTURES=1 node page.test.mjs
//
// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import path from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';

import { COLOURS } from '../../web/colours.js';
import { format, parts } from '../../web/format.js';
import { closeBrowser, hasPage, noBrowser, openPage, panel, staysSmall, trafficStage as stage } from './lib/browser.mjs';
import { call, front } from './lib/client.mjs';
import { Penstock, get, startPenstock, tempDir } from './lib/penstock.mjs';
import { freePort } from './lib/ports.mjs';
import { inference, startUpstream } from './lib/upstream.mjs';
import { sleep, until } from './lib/wait.mjs';

const TOKEN = 'read-token-0123456789abcdef';
const images = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../docs/images');
const isLost = (text) => /WebSocket|ERR_CONNECTION|ERR_EMPTY|Failed to load resource/.test(text);

test.after(closeBrowser);

const browserTest = (name, story) => test(name, { skip: noBrowser }, async (t) => {
  const probe = await startPenstock(t);
  if (!(await hasPage(probe))) {
    t.skip('this build has no page');
    return;
  }
  await probe.stop();
  await story(t);
});

/// Ends a story: nothing of what must not be.
async function assertClean(page, seen, expected) {
  assert.deepEqual(await page.evaluate(() => window.violations), []);
  seen.assertClean(expected);
}

/// Waits until the page has shown that many more seconds.
async function seconds(page, count) {
  const shown = new Set();
  await until(`${count} more seconds are shown`, async () => shown.add(await page.locator('#clock').textContent()).size > count, 20000, 50);
}

// ---- the document

test('the document comes whole, gzipped for those who take it, and not again to those who have it', async (t) => {
  const gate = await startPenstock(t);
  if (!(await hasPage(gate))) {
    t.skip('this build has no page');
    return;
  }
  for (const target of ['/', '/dashboard.html']) {
    const plain = await get(gate.port, target);
    assert.equal(plain.status, 200);
    assert.match(plain.body, /^<!doctype html>/);
    assert.doesNotMatch(plain.body, /(src|href)="?(https?:)?\/\//);
    const policy = plain.headers['content-security-policy'];
    assert.match(policy, /^default-src 'none'; script-src 'sha256-[^']+'; style-src 'sha256-[^']+'; connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'$/);
    assert.equal(plain.headers['x-content-type-options'], 'nosniff');
    assert.equal(plain.headers['referrer-policy'], 'no-referrer');
    const packed = await fetch(`${gate.url}${target}`, { headers: { 'accept-encoding': 'gzip' } });
    assert.equal(packed.headers.get('content-encoding'), 'gzip');
    const bytes = Number(packed.headers.get('content-length'));
    assert.ok(bytes < 150 * 1024, `${bytes} bytes gzipped`);
    t.diagnostic(`${target}: ${bytes} bytes gzipped`);
    assert.equal(await packed.text(), plain.body);
    const again = await get(gate.port, target, { 'if-none-match': plain.headers.etag });
    assert.deepEqual([again.status, again.body], [304, '']);
    assert.equal((await get(gate.port, target, { accept: 'text/plain' })).headers['content-type'], 'text/plain; charset=utf-8');
  }
  assert.match(await front(gate.port), /No inference server is configured/);
});

// ---- figures

browserTest('it draws at once, goes on every second, and asks nobody else', async (t) => {
  const { gate } = await stage(t);
  const { page, seen } = await openPage(t, gate.url);
  t.diagnostic(`first chart ${(await page.evaluate(() => window.firstChart)).toFixed(0)} ms after the page was asked for`);
  await seconds(page, 3);
  const frames = seen.frames.length;
  assert.ok(frames >= 3, `${frames} frames`);
  assert.ok(seen.frames[0].history.time.length > 0);
  assert.ok(seen.frames.slice(1).every((frame) => frame.history === undefined));
  assert.match(await page.title(), /Penstock$/);
  assert.match(await page.locator('link[rel=icon]').getAttribute('href'), /^data:image\/svg\+xml,/);
  await assertClean(page, seen);
});

browserTest('its values are those of the API in the same second', async (t) => {
  const { gate } = await stage(t);
  const { page, seen } = await openPage(t, gate.url);
  const shown = { requests: ['requests', 'all'], tokens: ['tokens', 'written'], in_flight: ['in-flight', 'in flight'], memory_mb: ['memory', 'resident'] };
  let compared = 0;
  for (let tries = 0; tries < 20 && compared < 3; tries++) {
    await seconds(page, 1);
    const said = (await call(gate.port, { path: '/api/dashboard/summary' })).json;
    // One look at all of the page: between two looks it may move on.
    const { text, values } = await page.evaluate((wanted) => ({
      text: document.getElementById('clock').textContent,
      values: Object.fromEntries(Object.entries(wanted).map(([name, [id, series]]) => [name, [...document.querySelectorAll(`#panel-${id} .series`)]
        .find((button) => button.querySelector('.name').textContent === series)?.querySelector('.value').textContent])),
    }), shown);
    const frame = seen.frames.findLast(({ time }) => Math.floor(time) === Math.floor(said.time));
    const clock = new Date(Math.floor(said.time) * 1000).toTimeString().slice(0, 8);
    if (frame === undefined || text !== clock) {
      continue; // the second changed meanwhile
    }
    assert.deepEqual(frame.metrics, said.current_metrics);
    for (const name of Object.keys(shown)) {
      const { unit } = seen.frames[0].board.find((row) => row.name === name);
      const value = said.current_metrics[name];
      assert.ok([format(value, unit), parts(value, unit)[0]].includes(values[name]), `${name} is ${value}, and shown as ${values[name]}`);
    }
    compared++;
  }
  assert.equal(compared, 3);
  await assertClean(page, seen);
});

browserTest('custom metrics appear by themselves', async (t) => {
  const { gate } = await stage(t);
  const { page, seen } = await openPage(t, gate.url);
  const body = [{ name: 'orders_waiting', type: 'gauge', help: 'Orders nobody has packed', labels: { shop: 'oslo' }, value: 7 }];
  assert.equal((await call(gate.port, { method: 'POST', path: '/api/metrics', body })).status, 200);
  const custom = panel(page, 'custom-orders_waiting-');
  await custom.element.waitFor();
  await until('its value', async () => (await custom.element.locator('.value').textContent()) === '7');
  await assertClean(page, seen);
});

browserTest('without a GPU the setting that would give one is named, and nothing is 0 that is unknown', async (t) => {
  const gate = await startPenstock(t);
  const { page, seen } = await openPage(t, gate.url);
  const problem = await call(gate.port, { path: '/api/gpu/profile' });
  assert.equal(problem.status, 503);
  const missing = page.locator('#gpu .missing', { hasText: problem.json.detail });
  await missing.waitFor();
  assert.match(await missing.textContent(), /^Nothing is known of any GPU/); // once, as a sentence
  const tile = page.locator('.tile', { hasText: 'GPU memory' });
  assert.match(await tile.textContent(), /–unknown/);
  assert.match(await page.locator('#verdict-text').textContent(), /No inference server is configured/);
  await assertClean(page, seen, (text) => /503/.test(text));
});

browserTest('a server that goes away is told in the first line, and where to look', async (t) => {
  const up = await startUpstream(t, inference());
  const gate = await startPenstock(t, { config: `upstreams: [{name: gpu, engine: openai, endpoints: ["${up.url}"], health: {interval: 100ms}}]` });
  const { page, seen } = await openPage(t, gate.url);
  await seconds(page, 1);
  assert.equal(await page.locator('#reason-endpoints').count(), 0);
  assert.match(await page.locator('#verdict-text').textContent(), /^(Healthy|Watch)/); // others may keep the machine busy
  await up.crash();
  await page.locator('#verdict[data-level=bad]').waitFor();
  assert.match(await page.locator('#reason-endpoints').textContent(), /No endpoint is up/);
  assert.match(await page.title(), /^✕ Trouble/);
  await page.locator('#reason-endpoints a').click();
  await until('the table has the focus', () => page.evaluate(() => document.activeElement.id === 'panel-endpoints'));
  assert.match(await page.locator('#panel-endpoints tbody').textContent(), /down/);
  assert.match(await page.locator('#panel-events').textContent(), /unhealthy/);
  await assertClean(page, seen, (text) => /503/.test(text)); // such a server tells of no GPU, which a browser calls an error
});

// ---- what the reader does

browserTest('dragging zooms all charts alike, and a double click shows all again', async (t) => {
  const { gate } = await stage(t);
  const { page, seen } = await openPage(t, gate.url);
  const [latency, tokens] = [panel(page, 'latency'), panel(page, 'tokens')];
  await latency.enlarge();
  await tokens.enlarge();
  await latency.plot.scrollIntoViewIfNeeded();
  const box = await latency.plot.boundingBox();
  const range = async (one) => (await one.caption()).replace(/^.*?,/, '');
  await page.mouse.move(box.x + box.width * 0.5, box.y + 60);
  await page.mouse.down();
  await page.mouse.move(box.x + box.width * 0.75, box.y + 60, { steps: 4 });
  await page.mouse.up();
  await page.locator('#zoomed').waitFor();
  await page.mouse.move(5, 5); // off the charts: the clock is that of the newest second again
  const zoomed = await range(latency);
  assert.equal(await range(tokens), zoomed);
  const [from, to] = zoomed.match(/\d\d:\d\d:\d\d/g).map((text) => new Date(`2000-01-01T${text}`) / 1000);
  assert.ok(Math.abs(((to - from + 86400) % 86400) - 75) <= 2, zoomed);
  await seconds(page, 2);
  assert.equal(await range(latency), zoomed, 'it stands still while time goes on');
  for (const [key, width] of [['+', 37], ['-', 75], ['ArrowLeft', 75]]) {
    await page.keyboard.press(key);
    const [a, b] = (await range(latency)).match(/\d\d:\d\d:\d\d/g).map((text) => new Date(`2000-01-01T${text}`) / 1000);
    assert.ok(Math.abs(((b - a + 86400) % 86400) - width) <= 3, `${key}: ${await range(latency)}`);
  }
  await latency.plot.dblclick();
  await page.locator('#zoomed').waitFor({ state: 'hidden' });
  await assertClean(page, seen);
});

browserTest('one series alone, or without one, by mouse and by keyboard', async (t) => {
  const { gate } = await stage(t);
  const { page, seen } = await openPage(t, gate.url);
  const latency = panel(page, 'latency');
  const shown = () => Promise.all(['p50', 'p95', 'p99'].map(latency.isShown));
  await latency.button('p95').click();
  assert.deepEqual(await shown(), [false, true, false]);
  await latency.button('p95').click();
  assert.deepEqual(await shown(), [true, true, true]);
  await latency.button('p99').click({ modifiers: ['Shift'] });
  assert.deepEqual(await shown(), [true, true, false]);
  await latency.button('p50').press('Enter');
  assert.deepEqual(await shown(), [true, false, false]);
  await latency.button('p99').press('Shift+Enter');
  assert.deepEqual(await shown(), [true, false, true]);
  await assertClean(page, seen);
});

browserTest('keys: pause, theme, find, help, cursor', async (t) => {
  const { gate } = await stage(t);
  const { page, seen } = await openPage(t, gate.url);
  const all = () => page.locator('main').evaluate((main) => [...main.querySelectorAll('.value, .tile-value, #clock')].map((one) => one.textContent).join('|'));
  await page.keyboard.press('Space');
  const before = await all();
  const frames = seen.frames.length;
  await until('two more frames', () => seen.frames.length >= frames + 2, 10000, 50);
  assert.equal(await all(), before, 'nothing moves while it is paused');
  assert.equal(await page.locator('#pause').getAttribute('aria-pressed'), 'true');
  await page.keyboard.press('Space');
  await until('it goes on', async () => (await all()) !== before);

  const theme = () => page.evaluate(() => document.documentElement.dataset.theme);
  assert.equal(await theme(), 'dark');
  await page.keyboard.press('t');
  assert.equal(await theme(), 'light');
  await page.reload();
  await page.locator('.uplot canvas').first().waitFor();
  assert.equal(await theme(), 'light', 'the choice is kept');

  await page.keyboard.press('/');
  await page.keyboard.type('hit rate');
  await page.locator('#panel-latency').waitFor({ state: 'hidden' });
  await page.keyboard.press('Escape');
  await page.locator('#panel-latency').waitFor();

  await page.keyboard.press('?');
  assert.match(await page.locator('#keys').textContent(), /find a panel/);
  await page.keyboard.press('Escape');
  await page.locator('#keys').waitFor({ state: 'hidden' });

  const newest = await page.locator('#clock').textContent();
  for (let i = 0; i < 4; i++) {
    await page.keyboard.press(',');
  }
  await until('the clock is that of the cursor', async () => (await page.locator('#clock.hovered').count()) === 1 && (await page.locator('#clock').textContent()) < newest);
  await assertClean(page, seen);
});

browserTest('longer ranges come from the history, by button, key and dates', async (t) => {
  const { gate } = await stage(t);
  const { page, seen } = await openPage(t, gate.url);
  const asked = () => seen.requests.filter((url) => url.includes('/api/history?'));
  const pressed = () => page.locator('#ranges button[aria-pressed=true]').textContent();
  assert.equal(await pressed(), '5 min');
  for (const [key, text, width] of [['3', '1 h', 3600], ['5', '24 h', 86400], ['7', '30 d', 2592000]]) {
    const before = asked().length;
    await page.keyboard.press(key);
    await until(`the history of ${text}`, () => asked().length > before);
    assert.equal(await pressed(), text);
    const query = new URL(asked().at(-1)).searchParams;
    assert.ok(Math.abs(query.get('to') - query.get('from') - width) <= 2);
    await page.locator('#kept', { hasText: 'Nothing is kept on disk' }).waitFor();
  }
  await page.locator('#ranges button', { hasText: 'From–to' }).click();
  await page.locator('#from').fill('2026-01-01T00:00:01');
  await page.locator('#to').fill('2025-01-01T00:00:01');
  await page.locator('#fromto button').click();
  assert.match(await page.locator('#fromto-error').textContent(), /before/);
  await page.locator('#to').fill('2026-01-02T00:00:01');
  await page.locator('#fromto button').click();
  await page.locator('#panel-requests .note', { hasText: 'Nothing was kept of this time' }).waitFor();
  await page.keyboard.press('2');
  await page.locator('#panel-requests .note').waitFor({ state: 'hidden' });
  await page.locator('#kept').waitFor({ state: 'hidden' });
  await assertClean(page, seen);
});

// ---- connection and access

browserTest('a restart is a banner that goes, and a gap that stays', async (t) => {
  const port = await freePort();
  const { gate, sim } = await stage(t, { port });
  const { page, seen } = await openPage(t, gate.url);
  await seconds(page, 3);
  await gate.stop();
  await page.locator('#banner').waitFor();
  assert.match(await page.locator('#banner').textContent(), /connection to Penstock was lost/);
  assert.equal(await page.locator('#verdict').getAttribute('data-level'), 'unknown');
  assert.match(await page.title(), /^\? Unknown/);
  await sleep(2500);
  await startPenstock(t, { port, config: `upstreams: [{name: gpu, engine: vllm, endpoints: ["${sim.url}"]}]` });
  await page.locator('#banner').waitFor({ state: 'hidden' });
  await until('it is not unknown', async () => (await page.locator('#verdict').getAttribute('data-level')) !== 'unknown');
  await seconds(page, 2);
  const values = [];
  for (let i = 0; i < 14; i++) {
    await page.keyboard.press(',');
    values.push(await panel(page, 'requests').value('all'));
  }
  const text = values.map((value) => (value === '–' ? '-' : 'x')).join('');
  assert.match(text, /^x+-{2,}x+/, 'known now, unknown while it was away, known before');
  await assertClean(page, seen, isLost);
});

browserTest('what was kept before a restart is on the chart of the hour', async (t) => {
  const port = await freePort();
  const store = `store: {path: ${path.join(tempDir(t), 'ledger.db')}}`;
  const { gate, sim } = await stage(t, { port, config: store });
  await sleep(4000);
  await gate.stop();
  const again = await startPenstock(t, { port, config: `upstreams: [{name: gpu, engine: vllm, endpoints: ["${sim.url}"]}]\n${store}` });
  const { page, seen } = await openPage(t, again.url);
  await page.keyboard.press('3');
  await until('the hour has figures', async () => /^[\d.]+$/.test(await panel(page, 'requests').value('all')), 20000, 100);
  const { series } = (await call(port, { path: '/api/history?name=requests&range=1h' })).json;
  assert.equal(await page.locator('#panel-requests .note').isVisible(), false);
  assert.ok(series[0].mean.some((value) => value > 0));
  assert.equal(await page.locator('#kept').isVisible(), false);
  await assertClean(page, seen);
});

browserTest('with a token it asks for it once and keeps none', async (t) => {
  const { gate } = await stage(t, { config: `admin: {tokens: [{name: looker, role: read, token: ${TOKEN}}]}` });
  const { page, context, seen, response } = await openPage(t, gate.url, { waits: false });
  assert.equal(response.status(), 401);
  await page.locator('#signin').waitFor();
  assert.ok(await page.evaluate(() => document.activeElement.id === 'token'));
  await page.keyboard.type('not-the-token-0123456789');
  await page.keyboard.press('Enter');
  await page.locator('#signin-error', { hasText: 'not known' }).waitFor();
  await page.locator('#token').fill(TOKEN);
  await page.keyboard.press('Enter');
  await page.locator('.uplot canvas').first().waitFor();
  assert.equal(await page.locator('#signin').isVisible(), false);
  const [cookie] = await context.cookies();
  assert.deepEqual([cookie.name, cookie.httpOnly, cookie.sameSite], ['penstock_session', true, 'Strict']);
  const kept = await page.evaluate(() => JSON.stringify([document.cookie, { ...localStorage }, { ...sessionStorage }, document.documentElement.outerHTML, document.getElementById('token').value]));
  assert.ok(!kept.includes(TOKEN));
  await page.reload();
  await page.locator('.uplot canvas').first().waitFor();
  assert.equal(await page.locator('#signin').isVisible(), false, 'the cookie does');
  await assertClean(page, seen, (text) => /401|WebSocket/.test(text));
});

// ---- for everyone

/// Contrast as WCAG 2 has it.
function contrast(a, b) {
  const luminance = (colour) => {
    const [r, g, blue] = colour.map((value) => (value / 255 <= 0.04045 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * blue;
  };
  const [low, high] = [luminance(a), luminance(b)].sort((x, y) => x - y);
  return (high + 0.05) / (low + 0.05);
}

const rgb = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));

/// Each visible text with its colour and what is behind it.
function textsOf() {
  const colour = (text) => text.match(/[\d.]+/g).map(Number);
  const found = new Map();
  for (const element of document.querySelectorAll('body *')) {
    const own = [...element.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.textContent.trim() !== '');
    const box = element.getBoundingClientRect();
    if (!own || box.width < 2 || box.height < 2 || !element.checkVisibility({ checkVisibilityCSS: true, opacityProperty: true })) {
      continue;
    }
    let behind = element;
    while (behind && (colour(getComputedStyle(behind).backgroundColor)[3] === 0)) {
      behind = behind.parentElement;
    }
    const style = getComputedStyle(element);
    const back = behind ? getComputedStyle(behind).backgroundColor : 'rgb(255, 255, 255)';
    found.set(`${style.color} on ${back}`, { text: element.textContent.trim().slice(0, 30), front: colour(style.color), back: colour(back) });
  }
  return [...found.values()];
}

browserTest('text and lines stand out in both themes (WCAG AA)', async (t) => {
  for (const [name, { series, bad, axis, card }] of Object.entries(COLOURS)) {
    for (const colour of [...series, bad, axis]) {
      assert.ok(contrast(rgb(colour), rgb(card)) >= 4.5, `${colour} in ${name}: ${contrast(rgb(colour), rgb(card)).toFixed(2)}`);
    }
  }
  const { gate } = await stage(t);
  for (const scheme of ['dark', 'light']) {
    const { page, seen } = await openPage(t, gate.url, { scheme });
    await seconds(page, 2);
    assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), scheme);
    const card = await page.locator('.panel').first().evaluate((one) => getComputedStyle(one).backgroundColor);
    assert.deepEqual(card.match(/\d+/g).slice(0, 3).map(Number), rgb(COLOURS[scheme].card));
    const texts = await page.evaluate(textsOf);
    assert.ok(texts.length > 5);
    for (const { text, front: colour, back } of texts) {
      assert.ok(contrast(colour, back) >= 4.5, `"${text}" in ${scheme}: ${contrast(colour, back).toFixed(2)}`);
    }
    await assertClean(page, seen);
  }
});

browserTest('a phone shows it without scrolling sideways', async (t) => {
  const { gate } = await stage(t);
  for (const width of [360, 768, 1024]) {
    const { page, seen } = await openPage(t, gate.url, { width, height: 780 });
    await seconds(page, 1);
    for (const state of ['at first', 'with dates']) {
      const { all, inner } = await page.evaluate(() => ({ all: document.documentElement.scrollWidth, inner: innerWidth }));
      assert.ok(all <= inner, `${width} ${state}: ${all} > ${inner}`);
      await page.keyboard.press('9');
    }
    await assertClean(page, seen);
  }
});

browserTest('a keyboard reaches everything, and what has the focus is seen', async (t) => {
  const { gate } = await stage(t);
  const { page, seen } = await openPage(t, gate.url);
  const reached = new Set();
  for (let i = 0; i < 150; i++) {
    await page.keyboard.press('Tab');
    const { what, outline, name } = await page.evaluate(() => {
      const one = document.activeElement;
      return { what: one.id || one.className || one.tagName, outline: getComputedStyle(one).outlineStyle, name: (one.getAttribute('aria-label') ?? one.getAttribute('aria-labelledby') ?? one.labels?.[0]?.textContent ?? one.textContent ?? '').trim() };
    });
    if (what === 'BODY') {
      break;
    }
    reached.add(what);
    assert.notEqual(outline, 'none', `${what} shows that it has the focus`);
    assert.notEqual(name, '', `${what} has a name`);
  }
  for (const what of ['skip', 'find', 'pause', 'theme', 'help', 'series', 'expand', 'scroll', 'events']) {
    assert.ok(reached.has(what), `${what} is reached: ${[...reached].join(' ')}`);
  }
  await assertClean(page, seen);
});

browserTest('a screen reader finds landmarks, headings, and values for every chart', async (t) => {
  const { gate } = await stage(t);
  const { page, seen } = await openPage(t, gate.url);
  await seconds(page, 1);
  for (const role of ['banner', 'navigation', 'main', 'contentinfo']) {
    assert.equal(await page.getByRole(role).count(), 1, role);
  }
  assert.equal(await page.getByRole('heading', { level: 1 }).count(), 1);
  const charts = await page.locator('.plot').evaluateAll((plots) => plots.filter((plot) => plot.checkVisibility()).map((plot) => [plot.getAttribute('role'), plot.getAttribute('aria-label')]));
  assert.ok(charts.length > 10);
  for (const [role, label] of charts) {
    assert.equal(role, 'img');
    assert.match(label, /^Chart of .+\. .+\.$/s);
  }
  const latency = panel(page, 'latency');
  await latency.enlarge();
  assert.match(await latency.element.locator('table.stats').textContent(), /Least.*Mean.*Most.*p95/s);
  assert.match(await page.locator('#verdict-text').getAttribute('aria-live'), /^(polite|off)$/);
  await assertClean(page, seen);
});

browserTest('what moves stops for those who asked for that', async (t) => {
  const { gate } = await stage(t);
  const { page, seen } = await openPage(t, gate.url, { reducedMotion: 'reduce' });
  assert.equal(await page.locator('#verdict').evaluate((one) => getComputedStyle(one).transitionDuration), '0s');
  await assertClean(page, seen);
});

browserTest('half a minute costs no memory', (t) => staysSmall(t, { minutes: 0.5 }));

// ---- pictures

test('pictures of the demo in both themes', { skip: noBrowser || (process.env.PENSTOCK_PICTURES === undefined && 'only with PENSTOCK_PICTURES=1') }, async (t) => {
  const port = await freePort();
  const demo = new Penstock(['demo', '--listen', `127.0.0.1:${port}`, '--data', path.resolve(images, '../../data')]);
  t.after(async () => {
    demo.signal('SIGTERM');
    await demo.ended;
  });
  const url = `http://127.0.0.1:${port}`;
  await until('the demo answers', async () => (await get(port, '/healthz'))?.status === 200, 30000, 100);
  const themes = await Promise.all(['dark', 'light'].map((scheme) => openPage(t, url, { scheme, height: 1340, deviceScaleFactor: 1.25 })));
  const phone = await openPage(t, url, { width: 360, height: 780, deviceScaleFactor: 2 });
  await sleep(Number(process.env.PENSTOCK_PICTURES) > 1 ? Number(process.env.PENSTOCK_PICTURES) * 1000 : 150000);
  await until('memory is foreseen to run out', () => Object.entries(themes[0].seen.frames.at(-1).metrics)
    .some(([key, value]) => key.startsWith('gpu_server_seconds_to_critical{') && value > 20 && value < 60), 180000, 50);
  for (const [i, scheme] of ['dark', 'light'].entries()) {
    await themes[i].page.screenshot({ path: path.join(images, `page-${scheme}.png`) });
    await assertClean(themes[i].page, themes[i].seen);
  }
  await phone.page.screenshot({ path: path.join(images, 'page-phone.png') });
});
