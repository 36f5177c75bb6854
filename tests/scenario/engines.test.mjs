// tags: threads
// timeout: 240
//
// engines - every inference server that is known by name is first-class: found, checked, routed, streamed,
// counted, and told from another one that takes its place.
//
// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import test from 'node:test';

import { call, front as frontOf, metric, metrics, open } from './lib/client.mjs';
import { engines, startEngine } from './lib/engines.mjs';
import { startPenstock, tempDir } from './lib/penstock.mjs';
import { sleep, slowness, until } from './lib/wait.mjs';

const INTERVAL = 200;

function configOf(upstreams, more = '') {
  const list = Object.entries(upstreams).map(([name, { urls, engine = 'auto', lines = '' }]) => `  - name: ${name}
    endpoints: [${urls.map((url) => `"${url}"`).join(', ')}]
    engine: ${engine}
    health: { interval: ${INTERVAL}ms, timeout: ${2000 * slowness}ms, unhealthy_after: 2, healthy_after: 1 }
${lines.split('\n').map((line) => `    ${line}`).join('\n')}`);
  return `upstreams:\n${list.join('\n')}\n${more}`;
}

/// A gateway in front of one scripted engine, with an access log.
async function stage(t, name, { state, engine, more = '', lines } = {}) {
  const up = await startEngine(t, name, state);
  const log = path.join(tempDir(t), 'access.log');
  const gate = await startPenstock(t, { config: configOf({ one: { urls: [up.url], engine, lines } }, `access_log: ${log}\n${more}`) });
  const records = () => (fs.existsSync(log) ? fs.readFileSync(log, 'utf8').split('\n').filter(Boolean).map((line) => JSON.parse(line)) : []);
  return { up, gate, records };
}

const front = (gate) => frontOf(gate.port);
const isFound = (gate, text) => until(`the engine is ${text}`, async () => (await front(gate)).includes(text), 10000, 20);

/// The log's line of the last request to that path.
const recordOf = (records, target) => until(`a line for ${target}`, () => records().filter((r) => r.path === target).at(-1), 5000, 20);

