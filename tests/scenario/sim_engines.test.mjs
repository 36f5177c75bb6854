// timeout: 300
//
// sim_engines - the simulated server as each of the other engines, as their clients see it: identity,
// inference, state, metrics, and the calls that release memory, with the device as the witness.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createHmac } from 'node:crypto';
import fs from 'node:fs';
import test from 'node:test';
import { promisify } from 'node:util';

import WebSocket from 'ws';

import { after } from './lib/after.mjs';
import { runPenstock } from './lib/penstock.mjs';
import { eventsOf, metricOf, startSim, startSimWith } from './lib/sim.mjs';
import { sleep, slowness, until } from './lib/wait.mjs';

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

// --- vLLM's sleep mode -------------------------------------------------------------------------------

const ask = (max = 4) => ({ model: 'sim', max_tokens: max, messages: [{ role: 'user', content: 'a mill' }] });

test('vllm: sleeping frees weights and cache, answers with 503, and waking by tags brings them back', async (t) => {
  const sim = await startSim(t, 'vllm', '--enable-sleep-mode');
  const awake = await sim.state();
  const isAsleep = async () => (await sim.json(sim.get('/is_sleeping'))).is_sleeping;
  assert.equal(await isAsleep(), false);
  assert.equal((await sim.post('/sleep?level=3')).status, 400);
  assert.equal((await sim.post('/sleep?level=1')).status, 200);
  assert.equal(await isAsleep(), true);
  const asleep = await sim.state();
  assert.equal(asleep.device.weights_bytes + asleep.device.kv_cache_bytes, 0);
  assert.equal(asleep.device.used_bytes, asleep.device.context_bytes + asleep.device.activations_bytes);
  const page = await (await sim.get('/metrics')).text();
  assert.match(page, /vllm:engine_sleep_state\{[^}]*sleep_state="weights_offloaded"[^}]*\} 1\n/);
  const refused = await sim.post('/v1/chat/completions', ask());
  assert.equal(refused.status, 503);
  assert.match((await refused.json()).error.message, /sleeping/);
  assert.equal((await sim.get('/v1/models')).status, 200);
  assert.equal((await sim.post('/wake_up?tags=weights')).status, 200);
  assert.equal(await isAsleep(), true);
  assert.equal((await sim.state()).device.kv_cache_bytes, 0);
  assert.equal((await sim.post('/wake_up?tags=kv_cache')).status, 200);
  assert.equal(await isAsleep(), false);
  assert.equal(await sim.used(), awake.device.used_bytes);
  assert.equal((await sim.state()).models[0].loads, 0);
  await sim.post('/sleep?level=2');
  await sim.post('/wake_up');
  assert.equal((await sim.state()).models[0].loads, 1, 'level 2 keeps no copy');
  assert.equal((await sim.json(sim.post('/v1/chat/completions', ask()))).usage.completion_tokens, 4);
});

test('vllm: sleeping ends what runs, and the switches decide what there is', async (t) => {
  const sim = await startSim(t, 'vllm', '--enable-sleep-mode', '--speed', '1');
  const whole = sim.json(sim.post('/v1/chat/completions', ask(20000)));
  const stream = sim.post('/v1/chat/completions', { ...ask(20000), stream: true });
  await until('both run', async () => (await sim.state()).sequences.running === 2);
  await sim.post('/sleep');
  assert.equal((await whole).choices[0].finish_reason, 'abort');
  assert.equal(eventsOf(await (await stream).text()).at(-1).choices[0].finish_reason, 'abort');
  const plain = await startSim(t, 'vllm');
  const used = await plain.used();
  assert.equal((await plain.post('/sleep')).status, 200);
  assert.equal(await plain.used(), used, 'without sleep mode nothing is freed, and it is called a success');
  assert.equal((await plain.json(plain.get('/is_sleeping'))).is_sleeping, false);
  const closed = await startSim(t, 'vllm', '--no-dev-mode', '--engine-version', '0.14.0');
  for (const path of ['/sleep', '/wake_up', '/reset_prefix_cache']) {
    assert.equal((await closed.post(path)).status, 404);
  }
  assert.equal((await closed.json(closed.get('/version'))).version, '0.14.0');
  assert.equal((await closed.state()).version, '0.14.0');
});

