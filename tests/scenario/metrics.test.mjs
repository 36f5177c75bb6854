// metrics - numbers that others hand in, and what a real Prometheus makes of all of them.
//
// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import test from 'node:test';

import { call, chat, metric } from './lib/client.mjs';
import { get, startPenstock } from './lib/penstock.mjs';
import { needsPrometheus, startPrometheus, startTeller } from './lib/prometheus.mjs';
import { inference, startUpstream } from './lib/upstream.mjs';

const FORMATS = {
  text: 'text/plain;version=0.0.4',
  open: 'application/openmetrics-text;version=1.0.0',
  proto: 'application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited',
};
const TRACE = '4bf92f3577b34da6a3ce929d0e0e4736';
const SPAN = '00f067aa0ba902b7';
const OTHER = '0af7651916cd43dd8448eb211c80319c';

const config = (up) => `upstreams:
  - {name: gpu, engine: openai, endpoints: ["${up.url}"], health: {interval: 0s}}
`;

async function startGate(t) {
  const up = await startUpstream(t, inference());
  return startPenstock(t, { config: config(up) });
}

async function post(gate, values, headers = {}) {
  const answer = await call(gate.port, {
    method: 'POST', path: '/api/metrics', headers: { 'content-type': 'application/json', ...headers },
    body: typeof values === 'string' ? values : JSON.stringify(values),
  });
  return { status: answer.status, ...JSON.parse(answer.text) };
}

async function accepted(gate, values) {
  const answer = await post(gate, values);
  assert.equal(answer.status, 200, JSON.stringify(answer));
  return answer.accepted;
}

async function listing(gate) {
  const { metrics } = JSON.parse((await get(gate.port, '/api/metrics')).body);
  return new Map(metrics.map((one) => [one.name, one]));
}

test('a value registers its metric and moves it', async (t) => {
  const gate = await startGate(t);
  const jobs = { name: 'app_jobs_total', type: 'counter', help: 'Jobs done', labels: { queue: 'a', node: 'n1' } };
  assert.equal(await accepted(gate, { ...jobs, value: 2 }), 1);
  assert.equal(await accepted(gate, [
    { ...jobs, value: 0.5 }, { ...jobs, labels: { node: 'n2', queue: 'a' }, value: 1 },
    { name: 'app_depth_bytes', type: 'gauge', help: 'How deep', unit: 'bytes', value: -3.25 },
    { name: 'app_wait_seconds', type: 'histogram', help: 'Waiting', buckets: [0.1, 1], value: 0.5 },
    { name: 'app_spread', type: 'exponential', help: 'Spread', value: 3 },
    { name: 'app_build_info', type: 'info', help: 'Build', labels: { version: '1.2' } },
  ]), 6);
  assert.equal(await metric(gate.port, 'app_jobs_total', { queue: 'a', node: 'n1' }), 2.5);
  assert.equal(await metric(gate.port, 'app_depth_bytes'), -3.25);
  assert.equal(await metric(gate.port, 'app_wait_seconds_bucket', { le: '1' }), 1);
  assert.equal(await metric(gate.port, 'app_build_info', { version: '1.2' }), 1);
  const all = await listing(gate);
  assert.deepEqual(all.get('app_jobs_total').labels, ['node', 'queue']);
  assert.deepEqual(all.get('app_jobs_total').series.map(({ labels, value }) => [labels.node, value]),
    [['n1', 2.5], ['n2', 1]]);
  assert.equal(all.get('app_depth_bytes').unit, 'bytes');
  assert.equal(all.get('app_spread').series[0].count, 1);
  assert.equal(all.get('penstock_traffic_requests_total').type, 'counter');
});

