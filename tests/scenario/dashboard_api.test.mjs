// dashboard_api - the numbers of the dashboard: what each says is what /metrics says, for a script and over the
// WebSocket alike, and the log's lines beside them.
//
// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';

import WebSocket from 'ws';

import { call, chatBody, metric } from './lib/client.mjs';
import { startPenstock } from './lib/penstock.mjs';
import { needsRedis, startRedis } from './lib/redis.mjs';
import { startSim } from './lib/sim.mjs';
import { slowness, until } from './lib/wait.mjs';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..');

async function summary(gate, query = '') {
  const { status, json, text } = await call(gate.port, { path: `/api/dashboard/summary${query}` });
  assert.equal(status, 200, text);
  return json;
}

/// A gateway with a cache in front of a simulated vLLM.
async function startAll(t) {
  const sim = await startSim(t, 'vllm', '--model', 'm');
  const gate = await startPenstock(t, { config: `upstreams:
  - {name: chat, engine: vllm, endpoints: ["${sim.url}"], health: {interval: 200ms, timeout: 1s}}
routes:
  - {name: chat, path: "/v1/*", kind: openai, upstream: chat, cache: yes, sampled: yes}
` });
  return { sim, gate, endpoint: `upstream="chat",endpoint="127.0.0.1:${sim.port}"` };
}

/// The summary of a second in which a condition holds.
function summaryWhere(gate, what, condition, ms = 15000) {
  return until(what, async () => {
    const json = await summary(gate);
    return condition(json.current_metrics, json) ? json : false;
  }, ms);
}

const ask = (gate, n) => call(gate.port, { method: 'POST', path: '/v1/chat/completions',
  body: chatBody({ model: 'm', max_tokens: 8, stream: n % 2 === 1, messages: [{ role: 'user', content: `${n}` }] }) });

const sum = (list) => list.reduce((total, one) => total + (one ?? 0), 0);

