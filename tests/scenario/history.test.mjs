// timeout: 180
// tags: threads
//
// history - what every number was: five minutes in memory, minutes and hours in the store, gaps as gaps.
//
// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import path from 'node:path';
import test from 'node:test';

import { call, chat, metric } from './lib/client.mjs';
import { get, startPenstock, tempDir } from './lib/penstock.mjs';
import { inference, startUpstream } from './lib/upstream.mjs';
import { sleep, until } from './lib/wait.mjs';

async function ask(gate, parameters = {}) {
  const query = new URLSearchParams(parameters).toString();
  const answer = await get(gate.port, `/api/history${query === '' ? '' : `?${query}`}`);
  assert.equal(answer.status, 200, answer.body);
  return JSON.parse(answer.body);
}

async function refused(gate, query) {
  const answer = await get(gate.port, `/api/history?${query}`);
  assert.equal(answer.headers['content-type'], 'application/problem+json', answer.body);
  const { status, code, detail } = JSON.parse(answer.body);
  assert.equal(status, answer.status);
  return { status, code, detail };
}

async function put(gate, ...values) {
  const answer = await call(gate.port, { method: 'POST', path: '/api/metrics',
    headers: { 'content-type': 'application/json' }, body: JSON.stringify(values) });
  assert.equal(answer.status, 200, answer.text);
}

const gauge = (value, labels = {}) => ({ name: 'app_depth', type: 'gauge', help: 'Depth', labels, value });
const counter = (value, labels = {}) => ({ name: 'app_jobs_total', type: 'counter', help: 'Jobs', labels, value });
const histogram = (value) => ({ name: 'app_wait_seconds', type: 'histogram', help: 'Wait', buckets: [0.1, 1, 10], value });

/// The series of a key, once that has been there for `seconds`.
function series(gate, key, seconds = 1) {
  return until(`${key} has a history`, async () => {
    const answer = await get(gate.port, `/api/history?${new URLSearchParams({ name: key })}`);
    const found = answer?.status === 200 && JSON.parse(answer.body).series.find((one) => one.key === key);
    return found && found.value.filter((value) => value !== null).length >= seconds && found;
  }, 15_000, 100);
}

const sum = (values) => values.reduce((all, value) => all + (value ?? 0), 0);

/// What a rate says that there was in all: behind a gap it is the mean since the point before the gap.
const grown = ({ value }) => sum(value.map((one, i) => {
  const before = value.slice(0, i).findLastIndex((other) => other !== null);
  return one === null ? 0 : one * (before === -1 ? 1 : i - before);
}));

test('a gauge is what /metrics shows, a counter what it grew by, a histogram what came in the second', async (t) => {
  const gate = await startPenstock(t, { config: '' });
  await put(gate, gauge(12345678901.25, { queue: 'a "b"', node: 'n\\1' }), counter(2), histogram(0.05));
  const depth = await series(gate, 'app_depth{node="n\\\\1",queue="a \\"b\\""}', 2);
  assert.equal(depth.name, 'app_depth');
  assert.equal(depth.of, 'value');
  assert.deepEqual(depth.labels, { queue: 'a "b"', node: 'n\\1' });
  assert.equal(depth.value.at(-1), 12345678901.25);
  assert.ok((await get(gate.port, '/metrics')).body.includes('\napp_depth{node="n\\\\1",queue="a \\"b\\""} 12345678901.25\n'));
  // Whatever it grew by stands somewhere, from its first move on.
  for (let i = 0; i < 5; i++) {
    await put(gate, counter(3), histogram(0.5));
    await sleep(400);
  }
  await until('all of it was written down', async () => {
    const jobs = await series(gate, 'rate(app_jobs_total)');
    return Math.abs(grown(jobs) - await metric(gate.port, 'app_jobs_total')) < 1e-9;
  }, 10_000, 100);
  await until('and all that was observed', async () =>
    Math.abs(grown(await series(gate, 'rate(app_wait_seconds)')) - 6) < 1e-9, 10_000, 100);
  const mean = await series(gate, 'mean(app_wait_seconds)');
  const rate = await series(gate, 'rate(app_wait_seconds)');
  assert.equal(mean.of, 'mean');
  assert.deepEqual(mean.time, rate.time);
  mean.value.forEach((value, i) => assert.equal(value === null, !(rate.value[i] > 0), `${value} at ${rate.value[i]}/s`));
  const spent = { value: rate.value.map((one, i) => (one === null ? null : one * (mean.value[i] ?? 0))) };
  assert.ok(Math.abs(grown(spent) - 2.55) < 1e-9);
  const p95 = await series(gate, 'p95(app_wait_seconds)');
  assert.ok(p95.value.every((value) => value === null || (value > 0 && value <= 1)));
});

