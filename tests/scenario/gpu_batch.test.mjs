// timeout: 300
// tags: threads
//
// gpu_batch - which batch, or how many requests in flight, is recommended: learned from Triton's own counts and
// from what the gateway sees.
import assert from 'node:assert/strict';
import test from 'node:test';

import { startPenstock } from './lib/penstock.mjs';
import { startSim } from './lib/sim.mjs';
import { until } from './lib/wait.mjs';

async function startGate(t, sim, { gpu = [], upstream = [] } = {}) {
  const gate = await startPenstock(t, {
    config: ['gpu:', '  drivers: no', '  interval: 100ms', ...gpu.map((line) => `  ${line}`), 'upstreams:',
      `  - name: gpu`, `    endpoints: [{url: "${sim.url}"}]`, '    health: {interval: 200ms}',
      ...upstream.map((line) => `    ${line}`)].join('\n'),
  });
  gate.api = async (path) => (await fetch(`${gate.url}${path}`)).json();
  gate.batch = async (query = '') => {
    const answer = await fetch(`${gate.url}/api/gpu/batch-size${query}`);
    return { status: answer.status, json: await answer.json() };
  };
  await until('the server is known', async () => (await gate.api('/api/gpu/profile')).engines?.[0]?.state === 'fresh',
    15_000, 50);
  return gate;
}

/// `users` that ask one after the other, `each` times.
async function load(gate, users, each, body) {
  await Promise.all(Array.from({ length: users }, async () => {
    for (let i = 0; i < each; i++) {
      const answer = await fetch(`${gate.url}/v1/chat/completions`, {
        method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body),
      });
      assert.equal(answer.status, 200);
      await answer.text();
    }
  }));
}

const chat = { model: 'sim', max_tokens: 24, ignore_eos: true, messages: [{ role: 'user', content: 'how far is it to the sea' }] };

test('requests in flight: what is seen at the gateway becomes a recommendation', async (t) => {
  const sim = await startSim(t, 'vllm');
  const gate = await startGate(t, sim, { gpu: ['batch: {p95: 30s}'], upstream: ['admission: {max_in_flight: 4}'] });
  assert.equal((await gate.batch('?model=sim')).status, 404); // nothing was seen: no number is invented
  assert.deepEqual((await gate.api('/api/gpu/profile')).batch, []);

  await load(gate, 1, 3, chat);
  const few = await until('the first calls are known', async () => {
    const { status, json } = await gate.batch('?model=sim');
    return status === 200 && json;
  }, 10_000, 100);
  assert.equal(few.limited_by, 'samples');
  assert.equal(few.recommended, undefined);
  assert.equal(few.expected_p95_ms, undefined);

  // on a busy machine more is needed until four together are seen to carry more than one
  const known = await until('more is recommended', async () => {
    for (const users of [1, 2, 3, 4]) {
      await load(gate, users, 4, chat);
    }
    const { json } = await gate.batch('?model=sim&shape=any&upstream=gpu');
    return json.recommended >= 6 && json.limited_by === 'seen' && json;
  }, 60_000, 200);
  assert.equal(known.unit, 'requests_in_flight');
  assert.equal(known.simulated, true);
  assert.ok(known.recommended > 4 && known.recommended <= 8, JSON.stringify(known)); // twice what was seen
  assert.equal(known.limited_by, 'seen');
  assert.ok(known.expected_p95_ms > 0 && known.expected_p95_ms < known.objective_p95_ms);

  const { batch, recommendations } = await gate.api('/api/gpu/profile');
  assert.ok(batch.some(({ shape }) => /^p\d+-a64$/.test(shape)), JSON.stringify(batch));
  const report = await gate.api('/api/gpu/report');
  assert.deepEqual(report.batch.map(({ model, shape }) => [model, shape]), batch.map(({ model, shape }) => [model, shape]));
  const advice = recommendations.find(({ id }) => id === 'batch_size');
  assert.ok(advice, JSON.stringify({ recommendations, known }));
  assert.match(advice.text, /max_in_flight lets in 4/);
  assert.match(advice.action, /admission\.max_in_flight: \d/);
  assert.ok(advice.expected_effect.throughput_percent > 5);
  assert.equal(advice.expected_effect.basis, 'expected'); // nobody has seen more than 4

  const page = await until('the figures are published', async () => {
    const text = await (await fetch(`${gate.url}/metrics`)).text();
    return /penstock_gpu_batch_recommended\{upstream="gpu",model="sim"\} [5-8]\n/.test(text) && text;
  }, 10_000, 100);
  assert.match(page, /penstock_gpu_batch_samples\{upstream="gpu",model="sim"\} /);
  assert.match(page, /penstock_gpu_batch_dropped_total 0\n/);
});

