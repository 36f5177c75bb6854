// timeout: 300
//
// sim_engines - the simulated server as each of the other engines, as their clients see it: identity,
// inference, state, metrics, and the calls that release memory, with the device as the witness.
import assert from 'node:assert/strict';
import test from 'node:test';

import WebSocket from 'ws';

import { after } from './lib/after.mjs';
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

// --- ComfyUI -----------------------------------------------------------------------------------------

const workflow = ({ steps = 4, width = 256, height = 128, batch = 1, seed = 7, model = 'sim', prefix = 'ComfyUI' } = {}) => ({
  3: { class_type: 'KSampler', inputs: { seed, steps, cfg: 7, sampler_name: 'euler', scheduler: 'normal', denoise: 1,
    model: ['4', 0], positive: ['6', 0], negative: ['7', 0], latent_image: ['5', 0] } },
  4: { class_type: 'CheckpointLoaderSimple', inputs: { ckpt_name: `${model}.safetensors` } },
  5: { class_type: 'EmptyLatentImage', inputs: { width, height, batch_size: batch } },
  6: { class_type: 'CLIPTextEncode', inputs: { text: 'a mill', clip: ['4', 1] } },
  7: { class_type: 'CLIPTextEncode', inputs: { text: 'text', clip: ['4', 1] } },
  8: { class_type: 'VAEDecode', inputs: { samples: ['3', 0], vae: ['4', 2] } },
  9: { class_type: 'SaveImage', inputs: { filename_prefix: prefix, images: ['8', 0] } },
});

/// A listener: messages as they came, and until() for one of a kind.
function listen(t, sim, id, path = '/ws') {
  const socket = new WebSocket(`ws://127.0.0.1:${sim.port}${path}?clientId=${id}`);
  const messages = [];
  socket.on('message', (data, binary) => {
    assert.equal(binary, false);
    messages.push(JSON.parse(data));
  });
  after(t, () => socket.terminate());
  return {
    socket, messages,
    open: () => until('it is greeted', () => messages.length > 0),
    ended: (job) => until('the job ends', () => messages.some(({ type, data }) =>
      type === 'executing' && data.node === null && data.prompt_id === job)),
  };
}

const finished = (sim, id) => until('the job is in the history', async () => (await sim.json(sim.get(`/history/${id}`)))[id]);

test('comfyui: a job is told step by step to the client that it names, and its picture can be seen', async (t) => {
  const sim = await startSim(t, 'comfyui');
  const mine = listen(t, sim, 'mine');
  const other = listen(t, sim, 'other', '/api/ws');
  await mine.open();
  await other.open();
  assert.equal(mine.messages[0].type, 'status');
  assert.equal(mine.messages[0].data.sid, 'mine');
  const seed = '18446744073709551615'; // seeds have 64 bits and no sign
  const body = JSON.stringify({ prompt: workflow(), client_id: 'mine' }).replace('"seed":7', `"seed":${seed}`);
  const job = await sim.json(sim.post('/prompt', body));
  assert.match(job.prompt_id, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}$/);
  assert.deepEqual([job.number, job.node_errors], [0, {}]);
  await mine.ended(job.prompt_id);
  const kinds = mine.messages.map(({ type }) => type);
  for (const type of ['execution_start', 'execution_cached', 'executing', 'progress', 'executed', 'execution_success']) {
    assert.ok(kinds.includes(type), type);
  }
  assert.deepEqual(mine.messages.filter(({ type }) => type === 'progress').map(({ data }) => data.value), [1, 2, 3, 4]);
  assert.deepEqual(other.messages.filter(({ type }) => type !== 'status'), []);
  const [image] = mine.messages.find(({ type }) => type === 'executed').data.output.images;
  assert.deepEqual(image, { filename: 'ComfyUI_00001_.png', subfolder: '', type: 'output' });
  const entry = await finished(sim, job.prompt_id);
  assert.deepEqual(entry.outputs, { 9: { images: [image] } });
  assert.deepEqual([entry.status.status_str, entry.status.completed], ['success', true]);
  assert.deepEqual(entry.prompt.slice(0, 2), [0, job.prompt_id]);
  const view = await sim.get(`/api/view?filename=${image.filename}&subfolder=&type=output`);
  assert.equal(view.headers.get('content-type'), 'image/png');
  const file = Buffer.from(await view.arrayBuffer());
  assert.deepEqual([file.readUInt32BE(16), file.readUInt32BE(20)], [256, 128]);
  assert.equal((await sim.get('/view?filename=ComfyUI_00002_.png')).status, 404);
  const twin = await startSim(t, 'comfyui');
  const second = await sim.json(twin.post('/api/prompt', { prompt: workflow() }));
  assert.notEqual(second.prompt_id, job.prompt_id);
  assert.equal((await finished(twin, second.prompt_id)).outputs[9].images[0].filename, image.filename);
  mine.socket.ping('x');
  await new Promise((resolve) => { mine.socket.once('pong', resolve); });
  mine.socket.close(1000);
  await new Promise((resolve) => { mine.socket.once('close', resolve); });
});