for (const [name, engine] of Object.entries(engines)) {
  const shown = `${name}${engine.version ? ` ${engine.version}` : ''}`;

  test(`${name}: it is found, shown with its version, and known anew when that changes`, async (t) => {
    const { up, gate } = await stage(t, name);
    await isFound(gate, shown);
    const info = () => metrics(gate.port).then((all) => all.filter(({ name: n }) => n === 'penstock_endpoint_engine'));
    assert.deepEqual((await info()).map(({ labels, value }) => [labels.engine, labels.version ?? '', labels.simulated, value]),
      [[name, engine.version, 'false', 1]]);
    assert.equal(await metric(gate.port, 'penstock_endpoint_engine_changes_total'), 0);

    up.state.version = '99.1';
    const noticed = name === 'a1111' ? 'unknown' : `${name} 99.1`;
    await isFound(gate, noticed);
    assert.equal(await metric(gate.port, 'penstock_endpoint_engine_changes_total'), 1);
    await until('the log tells', () => /another engine answers now/.test(gate.stderr)); // it comes by a pipe
    assert.equal(await metric(gate.port, 'penstock_backend_up'), 1, 'it never looked down');

    up.state.version = engine.version;
    up.state.simulated = true;
    await isFound(gate, `${shown} (simulated)`);
    assert.deepEqual((await info()).map(({ labels }) => labels.simulated), ['true']);
  });

  test(`${name}: its own health path takes it out and brings it back`, async (t) => {
    const { up, gate } = await stage(t, name);
    await isFound(gate, shown);
    await until('the health path is asked', () => up.to(engine.health).length > 2, 5000, 20);
    up.state.healthy = false;
    await until('it is out', async () => (await front(gate)).includes('unhealthy'), 10000, 20);
    assert.equal((await call(gate.port, { path: '/readyz' })).status, 503);
    up.state.healthy = true;
    await until('it is back', async () => (await call(gate.port, { path: '/readyz' })).status === 200, 10000, 20);
  });

  if (!engine.sample) {
    continue;
  }
  const { sample } = engine;
  const tokensOf = (record) => [record.tokens.input, record.tokens.output];

  test(`${name}: an answer passes unchanged and its tokens are counted`, async (t) => {
    const { up, gate, records } = await stage(t, name);
    const body = { ...sample.body, ...sample.whole };
    const direct = await call(up.port, { method: 'POST', path: sample.path, body });
    const answer = await call(gate.port, { method: 'POST', path: sample.path, body });
    assert.equal(answer.status, 200, answer.text);
    assert.equal(answer.text, direct.text);
    const record = await recordOf(records, sample.path);
    if (sample.model) {
      assert.equal(record.model, sample.model);
    }
    if (sample.estimated) {
      assert.equal(record.tokens.estimated, true);
    } else {
      assert.deepEqual(tokensOf(record), sample.tokens.slice(0, 2));
      assert.equal(record.tokens.cached ?? 0, sample.tokens[2] ?? 0);
      assert.notEqual(record.tokens.estimated, true);
      assert.equal(await metric(gate.port, 'penstock_traffic_tokens_total', { kind: 'input' }), sample.tokens[0]);
      assert.equal(await metric(gate.port, 'penstock_traffic_tokens_total', { kind: 'output' }), sample.tokens[1]);
    }
  });

  if (!sample.stream) {
    continue;
  }
  const streamPath = sample.streamPath ?? sample.path;
  const streamBody = { ...sample.body, ...sample.stream };

  test(`${name}: a stream passes as it comes and its tokens are counted`, async (t) => {
    const { up, gate, records } = await stage(t, name);
    const direct = await call(up.port, { method: 'POST', path: streamPath, body: streamBody });
    const answer = await call(gate.port, { method: 'POST', path: streamPath, body: streamBody });
    assert.equal(answer.status, 200, answer.text);
    assert.match(answer.headers['content-type'], new RegExp(sample.type));
    if (!sample.hidden) {
      assert.equal(answer.text, direct.text);
    }
    const record = await recordOf(records, streamPath);
    if (sample.estimated) {
      assert.equal(record.tokens.estimated, true);
      assert.equal(record.tokens.output, 4, 'an event is about a token');
    } else {
      assert.deepEqual(tokensOf(record), sample.tokens.slice(0, 2));
      assert.notEqual(record.tokens.estimated, true);
    }
  });

  test(`${name}: a client that leaves its stream ends it upstream`, async (t) => {
    const { up, gate } = await stage(t, name, { state: { endless: true } });
    const { incoming, request } = await open(gate.port, { method: 'POST', path: streamPath, body: streamBody });
    await new Promise((resolve) => { incoming.once('data', resolve); });
    incoming.on('error', () => {});
    request.on('error', () => {});
    request.destroy();
    const { connection } = up.to(streamPath).at(-1);
    await until('the connection upstream is closed', () => connection.closedAt !== undefined, 5000, 5);
  });
}

test('an engine that the configuration names stays, and a mismatch is told once for each change', async (t) => {
  const { up, gate } = await stage(t, 'ollama', { engine: 'vllm', state: { override: (request, answer, target) => {
    if (target !== '/health') {
      return false;
    }
    answer.text(200, 'ok');
    return true;
  } } });
  const told = () => (gate.stderr.match(/not what the configuration says/g) ?? []).length;
  await until('it is told', () => told() === 1, 10000, 20);
  await isFound(gate, 'configured as vllm');
  const before = up.to('/health').length;
  await until('vLLM\'s path is asked', () => up.to('/health').length > before + 3, 10000, 20);
  assert.equal(told(), 1);
  up.state.version = '0.12.4';
  await until('it is told again', () => told() === 2, 10000, 20);
});