test('resetting the prefix cache frees cache blocks and not a byte of the device', async (t) => {
  const sim = await startSim(t, 'vllm');
  await sim.json(sim.post('/v1/chat/completions', ask(200)));
  const before = await sim.state();
  assert.ok(before.blocks.cached > 0);
  assert.equal((await sim.json(sim.post('/reset_prefix_cache'))).success, true);
  const after_ = await sim.state();
  assert.equal(after_.blocks.cached, 0);
  assert.equal(after_.device.used_bytes, before.device.used_bytes);
});

// --- lies --------------------------------------------------------------------------------------------

test('lies: kept, half, late and busy, and the state tells which', async (t) => {
  const sleeping = async (...args) => {
    const sim = await startSim(t, 'vllm', '--enable-sleep-mode', ...args);
    const { device, lie } = await sim.state();
    const status = (await sim.post('/sleep')).status;
    return { sim, lie, status, before: device.used_bytes, freeable: device.weights_bytes + device.kv_cache_bytes };
  };
  const kept = await sleeping('--lie', 'keep');
  assert.deepEqual([kept.lie, kept.status], ['keep', 200]);
  assert.equal((await kept.sim.json(kept.sim.get('/is_sleeping'))).is_sleeping, true);
  assert.equal(await kept.sim.used(), kept.before);
  const half = await sleeping('--lie', 'half');
  const freed = half.before - (await half.sim.used());
  assert.ok(Math.abs(freed - half.freeable / 2) <= 2, `${freed} of ${half.freeable}`);
  const late = await sleeping('--lie', 'late', '--lie-delay', '700ms');
  assert.equal((await late.sim.json(late.sim.get('/is_sleeping'))).is_sleeping, true);
  await until('the bytes leave after all', async () => (await late.sim.used()) === late.before - late.freeable);
  const busy = await sleeping('--lie', 'busy');
  assert.equal(busy.status, 400);
  assert.equal((await busy.sim.json(busy.sim.post('/reset_prefix_cache'))).success, false);
  assert.equal(await busy.sim.used(), busy.before);
  const ollama = await startSim(t, 'ollama', '--lie', 'keep');
  await ollama.json(ollama.post('/api/generate', { model: 'sim' }));
  const loaded = await ollama.used();
  await ollama.json(ollama.post('/api/generate', { model: 'sim', keep_alive: 0 }));
  assert.deepEqual((await ollama.json(ollama.get('/api/ps'))).models, []);
  await sleep(200);
  assert.equal(await ollama.used(), loaded);
});

test('metrics that lag show what was, and the state what is', async (t) => {
  const sim = await startSim(t, 'vllm', '--metrics-lag', '1500ms');
  await sim.json(sim.post('/v1/chat/completions', ask(4)));
  const page = async () => metricOf(await (await sim.get('/metrics')).text(), 'vllm:generation_tokens_total');
  assert.equal((await sim.state()).tokens.generated, 4);
  assert.equal(await page(), 0);
  await until('the page has caught up', async () => (await page()) === 4, 10000, 50);
});

// --- SGLang ------------------------------------------------------------------------------------------

test('sglang: generate counts tokens, its stream repeats the text so far, and it says who it is', async (t) => {
  const sim = await startSim(t, 'sglang', '--model', 'qwen');
  const body = { text: 'a mill', sampling_params: { max_new_tokens: 5, temperature: 0 } };
  const whole = await sim.json(sim.post('/generate', body));
  assert.equal(whole.text.length, 20);
  assert.deepEqual(whole.meta_info.finish_reason, { type: 'length', length: 5 });
  assert.equal(whole.meta_info.completion_tokens, 5);
  assert.equal(whole.meta_info.prompt_tokens, 2);
  const events = eventsOf(await (await sim.post('/generate', { ...body, stream: true })).text());
  assert.equal(events.at(-1).text, whole.text);
  events.reduce((before, { text }) => { assert.ok(text.startsWith(before)); return text; }, '');
  assert.equal(events.at(-1).meta_info.completion_tokens, 5);
  const list = await sim.json(sim.post('/generate', { ...body, text: ['a', 'b'] }));
  assert.equal(list.length, 2);
  const info = await sim.json(sim.get('/get_server_info'));
  assert.deepEqual([info.model_path, info.simulated], ['qwen', true]);
  assert.equal((await sim.json(sim.get('/v1/models'))).data[0].owned_by, 'sglang');
  assert.equal((await sim.get('/health')).status, 200);
  assert.equal((await sim.get('/metrics')).status, 404);
  assert.equal((await sim.json(sim.post('/v1/chat/completions', { ...ask(2), model: 'whatever' }))).usage.completion_tokens, 2);
});