test('comfyui: /free waits for the job that runs, either flag unloads, and the next job loads again', async (t) => {
  const sim = await startSim(t, 'comfyui', '--speed', '1', '--load-rate', '1e11', '--image-rate', '1e6');
  const stats = async () => (await sim.json(sim.get('/system_stats'))).devices[0];
  const empty = await sim.used();
  assert.equal((await stats()).torch_vram_total, 0);
  const job = await sim.json(sim.post('/prompt', { prompt: workflow({ steps: 30 }) }));
  await until('it runs', async () => (await sim.json(sim.get('/queue'))).queue_running.length === 1);
  const waiting = await sim.json(sim.post('/prompt', { prompt: workflow({ steps: 1 }) }));
  assert.equal((await sim.json(sim.get('/queue'))).queue_pending[0][1], waiting.prompt_id);
  await until('the model is there', async () => (await stats()).torch_vram_total > 6 * GIB);
  assert.equal((await sim.post('/free', { unload_models: false, free_memory: true })).status, 200);
  assert.ok((await stats()).torch_vram_total > 6 * GIB, 'a job is running');
  assert.equal((await sim.json(sim.get('/prompt'))).exec_info.queue_remaining, 2);
  await sim.post('/queue', { delete: [waiting.prompt_id] });
  await finished(sim, job.prompt_id);
  await until('everything is free', async () => (await sim.used()) === empty);
  assert.equal((await stats()).torch_vram_total, 0);
  const again = await sim.json(sim.post('/prompt', { prompt: workflow({ steps: 1 }) }));
  await finished(sim, again.prompt_id);
  assert.equal((await sim.state()).models[0].loads, 2);
  const long = await sim.json(sim.post('/prompt', { prompt: workflow({ steps: 9000 }) }));
  await until('it runs', async () => (await sim.json(sim.get('/queue'))).queue_running.length === 1);
  await sim.post('/interrupt', '');
  const entry = await finished(sim, long.prompt_id);
  assert.equal(entry.status.status_str, 'error');
  assert.equal(entry.status.messages.at(-1)[0], 'execution_interrupted');
});

test('comfyui: workflows that make no sense are refused, and too large ones fail', async (t) => {
  const sim = await startSim(t, 'comfyui', '--model', 'sdxl');
  const refused = async (prompt, type) => {
    const answer = await sim.post('/prompt', prompt);
    assert.equal(answer.status, 400);
    const { error, node_errors } = await answer.json();
    assert.equal(error.type, type);
    return node_errors;
  };
  await refused({}, 'no_prompt');
  await refused({ prompt: {} }, 'prompt_no_outputs');
  await refused({ prompt: { 1: { class_type: 'EmptyLatentImage', inputs: {} } } }, 'prompt_no_outputs');
  await refused({ prompt: { 1: { class_type: 'NoSuchNode', inputs: {} } } }, 'invalid_prompt');
  const errors = await refused({ prompt: workflow({ model: 'other' }) }, 'prompt_outputs_failed_validation');
  assert.equal(errors[4].errors[0].type, 'value_not_in_list');
  const cycle = workflow({ model: 'sdxl' });
  cycle[5].inputs.samples = ['8', 0];
  await refused({ prompt: cycle }, 'prompt_outputs_failed_validation');
  const large = await sim.json(sim.post('/prompt', { prompt: workflow({ model: 'sdxl', width: 8192, height: 8192 }) }));
  const entry = await finished(sim, large.prompt_id);
  assert.equal(entry.status.messages.at(-1)[1].exception_type, 'torch.OutOfMemoryError');
  const info = await sim.json(sim.get('/object_info/CheckpointLoaderSimple'));
  assert.deepEqual(info.CheckpointLoaderSimple.input.required.ckpt_name, [['sdxl']]);
  assert.equal((await sim.get('/ws')).status, 400);
});