test('an objective that a larger number would miss keeps it small', async (t) => {
  const sim = await startSim(t, 'vllm');
  const gate = await startGate(t, sim, { gpu: ['batch: {p95: 1ms}'] });
  const known = await until('it is kept small', async () => {
    await load(gate, 1, 3, chat);
    await load(gate, 4, 3, chat);
    const { json } = await gate.batch('?model=sim');
    return json.limited_by === 'latency' && json;
  }, 60_000, 200);
  assert.equal(known.recommended, 1);
  assert.equal(known.limited_by, 'latency');
  assert.ok(known.expected_p95_ms > 1); // and it says that not even 1 keeps to it
});

test("Triton's own counts teach what batches take", async (t) => {
  const sim = await startSim(t, 'triton', '--model', 'resnet', '--max-batch', '64');
  const infer = (rows) => sim.json(sim.post('/v2/models/resnet/infer', {
    inputs: [{ name: 'INPUT0', datatype: 'BYTES', shape: [rows, 1], data: Array.from({ length: rows }, (_, i) => `t${i}`) }],
  }));
  for (const rows of [1, 2, 4, 8, 16]) {
    for (let i = 0; i < 4; i++) {
      await infer(rows); // before anybody watched: the counts are still there
    }
  }
  const gate = await startGate(t, sim);
  const known = await until('the counts are read', async () => {
    const { json } = await gate.batch('?model=resnet');
    return json.recommended !== undefined && json;
  }, 15_000, 100);
  assert.equal(known.unit, 'rows_in_a_batch');
  assert.ok(known.samples >= 20);
  assert.ok(known.recommended >= 4, JSON.stringify(known)); // a step takes as long for one row as for many
  for (let i = 0; i < 10; i++) {
    await infer(1);
  }
  const more = await until('what came since is learned', async () => {
    const { json } = await gate.batch('?model=resnet');
    return json.samples >= known.samples + 10 && json;
  }, 15_000, 100);
  assert.ok(more.recommended >= 4);
  const advice = await until('batches of one are noticed', async () =>
    (await gate.api('/api/gpu/report')).recommendations.find(({ id }) => id === 'batch_size'), 10_000, 200);
  assert.match(advice.text, /rows in a batch/);
  assert.match(advice.action, /max_batch_size/);
});

test('questions that cannot be answered say why', async (t) => {
  const sim = await startSim(t, 'vllm');
  const gate = await startGate(t, sim);
  assert.deepEqual((await gate.batch('')).json, { batch: [] });
  for (const [query, status, what] of [['?model=none', 404, /nothing was seen/], ['?color=red', 400, /model, shape and upstream/],
    ['?model=%zz', 400, /malformed/], [`?model=${'a'.repeat(300)}`, 400, /too long/]]) {
    const answer = await gate.batch(query);
    assert.equal(answer.status, status, query);
    assert.match(answer.json.detail, what);
  }
  assert.equal((await fetch(`${gate.url}/api/gpu/batch-size`, {
    method: 'POST', headers: { 'content-type': 'application/json' }, body: '{}',
  })).status, 405);
});
