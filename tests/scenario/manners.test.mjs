// manners - what a well-bred gateway does on the way: ids, traces, CORS, usage, models, bodies of every
// kind, logs, balance, WebSockets.
//
// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import test from 'node:test';

import WebSocket, { WebSocketServer } from 'ws';

import { after } from './lib/after.mjs';
import { allEvents, call, chat, chatBody, chatStream, many, metric, tally } from './lib/client.mjs';
import { startPenstock, tempDir } from './lib/penstock.mjs';
import { freePort } from './lib/ports.mjs';
import { connect, exchange } from './lib/raw.mjs';
import { echo, inference, startUpstream } from './lib/upstream.mjs';
import { now, sleep, until, within } from './lib/wait.mjs';

const one = (up, more = '', rest = '') => `upstreams:
  - {name: gpu, engine: openai, endpoints: ["${up.url}"], health: {interval: 0s}${more}}
${rest}`;

const sha = (bytes) => createHash('sha256').update(bytes).digest('hex');

// --- ids and traces

test('the client\'s x-request-id goes upstream and comes back', async (t) => {
  const up = await startUpstream(t, (request, answer) => answer.json(200, {}, { 'X-Request-Id': 'upstreams-own' }));
  const gate = await startPenstock(t, { config: one(up) });
  const answer = await call(gate.port, { path: '/x', headers: { 'x-request-id': 'mine-1.2:3' } });
  assert.equal(answer.headers['x-request-id'], 'mine-1.2:3');
  assert.equal(up.requests[0].headers['x-request-id'], 'mine-1.2:3');
});

test('without one, or with one that is not sane, an id is made', async (t) => {
  const up = await startUpstream(t, echo());
  const gate = await startPenstock(t, { config: one(up) });
  const ids = new Set();
  for (const given of [undefined, undefined, 'with space', 'quo"te', 'x'.repeat(129)]) {
    const answer = await call(gate.port, { path: '/x', headers: given ? { 'x-request-id': given } : {} });
    const id = answer.headers['x-request-id'];
    assert.match(id, /^[0-9a-f]{32}$/);
    assert.equal(answer.json.headers['x-request-id'], id);
    ids.add(id);
  }
  assert.equal(ids.size, 5);
});

test('errors carry the id too', async (t) => {
  const up = await startUpstream(t, (_, answer) => answer.die());
  const gate = await startPenstock(t, {
    config: one(up, ', models: [served]', 'routes: [{path: /v1/*, kind: openai}]\ntenants: [{name: a, key: some-key-0123456789}]\nmax_body: 64KiB\n'),
  });
  const key = { authorization: 'Bearer some-key-0123456789' };
  const rows = [
    [401, { path: '/v1/models' }],
    [404, { path: '/none', headers: key }],
    [404, { path: '/v1/chat/completions', method: 'POST', headers: key, body: chatBody({ model: 'other' }) }],
    [400, { path: '/v1/chat/completions', method: 'POST', headers: key, body: '{' }],
    [413, { path: '/v1/chat/completions', method: 'POST', headers: key, body: 'x'.repeat(70000) }],
    [502, { path: '/v1/chat/completions', method: 'POST', headers: key, body: chatBody({ model: 'served' }) }],
  ];
  for (const [status, options] of rows) {
    const answer = await call(gate.port, { ...options, headers: { ...options.headers, 'x-request-id': `id-${status}` } });
    assert.deepEqual([answer.status, answer.headers['x-request-id']], [status, `id-${status}`], answer.text);
  }
});

test('a valid traceparent is passed on with its tracestate, an invalid one is dropped', async (t) => {
  const up = await startUpstream(t, echo());
  const gate = await startPenstock(t, { config: one(up) });
  const ask = async (traceparent) => (await call(gate.port, { path: '/x', headers: { traceparent, tracestate: 'a=1' } })).json.headers;
  const valid = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
  assert.deepEqual([(await ask(valid)).traceparent, (await ask(valid)).tracestate], [valid, 'a=1']);
  const invalid = [
    'nonsense', `ff${valid.slice(2)}`, valid.replace('0af7651916cd43dd8448eb211c80319c', '0'.repeat(32)),
    valid.replace('b7ad6b7169203331', '0'.repeat(16)), valid.toUpperCase(), `${valid}-more`, valid.slice(0, -1),
  ];
  for (const wrong of invalid) {
    const seen = await ask(wrong);
    assert.deepEqual([seen.traceparent, seen.tracestate], [undefined, undefined], wrong);
  }
});