test('sglang: memory by tags, an engine that is busy, pausing, and metrics when they are on', async (t) => {
  const sim = await startSim(t, 'sglang', '--enable-sleep-mode', '--enable-metrics', '--speed', '1', '--load-rate', '1e12');
  const before = (await sim.state()).device;
  const running = sim.json(sim.post('/generate', { text: 'x', sampling_params: { max_new_tokens: 20000 } }));
  await until('it runs', async () => (await sim.state()).sequences.running === 1);
  assert.equal((await sim.post('/flush_cache')).status, 400);
  assert.equal((await sim.post('/release_memory_occupation', {})).status, 500);
  const paused = await sim.json(sim.post('/pause_generation', {}));
  assert.equal(paused.status, 'ok');
  assert.equal((await running).meta_info.finish_reason.type, 'abort');
  await sim.json(sim.post('/continue_generation', {}));
  assert.equal((await sim.post('/flush_cache?timeout=1')).status, 200);
  assert.equal((await sim.post('/release_memory_occupation', { tags: ['nothing'] })).status, 400);
  assert.equal((await sim.post('/release_memory_occupation', { tags: ['kv_cache'] })).status, 200);
  assert.equal(await sim.used(), before.used_bytes - before.kv_cache_bytes);
  assert.equal((await sim.get('/release_memory_occupation')).status, 200);
  assert.equal(await sim.used(), before.context_bytes);
  assert.equal((await sim.post('/generate', { text: 'x' })).status, 503);
  assert.equal((await sim.post('/resume_memory_occupation', {})).status, 200);
  assert.equal(await sim.used(), before.used_bytes);
  const answer = await sim.json(sim.post('/generate', { text: 'x', sampling_params: { max_new_tokens: 2 } }));
  assert.equal(answer.text.length, 8);
  const page = await (await sim.get('/metrics')).text();
  for (const name of ['sglang:num_running_reqs', 'sglang:num_queue_reqs', 'sglang:num_used_tokens',
    'sglang:token_usage', 'sglang:cache_hit_rate', 'sglang:gen_throughput', 'sglang:e2e_request_latency_seconds_count']) {
    assert.ok(metricOf(page, name) >= 0, name);
  }
  const plain = await startSim(t, 'sglang');
  assert.equal((await plain.post('/release_memory_occupation', {})).status, 400);
});

// --- TensorRT-LLM ------------------------------------------------------------------------------------