test('requests through the gateway are there by route', async (t) => {
  const up = await startUpstream(t, inference());
  const gate = await startPenstock(t, { args: ['--upstream', up.url] });
  await sleep(1500); // it was there before them
  for (let i = 0; i < 20; i++) {
    assert.equal((await chat(gate.port)).status, 200);
  }
  await until('all are counted', async () => {
    const answer = await get(gate.port, '/api/history?name=penstock_traffic_requests_total&of=rate');
    const all = answer.status === 200 ? JSON.parse(answer.body).series : []; // 404 until there is one
    return Math.abs(sum(all.filter((one) => one.labels.code === '200').map(grown)) - 20) < 1e-6;
  }, 10_000, 100);
});

test('points lie on whole seconds, and time in which the program stood still is a gap', async (t) => {
  const gate = await startPenstock(t, { config: '' });
  await put(gate, gauge(7));
  await series(gate, 'app_depth', 2);
  const missed = await metric(gate.port, 'penstock_history_missed_seconds_total');
  gate.signal('SIGSTOP');
  await sleep(4200);
  gate.signal('SIGCONT');
  const { time, value } = await until('it goes on', async () => {
    const found = await series(gate, 'app_depth', 2);
    return /7(,null){3,5},7/.test(found.value.join(',').replace(/(?<=^|,)(?=,|$)/g, 'null')) && found;
  }, 10_000, 200);
  assert.equal(time.length, 300);
  time.forEach((at, i) => assert.ok(Number.isInteger(at) && (i === 0 || at === time[i - 1] + 1)));
  assert.ok(Math.abs(time.at(-1) - Date.now() / 1000) < 3);
  assert.equal(value.length, 300);
  const more = await metric(gate.port, 'penstock_history_missed_seconds_total') - missed;
  assert.ok(more >= 3 && more <= 5, `${more} seconds`);
});

test('a stop keeps the running minute, and a start goes on with it', async (t) => {
  const config = `store: {path: "${path.join(tempDir(t), 'ledger.db')}"}`;
  const first = await startPenstock(t, { config });
  await put(first, gauge(3, { node: 'old' }), counter(1));
  await series(first, 'app_depth{node="old"}', 2);
  const before = Math.floor(Date.now() / 1000);
  await first.stop();
  const second = await startPenstock(t, { config });
  await put(second, gauge(9, { node: 'new' }));
  await series(second, 'app_depth{node="new"}', 2);
  const answer = await until('the store is read', async () => {
    const answer = await get(second.port, '/api/history?name=app_depth&range=1h');
    return answer.status === 200 && JSON.parse(answer.body);
  }, 10_000, 100);
  assert.equal(answer.resolution, 'minute');
  assert.equal(answer.store, true);
  assert.equal(answer.step_seconds, 60);
  const [old, young] = ['old', 'new'].map((node) => answer.series.find((one) => one.labels.node === node));
  const at = old.time.findIndex((start) => start <= before && before < start + 60);
  const there = old.count[at] > 0 ? at : at - 1; // the stop may have fallen on the minute's edge
  assert.ok(old.count[there] > 0 && sum(old.count) >= 2, JSON.stringify(old.count));
  for (const word of ['min', 'max', 'mean', 'last', 'p95']) {
    assert.equal(old[word][there], 3);
    assert.equal(young[word].at(-1) ?? young[word].at(-2), 9);
  }
  assert.equal(old.min[0], null);
  assert.equal(old.count[0], 0);
  const hours = await ask(second, { name: 'app_depth', range: '30d', step: '1h' });
  assert.equal(hours.resolution, 'hour');
  assert.equal(sum(hours.series.find((one) => one.labels.node === 'old').count), sum(old.count));
  // In memory it is gone, and nothing is made up.
  const present = await ask(second, { name: 'app_depth' });
  assert.deepEqual(present.series.map((one) => one.labels.node), ['new']);
});