test('Via is added in both directions and earlier stations stay', async (t) => {
  const up = await startUpstream(t, (request, answer) => answer.json(200, request.headers, { Via: '1.1 inner' }));
  const gate = await startPenstock(t, { config: one(up) });
  const answer = await call(gate.port, { path: '/x', headers: { via: '1.0 outer' } });
  assert.equal(answer.json.via, '1.0 outer, 1.1 penstock');
  assert.equal(answer.headers.via, '1.1 inner, 1.1 penstock');
});

// --- CORS

test('a preflight from an allowed origin is answered without key and without the upstream', async (t) => {
  const up = await startUpstream(t, echo());
  const gate = await startPenstock(t, {
    config: one(up, '', 'cors: {origins: ["https://app.example"]}\ntenants: [{name: a, key: some-key-0123456789}]\n'),
  });
  const preflight = (origin) => call(gate.port, {
    method: 'OPTIONS', path: '/v1/chat/completions',
    headers: { origin, 'access-control-request-method': 'POST', 'access-control-request-headers': 'authorization,content-type' },
  });
  const yes = await preflight('https://app.example');
  assert.equal(yes.status, 204);
  assert.equal(yes.headers['access-control-allow-origin'], 'https://app.example');
  assert.match(yes.headers['access-control-allow-methods'], /POST/);
  assert.equal(yes.headers['access-control-allow-headers'], 'authorization,content-type');
  assert.match(yes.headers.vary, /Origin/i);
  const no = await preflight('https://evil.example');
  assert.equal(no.headers['access-control-allow-origin'], undefined);
  assert.equal(no.status, 401);
  assert.equal(up.requests.length, 0);
});

test('answers and errors can be read by a page of an allowed origin, and by no other', async (t) => {
  const up = await startUpstream(t, (request, answer) => answer.json(200, {}, { 'Access-Control-Allow-Origin': '*' }));
  const gate = await startPenstock(t, {
    config: one(up, '', 'cors: {origins: ["https://app.example"]}\ntenants: [{name: a, key: some-key-0123456789}]\n'),
  });
  const ask = (origin, key = 'some-key-0123456789') =>
    call(gate.port, { path: '/v1/models', headers: { origin, authorization: `Bearer ${key}` } });
  for (const answer of [await ask('https://app.example'), await ask('https://app.example', 'wrong')]) {
    assert.equal(answer.headers['access-control-allow-origin'], 'https://app.example');
    assert.match(answer.headers.vary, /Origin/i);
  }
  assert.equal((await ask('https://evil.example', 'wrong')).headers['access-control-allow-origin'], undefined);
});

test('cors.origins * lets every page in', async (t) => {
  const up = await startUpstream(t, echo());
  const gate = await startPenstock(t, { config: one(up, '', 'cors: {origins: ["*"]}\n') });
  const answer = await call(gate.port, { path: '/x', headers: { origin: 'https://any.example' } });
  assert.deepEqual([answer.status, answer.headers['access-control-allow-origin']], [200, 'https://any.example']);
});

// --- usage

test('usage is asked of the upstream and hidden from a client that did not ask', async (t) => {
  const up = await startUpstream(t, inference({ tokens: 5, every: 1 }));
  const gate = await startPenstock(t, { config: one(up) });
  for (const options of [undefined, { include_usage: false }, {}, { include_usage: false, other: [1, 2] }]) {
    const answer = await chatStream(gate.port, { body: options ? { stream_options: options } : {} });
    const events = await allEvents(answer.incoming);
    assert.equal(events.length, 7, JSON.stringify(options));
    assert.ok(events.every(({ json }) => !json?.usage));
    assert.equal(events.at(-1).data, '[DONE]');
    const seen = up.requests.at(-1).json;
    assert.deepEqual(seen.stream_options, { ...options, include_usage: true });
    assert.deepEqual({ ...seen, stream_options: 0 }, { ...chatBody({ stream: true }), stream_options: 0 });
  }
});

test('a client that asked for usage gets it', async (t) => {
  const up = await startUpstream(t, inference({ tokens: 5, every: 1 }));
  const gate = await startPenstock(t, { config: one(up) });
  const answer = await chatStream(gate.port, { body: { stream_options: { include_usage: true } } });
  const events = await allEvents(answer.incoming);
  assert.equal(events.length, 8);
  assert.equal(events.at(-2).json.usage.completion_tokens, 5);
});

test('a body that needs no change goes upstream byte by byte', async (t) => {
  const up = await startUpstream(t, inference());
  const gate = await startPenstock(t, { config: one(up) });
  const body = ' {"model" :"m","messages":[ {"role":"user","content":"\\u00e9\\ud83d\\ude00 \\/"} ],\n "seed":1e2,"n":1 }\n';
  await call(gate.port, { method: 'POST', path: '/v1/chat/completions', headers: { 'content-type': 'application/json' }, body });
  assert.equal(up.requests[0].body.toString(), body);
});