test('trtllm: signed calls park and wake, and the state machine says where it is', async (t) => {
  const key = 'a key of the story';
  const sim = await startSimWith(t, 'trtllm', { TRTLLM_RUNTIME_CONTROL_API_KEY: key }, '--enable-sleep-mode',
    '--unload-delay', '4s', '--wake-rate', '1e9');
  const signed = (method, path, body) => sim.call(method, path, body, {
    'x-trtllm-runtime-control-auth': `sha256=${createHmac('sha256', key).update(body ?? '').digest('hex')}`,
  });
  const status = () => sim.json(signed('GET', '/memory_status'));
  assert.deepEqual((await status()), { state: 'running', parked_tags: [], simulated: true });
  assert.equal((await sim.get('/memory_status')).status, 401);
  assert.equal((await sim.post('/release_memory', '{}', { 'x-trtllm-runtime-control-auth': 'sha256=00' })).status, 401);
  assert.equal((await signed('POST', '/release_memory', '{"tags":["nothing"]}')).status, 400);
  const before = (await sim.state()).device;
  assert.equal((await sim.json(signed('POST', '/release_memory', '{"tags":["kv_cache"]}'))).status, 'success');
  await until('it is parked', async () => (await status()).state === 'parked');
  assert.deepEqual((await status()).parked_tags, ['kv_cache']);
  assert.equal(await sim.used(), before.used_bytes - before.kv_cache_bytes);
  assert.equal((await sim.post('/v1/chat/completions', ask())).status, 503);
  await sim.json(signed('POST', '/release_memory', ''));
  if ((await status()).state === 'parking') {
    assert.equal((await signed('POST', '/resume_memory', '')).status, 409);
  }
  await until('it is parked', async () => (await status()).state === 'parked');
  assert.equal(await sim.used(), before.context_bytes);
  await sim.json(signed('POST', '/resume_memory', ''));
  assert.equal((await sim.json(sim.post('/v1/chat/completions', ask()))).usage.completion_tokens, 4);
  assert.equal((await status()).state, 'running');
  const page = await (await sim.get('/prometheus/metrics')).text();
  assert.equal(metricOf(page, 'trtllm_gpu_memory_usage_bytes'), before.used_bytes);
  for (const name of ['trtllm_kv_cache_utilization', 'trtllm_num_requests_running', 'trtllm_num_requests_waiting',
    'trtllm_kv_cache_free_blocks', 'trtllm_kv_cache_used_blocks', 'trtllm_max_batch_size_runtime']) {
    assert.ok(metricOf(page, name) >= 0, name);
  }
  assert.equal((await sim.json(sim.get('/v1/models'))).data[0].owned_by, 'tensorrt_llm');
  const [iteration] = await sim.json(sim.get('/metrics'));
  assert.equal(iteration.gpuMemUsage, before.used_bytes);
  const plain = await startSim(t, 'trtllm', '--enable-sleep-mode');
  assert.equal((await plain.get('/memory_status')).status, 404, 'without a key there is no control');
});

// --- llama.cpp ---------------------------------------------------------------------------------------

test('llamacpp: completion in both ways, slots, props, and metrics only when they are on', async (t) => {
  const sim = await startSim(t, 'llamacpp');
  const body = { prompt: 'a mill', n_predict: 4 };
  const whole = await sim.json(sim.post('/completion', body));
  assert.equal(whole.content.length, 16);
  assert.deepEqual([whole.stop, whole.tokens_predicted, whole.tokens_evaluated, whole.stop_type], [true, 4, 2, 'limit']);
  assert.ok(whole.timings.predicted_ms > 0);
  const events = eventsOf(await (await sim.post('/completion', { ...body, stream: true })).text(), null);
  assert.equal(events.map(({ content }) => content).join(''), whole.content);
  assert.deepEqual(events.map(({ stop }) => stop), [false, false, false, true]);
  assert.equal(events.at(-1).tokens_predicted, 4);
  const props = await sim.json(sim.get('/props'));
  assert.equal(props.is_sleeping, false);
  assert.ok(props.default_generation_settings.n_ctx > 0 && props.build_info.length > 0);
  assert.equal((await sim.json(sim.get('/slots'))).length, 4);
  const used = await sim.used();
  assert.ok((await sim.state()).blocks.cached >= 0);
  assert.equal((await sim.json(sim.post('/slots/0?action=erase'))).id_slot, 0);
  assert.equal(await sim.used(), used, 'cells are freed, no device memory');
  assert.equal((await sim.post('/slots/99?action=erase')).status, 400);
  assert.equal((await sim.json(sim.post('/tokenize', { content: 'a mill' }))).tokens.length, 2);
  assert.equal((await sim.get('/metrics')).status, 501);
  assert.equal((await sim.post('/models/unload', { model: 'sim' })).status, 404);
  assert.equal((await sim.json(sim.get('/health'))).status, 'ok');
  const open = await startSim(t, 'llamacpp', '--enable-metrics');
  await open.json(open.post('/completion', body));
  const page = await (await open.get('/metrics')).text();
  assert.equal(metricOf(page, 'llamacpp:tokens_predicted_total'), 4);
  assert.equal(metricOf(page, 'llamacpp:requests_processing'), 0);
  const full = await startSim(t, 'llamacpp', '--max-num-seqs', '1', '--speed', '1');
  const long = full.json(full.post('/completion', { prompt: 'x', n_predict: 100 }));
  await until('the slot is taken', async () => (await full.get('/slots?fail_on_no_slot=1')).status === 503);
  await long;
});

