// timeout: 420
// tags: plain
//
// specification - what was promised, asked of the running demo: each endpoint and its fields, each load test, and the
// commands of the quick start. docs/specification.md says where each thing is and which test goes deeper.
import assert from 'node:assert/strict';
import { execFile, execFileSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after as atEnd, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

import WebSocket from 'ws';

import { Penstock, get, program, runPenstock } from './lib/penstock.mjs';
import { freePort } from './lib/ports.mjs';
import { slowness, until } from './lib/wait.mjs';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..');
const LEVELS = ['low', 'medium', 'high', 'critical'];
const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'penstock-specification-'));
const report = path.join(dir, 'load_test_report.json');
let demo;
let port;
let url;

before(async () => {
  port = await freePort();
  url = `http://127.0.0.1:${port}`;
  demo = new Penstock(['demo', '--listen', `127.0.0.1:${port}`]);
  await until('the demo serves', async () => (await get(port, '/readyz'))?.status === 200, 30000, 100);
  // A level is never made up: it is there when its source has been heard for a moment.
  await until('the state of GPU memory is known', async () => {
    const profile = await get(port, '/api/gpu/profile');
    const summary = await get(port, '/api/dashboard/summary');
    return profile?.status === 200 && 'pressure_level' in JSON.parse(profile.body).profile &&
      'gpu' in JSON.parse(summary.body).current_metrics;
  }, 30000, 200);
});

atEnd(async () => {
  await demo.stop();
  fs.rmSync(dir, { recursive: true, force: true });
});

async function ask(target) {
  const answer = await get(port, target);
  assert.equal(answer?.status, 200, target);
  return JSON.parse(answer.body);
}

/// The section that a load test left in the report. A machine that is busy with other tests may be too slow to be
/// a generator; that verdict is the promised one then.
async function tested(t, command, args, section) {
  const { code, stdout, stderr } = await runPenstock(t, [command, `${url}/v1/chat/completions`, '--out', report, '--quiet',
    '--max-lag', '1s', ...args], { ms: 200000 });
  assert.ok([0, 1, 4].includes(code), `${command}: ${code} ${stderr}`);
  const document = JSON.parse(fs.readFileSync(report, 'utf8'));
  const verdict = { 0: 'pass', 1: 'fail', 4: 'generator_limited' }[code];
  assert.equal(document[section].verdict, verdict, stdout);
  return document[section];
}

function assertHas(object, ...names) {
  for (const name of names) {
    assert.ok(name in object, `${name} is missing of ${Object.keys(object)}`);
  }
}

test('/healthz and /readyz', async () => {
  assert.equal((await get(port, '/healthz')).status, 200);
  assert.equal((await get(port, '/readyz')).status, 200);
});

test('/api/gpu/profile: the profile, its level in one of four words, a prediction', async () => {
  const answer = await ask('/api/gpu/profile');
  assertHas(answer.profile, 'total_mb', 'used_mb', 'free_mb', 'utilization_percent', 'pressure_level', 'source',
    'simulated');
  assert.ok(LEVELS.includes(answer.profile.pressure_level));
  assert.equal(answer.profile.simulated, true);
  assertHas(answer, 'devices', 'processes', 'engines', 'prediction', 'batch', 'recommendations');
  assert.equal(typeof answer.prediction.cleanup_needed, 'boolean');
});

test('/api/gpu/report and /api/gpu/cleanup', async () => {
  assertHas(await ask('/api/gpu/report'), 'profile', 'prediction', 'cleanups', 'batch', 'recommendations', 'since');
  const answer = await fetch(`${url}/api/gpu/cleanup`, {
    method: 'POST', headers: { 'content-type': 'application/json' }, body: '{"dry_run":true}' });
  assert.ok([200, 202, 409].includes(answer.status), `${answer.status} ${await answer.text()}`);
});

test('/ws/metrics: the first frame comes within two seconds and is a metrics_update with its history', async () => {
  const began = Date.now();
  const socket = new WebSocket(`ws://127.0.0.1:${port}/ws/metrics`);
  const first = await new Promise((resolve, reject) => {
    socket.once('message', (data) => resolve(String(data)));
    socket.once('error', reject);
  });
  assert.ok(Date.now() - began < 2000 * slowness);
  socket.terminate();
  assert.match(first, /metrics_update/);
  const frame = JSON.parse(first);
  assertHas(frame, 'type', 'seq', 'time', 'metrics', 'alerts', 'history');
  assert.equal(frame.type, 'metrics_update');
  assert.equal(typeof frame.metrics.cpu, 'number');
  assert.equal(typeof frame.metrics.gpu, 'number');
});

test('/api/dashboard/summary and /api/history', async () => {
  const summary = await ask('/api/dashboard/summary');
  assertHas(summary, 'current_metrics', 'history', 'stats', 'subscribers', 'alerts');
  assert.equal(summary.history.time.length, summary.history.series.cpu.length);
  assertHas(summary.stats.cpu, 'min', 'max', 'mean', 'p95');
  assert.equal((await ask('/api/history')).points, 300);
});

test('/ and /dashboard.html', async () => {
  for (const target of ['/', '/dashboard.html']) {
    const answer = await get(port, target);
    assert.equal(answer.status, 200);
    assert.match(answer.headers['content-type'], /^text\/(html|plain)/);
  }
});