test('what is wrong is named with its place, and nothing of it counts', async (t) => {
  const gate = await startGate(t);
  const good = { name: 'app_total', type: 'counter', help: 'Good', labels: { a: '1' }, value: 1 };
  await accepted(gate, good);
  const cases = [
    [[good, { ...good, value: -1 }], 400, /^\[1\]\.value: .*not negative/],
    [[good, { ...good, value: '7' }], 400, /^\[1\]\.value: .*number/],
    [{ ...good, value: undefined }, 400, /^value: /],
    [`{"name":"app_total","type":"counter","labels":{"a":"1"},"value":NaN}`, 400, /^not valid JSON, line 1, column/],
    [{ ...good, type: 'gauge' }, 409, /type counter already/],
    [{ name: 'app_y_total', type: 'gauge', value: 1 }, 400, /none of the ends/],
    [{ name: 'app_other', type: 'counter', value: 1 }, 400, /ends with _total/],
    [{ name: 'app_x', type: 'thing', value: 1 }, 400, /^type: /],
    [{ name: '9x', type: 'gauge', value: 1 }, 400, /letters, digits/],
    [{ name: 'a\u0000b', type: 'gauge', value: 1 }, 400, /text/],
    [{ name: 'app_x', type: 'gauge', unit: 'bytes', value: 1 }, 400, /end with the unit/],
    [{ name: 'app_x', type: 'gauge', labels: { 'a-b': '' }, value: 1 }, 400, /label names/],
    [{ name: 'app_x', type: 'gauge', labels: { le: '1' }, value: 1 }, 400, /label names/],
    [{ name: 'app_x', type: 'gauge', labels: { a: 1 }, value: 1 }, 400, /^labels: /],
    [{ name: 'app_x', type: 'gauge', labels: Object.fromEntries([...'abcdefghi'].map((c) => [c, ''])), value: 1 }, 400, /at most 8/],
    [{ name: 'penstock_x', type: 'gauge', value: 1 }, 400, /the program's own/],
    [{ name: 'app_h', type: 'histogram', buckets: [2, 1], value: 1 }, 400, /bounds/],
    [{ name: 'app_h', type: 'histogram', buckets: [], value: 1 }, 400, /^buckets: /],
    [{ ...good, lable: {} }, 400, /are known/],
    [{ ...good, exemplar: { trace_id: '00' } }, 400, /^exemplar: /],
    [[[good]], 400, /^\[0\]: has to be an object/],
    ['{"name":"a","name":"b"}', 400, /^a member that is there twice, line 1, column 18$/],
    ['', 400, /^not valid JSON: it ends too early, line 1, column 0$/],
    ['null', 400, /^has to be an object$/],
    [[good, { ...good, labels: { b: '1' } }], 409, /^\[1\]: app_total has other labels already: a$/],
    [{ ...good, labels: {} }, 409, /other labels/],
    [{ name: 'app', type: 'gauge', value: 1 }, 409, /another metric/],
    [Array(1001).fill(good), 422, /at most 1000 /],
  ];
  for (const [values, status, detail] of cases) {
    const answer = await post(gate, values);
    assert.equal(answer.status, status, `${JSON.stringify(values)?.slice(0, 200)}: ${JSON.stringify(answer)}`);
    assert.match(answer.detail, detail);
  }
  assert.equal(await metric(gate.port, 'app_total', { a: '1' }), 1);
});

test('metrics are bounded in number', async (t) => {
  const up = await startUpstream(t, inference());
  const gate = await startPenstock(t, { config: `${config(up)}metrics: {max_custom: 3}\n` });
  const named = (name) => ({ name, type: 'gauge', value: 1 });
  await accepted(gate, ['a', 'b', 'c', 'a'].map(named));
  const answer = await post(gate, [named('a'), named('d')]);
  assert.equal(answer.status, 422);
  assert.match(answer.detail, /^\[1\]: .*metrics\.max_custom/);
  await accepted(gate, named('b'));
});

/// Label values with every byte that a text can hold, controls and quotes included.
const ODD = [
  Array.from({ length: 64 }, (_, i) => String.fromCharCode(i + 1)).join(''),
  Array.from({ length: 64 }, (_, i) => String.fromCharCode(i + 65)).join(''),
  'ä€😀\u{10ffff}\ufffd\u0080\u07ff\u0800', '\\n\\"\n"\\\\', ' ',
];

async function fill(gate) {
  await chat(gate.port, { headers: { traceparent: `00-${TRACE}-${SPAN}-01` } });
  const latency = { name: 'app_latency_seconds', type: 'exponential', help: 'Latency', unit: 'seconds' };
  const values = [0, 0.001, 0.5, 0.52, 0.75, 4, 4, 30];
  await accepted(gate, [
    ...values.map((value) => ({ ...latency, value })),
    { ...latency, value: 0.6, exemplar: { trace_id: OTHER, span_id: SPAN } },
    { name: 'app_jobs_total', type: 'counter', help: 'Say "jobs"\\\n', value: 12345.678,
      exemplar: { trace_id: OTHER } },
    ...[-2, 0.25].map((value) => ({ name: 'app_balance', type: 'exponential', help: 'Either way', value })),
    { name: 'app_tiny', type: 'gauge', help: 'Tiny', value: -5e-324 },
    { name: 'app_build_info', type: 'info', help: 'Build', labels: { version: '1.2' } },
    ...ODD.map((odd, i) => ({ name: 'app_odd', type: 'gauge', help: 'Odd', labels: { odd, empty: '' }, value: i })),
  ]);
  return values.length + 1;
}

/// {series: value}, as a query gives them, comparable between formats.
async function valuesOf(prom, job) {
  const values = new Map();
  for (const { metric: { job: _, instance, ...labels }, value } of
    await prom.query(`{job="${job}",__name__=~"(app|penstock_traffic|penstock_admit)_.+"}`)) {
    // OpenMetrics has no sum of a histogram with values below zero, and text knows nothing of creation.
    if (value === undefined || labels.__name__.endsWith('_created') || labels.__name__ === 'app_balance_sum') {
      continue;
    }
    labels.le = labels.le === undefined || labels.le === '+Inf' ? labels.le : String(Number(labels.le));
    values.set(JSON.stringify(Object.entries(labels).filter(([, text]) => text !== undefined).sort()), value[1]);
  }
  return values;
}

test('a real Prometheus reads the same values in all three formats', { skip: needsPrometheus }, async (t) => {
  const gate = await startGate(t);
  const observed = await fill(gate);
  const prom = await startPrometheus(t, await Promise.all(Object.entries(FORMATS).map(async ([job, accept]) => (
    { job, port: job === 'proto' ? gate.port : await startTeller(t, gate.port, accept) }))));
  await prom.scraped(Object.keys(FORMATS));
  const [text, open, proto] = await Promise.all(Object.keys(FORMATS).map((job) => valuesOf(prom, job)));
  assert.ok(text.size > 50);
  assert.deepEqual(open, text);
  const classic = new Map([...text].filter(([key]) => !/app_(latency_seconds|balance)/.test(key)));
  assert.deepEqual(proto, classic);

  for (const [i, odd] of ODD.entries()) {
    const seen = (await prom.query(`app_odd == ${i}`)).map(({ metric: { odd: back } }) => back);
    assert.deepEqual(seen, [odd, odd, odd]);
  }

  const [{ histogram: [, native] }] = await prom.query('app_latency_seconds{job="proto"}');
  assert.equal(Number(native.count), observed);
  assert.ok(Math.abs(Number(native.sum) - 40.371) < 1e-9, native.sum);
  const holds = (value) => native.buckets.filter(([, low, high]) => Number(low) < value && value <= Number(high))
    .reduce((sum, [, , , count]) => sum + Number(count), 0);
  assert.equal(holds(4), 2);
  assert.equal(holds(30), 1);
  assert.equal(holds(0.001), 1);
  assert.equal(native.buckets.reduce((sum, [, , , count]) => sum + Number(count), 0), observed);
  const [{ histogram: [, balance] }] = await prom.query('app_balance{job="proto"}');
  assert.equal(Number(balance.sum), -1.75);
  assert.ok(balance.buckets.some(([, low, high, count]) => low <= -2 && high >= -2 && high < 0 && count === '1'));
  const [{ value: [, median] }] = await prom.query('histogram_quantile(0.5, app_latency_seconds{job="proto"})');
  assert.ok(median > 0.4 && median < 0.8, median);
});

test('exemplars lead to traces', { skip: needsPrometheus }, async (t) => {
  const gate = await startGate(t);
  await fill(gate);
  const jobs = ['open', 'proto'];
  const prom = await startPrometheus(t, await Promise.all(jobs.map(async (job) => (
    { job, port: await startTeller(t, gate.port, FORMATS[job]) }))));
  await prom.scraped(jobs);
  for (const job of jobs) {
    const found = new Map();
    for (const { seriesLabels, exemplars } of await prom.exemplars(`{job="${job}"}`)) {
      found.set(seriesLabels.__name__.replace(/_bucket$/, ''), exemplars[0]);
    }
    assert.deepEqual(found.get('app_jobs_total')?.labels, { trace_id: OTHER });
    assert.equal(found.get('app_jobs_total').value, '12345.678');
    assert.deepEqual(found.get('app_latency_seconds')?.labels, { trace_id: OTHER, span_id: SPAN });
    assert.deepEqual(found.get('penstock_traffic_request_seconds')?.labels, { trace_id: TRACE, span_id: SPAN });
    assert.ok(Math.abs(found.get('penstock_traffic_request_seconds').timestamp - Date.now() / 1000) < 600);
  }
});

test('promtool has nothing to complain of', { skip: needsPrometheus }, async (t) => {
  const gate = await startGate(t);
  await fill(gate);
  const page = (await get(gate.port, '/metrics')).body;
  const { status, stdout, stderr } = spawnSync('promtool', ['check', 'metrics'], { input: page });
  assert.equal(status, 0, `${stdout}${stderr}`);
});