test('llamacpp: the router loads on demand and unloads by call', async (t) => {
  const sim = await startSim(t, 'llamacpp', '--router', '--model', 'a', '--model', 'b');
  const status = async () => (await sim.json(sim.get('/models'))).data.map((model) => model.status.value);
  assert.deepEqual(await status(), ['unloaded', 'unloaded']);
  const empty = await sim.used();
  await sim.json(sim.post('/v1/chat/completions', { ...ask(2), model: 'b' }));
  assert.deepEqual(await status(), ['unloaded', 'loaded']);
  await sim.json(sim.post('/models/load', { model: 'a' }));
  const both = await sim.used();
  assert.equal((await sim.json(sim.post('/models/unload', { model: 'b' }))).success, true);
  assert.equal(both - (await sim.used()), (await sim.used()) - empty);
  assert.equal((await sim.post('/models/unload', { model: 'x' })).status, 404);
});

// --- TGI and TEI -------------------------------------------------------------------------------------

test('tgi: each token is an event, the last has the whole text, and details on request', async (t) => {
  const sim = await startSim(t, 'tgi', '--model', 'org/model');
  const body = { inputs: 'a mill', parameters: { max_new_tokens: 5, details: true } };
  const whole = await sim.json(sim.post('/generate', body));
  assert.equal(whole.generated_text.length, 20);
  assert.deepEqual([whole.details.finish_reason, whole.details.generated_tokens, whole.details.tokens.length], ['length', 5, 5]);
  const events = eventsOf(await (await sim.post('/generate_stream', body)).text(), null);
  assert.deepEqual(events.map(({ index }) => index), [1, 2, 3, 4, 5]);
  assert.equal(events.map(({ token }) => token.text).join(''), whole.generated_text);
  assert.deepEqual(events.slice(0, 4).map(({ generated_text }) => generated_text), [null, null, null, null]);
  assert.equal(events.at(-1).generated_text, whole.generated_text);
  assert.equal(events.at(-1).details.generated_tokens, 5);
  const info = await sim.json(sim.get('/info'));
  assert.deepEqual([info.model_id, info.simulated], ['org/model', true]);
  assert.ok(info.max_total_tokens > 0);
  const bad = await sim.post('/generate', { inputs: 5 });
  assert.equal(bad.status, 422);
  assert.equal((await bad.json()).error_type, 'validation');
  assert.equal((await sim.json(sim.post('/v1/chat/completions', { ...ask(2), model: 'tgi' }))).usage.completion_tokens, 2);
  const page = await (await sim.get('/metrics')).text();
  for (const name of ['tgi_queue_size', 'tgi_batch_current_size', 'tgi_batch_current_max_tokens',
    'tgi_batch_next_size_count', 'tgi_request_queue_duration_count']) {
    assert.ok(metricOf(page, name) >= 0, name);
  }
  const full = await startSim(t, 'tgi', '--max-queue', '1', '--speed', '1');
  const long = full.json(full.post('/generate', { inputs: 'x', parameters: { max_new_tokens: 100 } }));
  await until('it runs', async () => (await full.state()).sequences.running === 1);
  const overloaded = await full.post('/generate', { inputs: 'x' });
  assert.equal(overloaded.status, 429);
  assert.equal((await overloaded.json()).error_type, 'overloaded');
  await long;
});

