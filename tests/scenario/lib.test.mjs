// lib - the scripted server and the raw client, tried on each other: a story is only worth as much
// as the tools that it is told with.
//
// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import http from 'node:http';
import test from 'node:test';

import OpenAI from 'openai';

import { allEvents, call, chatStream, many, metric, tally } from './lib/client.mjs';
import { connect, exchange } from './lib/raw.mjs';
import { makeAuthority } from './lib/tls.mjs';
import { echo, inference, startUpstream } from './lib/upstream.mjs';
import { now } from './lib/wait.mjs';

test('the scripted server answers pipelined requests in order on one connection', async (t) => {
  const up = await startUpstream(t, echo());
  const line = await connect(t, up.port);
  line.send('GET /a HTTP/1.1\r\nHost: x\r\n\r\nPOST /b HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi');
  assert.equal(JSON.parse((await line.response()).text).target, '/a');
  const second = JSON.parse((await line.response()).text);
  assert.deepEqual([second.target, second.body], ['/b', 'hi']);
  assert.equal(up.connections.length, 1);
  assert.equal(up.open, 1);
});

test('it reads chunked bodies and answers in chunks with trailers', async (t) => {
  const up = await startUpstream(t, async (request, answer) => {
    await answer.begin(200, { Trailer: 'x-sum' });
    await answer.chunk(request.body);
    await answer.end({ 'x-sum': '3' });
  });
  const got = await exchange(t, up.port,
    'POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n');
  assert.equal(got.text, 'abc');
  assert.equal(got.trailers['x-sum'], '3');
});

test('it dies before, during and after the head', async (t) => {
  const deaths = {
    '/before': (_, answer) => answer.die(),
    '/during': async (_, answer) => { await answer.raw('HTTP/1.1 200 O'); answer.dieAfter(); },
    '/after': async (_, answer) => { await answer.rawHead(200, { 'Content-Length': 10 }); answer.dieAfter(); },
  };
  const up = await startUpstream(t, (request, answer) => deaths[request.target](request, answer));
  const seen = {};
  for (const target of Object.keys(deaths)) {
    const line = await connect(t, up.port);
    line.send(`GET ${target} HTTP/1.1\r\nHost: x\r\n\r\n`);
    await line.closed();
    seen[target] = line.bytes.toString('latin1');
  }
  assert.equal(seen['/before'], '');
  assert.equal(seen['/during'], 'HTTP/1.1 200 O');
  assert.match(seen['/after'], /Content-Length: 10\r\n\r\n$/);
});

test('it notes when a client goes away in the middle of a stream', async (t) => {
  const up = await startUpstream(t, inference({ tokens: 1000, every: 5 }));
  const line = await connect(t, up.port);
  const body = '{"stream":true}';
  line.send(`POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
  await line.readUntil('word3');
  const left = now();
  line.leave();
  const closedAt = await up.connections[0].closed;
  assert.ok(closedAt - left < 1000, `closed ${closedAt - left} ms after`);
});

test('the npm client of OpenAI is satisfied with it', async (t) => {
  const up = await startUpstream(t, inference({ tokens: 4 }));
  const client = new OpenAI({ baseURL: `${up.url}/v1`, apiKey: 'k', maxRetries: 0 });
  const stream = await client.chat.completions.create({
    model: 'test-model', messages: [{ role: 'user', content: 'hi' }], stream: true,
  });
  let text = '';
  for await (const part of stream) {
    text += part.choices[0]?.delta?.content ?? '';
  }
  assert.equal(text, 'word0 word1 word2 word3 ');
  const vectors = await client.embeddings.create({ model: 'test-model', input: ['a', 'b'], encoding_format: 'float' });
  assert.equal(vectors.data.length, 2);
});

test('it serves TLS with a certificate of the test authority, which clients verify', async (t) => {
  const authority = makeAuthority(t);
  const { cert, key } = authority.issue('server');
  const { readFileSync } = await import('node:fs');
  const up = await startUpstream(t, echo(), { secure: { cert: readFileSync(cert), key: readFileSync(key) } });
  const got = await exchange(t, up.port, 'GET /s HTTP/1.1\r\nHost: localhost\r\n\r\n',
    { secure: { ca: readFileSync(authority.ca), servername: 'localhost' } });
  assert.equal(got.status, 200);
  await assert.rejects(connect(t, up.port, { secure: { servername: 'localhost' } }));
  const expired = authority.issue('old', { days: -1 });
  const late = await startUpstream(t, echo(),
    { secure: { cert: readFileSync(expired.cert), key: readFileSync(expired.key) } });
  await assert.rejects(connect(t, late.port, { secure: { ca: readFileSync(authority.ca), servername: 'localhost' } }));
});

test('it comes back on the same port after a crash', async (t) => {
  const up = await startUpstream(t, echo());
  await up.crash();
  await assert.rejects(connect(t, up.port));
  await up.revive();
  assert.equal((await exchange(t, up.port, 'GET / HTTP/1.1\r\nHost: x\r\n\r\n')).status, 200);
});

test('keep-alive agents of Node reuse its connections', async (t) => {
  const up = await startUpstream(t, echo());
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  t.after(() => agent.destroy());
  for (let i = 0; i < 3; i++) {
    await new Promise((resolve, reject) => {
      http.get({ port: up.port, host: '127.0.0.1', agent }, (response) => {
        response.resume().on('end', resolve);
      }).on('error', reject);
    });
  }
  assert.deepEqual([up.requests.length, up.connections.length], [3, 1]);
});

test('a stream is read event by event, and many clients are counted', async (t) => {
  const up = await startUpstream(t, inference({ tokens: 3 }));
  const { incoming, status } = await chatStream(up.port, { body: { stream_options: { include_usage: true } } });
  const list = await allEvents(incoming);
  assert.equal(status, 200);
  assert.equal(list.length, 3 + 1 + 1 + 1);
  assert.equal(list.at(-2).json.usage.completion_tokens, 3);
  const codes = await many(20, async (i) => (await call(up.port, { path: i % 2 ? '/health' : '/none' })).status, 5);
  assert.deepEqual(tally(codes), { 200: 10, 404: 10 });
});

test('a metric is summed over the series that fit', async (t) => {
  const page = '# HELP a_total x\n# TYPE a_total counter\na_total{route="x",code="200"} 3\na_total{route="x",code="503"} 4\nb 1e3\n';
  const up = await startUpstream(t, (_, answer) => answer.text(200, page));
  assert.equal(await metric(up.port, 'a_total', { route: 'x' }), 7);
  assert.equal(await metric(up.port, 'a_total', { code: '503' }), 4);
  assert.equal(await metric(up.port, 'b'), 1000);
});