test('tokens are counted from usage, of answers and of streams', async (t) => {
  const up = await startUpstream(t, inference({ tokens: 7, every: 0 }));
  const gate = await startPenstock(t, { config: one(up) });
  await chat(gate.port);
  await allEvents((await chatStream(gate.port)).incoming);
  assert.equal(await metric(gate.port, 'penstock_traffic_tokens_total', { kind: 'output' }), 14);
});

test('Accept-Encoding is dropped where the answer is read, and kept elsewhere', async (t) => {
  const up = await startUpstream(t, echo());
  const gate = await startPenstock(t, { config: one(up, '', 'routes: [{path: /v1/*, kind: openai}, {path: "/*"}]\n') });
  const headers = { 'accept-encoding': 'gzip, br' };
  const parsed = await call(gate.port, { method: 'POST', path: '/v1/chat/completions', headers, body: chatBody() });
  assert.equal(parsed.json.headers['accept-encoding'], undefined);
  const plain = await call(gate.port, { path: '/x', headers });
  assert.equal(plain.json.headers['accept-encoding'], 'gzip, br');
});

// --- models

test('an alias is sent upstream under the name that the upstream knows', async (t) => {
  const a = await startUpstream(t, echo());
  const b = await startUpstream(t, echo());
  const gate = await startPenstock(t, {
    config: `upstreams:
  - {name: a, engine: openai, endpoints: ["${a.url}"], health: {interval: 0s}, models: [llama]}
  - {name: b, engine: openai, endpoints: ["${b.url}"], health: {interval: 0s}, models: [mistral]}
models:
  - {name: fast, upstream: b, target: mistral-7b-instruct}
  - {name: "quo\\"te", upstream: b, target: 'x"y'}
`,
  });
  const ask = async (model, more = {}) => chat(gate.port, { body: { model, ...more } });
  const body = async (answer) => JSON.parse((await answer).json.body);
  assert.deepEqual(await body(ask('fast')), { ...chatBody(), model: 'mistral-7b-instruct' });
  assert.deepEqual(await body(ask('fast', { stream: true })),
    { ...chatBody(), model: 'mistral-7b-instruct', stream: true, stream_options: { include_usage: true } });
  assert.equal((await body(ask('quo"te'))).model, 'x"y');
  assert.deepEqual([a.to('/v1/chat/completions').length, b.to('/v1/chat/completions').length], [0, 3]);
  await ask('llama');
  await ask('mistral');
  assert.deepEqual([a.to('/v1/chat/completions').length, b.to('/v1/chat/completions').length], [1, 4]);
  const unknown = await ask('gpt-none');
  assert.equal(unknown.status, 404);
  assert.equal(unknown.json.error.code, 'model_not_found');
  assert.match(unknown.json.error.message, /gpt-none/);
});

test('an upstream without a list of models takes every model', async (t) => {
  const up = await startUpstream(t, inference());
  const gate = await startPenstock(t, { config: one(up) });
  assert.equal((await chat(gate.port, { body: { model: 'whatever' } })).status, 200);
});

// --- bodies

/// A multipart body with a file of these bytes.
function multipart(bytes) {
  const head = '--b0undary\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n'
    + '--b0undary\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\nContent-Type: audio/wav\r\n\r\n';
  return Buffer.concat([Buffer.from(head), bytes, Buffer.from('\r\n--b0undary--\r\n')]);
}

const digest = (request, answer) => answer.json(200, { length: request.body.length, sha: sha(request.body), type: request.headers['content-type'] });

test('a multipart upload passes byte by byte', async (t) => {
  const up = await startUpstream(t, digest);
  const gate = await startPenstock(t, { config: one(up) });
  const body = multipart(randomBytes(5 * 1024 * 1024 + 13));
  const type = 'multipart/form-data; boundary=b0undary';
  const seen = await call(gate.port, { method: 'POST', path: '/v1/audio/transcriptions', headers: { 'content-type': type }, body });
  assert.deepEqual(seen.json, { length: body.length, sha: sha(body), type });
});

test('an upload is streamed: the upstream has its beginning before the client has sent its end', async (t) => {
  const heads = [];
  const up = await startUpstream(t, digest, { onHead: (request) => heads.push(request) });
  const gate = await startPenstock(t, { config: one(up) });
  const body = multipart(randomBytes(1024 * 1024));
  for (const framing of [`Content-Length: ${body.length}`, 'Transfer-Encoding: chunked']) {
    const line = await connect(t, gate.port);
    const wrap = (bytes) => (framing.startsWith('T') ? Buffer.concat([Buffer.from(`${bytes.length.toString(16)}\r\n`), bytes, Buffer.from('\r\n')]) : bytes);
    line.send(`POST /v1/audio/transcriptions HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=b0undary\r\n${framing}\r\n\r\n`);
    line.send(wrap(body.subarray(0, 300000)));
    const before = heads.length;
    await until('the head is upstream', () => heads.length > before);
    await until('the beginning is upstream', () => heads.at(-1).connection.bytes.length >= 300000);
    line.send(wrap(body.subarray(300000)));
    if (framing.startsWith('T')) {
      line.send('0\r\n\r\n');
    }
    const answer = JSON.parse((await line.response()).text);
    assert.deepEqual([answer.length, answer.sha], [body.length, sha(body)]);
    line.leave();
  }
});