test('tei: embeddings, ranks and labels; too many inputs are refused', async (t) => {
  const sim = await startSim(t, 'tei', '--embedding-dimensions', '32');
  const one = await sim.json(sim.post('/embed', { inputs: 'the river runs' }));
  const many = await sim.json(sim.post('/embed', { inputs: ['the river runs', 'a wheel'] }));
  assert.deepEqual(many[0], one[0]);
  assert.equal(many[1].length, 32);
  const ranks = await sim.json(sim.post('/rerank', {
    query: 'the river runs', texts: ['quarterly figures were published', 'the river runs deep'], return_text: true,
  }));
  assert.deepEqual(ranks.map(({ index }) => index), [1, 0]);
  assert.equal(ranks[0].text, 'the river runs deep');
  assert.ok(ranks[0].score > ranks[1].score && ranks[0].score <= 1);
  const [labels] = await sim.json(sim.post('/predict', { inputs: ['good'] }));
  assert.deepEqual(labels.map(({ label }) => label).sort(), ['LABEL_0', 'LABEL_1']);
  const openai = await sim.json(sim.post('/v1/embeddings', { model: 'any', input: ['the river runs'] }));
  assert.deepEqual(openai.data[0].embedding, one[0]);
  const large = await sim.post('/embed', { inputs: Array(33).fill('x') });
  assert.equal(large.status, 422);
  assert.match((await large.json()).error, /batch size 33 > maximum allowed batch size 32/);
  assert.equal((await sim.post('/rerank', { query: 'x', texts: [] })).status, 422);
  const info = await sim.json(sim.get('/info'));
  assert.deepEqual([info.max_client_batch_size, info.max_input_length, info.model_type], [32, 512, { embedding: { pooling: 'cls' } }]);
  const page = await (await sim.get('/metrics')).text();
  for (const name of ['te_queue_size', 'te_batch_next_size_count', 'te_batch_next_tokens_count',
    'te_request_queue_duration_count', 'te_request_inference_duration_count']) {
    assert.ok(metricOf(page, name) >= 0, name);
  }
});

// --- Triton ------------------------------------------------------------------------------------------

const tensor = (rows) => ({ inputs: [{ name: 'INPUT0', datatype: 'BYTES', shape: [rows.length, 1], data: rows }] });

test('triton: rows give the same outputs in any batch, and there are statistics of batches', async (t) => {
  const sim = await startSim(t, 'triton', '--model', 'm', '--model', 'n');
  const infer = async (body, path = '/v2/models/m/infer') => sim.json(sim.post(path, body));
  const both = await infer({ ...tensor(['a', 'b']), id: '7' });
  assert.deepEqual([both.model_name, both.model_version, both.id], ['m', '1', '7']);
  const [output] = both.outputs;
  assert.deepEqual([output.name, output.datatype, output.shape, output.data.length], ['OUTPUT0', 'FP32', [2, 16], 32]);
  const [alone] = (await infer(tensor(['b']), '/v2/models/m/versions/1/infer')).outputs;
  assert.deepEqual(alone.data, output.data.slice(16));
  const numbers = { inputs: [{ name: 'X', datatype: 'FP32', shape: [2, 3], data: [[1, 2, 3], [4, 5, 6.5]] }], outputs: [{ name: 'Y' }] };
  assert.equal((await infer(numbers)).outputs[0].name, 'Y');
  const refusals = [
    [tensor(Array(9).fill('x')), /batch-size must be <= 8/],
    [{ inputs: [{ name: 'X', datatype: 'FP32', shape: [2, 2], data: [1, 2, 3] }] }, /fewer elements/],
    [{ inputs: [{ name: 'X', datatype: 'FP32', shape: [1, 1], data: [1, 2] }] }, /more elements/],
    [{ inputs: [] }, /inputs/],
    [{ inputs: [...tensor(['a']).inputs, ...tensor(['a', 'b']).inputs] }, /does not match/],
  ];
  for (const [body, says] of refusals) {
    const answer = await sim.post('/v2/models/m/infer', body);
    assert.equal(answer.status, 400);
    assert.match((await answer.json()).error, says);
  }
  assert.equal((await sim.post('/v2/models/x/infer', tensor(['a']))).status, 404);
  const odd = await sim.post('/v2/models/m/infer', { ...tensor(Array(9).fill('x')), id: `x${'é'.repeat(100)}` });
  assert.equal(odd.status, 400); // the sentence was cut within a letter
  assert.match((await odd.json()).error, /batch-size/);
  const { model_stats: [stats] } = await sim.json(sim.get('/v2/models/m/stats'));
  assert.deepEqual([stats.inference_count, stats.execution_count, stats.inference_stats.fail.count], [5, 3, 6]);
  assert.ok(Math.abs(stats.last_inference - Date.now()) < 60_000);
  assert.deepEqual(stats.batch_stats.map(({ batch_size, compute_infer }) => [batch_size, compute_infer.count]), [[1, 1], [2, 2]]);
  assert.ok(stats.batch_stats[1].compute_infer.ns > 0 && stats.memory_usage[0].byte_size > GIB);
  const page = await (await sim.get('/metrics')).text();
  assert.match(page, /^nv_inference_count\{model="m",version="1",simulated="true"\} 5$/m);
  assert.equal(metricOf(page, 'nv_gpu_memory_used_bytes'), await sim.used());
  const text = await sim.json(sim.post('/v2/models/m/generate', { text_input: 'a mill', max_tokens: 3 }));
  const events = eventsOf(await (await sim.post('/v2/models/m/generate_stream', { text_input: 'a mill', parameters: { max_tokens: 3 } })).text(), null);
  assert.equal(events.map(({ text_output }) => text_output).join(''), text.text_output);
});