test('an upstream may mix engines, and each endpoint has its own checks', async (t) => {
  const ollama = await startEngine(t, 'ollama');
  const tgi = await startEngine(t, 'tgi');
  const gate = await startPenstock(t, { config: configOf({ mixed: { urls: [ollama.url, tgi.url] } }) });
  await isFound(gate, 'ollama 0.12.3');
  await isFound(gate, 'tgi 3.3.6');
  await until('each is asked its way', () => ollama.to('/api/version').length > 3 && tgi.to('/health').length > 2, 10000, 20);
});

test('an engine that is still loading is found when it is there', async (t) => {
  let loading = true;
  const { gate } = await stage(t, 'llamacpp', { state: { override: async (request, answer) => {
    if (loading) {
      await answer.json(503, { error: { code: 503, message: 'Loading model', type: 'unavailable_error' } });
    }
    return loading;
  } } });
  await until('nothing is recognised', () => /not recognised/.test(gate.stderr), 10000, 20);
  loading = false;
  await isFound(gate, 'llamacpp b6500-abc');
});

test('model names of the configuration lead everywhere, in bodies and in paths', async (t) => {
  const ollama = await startEngine(t, 'ollama');
  const triton = await startEngine(t, 'triton');
  const gate = await startPenstock(t, { config: configOf({ a: { urls: [ollama.url] }, b: { urls: [triton.url] } }, `models:
  - { name: chat, upstream: a, target: llama3 }
  - { name: "my model", upstream: b, target: llama }
`) });
  const answer = await call(gate.port, { method: 'POST', path: '/api/chat', body: { model: 'chat', messages: [], stream: false } });
  assert.equal(answer.json.model, 'llama3');
  const text = await call(gate.port, { method: 'POST', path: '/v2/models/my%20model/generate', body: { text_input: 'x' } });
  assert.equal(text.status, 200, text.text);
  assert.equal(triton.to('/v2/models/llama/generate').length, 1);
  const binary = await call(gate.port, {
    method: 'POST', path: '/v2/models/my%20model/infer', body: Buffer.from('{"inputs":[]}\x00\x01\x02'),
    headers: { 'content-type': 'application/octet-stream', 'inference-header-content-length': '13' },
  });
  assert.equal(binary.status, 200, binary.text);
  const meta = await call(gate.port, { path: '/v2/models/my%20model/config' });
  assert.equal(meta.status, 404);
  assert.equal(triton.to('/v2/models/llama/config').length, 1);
});

test('a body counts whatever its type is called, as it does for the server', async (t) => {
  const { gate, records } = await stage(t, 'ollama');
  for (const type of ['application/x-www-form-urlencoded', 'text/plain', 'multipart/form-data; boundary=x']) {
    const answer = await call(gate.port, {
      method: 'POST', path: '/api/chat', body: '{"model":"llama3","messages":[],"stream":false}', headers: { 'content-type': type },
    });
    assert.equal(answer.status, 200);
    assert.deepEqual((await recordOf(records, '/api/chat')).tokens.input, 26);
  }
});

test('errors come in the shape that the dialect\'s clients read', async (t) => {
  const { up, gate } = await stage(t, 'ollama');
  await isFound(gate, 'ollama');
  await up.crash();
  const post = (target, body) => call(gate.port, { method: 'POST', path: target, body });
  for (const target of ['/api/chat', '/v2/models/m/generate', '/generate', '/embed']) {
    const { status, json, headers } = await post(target, { model: 'm' });
    assert.ok([502, 503].includes(status));
    assert.equal(typeof json.error, 'string', target);
    assert.equal(headers['content-type'], 'application/json');
  }
  assert.equal(typeof (await post('/completion', { prompt: 'x' })).json.error.message, 'string');
  const claude = await post('/v1/messages', { model: 'm', messages: [], max_tokens: 1 });
  assert.equal(claude.json.type, 'error');
  assert.equal(typeof claude.json.error.message, 'string');
  assert.equal(typeof (await post('/sdapi/v1/txt2img', { prompt: 'x' })).json.detail, 'string');
  const bad = await post('/api/chat', '{"model": 1,,}');
  assert.equal(bad.status, 400);
  assert.match(bad.json.error, /at byte 13/);
  assert.equal(typeof (await call(gate.port, { path: '/api/tags' })).json.error, 'string');
});

