// The simulated GPU server, as real clients see it: every route, streams, errors, a client that
// leaves, faults on purpose. Spans are short (--speed), and none of them is a test.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import zlib from 'node:zlib';

import OpenAI from 'openai';

import { Penstock, runPenstock } from './lib/penstock.mjs';
import { connect } from './lib/raw.mjs';
import { until } from './lib/wait.mjs';

const LISTENING = /^penstock sim: listening on (127\.0\.0\.1:(\d+)) \(simulated\)$/m;

async function startSim(t, ...args) {
  const sim = new Penstock(['sim', '--listen', '127.0.0.1:0', '--speed', '20', ...args]);
  t.after(() => sim.stop());
  const line = await until('the line that it listens', () => {
    assert.ok(sim.running(), `it ended: ${sim.stderr}`);
    return LISTENING.exec(sim.stdout);
  });
  sim.url = `http://${line[1]}`;
  sim.port = Number(line[2]);
  sim.state = async () => (await fetch(`${sim.url}/sim/state`)).json();
  sim.post = (path, body, options = {}) => fetch(`${sim.url}${path}`, {
    method: 'POST', headers: { 'content-type': 'application/json' },
    body: typeof body === 'string' ? body : JSON.stringify(body), ...options,
  });
  sim.openai = new OpenAI({ baseURL: `${sim.url}/v1`, apiKey: 'none', maxRetries: 0 });
  return sim;
}

const chat = (content, more = {}) => ({ model: 'sim', messages: [{ role: 'user', content }], ...more });

function events(text) {
  const datas = text.split('\n\n').filter(Boolean).map((event) => event.replace(/^data: /, ''));
  assert.equal(datas.pop(), '[DONE]');
  return datas.map((data) => JSON.parse(data));
}

function metric(text, name) {
  const line = new RegExp(`^${name.replaceAll(/[{}".]/g, '\\$&')}(?:\\{[^}]*\\})? (\\S+)$`, 'm').exec(text);
  assert.ok(line, `${name} is in the metrics`);
  return Number(line[1]);
}

test('whatever it reports says that it is simulated', async (t) => {
  const sim = await startSim(t);
  for (const path of ['/health', '/ping', '/version', '/v1/models', '/sim/state', '/no/such/path']) {
    const answer = await fetch(`${sim.url}${path}`);
    assert.equal(answer.headers.get('x-simulated'), 'true', path);
    assert.equal((await answer.json()).simulated, true, path);
  }
  const posts = {
    '/v1/chat/completions': chat('hi'),
    '/v1/completions': { model: 'sim', prompt: 'hi' },
    '/v1/embeddings': { model: 'sim', input: 'hi' },
    '/v1/images/generations': { prompt: 'hi', size: '64x64' },
    '/reset_prefix_cache': {},
  };
  for (const [path, body] of Object.entries(posts)) {
    const answer = await sim.post(path, body);
    assert.equal(answer.status, 200, path);
    assert.equal(answer.headers.get('x-simulated'), 'true', path);
    assert.equal((await answer.json()).simulated, true, path);
  }
  const stream = await sim.post('/v1/chat/completions', chat('hi', { stream: true, max_tokens: 3 }));
  for (const event of events(await stream.text())) {
    assert.equal(event.simulated, true);
  }
  const metrics = await (await fetch(`${sim.url}/metrics`)).text();
  assert.equal(metric(metrics, 'penstock_simulated'), 1);
  for (const line of metrics.trim().split('\n').filter((text) => !text.startsWith('#'))) {
    assert.match(line, /^[a-z0-9_:]+\{[^}]*simulated="true"\} [0-9.e+-]+$/);
  }
  assert.equal((await (await fetch(`${sim.url}/v1/models`)).json()).data[0].simulated, true);
});