test('triton: the repository, with and without explicit control', async (t) => {
  const sim = await startSim(t, 'triton', '--model', 'm', '--model', 'n', '--model-control-mode', 'explicit', '--metrics-listen', '127.0.0.1:0');
  assert.match(sim.stdout, /^penstock sim: metrics on 127\.0\.0\.1:\d+ \(simulated\)$/m);
  const port = /metrics on 127\.0\.0\.1:(\d+)/.exec(sim.stdout)[1];
  assert.match(await (await fetch(`http://127.0.0.1:${port}/metrics`)).text(), /^nv_gpu_memory_used_bytes/m);
  assert.equal((await sim.json(sim.get('/v2'))).name, 'triton');
  assert.equal((await sim.get('/v2/health/ready')).status, 200);
  const before = await sim.used();
  assert.equal((await sim.post('/v2/repository/models/m/unload', {})).status, 200);
  assert.ok(before - (await sim.used()) > GIB);
  assert.equal((await sim.get('/v2/models/m/ready')).status, 400);
  assert.equal((await sim.get('/v2/models/n/ready')).status, 200);
  const lost = await sim.post('/v2/models/m/infer', tensor(['a']));
  assert.equal(lost.status, 503);
  assert.match((await lost.json()).error, /no available versions/);
  const states = async (body) => (await sim.json(sim.post('/v2/repository/index', body))).map(({ name, state }) => [name, state]);
  assert.deepEqual(await states({}), [['m', 'UNAVAILABLE'], ['n', 'READY']]);
  assert.deepEqual(await states({ ready: true }), [['n', 'READY']]);
  assert.equal((await sim.post('/v2/repository/models/m/load', '')).status, 200);
  assert.equal(await sim.used(), before);
  await sim.json(sim.post('/v2/models/m/infer', tensor(['a'])));
  assert.equal((await sim.json(sim.get('/v2/models/m/config'))).max_batch_size, 8);
  const closed = await startSim(t, 'triton');
  const refused = await closed.post('/v2/repository/models/sim/unload', {});
  assert.equal(refused.status, 503);
  assert.match((await refused.json()).error, /explicit model load/);
});

// --- A1111 -------------------------------------------------------------------------------------------

