// timeout: 300
//
// sim_engines - the simulated server as each of the other engines, as their clients see it: identity,
// inference, state, metrics, and the calls that release memory, with the device as the witness.
import assert from 'node:assert/strict';
import test from 'node:test';

import { eventsOf, metricOf, startSim, startSimWith } from './lib/sim.mjs';
import { sleep, until } from './lib/wait.mjs';

const GIB = 2 ** 30;

/// Lines of JSON.
const linesOf = (text) => text.trim().split('\n').map((line) => JSON.parse(line));

// --- Ollama ------------------------------------------------------------------------------------------

test('ollama: a model is loaded by the request that wants it, and the last line counts', async (t) => {
  const sim = await startSim(t, 'ollama', '--model', 'llama', '--model', 'qwen:7b');
  assert.equal((await sim.json(sim.get('/api/version'))).simulated, true);
  assert.deepEqual((await sim.json(sim.get('/api/tags'))).models.map(({ name }) => name), ['llama:latest', 'qwen:7b']);
  assert.deepEqual((await sim.json(sim.get('/api/ps'))).models, []);
  const empty = await sim.used();
  const answer = await sim.post('/api/generate', { model: 'llama', prompt: 'why', options: { num_predict: 5 } });
  assert.equal(answer.headers.get('content-type'), 'application/x-ndjson');
  const lines = linesOf(await answer.text());
  const last = lines.at(-1);
  assert.ok(lines.every(({ simulated, model }) => simulated === true && model === 'llama'));
  assert.ok(lines.slice(0, -1).every(({ done }) => done === false));
  assert.equal(lines.slice(0, -1).map(({ response }) => response).join('').length, 20);
  assert.equal(last.done, true);
  assert.equal(last.done_reason, 'length');
  assert.equal(last.eval_count, 5);
  assert.equal(last.prompt_eval_count, 1);
  assert.ok(last.load_duration > 0 && last.total_duration >= last.load_duration);
  assert.ok(last.eval_duration > 0 && last.prompt_eval_duration > 0);
  const [running] = (await sim.json(sim.get('/api/ps'))).models;
  assert.equal(running.name, 'llama:latest');
  assert.equal(running.size_vram, (await sim.used()) - empty);
  assert.ok(Date.parse(running.expires_at) > Date.now() + 200_000);
  const whole = await sim.json(sim.post('/api/chat', {
    model: 'llama:latest', stream: false, messages: [{ role: 'user', content: 'why' }], options: { num_predict: 3, seed: 1 },
  }));
  assert.equal(whole.message.role, 'assistant');
  assert.equal(whole.message.content.length, 12);
  assert.equal(whole.load_duration, 0);
});

test('ollama: keep_alive 0 unloads, the bytes come back a while later, and a request loads again', async (t) => {
  const sim = await startSim(t, 'ollama', '--model', 'm', '--unload-delay', '10s'); // a quarter to three quarters of a second
  const empty = await sim.used();
  const load = await sim.json(sim.post('/api/generate', { model: 'm' }));
  assert.deepEqual([load.done, load.done_reason], [true, 'load']);
  const full = await sim.used();
  assert.ok(full - empty > 5 * GIB);
  const unload = await sim.json(sim.post('/api/generate', { model: 'm', keep_alive: 0 }));
  assert.equal(unload.done_reason, 'unload');
  assert.deepEqual((await sim.json(sim.get('/api/ps'))).models, []);
  const early = await sim.state();
  if (early.models[0].leaving) {
    assert.equal(early.device.used_bytes, full);
  }
  await until('the bytes come back', async () => (await sim.used()) === empty);
  await sim.json(sim.post('/api/chat', { model: 'm', messages: [], keep_alive: '10m' }));
  assert.equal(await sim.used(), full);
  assert.equal((await sim.state()).models[0].loads, 2);
  assert.equal((await sim.json(sim.post('/api/chat', { model: 'm', messages: [], keep_alive: 0 }))).done_reason, 'unload');
});

test('ollama: keep_alive ends by itself, and models that do not fit together take turns', async (t) => {
  const sim = await startSim(t, 'ollama', '--model', 'a', '--model', 'b', '--memory', '10GiB', '--unload-delay', '1s');
  await sim.json(sim.post('/api/generate', { model: 'a', keep_alive: 0.2 }));
  await until('it is gone', async () => (await sim.json(sim.get('/api/ps'))).models.length === 0);
  await sim.json(sim.post('/api/generate', { model: 'a', keep_alive: -1 }));
  await sim.json(sim.post('/api/generate', { model: 'b' }));
  assert.deepEqual((await sim.json(sim.get('/api/ps'))).models.map(({ model }) => model), ['b:latest']);
});

test('ollama: embeddings, show, errors, and its OpenAI routes', async (t) => {
  const sim = await startSim(t, 'ollama', '--model', 'm', '--embedding-dimensions', '16');
  const many = await sim.json(sim.post('/api/embed', { model: 'm', input: ['a', 'b'] }));
  assert.deepEqual(many.embeddings.map((vector) => vector.length), [16, 16]);
  assert.ok(many.prompt_eval_count === 2 && many.total_duration > 0);
  const one = await sim.json(sim.post('/api/embeddings', { model: 'm', prompt: 'a' }));
  assert.deepEqual(one.embedding, many.embeddings[0]);
  assert.equal((await sim.json(sim.post('/api/show', { model: 'm' }))).details.format, 'gguf');
  const missing = await sim.post('/api/generate', { model: 'x', prompt: 'a' });
  assert.equal(missing.status, 404);
  assert.equal((await missing.json()).error, "model 'x' not found");
  const chat = await sim.json(sim.post('/v1/chat/completions', {
    model: 'm:latest', max_tokens: 2, messages: [{ role: 'user', content: 'hi' }],
  }));
  assert.equal(chat.usage.completion_tokens, 2);
  const lost = await sim.post('/v1/chat/completions', { model: 'x', messages: [{ role: 'user', content: 'hi' }] });
  assert.equal(lost.status, 404);
  assert.match((await lost.json()).error.message, /`x` does not exist/);
  assert.equal((await sim.json(sim.get('/v1/models'))).data[0].owned_by, 'library');
  assert.match(await (await sim.get('/')).text(), /^Ollama is running/);
});