test('/api/cache/stats: what was asked before is known', async () => {
  const body = JSON.stringify({ model: 'sim', temperature: 0, max_tokens: 4,
    messages: [{ role: 'user', content: `the same question ${Date.now()}` }] });
  const states = [];
  for (let i = 0; i < 6; i++) {
    const answer = await fetch(`${url}/v1/chat/completions`, {
      method: 'POST', headers: { 'content-type': 'application/json' }, body });
    await answer.text();
    states.push(answer.headers.get('cache-status') ?? '');
  }
  assert.ok(states.slice(1).every((state) => /hit/.test(state)), states.join(', '));
  const stats = await ask('/api/cache/stats');
  assertHas(stats, 'hit_rate_percent', 'l1', 'coalesced', 'bypassed', 'gpu_seconds_saved'); // l2 and nodes: with Redis
  assertHas(stats.l1, 'hits', 'misses', 'entries', 'bytes', 'evictions');
});

test('/metrics and /api/metrics', async () => {
  assert.match((await get(port, '/metrics')).body, /^# TYPE penstock_/m);
  const answer = await fetch(`${url}/api/metrics`, { method: 'POST', headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ metrics: [{ name: 'specification_asked', type: 'gauge', help: 'x', value: 1 }] }) });
  assert.ok(answer.status < 500, `${answer.status}`);
  assert.ok((await ask('/api/metrics')) !== null);
});

test('C: of 310 samples 300 are kept, set then get hits more than half, a key stays on its node', () => {
  const told = JSON.parse(execFileSync(path.join(path.dirname(program), 'tests/helpers/promises'), { encoding: 'utf8' }));
  assert.deepEqual([told.samples, told.same_node], [300, true]);
  assert.ok(told.hit_rate_percent > 50, `${told.hit_rate_percent}`);
});

test('penstock load: the promised fields', async (t) => {
  const section = await tested(t, 'load', ['--rate', '20', '--duration', '5s'], 'load_test');
  assertHas(section, 'total_requests', 'successful_requests', 'failed_requests', 'error_rate_percent', 'rps',
    'response_time_ms');
  assertHas(section.response_time_ms, 'min', 'max', 'mean', 'median', 'p95', 'p99');
  assert.equal(section.total_requests, 100);
});

test('penstock stress: levels and a breaking point, or why there is none', async (t) => {
  const section = await tested(t, 'stress', ['--step', '4', '--every', '3s', '--max-rate', '24', '--min-rate', '0'],
    'stress_test');
  const gave = section.stress_points.some(({ verdict }) => verdict !== 'holds');
  assert.ok(section.stress_points.length >= (gave ? 1 : 5), JSON.stringify(section.stress_points));
  assertHas(section.stress_points[0], 'rps', 'achieved_rps', 'error_rate_percent', 'p95_ms', 'verdict');
  assert.ok('breaking_point_rps' in section || section.reason.length > 10);
});

test('penstock spike: baseline, spike, recovery', async (t) => {
  const section = await tested(t, 'spike', ['--baseline', '10', '--baseline-for', '10s', '--spike', '30', '--spike-for', '3s',
    '--recovery-for', '8s', '--max-recovery', '20s'], 'spike_test');
  assertHas(section, 'baseline_rps', 'spike_rps', 'recovered', 'phases');
  assert.equal(section.baseline_rps, 10);
  assert.ok(!section.recovered || 'recovery_time_seconds' in section);
});

test('penstock endurance: drift', async (t) => {
  const section = await tested(t, 'endurance', ['--rate', '10', '--duration', '8s', '--allow-drift'], 'endurance_test');
  assertHas(section, 'drift', 'total_requests', 'error_rate_percent');
});

test('penstock report prints the summary of all of them', async (t) => {
  const { summary } = JSON.parse(fs.readFileSync(report, 'utf8'));
  assertHas(summary, 'verdict', 'reason', 'target', 'started', 'duration_seconds', 'tests', 'total_requests',
    'error_rate_percent', 'p95_ms', 'generator_limited');
  assert.deepEqual(Object.keys(summary.tests), ['load', 'stress', 'spike', 'endurance']);
  const text = await runPenstock(t, ['report', report, '--summary']);
  assert.match(text.stdout, /^load /m);
  const json = await runPenstock(t, ['report', report, '--summary', '--json']);
  assert.deepEqual(JSON.parse(json.stdout), summary);
});

test('the commands of the quick start that can be run here', async () => {
  const page = fs.readFileSync(path.join(root, 'docs/quick-start.md'), 'utf8');
  const scripts = [...page.matchAll(/```sh\n# run\n(.*?)```/gs)].map(([, script]) => script);
  assert.ok(scripts.length >= 2);
  fs.symlinkSync(program, path.join(dir, 'penstock'));
  for (const script of scripts) {
    await promisify(execFile)('bash', ['-ec', script.replaceAll('127.0.0.1:5000', `127.0.0.1:${port}`)], {
      env: { ...process.env, PATH: `${dir}:${process.env.PATH}` }, timeout: 120000 });
  }
  const profile = await ask('/api/gpu/profile'); // what `.profile.pressure_level` of both shells reads
  assert.ok(LEVELS.includes(profile.profile.pressure_level));
  for (const [, target] of page.matchAll(/Invoke-RestMethod http:\/\/127\.0\.0\.1:5000(\S*?)\)/g)) {
    assert.equal((await get(port, target)).status, 200, target);
  }
});