test('the same prompt gets the same answer, streamed or not, and another seed another one', async (t) => {
  const sim = await startSim(t);
  const whole = await sim.openai.chat.completions.create(chat('tell me of rivers', { max_tokens: 40 }));
  assert.equal(whole.usage.completion_tokens, 40);
  assert.equal(whole.choices[0].finish_reason, 'length');
  assert.equal(whole.choices[0].message.content.length, 160);
  const stream = await sim.openai.chat.completions.create(
    chat('tell me of rivers', { max_tokens: 40, stream: true, stream_options: { include_usage: true } }));
  let text = '';
  let usage;
  for await (const chunk of stream) {
    text += chunk.choices[0]?.delta.content ?? '';
    usage = chunk.usage ?? usage;
  }
  assert.equal(text, whole.choices[0].message.content);
  assert.equal(usage.completion_tokens, 40);
  assert.equal(usage.prompt_tokens, whole.usage.prompt_tokens);
  const seeded = await sim.openai.chat.completions.create(
    chat('tell me of rivers', { max_tokens: 40, seed: 5 }));
  assert.notEqual(seeded.choices[0].message.content, text);
  const other = await startSim(t, '--seed', '9');
  const elsewhere = await other.openai.chat.completions.create(chat('tell me of rivers', { max_tokens: 40 }));
  assert.notEqual(elsewhere.choices[0].message.content, text);
});

test('without max_tokens an answer ends by itself, and a stop text ends it before', async (t) => {
  const sim = await startSim(t);
  const free = await sim.openai.chat.completions.create(chat('how long is this'));
  assert.equal(free.choices[0].finish_reason, 'stop');
  const text = free.choices[0].message.content;
  assert.equal(text.length, 4 * free.usage.completion_tokens);
  const cut = await sim.openai.chat.completions.create(
    chat('how long is this', { max_tokens: 100, stop: ['. '] }));
  const streamed = await sim.openai.chat.completions.create(
    chat('how long is this', { max_tokens: 100, stop: '. ', stream: true }));
  let pieces = '';
  for await (const chunk of streamed) {
    pieces += chunk.choices[0].delta.content;
  }
  assert.equal(cut.choices[0].finish_reason, 'stop');
  assert.equal(cut.choices[0].message.content, text.split('. ')[0]);
  assert.equal(pieces, text.split('. ')[0]);
});

test('several prompts and several answers arrive under their index', async (t) => {
  const sim = await startSim(t);
  const body = { model: 'sim', prompt: ['one', 'two'], n: 2, max_tokens: 8 };
  const whole = await (await sim.post('/v1/completions', body)).json();
  assert.deepEqual(whole.choices.map((choice) => choice.index), [0, 1, 2, 3]);
  assert.equal(new Set(whole.choices.map((choice) => choice.text)).size, 4);
  const texts = ['', '', '', ''];
  for (const event of events(await (await sim.post('/v1/completions', { ...body, stream: true })).text())) {
    texts[event.choices[0].index] += event.choices[0].text;
  }
  assert.deepEqual(texts, whole.choices.map((choice) => choice.text));
});

test('a prompt that begins like an earlier one is found in the cache, the answer included', async (t) => {
  const sim = await startSim(t);
  const question = 'x'.repeat(4000);
  const first = await sim.openai.chat.completions.create(chat(question, { max_tokens: 100 }));
  assert.equal(first.usage.prompt_tokens_details.cached_tokens, 0);
  const second = await sim.openai.chat.completions.create({
    model: 'sim', max_tokens: 4,
    messages: [
      { role: 'user', content: question },
      { role: 'assistant', content: first.choices[0].message.content },
      { role: 'user', content: 'go on' },
    ],
  });
  const hit = second.usage.prompt_tokens_details.cached_tokens;
  assert.ok(hit > first.usage.prompt_tokens, `${hit} cached tokens hold the answer too`);
  const salted = await (await sim.post('/v1/chat/completions',
    chat(question, { max_tokens: 1, cache_salt: 'tenant-b' }))).json();
  assert.equal(salted.usage.prompt_tokens_details.cached_tokens, 0);
  const metrics = await (await fetch(`${sim.url}/metrics`)).text();
  assert.equal(metric(metrics, 'vllm:prefix_cache_hits_total'), hit);
  assert.deepEqual(await (await sim.post('/reset_prefix_cache', '')).json(), { success: true, simulated: true });
  const again = await sim.openai.chat.completions.create(chat(question, { max_tokens: 1 }));
  assert.equal(again.usage.prompt_tokens_details.cached_tokens, 0);
});