test('chunked bodies of any size arrive whole, on parsed and on plain routes, also after a wait at the gate', async (t) => {
  const up = await startUpstream(t, async (request, answer) => {
    await sleep(2);
    await digest(request, answer);
  });
  const gate = await startPenstock(t, {
    config: one(up, ', admission: {max_in_flight: 2}', 'routes: [{path: /v1/*, kind: openai}, {path: "/*"}]\n'),
  });
  const chunked = (target, bytes, size) => new Promise((resolve, reject) => {
    const request = http.request({ host: '127.0.0.1', port: gate.port, method: 'POST', path: target, agent: false,
      headers: { 'content-type': 'application/json', 'transfer-encoding': 'chunked' } }, async (response) => {
      const pieces = [];
      for await (const piece of response) {
        pieces.push(piece);
      }
      resolve(JSON.parse(Buffer.concat(pieces).toString()));
    });
    request.on('error', reject);
    for (let at = 0; at < bytes.length; at += size) {
      request.write(bytes.subarray(at, at + size));
    }
    request.end();
  });
  const json = Buffer.from(JSON.stringify(chatBody({ messages: [{ role: 'user', content: 'ü'.repeat(100000) }] })));
  const bodies = [Buffer.alloc(0), Buffer.from('x'), randomBytes(70000), randomBytes(700000)];
  const results = await many(24, async (i) => {
    const bytes = i % 3 === 0 ? json : bodies[i % 4];
    const seen = await chunked(i % 3 === 0 ? '/v1/chat/completions' : '/plain', bytes, [1000, 65536, 7][i % 2]);
    return seen.sha === sha(bytes);
  });
  assert.deepEqual(tally(results), { true: 24 });
});

test('an empty chunked body is tried again whole when the first endpoint is dead', async (t) => {
  const up = await startUpstream(t, digest);
  const dead = await Promise.all([0, 1, 2].map(() => freePort()));
  const urls = [...dead.map((port) => `"http://127.0.0.1:${port}"`), `"${up.url}"`].join(', ');
  const gate = await startPenstock(t, {
    config: `upstreams:\n  - {name: gpu, engine: openai, endpoints: [${urls}], health: {interval: 0s}, retry: {attempts: 4}}\nroutes: [{path: "/*", idempotent: yes}]\n`,
  });
  const seen = await many(12, () => exchange(t, gate.port,
    'POST /plain HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n'), 3);
  assert.deepEqual(tally(seen.map(({ status }) => status)), { 200: 12 });
});

test('a body may be exactly max_body, and not a byte more', async (t) => {
  const up = await startUpstream(t, digest);
  const gate = await startPenstock(t, { config: one(up, '', 'max_body: 1MiB\nroutes: [{path: /v1/*, kind: openai}, {path: "/*"}]\n') });
  const most = 1024 * 1024;
  const json = (size) => {
    const empty = JSON.stringify(chatBody({ messages: [{ role: 'user', content: '' }] }));
    return empty.replace('"content":""', `"content":"${'x'.repeat(size - empty.length)}"`);
  };
  for (const [target, make] of [['/v1/chat/completions', json], ['/plain', (size) => 'x'.repeat(size)]]) {
    const ask = (size) => call(gate.port, { method: 'POST', path: target, headers: { 'content-type': 'application/json' }, body: make(size) });
    const fits = await ask(most);
    assert.deepEqual([fits.status, fits.json.length], [200, most], target);
    assert.equal((await ask(most + 1)).status, 413, target);
    const line = await connect(t, gate.port);
    line.send(`POST ${target} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n`
      + `${(most + 1).toString(16)}\r\n${make(most + 1)}`);
    assert.equal((await line.response()).status, 413, `${target} chunked`);
    line.leave();
  }
});