test('a1111: pictures hold their answer, and the checkpoint can be put away', async (t) => {
  const sim = await startSim(t, 'a1111', '--model', 'sd15', '--model', 'sd21');
  const memory = async () => (await sim.json(sim.get('/sdapi/v1/memory'))).cuda;
  const full = await sim.used();
  assert.equal((await memory()).system.used, full);
  const answer = await sim.json(sim.post('/sdapi/v1/txt2img', { prompt: 'a mill', width: 128, height: 64, steps: 3, seed: 5 }));
  const file = Buffer.from(answer.images[0], 'base64');
  assert.deepEqual([file.readUInt32BE(16), file.readUInt32BE(20)], [128, 64]);
  assert.equal(JSON.parse(answer.info).simulated, true);
  assert.equal(answer.parameters.steps, 3);
  assert.ok((await memory()).reserved.current > (await memory()).allocated.current, 'the allocator keeps what it freed');
  assert.equal((await sim.post('/sdapi/v1/unload-checkpoint', '')).status, 200);
  const { device } = await sim.state();
  assert.equal(device.used_bytes, device.context_bytes);
  assert.equal((await memory()).allocated.current, 0);
  assert.equal((await sim.post('/sdapi/v1/reload-checkpoint', '')).status, 200);
  assert.equal(await sim.used(), full);
  await sim.post('/sdapi/v1/unload-checkpoint', '');
  await sim.json(sim.post('/sdapi/v1/txt2img', { prompt: 'a mill', width: 64, height: 64, steps: 1 }));
  assert.ok((await sim.used()) >= full, 'it comes back by itself');
  assert.equal((await sim.post('/sdapi/v1/options', { sd_model_checkpoint: 'sd21' })).status, 200);
  assert.equal((await sim.json(sim.get('/sdapi/v1/options'))).sd_model_checkpoint, 'sd21');
  assert.deepEqual((await sim.json(sim.get('/sdapi/v1/sd-models'))).map(({ model_name }) => model_name), ['sd15', 'sd21']);
  assert.equal((await sim.json(sim.get('/sdapi/v1/progress'))).progress, 0);
  assert.equal((await sim.get('/internal/ping')).status, 200);
  const slow = await startSim(t, 'a1111', '--speed', '1', '--image-rate', '1e6');
  const long = slow.post('/sdapi/v1/txt2img', { prompt: 'x', steps: 900 });
  await until('it is under way', async () => (await slow.json(slow.get('/sdapi/v1/progress'))).progress > 0);
  assert.equal((await slow.post('/sdapi/v1/unload-checkpoint', '')).status, 400);
  await slow.post('/sdapi/v1/interrupt', '');
  assert.equal((await long).status, 503);
});

// --- all of them -------------------------------------------------------------------------------------

const engines = ['vllm', 'sglang', 'trtllm', 'triton', 'ollama', 'llamacpp', 'comfyui', 'a1111', 'tgi', 'tei'];

test('every engine tells the truth at /sim/state, and refuses what it does not know as itself', async (t) => {
  for (const engine of engines) {
    const sim = await startSim(t, engine, '--engine-version', '9.9.9');
    const state = await sim.state();
    assert.deepEqual([state.engine, state.version, state.lie, state.simulated], [engine, '9.9.9', 'none', true]);
    const kinds = ['context', 'weights', 'activations', 'kv_cache', 'transient', 'fragmentation', 'cached', 'free'];
    assert.equal(kinds.reduce((sum, kind) => sum + state.device[`${kind}_bytes`], 0), state.device.total_bytes, engine);
    const missing = await sim.get('/no/such/path');
    assert.equal(missing.status, 404, engine);
    assert.equal(missing.headers.get('x-simulated'), 'true', engine);
    assert.equal((await missing.json()).simulated, true, engine);
    assert.equal((await sim.call('DELETE', '/sim/state')).status, 405, engine);
  }
});

test('an engine, a lie or a control mode that does not exist is wrong usage', async (t) => {
  for (const args of [['--engine', 'x'], ['--lie', 'x'], ['--model-control-mode', 'x'], ['--metrics-listen', 'x']]) {
    const { code, stderr } = await runPenstock(t, ['sim', '--listen', '127.0.0.1:0', ...args]);
    assert.equal(code, 2);
    assert.match(stderr, /penstock sim: --/);
  }
  const help = await runPenstock(t, ['sim', '--engine=tei', '--help']);
  assert.match(help.stdout, /--max-batch\b[^\n]*[\s\S]*?32/);
});

test('the examples of docs/sim.md work as they stand', async (t) => {
  const page = fs.readFileSync(new URL('../../docs/sim.md', import.meta.url), 'utf8');
  const examples = [...page.matchAll(/```sh\n(?:(\w+)=(\w+) )?penstock sim ([^\n]*)\n(.*?)```/gs)];
  const names = examples.map(([, , , args]) => /--engine (\w+)/.exec(args)?.[1] ?? 'vllm');
  assert.deepEqual([...names].sort(), [...engines].sort());
  for (const [i, [, variable, value, args, script]] of examples.entries()) {
    const words = args.split(' ').filter((word, n, all) => word !== '--engine' && all[n - 1] !== '--engine');
    const sim = await startSimWith(t, names[i], variable ? { [variable]: value } : {}, ...words);
    const { stdout } = await promisify(execFile)('sh', ['-e', '-c', script.replaceAll(':8000', `:${sim.port}`)], { timeout: 30000 * slowness });
    assert.ok(stdout.length > 0, names[i]);
  }
});