test('without a store the answer is what memory has, and says so', async (t) => {
  const gate = await startPenstock(t, { config: '' });
  await put(gate, gauge(1));
  await series(gate, 'app_depth');
  const answer = await ask(gate, { name: 'app_depth', range: '24h' });
  assert.equal(answer.store, false);
  assert.equal(answer.resolution, 'second');
  assert.equal(answer.series[0].time.length, 300);
  const list = await ask(gate);
  assert.equal(list.points, 300);
  assert.equal(list.store, false);
  const row = list.series.find((one) => one.key === 'app_depth');
  assert.deepEqual(row, { key: 'app_depth', name: 'app_depth', labels: {}, of: 'value' });
});

test('a longer step tells min, max, mean, last and p95 of it', async (t) => {
  const gate = await startPenstock(t, { config: '' });
  await put(gate, gauge(4));
  await series(gate, 'app_depth', 3);
  await put(gate, gauge(8));
  await sleep(2100);
  const answer = await ask(gate, { name: 'app_depth', step: '5m' });
  const [{ min, max, mean, last, p95, count, time, value }] = answer.series;
  assert.equal(value, undefined);
  assert.equal(answer.step_seconds, 300);
  assert.ok(time.every((at) => at % 300 === 0));
  assert.equal(Math.min(...min.filter((one) => one !== null)), 4);
  assert.equal(Math.max(...max), 8);
  assert.equal(last.at(-1), 8);
  assert.ok(sum(count) >= 5);
  mean.forEach((one, i) => assert.ok(one === null || (one >= min[i] && one <= max[i] && p95[i] <= max[i])));
});

test('what is wrong with a question is said', async (t) => {
  const gate = await startPenstock(t, { config: '' });
  await put(gate, gauge(1, { node: 'a' }));
  await series(gate, 'app_depth{node="a"}');
  const rows = [
    ['name=nothing_of_that_name', 404, 'no_such_series', /nothing is known of 'nothing_of_that_name'/],
    ['range=1h', 400, 'invalid_query', /'name' is missing/],
    ['name=app_depth&rnge=1h', 400, 'invalid_query', /'rnge' is neither a parameter nor a label/],
    ['name=app_depth&range=1week', 400, 'invalid_query', /'range' is a length of time/],
    ['name=app_depth&from=tomorrow', 400, 'invalid_query', /'from' is a number of seconds/],
    ['name=app_depth&from=-1h&to=-2h', 400, 'invalid_query', /'from' lies behind 'to'/],
    ['name=app_depth&step=0', 400, 'invalid_query', /'step' is a length of time/],
    ['name=app_depth%7B', 400, 'invalid_query', /'name' is a metric's name/],
    ['name=%zz', 400, 'invalid_query', /percent-encoded/],
    ['name=app_depth&of=p42', 400, 'invalid_query', /'of' is one of/],
  ];
  for (const [query, status, code, detail] of rows) {
    const told = await refused(gate, query);
    assert.deepEqual([told.status, told.code], [status, code], query);
    assert.match(told.detail, detail);
  }
  assert.deepEqual((await ask(gate, { name: 'app_depth', node: 'b' })).series, []);
  assert.equal((await call(gate.port, { method: 'DELETE', path: '/api/history' })).status, 405);
});

test('what does not fit is counted, named once, and costs nothing else', async (t) => {
  const gate = await startPenstock(t, { config: 'history: {max_series: 20}' });
  await until('it is full', async () => (await ask(gate)).series.length === 20, 10_000, 100);
  await until('it is counted', async () => await metric(gate.port, 'penstock_history_refused_points_total') > 0, 10_000, 100);
  await sleep(1500);
  assert.equal(gate.stderr.match(/history is full/g).length, 1);
  assert.match(gate.stderr, /history is full: series that come now are left out history.max_series=20 first=/);
});

test('whoever asks while it stops is told so, and nothing is left behind', async (t) => {
  const config = `store: {path: "${path.join(tempDir(t), 'ledger.db')}"}`;
  const gate = await startPenstock(t, { config });
  await put(gate, gauge(1));
  await series(gate, 'app_depth');
  const answers = Array.from({ length: 30 }, () => get(gate.port, '/api/history?name=app_depth&range=24h'));
  await gate.stop();
  for (const answer of await Promise.all(answers)) {
    assert.ok(answer === null || [200, 503].includes(answer.status), JSON.stringify(answer));
  }
});