test('embeddings are unit vectors, the same as numbers and as base64', async (t) => {
  const sim = await startSim(t);
  const numbers = await (await sim.post('/v1/embeddings', { model: 'sim', input: ['a mill', 'a wheel', 'a mill'] })).json();
  assert.equal(numbers.data.length, 3);
  const [a, b, c] = numbers.data.map((entry) => entry.embedding);
  assert.equal(a.length, 768);
  assert.deepEqual(a, c);
  assert.notDeepEqual(a, b);
  assert.ok(Math.abs(a.reduce((sum, x) => sum + x * x, 0) - 1) < 1e-3);
  assert.deepEqual(numbers.usage.prompt_tokens, 2 + 2 + 2);
  // the client asks for base64 by itself
  const decoded = await sim.openai.embeddings.create({ model: 'sim', input: 'a mill' });
  assert.deepEqual(Array.from(decoded.data[0].embedding), Array.from(Float32Array.from(a)));
  const short = await sim.openai.embeddings.create({ model: 'sim', input: 'a mill', dimensions: 16 });
  assert.equal(short.data[0].embedding.length, 16);
  const many = await (await sim.post('/v1/embeddings', { model: 'sim', input: Array(2048).fill('x'), dimensions: 8 })).json();
  assert.equal(many.data.length, 2048);
});

test('a picture is a PNG of the size that was asked for; too large is out of memory', async (t) => {
  const sim = await startSim(t);
  const answer = await sim.openai.images.generate({ model: 'sim', prompt: 'a mill', size: '512x256', n: 2 });
  assert.equal(answer.data.length, 2);
  const file = Buffer.from(answer.data[0].b64_json, 'base64');
  assert.equal(file.subarray(1, 4).toString(), 'PNG');
  assert.equal(file.readUInt32BE(16), 512);
  assert.equal(file.readUInt32BE(20), 256);
  const data = file.indexOf('IDAT');
  const lines = zlib.inflateSync(file.subarray(data + 4, data + 4 + file.readUInt32BE(data - 4)));
  assert.equal(lines.length, (512 / 2 + 1) * 256);
  assert.notEqual(answer.data[0].b64_json, answer.data[1].b64_json);
  const before = (await sim.state()).device;
  assert.ok(before.cached_bytes > 0, 'the allocator keeps what it freed');
  const large = await sim.post('/v1/images/generations', { prompt: 'x', size: '4096x4096' });
  assert.equal(large.status, 500);
  const error = await large.json();
  assert.match(error.error.message, /CUDA out of memory \(simulated\)\. Tried to allocate 16\.00 GiB/);
  assert.equal(error.simulated, true);
  const { device } = await sim.state();
  assert.equal(device.out_of_memory, 1);
  assert.equal(device.transient_bytes, 0);
  assert.equal((await sim.post('/v1/images/generations', { prompt: 'x', size: '64x64' })).status, 200);
});

test('bad requests get the errors that vLLM gives', async (t) => {
  const sim = await startSim(t, '--model', 'm-1', '--model', 'm-2', '--max-model-len', '100', '--max-body', '10KiB');
  const cases = [
    ['{"model":', 400, /JSON decode error at byte \d+/],
    ['', 400, /JSON/],
    ['{"model":"m-1"}', 400, /messages/],
    [chat('x', { model: 'm-3' }), 404, /The model `m-3` does not exist/],
    [chat('x'.repeat(1000), { model: 'm-2' }), 400, /maximum context length is 100 tokens/],
    [chat('x', { model: 'm-1', max_tokens: 100 }), 400, /maximum context length is 100 tokens/],
    [chat('x', { model: 'm-1', max_tokens: 'many' }), 400, /max_tokens/],
  ];
  for (const [body, status, says] of cases) {
    const answer = await sim.post('/v1/chat/completions', body);
    const json = await answer.json();
    assert.equal(answer.status, status);
    assert.match(json.error.message, says);
    assert.equal(json.error.code, status);
    assert.equal(json.simulated, true);
  }
  await assert.rejects(sim.openai.chat.completions.create(chat('x', { model: 'm-3' })), OpenAI.NotFoundError);
  const models = await sim.openai.models.list();
  assert.deepEqual(models.data.map((model) => model.id), ['m-1', 'm-2']);
  assert.equal((await fetch(`${sim.url}/v1/chat/completions`)).status, 405);
  const large = await sim.post('/v1/chat/completions', chat('x'.repeat(20000), { model: 'm-1' }))
    .catch((error) => error);
  assert.ok(large instanceof Error || large.status === 413, 'a body over the limit is refused');
  assert.equal((await sim.post('/v1/chat/completions', chat('x', { model: 'm-1', max_tokens: 1 }))).status, 200);
});