test('32 MiB less a little pass with the default limits', async (t) => {
  const port = await freePort();
  const server = http.createServer(async (request, response) => {
    const hash = createHash('sha256');
    for await (const piece of request) {
      hash.update(piece);
    }
    response.end(hash.digest('hex'));
  });
  await new Promise((resolve) => { server.listen(port, '127.0.0.1', resolve); });
  after(t, () => { server.closeAllConnections(); server.close(); });
  const gate = await startPenstock(t, { config: one({ url: `http://127.0.0.1:${port}` }) });
  const big = JSON.stringify(chatBody({ messages: [{ role: 'user', content: 'y'.repeat(31 * 1024 * 1024) }] }));
  const seen = await call(gate.port, { method: 'POST', path: '/v1/chat/completions', headers: { 'content-type': 'application/json' }, body: big });
  assert.deepEqual([seen.status, seen.text], [200, sha(big)]);
});

test('HEAD, interim answers and trailers pass', async (t) => {
  const up = await startUpstream(t, async (request, answer) => {
    if (request.method === 'HEAD') {
      await answer.rawHead(200, { 'Content-Length': 1234 });
      answer.finish();
      return;
    }
    await answer.interim(103, { Link: '</a.css>; rel=preload' });
    await answer.begin(200, { Trailer: 'X-Sum' });
    await answer.chunk('body');
    await answer.end({ 'X-Sum': '42' });
  });
  const gate = await startPenstock(t, { config: one(up) });
  const line = await connect(t, gate.port);
  line.send('HEAD /x HTTP/1.1\r\nHost: localhost\r\n\r\n');
  const head = await line.response({ method: 'HEAD' });
  assert.deepEqual([head.status, head.headers['content-length']], [200, '1234']);
  line.send('GET /x HTTP/1.1\r\nHost: localhost\r\nTE: trailers\r\nConnection: TE\r\n\r\n');
  const got = await line.response();
  assert.deepEqual([got.interim[0]?.status, got.interim[0]?.headers.link, got.text, got.trailers['x-sum']],
    [103, '</a.css>; rel=preload', 'body', '42']);
});

test('Expect: 100-continue is answered before the body is sent', async (t) => {
  const up = await startUpstream(t, digest);
  const gate = await startPenstock(t, { config: one(up) });
  for (const target of ['/v1/chat/completions', '/plain', '/v1/audio/transcriptions']) {
    const line = await connect(t, gate.port);
    const body = JSON.stringify(chatBody());
    line.send(`POST ${target} HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n`);
    assert.equal((await line.head()).status, 100, target);
    line.send(body);
    assert.equal(JSON.parse((await line.response()).text).sha, sha(body));
    line.leave();
  }
});

// --- the log

const lines = (file) => fs.readFileSync(file, 'utf8').trim().split('\n').filter(Boolean).map((line) => JSON.parse(line));

