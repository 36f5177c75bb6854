// timeout: 300
// tags: threads
//
// pressure - memory that runs short while requests run: requests that die of it, models that are idle beside others
// at work, and a gate that lets in no more than the memory behind it holds.
import assert from 'node:assert/strict';
import test from 'node:test';

import { startPenstock } from './lib/penstock.mjs';
import { startSim } from './lib/sim.mjs';
import { sleep, until } from './lib/wait.mjs';

/// A gate in front of one simulated server; `gpu` is the text of the section.
async function startRoom(t, sim, engine, gpu) {
  const gate = await startPenstock(t, { config: `
gpu: {drivers: no, interval: 100ms, trust_unverified: yes, hold: 0s, cool_down: 1s, ${gpu}}
upstreams:
  - {name: room, endpoints: [{url: "${sim.url}"}], engine: ${engine}, health: {interval: 200ms}}
routes:
  - {name: chat, path: /v1/chat/completions, kind: openai, upstream: room}
` });
  gate.report = async () => (await fetch(`${gate.url}/api/gpu/report`)).json();
  gate.metric = async (name) => {
    const text = await (await fetch(`${gate.url}/metrics`)).text();
    const line = text.split('\n').find((one) => one.startsWith(name));
    return line === undefined ? undefined : Number(line.split(' ').at(-1));
  };
  await until('the server is known', async () => (await gate.report()).profile?.effective_percent !== undefined, 15_000, 50);
  return gate;
}

async function chat(server, model, content, max_tokens) {
  const answer = await fetch(`${server.url}/v1/chat/completions`, {
    method: 'POST', headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ model, max_tokens, messages: [{ role: 'user', content }] }),
  });
  return { status: answer.status, text: await answer.text() };
}

test('a request takes memory while it runs, leaves some behind, and dies where there is none', async (t) => {
  const sim = await startSim(t, 'ollama', '--model', 'a', '--model', 'b', '--memory', '12GiB', '--max-num-seqs', '8',
    '--work-bytes-per-token', '4MiB', '--leak-bytes', '256MiB', '--unload-delay', '0s');
  assert.equal((await chat(sim, 'a', 'x'.repeat(400), 20)).status, 200);
  const { device, models } = await sim.state();
  assert.equal(device.transient_bytes, 0);
  assert.equal(device.leaked_bytes, 256 * 2 ** 20);
  assert.equal(device.leaked_bytes + device.cached_bytes, models[0].bytes.pool);
  assert.ok(models[0].bytes.pool > 100 * 4 * 2 ** 20);
  assert.equal(models[0].users, 0);
  const dead = await chat(sim, 'a', 'x'.repeat(4000), 1000);
  assert.equal(dead.status, 500);
  assert.match(dead.text, /out of memory \(simulated\)/);
  assert.equal((await sim.state()).device.out_of_memory, 1);
  await sim.json(sim.post('/api/generate', { model: 'a', keep_alive: 0 }));
  assert.equal((await sim.state()).device.leaked_bytes, 0); // all of it went with the model
});

test('an idle model is unloaded while another one works, and the one at work stays', async (t) => {
  const sim = await startSim(t, 'ollama', '--model', 'idle', '--model', 'busy', '--speed', '1', '--load-rate', '1e12',
    '--max-num-seqs', '8');
  const gate = await startRoom(t, sim, 'ollama', 'mode: auto, target_percent: 30, rungs: [unload], idle_after: 3s');
  assert.equal((await chat(gate, 'idle', 'hello', 2)).status, 200);
  const answers = [];
  let going = true;
  const load = async () => {
    while (going) {
      answers.push((await chat(gate, 'busy', `n ${answers.length}`, 8)).status);
    }
  };
  const loads = [load(), load()];
  const run = await until('a model was unloaded', async () => (await gate.report()).cleanups
    .find(({ steps }) => steps.some(({ verdict }) => verdict === 'freed' || verdict === 'unproven')), 30_000, 50);
  const step = run.steps.find(({ verdict }) => verdict === 'freed' || verdict === 'unproven');
  assert.equal(step.model, 'idle:latest');
  await sleep(2000);
  going = false;
  await Promise.all(loads);
  assert.ok(answers.length > 5 && answers.every((status) => status === 200));
  const [idle, busy] = (await sim.state()).models;
  assert.deepEqual([idle.says.weights, busy.says.weights], [false, true]);
  assert.equal(busy.loads, 1); // it was never taken away
});

test('a server full of living requests is told as no_rung, and nothing is taken from it', async (t) => {
  const sim = await startSim(t, 'vllm', '--speed', '1', '--enable-sleep-mode', '--kv-tokens', '1024');
  const gate = await startRoom(t, sim, 'vllm', 'mode: auto, target_percent: 30, rungs: [prefix_cache, sleep, deep_sleep]');
  const request = chat(gate, 'sim', 'x'.repeat(2000), 400);
  const run = await until('a cleanup has ended', async () => (await gate.report()).cleanups
    .find(({ outcome }) => outcome !== 'running'), 20_000, 50);
  assert.equal(run.outcome, 'no_rung');
  assert.match(run.reason, /works on requests/);
  assert.equal((await request).status, 200);
});

test('with gpu.in_flight: auto no request has to be preempted, and without it some are', async (t) => {
  for (const mode of ['fixed', 'auto']) {
    const sim = await startSim(t, 'vllm', '--speed', '4', '--kv-tokens', '2048');
    const gate = await startRoom(t, sim, 'vllm', `in_flight: ${mode}`);
    if (mode === 'auto') {
      await until('the bound is in force', async () =>
        (await gate.metric('penstock_gpu_upstream_bound_tokens')) === Math.floor(2048 * 0.9), 10_000, 50);
    }
    const all = await Promise.all(Array.from({ length: 24 }, (_, i) => chat(gate, 'sim', `${i} `.repeat(40), 250)));
    assert.ok(all.every(({ status }) => status === 200), JSON.stringify(all.find(({ status }) => status !== 200)));
    const { preemptions } = (await sim.state()).sequences;
    assert.equal(preemptions > 0, mode === 'fixed', `${mode}: ${preemptions}`);
  }
});
