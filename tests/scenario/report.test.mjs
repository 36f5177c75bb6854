// timeout: 300
//
// report - what a load test leaves behind: a document that others can check, one set of figures in all its forms, and
// something to read even of a run that was killed.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { after as atEnd, test } from 'node:test';
import { fileURLToPath, pathToFileURL } from 'node:url';

import Ajv from 'ajv/dist/2020.js';

import { closeBrowser, launch, noBrowser } from './lib/browser.mjs';
import { Penstock, program, runPenstock, tempDir } from './lib/penstock.mjs';
import { startSim } from './lib/sim.mjs';
import { until } from './lib/wait.mjs';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..');
const maker = path.join(path.dirname(program), 'tests/helpers/trial_report');
const schema = JSON.parse(fs.readFileSync(path.join(root, 'docs/load_test_report.schema.json'), 'utf8'));
const validate = new Ajv({ allErrors: true, strict: true, allowUnionTypes: true }).compile(schema);

atEnd(closeBrowser);

function readJson(file) {
  return JSON.parse(fs.readFileSync(file, 'utf8'));
}

function assertValid(document) {
  assert.ok(validate(document), JSON.stringify(validate.errors?.slice(0, 5), null, 1));
}

/// A report of all five tests, of runs that never were; `seed` and `slower` as tests/helpers/trial_report.c says.
function makeReport(dir, name = 'load_test_report.json', seed = 1, slower = 1) {
  const file = path.join(dir, name);
  execFileSync(maker, ['report', file, String(seed), String(slower)]);
  return file;
}