test('the access log has a line with its fields for every request', async (t) => {
  const up = await startUpstream(t, inference({ tokens: 6, every: 1 }));
  const log = path.join(tempDir(t), 'access.log');
  const gate = await startPenstock(t, {
    config: one(up, '', `access_log: "${log}"\ntenants: [{name: team, key: some-key-0123456789}]\nroutes: [{name: chat, path: /v1/*, kind: openai}]\n`),
  });
  const key = { authorization: 'Bearer some-key-0123456789' };
  await chat(gate.port, { headers: { ...key, 'x-request-id': 'whole' } });
  await allEvents((await chatStream(gate.port, { headers: { ...key, 'x-request-id': 'stream' } })).incoming);
  await chat(gate.port, { headers: { 'x-request-id': 'stranger' } });
  await call(gate.port, { path: '/none?secret=1', headers: { ...key, 'x-request-id': 'nowhere' } });
  const line = await connect(t, gate.port);
  const body = JSON.stringify(chatBody({ stream: true }));
  line.send('POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer some-key-0123456789\r\nX-Request-Id: left\r\n'
    + `Content-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
  await line.readUntil('word1');
  line.leave({ reset: true });
  const all = await until('five lines', () => fs.existsSync(log) && lines(log).length >= 5 && lines(log));
  const of = (id) => all.find(({ request_id: is }) => is === id);
  const whole = of('whole');
  assert.match(whole.time, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
  assert.deepEqual([whole.method, whole.path, whole.route, whole.upstream, whole.endpoint, whole.tenant, whole.model, whole.status,
    whole.complete, whole.peer, whole.attempts],
  ['POST', '/v1/chat/completions', 'chat', 'gpu', up.url, 'team', 'test-model', 200, true, '127.0.0.1', 1]);
  assert.equal(whole.tokens.output, 6);
  assert.ok(whole.duration_ms >= whole.first_byte_ms && whole.first_byte_ms > 0);
  assert.ok(whole.bytes_in > 50 && whole.bytes_out > 100);
  assert.deepEqual([of('stream').tokens.output, of('stream').tokens.estimated, of('stream').complete], [6, undefined, true]);
  assert.deepEqual([of('stranger').status, of('stranger').tenant, of('stranger').attempts], [401, undefined, 0]);
  assert.deepEqual([of('nowhere').status, of('nowhere').path], [404, '/none']);
  assert.equal(of('left').complete, false);
  assert.equal(of('left').error, 'the client left');
  assert.doesNotMatch(fs.readFileSync(log, 'utf8'), /secret|some-key/);
});

test('SIGUSR1 opens the access log anew', async (t) => {
  const up = await startUpstream(t, inference());
  const dir = tempDir(t);
  const log = path.join(dir, 'access.log');
  const gate = await startPenstock(t, { config: one(up, '', `access_log: "${log}"\n`) });
  for (let i = 0; i < 3; i++) {
    await call(gate.port, { path: '/v1/models', headers: { 'x-request-id': `round-${i}` } });
    await until('the line', () => fs.existsSync(log) && fs.readFileSync(log, 'utf8').includes(`round-${i}`));
    fs.renameSync(log, path.join(dir, `old-${i}`));
    gate.signal('SIGUSR1');
    await until('the new file', () => fs.existsSync(log));
  }
  await call(gate.port, { path: '/v1/models', headers: { 'x-request-id': 'last' } });
  await gate.stop();
  const ids = ['old-0', 'old-1', 'old-2', 'access.log'].map((name) => lines(path.join(dir, name)).map(({ request_id: id }) => id));
  assert.deepEqual(ids, [['round-0'], ['round-1'], ['round-2'], ['last']]);
});

// --- balance

async function three(t, more) {
  const ups = [];
  for (let i = 0; i < 3; i++) {
    ups.push(await startUpstream(t, inference({ name: `e${i}` })));
  }
  const gate = await startPenstock(t, {
    config: `upstreams:\n  - {name: gpu, engine: openai, endpoints: [${ups.map(({ url }) => `"${url}"`).join(', ')}], health: {interval: 0s}, balance: ${more}}\n`,
  });
  return { gate, ups };
}

const longPrompt = (seed, tail) => ({ messages: [
  { role: 'system', content: `${seed} ${'You are a careful assistant. '.repeat(100)}` },
  { role: 'user', content: tail }] });

test('with prefix balance the same beginning goes to the same endpoint, and beginnings are spread', async (t) => {
  const { gate, ups } = await three(t, 'prefix');
  const where = async (seed, tail) => (await chat(gate.port, { body: longPrompt(seed, tail) })).json.system_fingerprint;
  for (let seed = 0; seed < 5; seed++) {
    const seen = new Set();
    for (let i = 0; i < 6; i++) {
      seen.add(await where(seed, `question ${i}`));
    }
    assert.equal(seen.size, 1, `prefix ${seed}`);
  }
  await many(90, (i) => where(`spread ${i}`, 'x'), 1);
  for (const up of ups) {
    assert.ok(up.to('/v1/chat/completions').length >= 15, `${ups.map((u) => u.to('/v1/chat/completions').length)}`);
  }
});

test('one prefix that everybody asks for spills over instead of piling up', async (t) => {
  const ups = [];
  for (let i = 0; i < 3; i++) {
    ups.push(await startUpstream(t, inference({ first: 150, name: `e${i}` })));
  }
  const gate = await startPenstock(t, {
    config: `upstreams:\n  - {name: gpu, engine: openai, endpoints: [${ups.map(({ url }) => `"${url}"`).join(', ')}], health: {interval: 0s}, balance: prefix, prefix_load: 1.25}\n`,
  });
  const names = (await many(30, () => chat(gate.port, { body: longPrompt('same', 'x') }))).map(({ json }) => json.system_fingerprint);
  for (const count of Object.values(tally(names))) {
    assert.ok(count <= 14, JSON.stringify(tally(names)));
  }
  assert.equal(Object.keys(tally(names)).length, 3);
});

test('least_tokens sends work to the endpoint with the fewest tokens in flight', async (t) => {
  const busy = [0, 0, 0];
  let release;
  const opened = new Promise((resolve) => { release = resolve; });
  const ups = [];
  for (let i = 0; i < 3; i++) {
    ups.push(await startUpstream(t, async (request, answer) => {
      busy[i] += request.json.max_tokens;
      await opened;
      await answer.json(200, { choices: [] });
    }));
  }
  const gate = await startPenstock(t, {
    config: `upstreams:\n  - {name: gpu, engine: openai, endpoints: [${ups.map(({ url }) => `"${url}"`).join(', ')}], health: {interval: 0s}}\n`,
  });
  const all = [];
  for (const size of [9000, 100, 100, 100, 100, 5000, 100, 100, 3000]) {
    all.push(chat(gate.port, { body: { max_tokens: size } }));
    await until('it is upstream', () => ups.reduce((sum, up) => sum + up.requests.length, 0) === all.length);
  }
  const counts = ups.map((up) => up.requests.length).sort();
  assert.equal(counts[0], 1, `the one with 9000 got nothing else: ${counts} ${busy}`);
  release();
  await Promise.all(all);
});

// --- WebSocket

/// A WebSocket server that answers what it is told; sockets are kept.
async function startSocketServer(t, options = {}) {
  const port = await freePort();
  const server = new WebSocketServer({ port, host: '127.0.0.1', maxPayload: 64 * 1024 * 1024, ...options });
  const state = { port, url: `http://127.0.0.1:${port}`, sockets: [], heads: [], server };
  server.on('connection', (socket, request) => {
    state.sockets.push(socket);
    state.heads.push(request);
    socket.on('error', () => {});
    socket.on('message', (data, binary) => socket.send(data, { binary }));
  });
  after(t, () => new Promise((resolve) => {
    state.sockets.forEach((socket) => socket.terminate());
    server.close(resolve);
  }));
  await new Promise((resolve) => { server.once('listening', resolve); });
  return state;
}

function dial(t, port, target = '/ws', options = {}) {
  const socket = new WebSocket(`ws://127.0.0.1:${port}${target}`, { maxPayload: 64 * 1024 * 1024, ...options });
  socket.on('error', () => {});
  after(t, () => socket.terminate());
  return socket;
}

const opened = (socket) => within(8000, 'a WebSocket', new Promise((resolve, reject) => {
  socket.once('open', resolve);
  socket.once('error', reject);
  socket.once('unexpected-response', (_, response) => reject(new Error(`refused with ${response.statusCode}`)));
}));
const message = (socket) => within(20000, 'a message', new Promise((resolve) => { socket.once('message', (data, binary) => resolve({ data, binary })); }));
const closing = (socket) => within(8000, 'a close', new Promise((resolve) => { socket.once('close', (code, reason) => resolve({ code, reason: reason.toString() })); }));

test('a WebSocket carries text and binary frames both ways, small and large', async (t) => {
  const up = await startSocketServer(t);
  const gate = await startPenstock(t, { config: one(up) });
  const socket = dial(t, gate.port, '/ws?x=1', { headers: { 'x-request-id': 'tunnel-1' } });
  await opened(socket);
  assert.equal(up.heads[0].url, '/ws?x=1');
  assert.equal(up.heads[0].headers['x-request-id'], 'tunnel-1');
  const text = message(socket);
  socket.send('hello ü');
  assert.deepEqual([(await text).data.toString(), (await text).binary], ['hello ü', false]);
  const large = randomBytes(8 * 1024 * 1024 + 5);
  const back = message(socket);
  socket.send(large);
  assert.equal(sha((await back).data), sha(large));
  const pushed = message(socket);
  up.sockets[0].send('from the server');
  assert.equal((await pushed).data.toString(), 'from the server');
  const pong = new Promise((resolve) => { socket.once('pong', resolve); });
  socket.ping('beat');
  assert.equal((await within(5000, 'a pong', pong)).toString(), 'beat');
});

test('close codes and reasons pass in both directions', async (t) => {
  const up = await startSocketServer(t);
  const gate = await startPenstock(t, { config: one(up) });
  const first = dial(t, gate.port);
  await opened(first);
  const atServer = closing(up.sockets[0]);
  first.close(4321, 'enough');
  assert.deepEqual(await atServer, { code: 4321, reason: 'enough' });
  const second = dial(t, gate.port);
  await opened(second);
  await until('the second is there', () => up.sockets.length === 2);
  const atClient = closing(second);
  up.sockets[1].close(4001, 'go away');
  assert.deepEqual(await atClient, { code: 4001, reason: 'go away' });
  await until('no tunnel is left', async () => (await metric(gate.port, 'penstock_admit_in_flight')) === 0);
});

test('when one side of a WebSocket vanishes the other hears of it', async (t) => {
  const up = await startSocketServer(t);
  const gate = await startPenstock(t, { config: one(up) });
  const first = dial(t, gate.port);
  await opened(first);
  const atServer = closing(up.sockets[0]);
  first.terminate();
  assert.equal((await atServer).code, 1006);
  const second = dial(t, gate.port);
  await opened(second);
  await until('the second is there', () => up.sockets.length === 2);
  const atClient = closing(second);
  up.sockets[1].terminate();
  assert.equal((await atClient).code, 1006);
});

test('an idle WebSocket is closed after idle_timeout, a talking one is not', async (t) => {
  const up = await startSocketServer(t);
  const gate = await startPenstock(t, { config: one(up, '', 'routes: [{path: "/*", idle_timeout: 400ms}]\n') });
  const idle = dial(t, gate.port);
  const talking = dial(t, gate.port);
  await Promise.all([opened(idle), opened(talking)]);
  const start = now();
  let idleClosed;
  closing(idle).then(() => { idleClosed = now(); });
  for (let i = 0; i < 12; i++) {
    const back = message(talking);
    talking.send(`beat ${i}`);
    await back;
    await sleep(100);
  }
  assert.equal(talking.readyState, WebSocket.OPEN);
  assert.ok(idleClosed - start >= 300, `${idleClosed - start}`);
});

test('a slow reader at the end of a WebSocket makes the other side wait, within bounds', async (t) => {
  const up = await startSocketServer(t);
  const gate = await startPenstock(t, { config: one(up) });
  const socket = dial(t, gate.port);
  await opened(socket);
  const before = gate.memory();
  socket._socket.pause();
  const payload = randomBytes(1024 * 1024);
  for (let i = 0; i < 48; i++) {
    up.sockets[0].send(payload);
  }
  await sleep(300);
  assert.ok(up.sockets[0].bufferedAmount > 20 * 1024 * 1024, 'the server has to keep most of it');
  assert.ok(gate.memory() - before < 16 * 1024 * 1024, `${gate.memory() - before}`);
  let got = 0;
  socket.on('message', () => { got += 1; });
  socket._socket.resume();
  await until('all of it', () => got === 48, 10000);
});

test('a WebSocket that the upstream refuses is refused with its answer', async (t) => {
  const up = await startSocketServer(t, { verifyClient: (info, done) => done(false, 403, 'not you') });
  const gate = await startPenstock(t, { config: one(up) });
  const socket = dial(t, gate.port);
  const answer = await within(5000, 'the refusal', new Promise((resolve) => {
    socket.once('unexpected-response', (_, response) => resolve(response));
  }));
  assert.equal(answer.statusCode, 403);
  const plain = await startUpstream(t, (_, reply) => reply.text(200, 'no sockets here'));
  const other = await startPenstock(t, { config: one(plain) });
  const line = await connect(t, other.port);
  line.send('GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n');
  assert.equal((await line.response()).text, 'no sockets here');
  line.send('GET /again HTTP/1.1\r\nHost: localhost\r\n\r\n');
  assert.equal((await line.response()).status, 200);
});

test('a WebSocket needs a tenant key where tenants are, and its key stays here', async (t) => {
  const up = await startSocketServer(t);
  const gate = await startPenstock(t, { config: one(up, ', api_key: upstream-own', 'tenants: [{name: a, key: some-key-0123456789, max_in_flight: 1}]\n') });
  await assert.rejects(opened(dial(t, gate.port)), /401/);
  const headers = { authorization: 'Bearer some-key-0123456789' };
  const socket = dial(t, gate.port, '/ws', { headers });
  await opened(socket);
  assert.equal(up.heads[0].headers.authorization, 'Bearer upstream-own');
  await assert.rejects(opened(dial(t, gate.port, '/ws', { headers })), /429/);
  socket.close();
  await until('its place is free', async () => {
    const next = dial(t, gate.port, '/ws', { headers });
    return opened(next).then(() => true, () => false);
  });
});

test('an upgrade to another HTTP is no tunnel: it would lead around routes, keys and limits', async (t) => {
  const up = await startUpstream(t, echo());
  const gate = await startPenstock(t, { config: one(up) });
  for (const protocols of ['h2c', 'H2C', 'websocket, h2c', 'h2', 'HTTP/2.0', 'TLS/1.0']) {
    const line = await connect(t, gate.port);
    line.send(`GET /x HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: ${protocols}\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n`);
    const seen = JSON.parse((await line.response()).text).headers;
    assert.deepEqual([seen.upgrade, seen.connection, seen['http2-settings']], [undefined, undefined, undefined], protocols);
    line.leave();
  }
});

test('a WebSocket has a line in the access log when it ends', async (t) => {
  const up = await startSocketServer(t);
  const log = path.join(tempDir(t), 'access.log');
  const gate = await startPenstock(t, { config: one(up, '', `access_log: "${log}"\n`) });
  const socket = dial(t, gate.port, '/ws', { headers: { 'x-request-id': 'sock' } });
  await opened(socket);
  const back = message(socket);
  socket.send('x'.repeat(1000));
  await back;
  await sleep(120);
  socket.close();
  const [line] = await until('the line', () => fs.existsSync(log) && lines(log).length === 1 && lines(log));
  assert.deepEqual([line.request_id, line.method, line.path, line.status, line.upstream, line.peer, line.complete],
    ['sock', 'GET', '/ws', 101, 'gpu', '127.0.0.1', true]);
  assert.ok(line.bytes_in >= 1000 && line.bytes_out >= 1000 && line.duration_ms >= 100, JSON.stringify(line));
});