test('a client that goes away frees its sequence and its blocks', async (t) => {
  const sim = await startSim(t, '--speed', '1', '--max-num-seqs', '2');
  const lines = [];
  for (let i = 0; i < 4; i++) { // two run, two wait
    const line = await connect(t, sim.port);
    const body = JSON.stringify(chat(`story ${i}`, { stream: true, max_tokens: 20000 / 2 }));
    line.send(`POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
    lines.push(line);
  }
  await lines[0].readUntil('data: ');
  await until('two run and two wait', async () => {
    const { sequences } = await sim.state();
    return sequences.running === 2 && sequences.waiting === 2;
  });
  for (const line of lines) {
    line.leave({ reset: true });
  }
  const state = await until('nobody is left', async () => {
    const now = await sim.state();
    return now.sequences.running + now.sequences.waiting === 0 && now;
  });
  assert.equal(state.blocks.used, 0);
  assert.equal(state.sequences.canceled, 4);
  const metrics = await (await fetch(`${sim.url}/metrics`)).text();
  assert.match(metrics, /vllm:request_success_total\{finished_reason="abort",[^}]*\} 4\n/);
});

test('when the cache is full sequences are preempted, and all of them finish', async (t) => {
  // room for 64 blocks of 16 tokens
  const sim = await startSim(t, '--memory', '1088MiB', '--context', '0', '--weights', '960MiB', '--activations', '0',
    '--gpu-memory-utilization', '1', '--kv-bytes-per-token', '128KiB');
  assert.equal((await sim.state()).blocks.total, 64);
  const answers = await Promise.all(Array.from({ length: 8 }, (_, i) =>
    sim.openai.chat.completions.create(chat(`${i} ${'y'.repeat(400)}`, { max_tokens: 200 }))));
  for (const answer of answers) {
    assert.equal(answer.usage.completion_tokens, 200);
  }
  const state = await sim.state();
  assert.ok(state.sequences.preemptions > 0);
  assert.ok(state.tokens.computed_prompt > state.tokens.prompt, 'preempted sequences are computed again');
  assert.equal(state.blocks.used, 0);
  const metrics = await (await fetch(`${sim.url}/metrics`)).text();
  assert.equal(metric(metrics, 'vllm:num_preemptions_total'), state.sequences.preemptions);
});

test('a slow reader gets the whole text in fewer events', async (t) => {
  const sim = await startSim(t, '--speed', '1000');
  const line = await connect(t, sim.port);
  line.socket.pause();
  const tokens = 40000;
  const body = JSON.stringify(chat('slowly', { stream: true, max_tokens: tokens }));
  line.send(`POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
  await until('all tokens are generated', async () => (await sim.state()).tokens.generated === tokens, 30000);
  line.socket.resume();
  const answer = await line.response({ ms: 10000 });
  const list = events(answer.text);
  const text = list.map((event) => event.choices[0].delta.content).join('');
  assert.equal(text.length, 4 * tokens);
  assert.ok(list.length < tokens, `${list.length} events`);
  assert.equal(list.at(-1).choices[0].finish_reason, 'length');
});

test('fail-rate and latency-first do what they say', async (t) => {
  const failing = await startSim(t, '--fail-rate', '0.5');
  const codes = [];
  for (let i = 0; i < 60; i++) {
    codes.push((await failing.post('/v1/chat/completions', chat('x', { max_tokens: 1 }))).status);
  }
  assert.deepEqual([...new Set(codes)].sort(), [200, 500]);
  const late = await startSim(t, '--speed', '1', '--latency-first', '300ms');
  const started = performance.now();
  await (await late.post('/v1/chat/completions', chat('x', { max_tokens: 1 }))).text();
  assert.ok(performance.now() - started >= 300);
});

test('requests that cannot be served are refused at start', async (t) => {
  const tooLarge = await runPenstock(t, ['sim', '--listen', '127.0.0.1:0', '--weights', '30GiB']);
  assert.equal(tooLarge.code, 1);
  assert.match(tooLarge.stderr, /does not fit/);
  const tooLong = await runPenstock(t, ['sim', '--listen', '127.0.0.1:0', '--max-model-len', '1000000']);
  assert.equal(tooLong.code, 1);
  assert.match(tooLong.stderr, /max-model-len/);
  assert.equal((await runPenstock(t, ['sim', '--memmory', '1GiB'])).code, 2);
  assert.equal((await runPenstock(t, ['sim', '--listen', '127.0.0.1:8000x'])).code, 2);
  assert.equal((await runPenstock(t, ['sim', '--listen', '127.0.0.1:0', '--model', 'a"b'])).code, 1);
});