test('calls that administer an engine are refused unless a route names them', async (t) => {
  const calls = [['POST', '/api/pull'], ['DELETE', '/api/delete'], ['POST', '/sleep'], ['GET', '/flush_cache'], ['POST', '/api/free'],
    ['POST', '/v2/repository/models/m/unload'], ['POST', '/sdapi/v1/options'], ['POST', '/api/blobs/sha256:0']];
  const { up, gate } = await stage(t, 'ollama');
  for (const [method, target] of calls) {
    const answer = await call(gate.port, { method, path: target, body: method === 'GET' ? undefined : {} });
    assert.equal(answer.status, 403, `${method} ${target}`);
    assert.match(answer.text, /administers the engine/);
    assert.equal(up.to(target).length, 0);
  }
  assert.equal((await call(gate.port, { method: 'POST', path: '/api/p%75ll', body: {} })).status, 400);
  const open = await stage(t, 'ollama', { more: `routes:
  - { path: "/*", kind: inference }
  - { path: /api/pull }
  - { path: "/sdapi/*", engine_admin: yes }
` });
  assert.equal((await call(open.gate.port, { method: 'POST', path: '/sleep', body: {} })).status, 403);
  assert.equal((await call(open.gate.port, { method: 'POST', path: '/api/pull', body: {} })).status, 404);
  assert.equal(open.up.to('/api/pull').length, 1);
  assert.equal((await call(open.gate.port, { method: 'POST', path: '/sdapi/v1/options', body: {} })).status, 404);
});

test('administration is never sent twice, inference is', async (t) => {
  const { up, gate } = await stage(t, 'ollama', { more: 'routes:\n  - { path: /api/pull, idempotent: yes }\n  - { path: "/*", kind: inference }\n',
    state: { override: (request, answer, target) => {
      if (target !== '/api/pull' && target !== '/prompt') {
        return false;
      }
      answer.die();
      return true;
    } } });
  await call(gate.port, { method: 'POST', path: '/api/pull', body: { model: 'm' } });
  assert.equal(up.to('/api/pull').length, 1);
  await call(gate.port, { method: 'POST', path: '/prompt', body: { prompt: {} } });
  assert.equal(up.to('/prompt').length, 1);
});

// --- servers that lie -------------------------------------------------------------------------------------

/// A gateway in front of a sound Ollama and a hostile one, each behind its own model; `hostile` answers everything.
async function beside(t, hostile) {
  const sound = await startEngine(t, 'ollama');
  const bad = await startEngine(t, 'ollama', { override: async (request, answer, target) => (await hostile(request, answer, target)) !== false });
  const gate = await startPenstock(t, { config: configOf({
    sound: { urls: [sound.url], lines: 'models: [llama3]' }, bad: { urls: [bad.url], lines: 'models: [evil]' },
  }, 'drain_timeout: 1s\n') });
  await isFound(gate, 'ollama 0.12.3');
  return { sound, bad, gate };
}

const ask = (gate, model, more = {}) => call(gate.port, { method: 'POST', path: '/api/chat', body: { model, messages: [], ...more }, ms: 20000 })
  .catch((error) => ({ status: 0, error }));

/// The sound one serves on, and the program grows by no more than what one hostile answer may hold.
async function assertSound(gate) {
  for (let i = 0; i < 5; i++) {
    const answer = await ask(gate, 'llama3', { stream: false });
    assert.equal(answer.status, 200, answer.text);
  }
}

/// Writes until the other side has had enough.
async function pour(answer, piece) {
  while (answer.alive) {
    await answer.raw(piece);
    await new Promise((resolve) => { setImmediate(resolve); });
  }
  answer.finish();
}