function unescape(text) {
  return text.replace(/&lt;/g, '<').replace(/&gt;/g, '>').replace(/&quot;/g, '"').replace(/&#39;/g, "'")
    .replace(/&amp;/g, '&');
}

test('reports of all tests are what the published schema says', async (t) => {
  const document = readJson(makeReport(tempDir(t)));
  assertValid(document);
  assert.deepEqual(Object.keys(document.summary.tests), ['load', 'stress', 'spike', 'endurance', 'replay']);
  for (const [section, member] of [['load_test', 'rps'], ['stress_test', 'stress_points'],
    ['spike_test', 'recovery_time_seconds'], ['endurance_test', 'drift'], ['replay', 'source']]) {
    assert.ok(member in document[section], `${section}.${member}`);
  }
  document.load_test.rps = 'many';
  assert.ok(!validate(document), 'the schema refuses what is wrong');
});

test('a real test against a simulated server leaves a valid report', async (t) => {
  const dir = tempDir(t);
  const sim = await startSim(t, 'vllm');
  const url = `${sim.url.replace('//', '//me:hidden@')}/v1/chat/completions?key=hidden`;
  const result = await runPenstock(t, ['load', url, '--rate', '20', '--duration', '3s', '--goodput', 'ttft:2s', '--tag',
    'build=7'], { cwd: dir });
  assert.ok([0, 1, 2, 4].includes(result.code), result.stderr);
  if (result.code === 2) { // credentials in a URL may be refused: then without them
    const plain = await runPenstock(t, ['load', `${sim.url}/v1/chat/completions`, '--rate', '20', '--duration', '3s'],
      { cwd: dir });
    assert.ok([0, 1, 4].includes(plain.code), plain.stderr);
  }
  const document = readJson(path.join(dir, 'load_test_report.json'));
  assertValid(document);
  assert.ok(!fs.readFileSync(path.join(dir, 'load_test_report.json'), 'utf8').includes('hidden'));
  assert.equal(document.load_test.total_requests, 60);
  assert.equal(document.load_test.series.time.length, document.load_test.series.rps.length);
  assert.equal(document.load_test.blocks.reduce((sum, { successful }) => sum + successful, 0),
    document.load_test.successful_requests);
  assert.deepEqual(fs.readdirSync(dir).sort(), ['html', 'json', 'xml'].map((end) => `load_test_report.${end}`), 'the journal is gone with the report written');
});

test('page, JUnit, terminal and JSON show the same figures', async (t) => {
  const dir = tempDir(t);
  const file = makeReport(dir);
  const document = readJson(file);
  const html = path.join(dir, 'r.html');
  const junit = path.join(dir, 'r.xml');
  assert.equal((await runPenstock(t, ['report', file, '--html', html, '--junit', junit])).code, 0);
  const text = (await runPenstock(t, ['report', file])).stdout;
  const at = (dotted) => dotted.split('.').reduce((object, name) => object?.[name], document);
  const cells = [...fs.readFileSync(html, 'utf8').matchAll(/<dt>([^<]*)<\/dt><dd data-path="([^"]*)" data-value="([^"]*)">([^<]*)</g)];
  assert.ok(cells.length > 50);
  for (const [, label, dotted, value, shown] of cells) {
    assert.equal(Number(value), at(dotted), dotted);
    assert.ok(text.includes(`  ${label.padEnd(24)} ${unescape(shown)}\n`), `${dotted}: ${shown}`);
  }
  const properties = [...fs.readFileSync(junit, 'utf8').matchAll(/<property name="([a-z_]+\.[^"]*)" value="([^"]*)"/g)];
  assert.equal(properties.length, cells.length);
  for (const [, dotted, value] of properties) {
    assert.equal(Number(value), at(dotted), dotted);
  }
});

test('the summary is printed for people and for programs', async (t) => {
  const file = makeReport(tempDir(t));
  const { stdout } = await runPenstock(t, ['report', file, '--summary']);
  assert.match(stdout, /^FAIL {2}http:\/\/127\.0\.0\.1:5000/);
  assert.match(stdout, /^stress +FAIL/m);
  const { stdout: json } = await runPenstock(t, ['report', file, '--summary', '--json']);
  assert.deepEqual(JSON.parse(json), readJson(file).summary);
});

test('the page stands alone in a browser, wide and narrow, light and dark', { skip: noBrowser }, async (t) => {
  const dir = tempDir(t);
  const html = path.join(dir, 'r.html');
  const other = makeReport(dir, 'other.json', 2, 1.2);
  await runPenstock(t, ['report', makeReport(dir), '--html', html]);
  await runPenstock(t, ['compare', path.join(dir, 'load_test_report.json'), other, '--html', path.join(dir, 'c.html')]);
  const chromium = await launch();
  for (const name of ['r.html', 'c.html']) {
    for (const [width, colorScheme] of [[1280, 'light'], [375, 'dark']]) {
      const page = await chromium.newPage({ viewport: { width, height: 800 }, colorScheme });
      const wrong = [];
      page.on('console', (message) => wrong.push(message.text()));
      page.on('pageerror', (error) => wrong.push(String(error)));
      page.on('request', (request) => request.url().startsWith('file:') || wrong.push(request.url()));
      await page.goto(pathToFileURL(path.join(dir, name)).href);
      assert.deepEqual(wrong, []);
      assert.equal(await page.evaluate(() => document.documentElement.scrollWidth <= window.innerWidth), true);
      assert.notEqual(await page.evaluate(() => getComputedStyle(document.body).backgroundColor), 'rgba(0, 0, 0, 0)');
      assert.ok(await page.locator('svg').count() > 5);
      await page.close();
    }
  }
});

test('of a run that was killed everything is there', async (t) => {
  const dir = tempDir(t);
  const sim = await startSim(t, 'vllm');
  const journal = path.join(dir, 'load_test_report.json.load.journal');
  const load = new Penstock(['load', `${sim.url}/v1/chat/completions`, '--rate', '20', '--duration', '60s'], { cwd: dir });
  await until('some seconds are in the journal', () => fs.existsSync(journal) &&
    fs.readFileSync(journal, 'utf8').split('\n').length > 5);
  load.child.kill('SIGKILL');
  await load.ended;
  const lines = fs.readFileSync(journal, 'utf8').split('\n').filter((line) => line.startsWith('{"at"'));
  const whole = lines.filter((line) => line.endsWith('}')).map((line) => JSON.parse(line));
  const result = await runPenstock(t, ['report', journal]);
  assert.equal(result.code, 0, result.stderr);
  assert.match(result.stdout, /^ABORTED/);
  const document = readJson(path.join(dir, 'load_test_report.json'));
  assertValid(document);
  assert.equal(document.load_test.verdict, 'aborted');
  assert.equal(document.load_test.successful_requests, whole.reduce((sum, { succeeded = 0 }) => sum + succeeded, 0));
  assert.equal(document.load_test.series.time.length, whole.length);
});

test('a comparison ends with an exit status', async (t) => {
  const dir = tempDir(t);
  const before = makeReport(dir, 'a.json', 1);
  const same = makeReport(dir, 'b.json', 2);
  const slow = makeReport(dir, 'c.json', 3, 1.3);
  const run = (...args) => runPenstock(t, ['compare', ...args]);
  assert.equal((await run(before, same)).code, 0);
  const worse = await run(before, slow, '--json');
  assert.equal(worse.code, 1);
  const result = JSON.parse(worse.stdout);
  assert.equal(result.verdict, 'regression');
  assert.match(result.reason, /went from .* at most 5 % is allowed/);
  assert.equal((await run(before, slow, '--max-regression', '60%')).code, 0);
  assert.equal((await run(slow, before)).code, 0);
  assert.equal((await run(before, path.join(dir, 'none.json'))).code, 2);
  assert.equal((await run(before, same, '--max-regression', 'much')).code, 2);
});

test('what is no report is refused with its place, and never overwritten', async (t) => {
  const dir = tempDir(t);
  const file = path.join(dir, 'x.json');
  for (const [text, complaint] of [['', /line 1/], ['{"a":1}', /not a load test report/],
    ['{"schema_version":9}', /schema_version 9, expected 1/], ['{"schema_version":1,"summary":7}', /summary/]]) {
    fs.writeFileSync(file, text);
    const result = await runPenstock(t, ['report', file]);
    assert.equal(result.code, 1);
    assert.match(result.stderr, complaint);
    assert.equal(fs.readFileSync(file, 'utf8'), text);
  }
  assert.match((await runPenstock(t, ['report', path.join(dir, 'none')])).stderr, /No such file/);
  const full = await runPenstock(t, ['report', makeReport(dir), '--html', '/dev/full']);
  assert.equal(full.code, 1);
  assert.match(full.stderr, /No space left/);
});