test('each number is what /metrics implies', async (t) => {
  const { gate, endpoint } = await startAll(t);
  await summaryWhere(gate, 'the GPU is known', (now) => 'gpu' in now && 'cpu' in now);
  for (let n = 0; n < 12; n++) {
    assert.equal((await ask(gate, n % 6)).status, 200); /* each is asked for twice */
  }
  const missed = await call(gate.port, { method: 'POST', path: '/nowhere', body: {} });
  assert.equal(missed.status, 404);
  const { current_metrics: now, history, stats } = await summaryWhere(gate, 'all was counted',
    (now, { history }) => now.requests === 0 && sum(history.series.requests) > 0 && now.in_flight === 0);

  const read = async (name, labels) => metric(gate.port, name, labels);
  assert.equal(now[`upstream_healthy{${endpoint}}`], await read('penstock_backend_up'));
  assert.equal(now.cache_entries, await read('penstock_cache_entries'));
  assert.equal(now.cache_gpu_seconds_saved.toPrecision(6),
    (await read('penstock_cache_gpu_seconds_saved_total')).toPrecision(6));
  assert.ok(await read('penstock_gpu_used_ratio') > 0);
  assert.ok(now.gpu > 0 && now.gpu <= 100 && now.gpu_level >= 0 && now.gpu_level <= 3);
  const device = Object.keys(now).find((key) => key.startsWith('gpu_memory_percent{'));
  assert.match(device, /^gpu_memory_percent\{source="[^"]+",index="0"\}$/);
  assert.ok(now.cpu >= 0 && now.cpu <= 100 && now.process_cpu_percent <= 100 && now.memory_mb > 1);

  /* How much a rate adds up to depends on how long a busy machine's seconds are: unit/board walks them by hand. */
  for (const name of ['requests', 'tokens', 'prompt_tokens', 'cache_misses', 'cache_l1_hits']) {
    assert.ok(sum(history.series[name]) > 0, name);
  }
  assert.equal(sum(history.series.errors), 0);
  assert.ok(stats.cache_hit_percent.max > 0 && stats.cache_hit_percent.max <= 100);

  /* Latencies are those that were measured: between the fastest and the slowest bucket with something in it. */
  assert.ok(stats.latency_p50_ms.min > 0 && stats.latency_p99_ms.max < 20000 * slowness);
  assert.ok(stats.ttft_p95_ms.max > 0 && stats.ttft_p95_ms.max <= stats.latency_p99_ms.max * 1.1);
  const i = history.series.latency_p50_ms.findIndex((value) => value !== null);
  assert.ok(history.series.latency_p50_ms[i] <= history.series.latency_p95_ms[i]);
  assert.ok(history.series.latency_p95_ms[i] <= history.series.latency_p99_ms[i]);
  assert.equal('latency_p50_ms' in now, false); /* nothing ended in this second: not 0 */
  assert.equal(history.series.latency_p50_ms.at(-1), null);
});

test('the summary has all names that are promised, and what they did', async (t) => {
  const { gate } = await startAll(t);
  const json = await summaryWhere(gate, 'three seconds', (now, { history }) => 'cpu' in now && history.time.length >= 3);
  assert.deepEqual(Object.keys(json), ['seq', 'time', 'current_metrics', 'history', 'stats', 'subscribers', 'alerts',
    'events', 'board']);
  const page = fs.readFileSync(path.join(root, 'docs/dashboard.md'), 'utf8');
  for (const { name, unit, group, help, labels } of json.board) {
    assert.ok(page.includes(`| \`${name}\` | ${unit} |`), name);
    assert.ok(['traffic', 'gpu', 'cache', 'queue', 'upstreams', 'process'].includes(group) && help.length > 0);
    if (labels.length === 0) {
      assert.ok(name in json.history.series, name);
    }
  }
  for (const name of ['requests', 'errors', 'tokens', 'in_flight', 'queue', 'cpu', 'memory_mb', 'memory_percent']) {
    assert.equal(typeof json.current_metrics[name], 'number', name);
  }
  const { history, stats } = json;
  for (const [name, series] of Object.entries(history.series)) {
    assert.equal(series.length, history.time.length, name);
    const known = series.filter((value) => value !== null);
    assert.equal(name in stats, known.length > 0, name);
    if (known.length > 0) {
      assert.equal(stats[name].min, Math.min(...known), name);
      assert.equal(stats[name].max, Math.max(...known), name);
      assert.ok(stats[name].min <= stats[name].mean && stats[name].p95 <= stats[name].max, name);
    }
  }
  assert.deepEqual(history.time, history.time.map((_, n) => history.time[0] + n));
  assert.equal(history.time.at(-1), json.time);
  assert.ok(Math.abs(json.time - Date.now() / 1000) < 3 * slowness);
  assert.deepEqual(json.alerts, []);
  assert.ok(json.events.some(({ level, text, fields }) => level === 'info' && text === 'listening'
    && fields.address === `127.0.0.1:${gate.port}`));
});

test('names choose, and custom metrics are found', async (t) => {
  const { gate, endpoint } = await startAll(t);
  const posted = await call(gate.port, { method: 'POST', path: '/api/metrics', body: [
    { name: 'app_depth', type: 'gauge', help: 'Depth', labels: { queue: 'a,b' }, value: 7 },
    { name: 'app_jobs_total', type: 'counter', help: 'Jobs', value: 3 }] });
  assert.equal(posted.status, 200);
  const all = await summaryWhere(gate, 'the custom metrics', (now) => 'app_depth{queue="a,b"}' in now);
  assert.equal(all.current_metrics['app_depth{queue="a,b"}'], 7);
  await summaryWhere(gate, 'the rate', (_, { history }) => 'rate(app_jobs_total)' in history.series);
  const key = `upstream_healthy{${endpoint}}`;
  const some = await summary(gate, `?names=cpu,${encodeURIComponent('app_depth{queue="a,b"}')},upstream_healthy,nothing`);
  assert.deepEqual(Object.keys(some.history.series).sort(), ['app_depth{queue="a,b"}', 'cpu', key].sort());
  const raw = await summary(gate, `?names=${encodeURIComponent('penstock_cache_entries,rate(penstock_traffic_retries_total)')}`);
  assert.equal(raw.current_metrics.penstock_cache_entries, 0); /* any key of the history, not only those of the page */
  const wrong = await call(gate.port, { path: '/api/dashboard/summary?names=%zz' });
  assert.equal(wrong.status, 400);
  assert.equal(wrong.json.code, 'invalid_request');
  const written = await call(gate.port, { method: 'POST', path: '/api/dashboard/summary', body: {} });
  assert.equal(written.status, 405);
});

test('an upstream that dies is seen in numbers and in words', async (t) => {
  const { sim, gate, endpoint } = await startAll(t);
  const key = `upstream_healthy{${endpoint}}`;
  await summaryWhere(gate, 'it is up', (now) => now[key] === 1);
  const frames = [];
  const socket = new WebSocket(`${gate.url.replace('http', 'ws')}/ws/metrics`);
  t.after(() => socket.terminate());
  socket.on('message', (data) => frames.push(JSON.parse(data)));
  const [first] = await until('the first frame', () => frames.length > 0 && frames);
  assert.equal(first.type, 'metrics_update');
  assert.ok(first.history.time.length > 0 && first.board.length > 0);
  await sim.stop();
  const down = await summaryWhere(gate, 'it is down', (now, { events }) => now[key] === 0
    && events.some(({ text }) => text === 'endpoint is unhealthy'));
  const event = down.events.find(({ text }) => text === 'endpoint is unhealthy');
  assert.equal(event.level, 'warn');
  assert.equal(event.fields.upstream, 'chat');
  assert.ok(Math.abs(event.time - Date.now() / 1000) < 60);
  const told = await until('watchers hear of it', () => frames.find(({ events }) => events.some(({ text }) => text === 'endpoint is unhealthy')));
  assert.equal(told.history, undefined);
  assert.equal(frames.flatMap(({ events }) => events).filter(({ text }) => text === 'endpoint is unhealthy').length, 1);
  assert.equal((await summary(gate)).subscribers, 1);
});

test('cache servers show what they are asked, and that they are left alone', { skip: needsRedis }, async (t) => {
  const redis = await startRedis(t);
  const sim = await startSim(t, 'vllm', '--model', 'm');
  const gate = await startPenstock(t, { config: `upstreams:
  - {name: chat, engine: vllm, endpoints: ["${sim.url}"]}
routes:
  - {name: chat, path: "/v1/*", kind: openai, upstream: chat, cache: yes, sampled: yes}
cache:
  redis: {nodes: ["127.0.0.1:${redis.port}"]}
` });
  const name = `{node="127.0.0.1:${redis.port}"}`;
  await summaryWhere(gate, 'the server is there', (now) => now[`cache_node_up${name}`] === 1);
  for (let n = 0; n < 5; n++) {
    await ask(gate, n);
  }
  await summaryWhere(gate, 'its operations', (_, { stats }) => stats[`cache_node_operations${name}`]?.max > 0);
  assert.ok(await metric(gate.port, 'penstock_cache_node_operations_total') >= 5);
  await redis.kill();
  await until('it is left alone', async () => {
    await ask(gate, 100 + Math.floor(Math.random() * 1e6));
    const { current_metrics: now, events } = await summary(gate);
    return now[`cache_node_up${name}`] === 0 && events.some(({ text }) => text === 'cache server is left alone');
  });
});

test('a secret is in no event', async (t) => {
  const sim = await startSim(t, 'vllm', '--model', 'm');
  const gate = await startPenstock(t, { env: { ADMIN_TOKEN: 'very-secret-admin-token-0123456789' }, config: `upstreams:
  - {name: chat, engine: vllm, endpoints: ["${sim.url}"]}
admin:
  tokens: [{name: me, token: "\${ADMIN_TOKEN}", role: admin}]
` });
  await call(gate.port, { path: '/api/dashboard/summary', headers: { authorization: 'Bearer wrong-secret-token' } });
  const answer = await until('there are events', async () => {
    const got = await call(gate.port, { path: '/api/dashboard/summary',
      headers: { authorization: 'Bearer very-secret-admin-token-0123456789' } });
    assert.equal(got.status, 200, got.text);
    return got.json.events.length > 0 && got;
  });
  assert.doesNotMatch(answer.text, /secret/);
});