const lies = {
  'a head without end': (request, answer) => {
    answer.raw('HTTP/1.1 200 OK\r\n');
    return pour(answer, `X-More: ${'a'.repeat(1000)}\r\n`.repeat(16));
  },
  'a body without end': (request, answer) => {
    answer.raw('HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n');
    return pour(answer, `2000\r\n${'['.repeat(0x2000)}\r\n`);
  },
  'a line without end': (request, answer) => {
    answer.raw('HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n');
    return pour(answer, `2000\r\n${'x'.repeat(0x2000)}\r\n`);
  },
  'a length that is too long': (request, answer) => {
    answer.raw('HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{}');
    answer.dieAfter();
  },
  'two lengths': (request, answer) => {
    answer.raw('HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}');
    answer.dieAfter();
  },
  'no HTTP': (request, answer) => { answer.raw('SSH-2.0-OpenSSH_9.2\r\n'); answer.dieAfter(); },
  'a page for everything': (request, answer) => answer.send(200, { 'Content-Type': 'text/html' }, '<html><body>Hello</body></html>'),
  'broken JSON': (request, answer) => answer.send(200, { 'Content-Type': 'application/json' }, '{"version": {"version": [[[['),
  'an answer by the byte': async (request, answer) => {
    for (const byte of 'HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{"version":"0.12.3"}') {
      await answer.raw(byte);
      await sleep(300);
    }
    answer.finish();
  },
};

for (const [name, lie] of Object.entries(lies)) {
  test(`a server with ${name} hurts only its own requests`, async (t) => {
    const { bad, gate } = await beside(t, lie);
    const before = gate.memory();
    const own = open(gate.port, { method: 'POST', path: '/api/chat', body: { model: 'evil', messages: [] } })
      .then(({ incoming, request }) => { incoming.on('error', () => {}); incoming.resume(); return request; }, () => null);
    await assertSound(gate);
    await until('it is checked and asked again', () => bad.requests.length > 4, 20000, 20);
    await assertSound(gate);
    assert.ok(!(await front(gate)).split('\n').some((line) => line.includes(bad.url) && /ollama 9/.test(line)));
    assert.ok(gate.memory() - before < 256 * 1024 * 1024, 'memory is bounded');
    (await Promise.race([own, sleep(100)]))?.destroy();
    assert.equal((await call(gate.port, { path: '/healthz' })).status, 200);
  });
}

test('figures that can not be are not believed, in a body and in a stream', async (t) => {
  const figures = [-5, 1.5, 1e300, 1e17, '7', null, [3], { a: 1 }];
  let n = 0;
  const log = path.join(tempDir(t), 'access.log');
  const up = await startEngine(t, 'ollama', { override: async (request, answer, target) => {
    if (target !== '/api/chat') {
      return false;
    }
    const value = JSON.stringify(figures[n++ % figures.length]);
    await answer.send(200, { 'Content-Type': 'application/x-ndjson' },
      `{"message":{"content":"a"},"done":false}\n{"done":true,"prompt_eval_count":${value},"eval_count":${value}}\n`);
    return true;
  } });
  const gate = await startPenstock(t, { config: configOf({ one: { urls: [up.url] } }, `access_log: ${log}\n`) });
  for (let i = 0; i < figures.length; i++) {
    assert.equal((await ask(gate, 'm')).status, 200);
  }
  await until('all are in the log', () => fs.existsSync(log) && fs.readFileSync(log, 'utf8').split('\n').length > figures.length, 5000, 20);
  const tokens = fs.readFileSync(log, 'utf8').split('\n').filter(Boolean).map((line) => JSON.parse(line).tokens);
  for (const { estimated, input, output } of tokens) {
    assert.equal(estimated, true);
    assert.ok(input <= 10 && output <= 3, JSON.stringify({ input, output }));
  }
});
