// tags: threads
//
// abort - clients that go away or read slowly: the upstream is let go at once, memory stays bounded, and
// nobody else notices.
//
// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import net from 'node:net';
import test from 'node:test';

import { after } from './lib/after.mjs';
import { call, chat, chatBody, chatStream, events, many, metric, open, tally } from './lib/client.mjs';
import { startPenstock } from './lib/penstock.mjs';
import { freePort } from './lib/ports.mjs';
import { connect } from './lib/raw.mjs';
import { inference, startUpstream } from './lib/upstream.mjs';
import { now, sanitizer, sleep, slowness, until, within } from './lib/wait.mjs';

// The promise is 50 ms; a loaded machine with a sanitizer gets more before the story fails.
const LIMIT = 500 * slowness;

async function stage(t, script, { upstream = '', top = '' } = {}) {
  const up = await startUpstream(t, script);
  const gate = await startPenstock(t, {
    config: `${top}
upstreams:
  - name: one
    endpoints: ["${up.url}"]
    engine: openai
    health: { interval: 0s }
    ${upstream}
routes:
  - { path: "/v1/*", kind: openai }
  - { path: "/*" }
`,
  });
  return { up, gate };
}

/// Streams words until nobody listens.
function endless(every) {
  function* words() {
    for (let i = 0; i < 1e6; i++) {
      yield `{"choices":[{"index":0,"delta":{"content":"word${i} "}}]}`;
    }
  }
  return (request, answer) => (request.json.stream ? answer.sse(words(), { every }) : answer.json(200, {}));
}

const buffered = (gate) => metric(gate.port, 'penstock_process_buffered_bytes');

/// Everything was given back: no request under way, no byte held.
async function assertIdle(gate) {
  await until('no byte is buffered any more', async () => (await buffered(gate)) === 0, 5000, 20);
  await until('nothing is in flight', async () => (
    (await metric(gate.port, 'penstock_admit_in_flight')) === 0), 5000, 20);
}

function percentile(values, p) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * p))];
}

function report(t, what, times) {
  t.diagnostic(`${what}: p50 ${percentile(times, 0.5).toFixed(1)} ms, p99 ${percentile(times, 0.99).toFixed(1)} ms, n ${times.length}`);
}

/// Sends a request on a line of its own, waits until `ready`, leaves, and returns the ms until the
/// upstream's connection was closed.
async function leaveAfter(t, { gate, up }, text, ready, { reset = false } = {}) {
  const seen = up.requests.length;
  const line = await connect(t, gate.port);
  line.send(text);
  await until('the request is upstream', () => up.requests.length > seen, 5000, 1);
  const { connection } = up.requests[seen];
  await ready(line);
  const left = now();
  line.leave({ reset });
  await within(LIMIT + 5000, 'the upstream connection closes', connection.closed);
  return (connection.endedAt ?? connection.closedAt) - left;
}

function textOf(body, path = '/v1/chat/completions') {
  const json = JSON.stringify(body);
  return `POST ${path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n`
    + `Content-Length: ${Buffer.byteLength(json)}\r\n\r\n${json}`;
}

test('a client that leaves a stream closes the upstream connection at once', async (t) => {
  const place = await stage(t, endless(10));
  const times = [];
  for (let i = 0; i < 40; i++) {
    times.push(await leaveAfter(t, place, textOf(chatBody({ stream: true })),
      (line) => line.readUntil('word'), { reset: i % 2 === 1 }));
  }
  report(t, 'client gone to upstream closed, streaming', times);
  assert.ok(percentile(times, 0.99) < LIMIT, `${percentile(times, 0.99)} ms`);
  await assertIdle(place.gate);
});

test('a client that leaves while the answer is computed closes the upstream connection at once', async (t) => {
  const place = await stage(t, (_, answer) => answer.stall());
  const times = [];
  for (let i = 0; i < 40; i++) {
    const text = i % 3 === 0 ? 'GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n' : textOf(chatBody());
    times.push(await leaveAfter(t, place, text, () => sleep(2), { reset: i % 2 === 1 }));
  }
  report(t, 'client gone to upstream closed, not streaming', times);
  assert.ok(percentile(times, 0.99) < LIMIT, `${percentile(times, 0.99)} ms`);
  await assertIdle(place.gate);
});

test('many clients that leave at the same time let all their upstream connections go', async (t) => {
  const { gate, up } = await stage(t, endless(20));
  const lines = await many(100, async () => {
    const line = await connect(t, gate.port);
    line.send(textOf(chatBody({ stream: true })));
    await line.readUntil('word', 20000);
    return line;
  });
  assert.equal(up.open, 100);
  const left = now();
  lines.forEach((line, i) => line.leave({ reset: i % 2 === 1 }));
  await Promise.all(up.connections.map((c) => within(LIMIT + 10000, 'all close', c.closed)));
  const times = up.connections.map((c) => (c.endedAt ?? c.closedAt) - left);
  report(t, '100 clients gone at once', times);
  assert.equal((await chat(gate.port)).status, 200);
  await assertIdle(gate);
});

test('a client that leaves the queue gives its place to the next', async (t) => {
  let release;
  const { gate, up } = await stage(t, async (request, answer) => {
    if (request.json.first) {
      await new Promise((resolve) => { release = resolve; });
    }
    await answer.json(200, { user: request.json.user });
  }, { upstream: 'admission: { max_in_flight: 1, max_queue: 100 }' });
  const first = chat(gate.port, { body: { first: true } });
  await up.seen(1);
  const lines = await many(20, async (i) => {
    const line = await connect(t, gate.port);
    line.send(textOf(chatBody({ user: `leaver-${i}` })));
    return line;
  });
  const stayers = many(5, (i) => chat(gate.port, { body: { user: `stayer-${i}` } }));
  await until('all wait', async () => (await metric(gate.port, 'penstock_admit_queued')) === 25);
  lines.forEach((line, i) => line.leave({ reset: i % 2 === 1 }));
  await until('the leavers are out of the queue', async () => (await metric(gate.port, 'penstock_admit_queued')) === 5);
  release();
  assert.equal((await first).status, 200);
  assert.deepEqual(tally((await stayers).map(({ status }) => status)), { 200: 5 });
  assert.ok(up.requests.every(({ json }) => !(json.user ?? '').startsWith('leaver')), 'nobody computes for who has left');
  await assertIdle(gate);
});

test('leaving and being let in at the same instant loses no slot', async (t) => {
  const { gate } = await stage(t, async (_, answer) => {
    await sleep(1);
    await answer.json(200, {});
  }, { upstream: 'admission: { max_in_flight: 2, max_queue: 1000 }' });
  for (let round = 0; round < 3; round++) {
    await many(120, async (i) => {
      const line = await connect(t, gate.port);
      line.send(textOf(chatBody({ user: `${i}` })));
      await sleep(Math.random() * 60);
      line.leave({ reset: i % 2 === 1 });
    });
    await assertIdle(gate);
  }
  const answers = await many(20, () => chat(gate.port));
  assert.deepEqual(tally(answers.map(({ status }) => status)), { 200: 20 });
});

test('a client that leaves in the middle of its upload leaves nothing behind', async (t) => {
  const { gate, up } = await stage(t, inference());
  for (const path of ['/v1/chat/completions', '/upload']) {
    for (let i = 0; i < 10; i++) {
      const line = await connect(t, gate.port);
      line.send(`POST ${path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n{"model":"m","prompt":"`);
      line.send('a'.repeat(150000));
      if (path === '/upload') {
        await until('the upload is on its way', () => up.open > 0);
      }
      await sleep(5);
      line.leave({ reset: i % 2 === 1 });
    }
    await until('the upstream connections are closed', () => up.open === 0);
  }
  await assertIdle(gate);
  assert.equal(up.to('/v1/chat/completions').length, 0);
  assert.equal((await chat(gate.port)).status, 200);
});

/// Streams as fast as the reader takes it; tells how much was handed to the socket.
function flood(limit) {
  const box = { sent: 0 };
  const piece = Buffer.alloc(64 * 1024, 'x');
  box.script = async (request, answer) => {
    if (request.target.startsWith('/v1/')) {
      await inference({ tokens: 60, every: 20 })(request, answer);
      return;
    }
    await answer.rawHead(200, { 'Content-Length': limit });
    for (let left = limit; left > 0 && answer.alive; left -= piece.length) {
      await answer.raw(piece.subarray(0, Math.min(piece.length, left)));
      box.sent += piece.length;
    }
    answer.finish();
  };
  return box;
}

test('a slow reader is held back, costs bounded memory and slows nobody', async (t) => {
  const source = flood(64 * 1024 * 1024);
  const { gate } = await stage(t, source.script);
  const slow = await Promise.all(Array.from({ length: 4 }, () => connect(t, gate.port)));
  for (const line of slow) {
    line.socket.pause();
    line.send('GET /flood HTTP/1.1\r\nHost: localhost\r\n\r\n');
  }
  await until('the flow stands still', async () => {
    const before = source.sent;
    await sleep(300);
    return source.sent === before && before > 0;
  }, 20000, 10);
  assert.ok(source.sent < 4 * 24 * 1024 * 1024, `${source.sent} bytes were taken from the upstream`);
  const held = await buffered(gate);
  assert.ok(held > 0 && held < 4 * 1024 * 1024, `${held} bytes are held`);
  if (sanitizer === '') {
    assert.ok(gate.memory() < 64 * 1024 * 1024, `${gate.memory()} bytes resident`);
  }
  const gaps = await Promise.all(Array.from({ length: 4 }, async () => {
    const { incoming, status } = await chatStream(gate.port);
    assert.equal(status, 200);
    let last = now();
    let most = 0;
    for await (const { at } of events(incoming)) {
      most = Math.max(most, at - last);
      last = at;
    }
    return most;
  }));
  t.diagnostic(`longest gap of another stream at 20 ms steps: ${Math.max(...gaps).toFixed(1)} ms`);
  assert.ok(Math.max(...gaps) < 1000 * slowness);
  slow[0].leave({ reset: true });
  slow[1].leave();
  for (const line of slow.slice(2)) {
    let taken = 0;
    line.socket.removeAllListeners('data');
    line.socket.on('data', (piece) => { taken += piece.length; });
    line.socket.resume();
    await until('every byte arrives', () => taken > 64 * 1024 * 1024, 30000, 10);
  }
  await assertIdle(gate);
});

test('an answer that the upstream ended with a reset still reaches a slow reader whole', async (t) => {
  const port = await freePort();
  const body = Buffer.alloc(600 * 1024, 'r');
  const server = net.createServer((socket) => {
    socket.on('error', () => {});
    socket.once('data', () => {
      socket.pause();
      socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n`);
      socket.write(body, () => setTimeout(() => socket.resetAndDestroy?.(), 300));
    });
  });
  await new Promise((resolve) => { server.listen(port, '127.0.0.1', resolve); });
  after(t, () => server.close());
  const gate = await startPenstock(t, {
    config: `upstreams:
  - { name: one, endpoints: ["http://127.0.0.1:${port}"], engine: openai, health: { interval: 0s } }
routes:
  - { path: "/*" }
`,
  });
  for (let i = 0; i < 3; i++) {
    const line = await connect(t, gate.port);
    line.socket.pause();
    line.send('GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n');
    await sleep(600);
    line.socket.resume();
    const answer = await line.response({ ms: 10000 });
    assert.equal(answer.body.length, body.length);
  }
  await assertIdle(gate);
});

test('a reader that never reads is let go when its time is over', async (t) => {
  const source = flood(64 * 1024 * 1024);
  const { gate, up } = await stage(t, source.script, { top: 'send_timeout: 500ms' });
  const line = await connect(t, gate.port);
  line.socket.pause();
  line.send('GET /flood HTTP/1.1\r\nHost: localhost\r\n\r\n');
  await until('the flow has begun', () => source.sent > 0);
  await until('the upstream is let go', () => up.open === 0, 8000, 10);
  line.socket.resume();
  await line.closed();
  assert.ok(line.received < 64 * 1024 * 1024);
  await assertIdle(gate);
});

test('a slow upstream holds a fast upload back, and all of it arrives', async (t) => {
  let total = 0;
  const { gate } = await stage(t, (_, answer) => answer.text(200, 'ok'), { top: 'max_body: 64MiB' });
  const port = await freePort();
  const sink = net.createServer((socket) => {
    socket.on('error', () => {});
    socket.pause();
    setTimeout(() => socket.resume(), 1000);
    socket.on('data', (piece) => {
      total += piece.length;
      if (total > 32 * 1024 * 1024) {
        socket.end('HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok');
      }
    });
  });
  await new Promise((resolve) => { sink.listen(port, '127.0.0.1', resolve); });
  after(t, () => sink.close());
  gate.reload(`max_body: 64MiB
upstreams:
  - { name: sink, endpoints: ["http://127.0.0.1:${port}"], engine: openai, health: { interval: 0s } }
routes:
  - { path: "/*" }
`);
  await sleep(300);
  const answer = call(gate.port, { method: 'POST', path: '/upload', body: Buffer.alloc(32 * 1024 * 1024, 'u'), ms: 60000 });
  const peaks = [];
  for (let i = 0; i < 8; i++) {
    await sleep(100);
    peaks.push(await buffered(gate));
  }
  assert.ok(Math.max(...peaks) < 1024 * 1024, `${Math.max(...peaks)} bytes were held`);
  assert.equal((await answer).text, 'ok');
  await assertIdle(gate);
});

test('when the memory budget is used up requests are refused with 503, and it recovers', async (t) => {
  let release;
  const held = new Promise((resolve) => { release = resolve; });
  const { gate, up } = await stage(t, async (request, answer) => {
    await held;
    await answer.json(200, { length: request.body.length });
  }, { top: 'max_buffered: 2MiB' });
  const prompt = 'a'.repeat(300 * 1024);
  // Nothing is answered before the release but what does not fit: of 6 MB at least 4 are refused.
  const refused = [];
  const ask = async () => {
    const answer = await call(gate.port, { method: 'POST', path: '/v1/completions', body: { model: 'm', prompt } });
    if (answer.status === 503) {
      refused.push(answer);
    }
    return answer;
  };
  const answers = many(20, ask);
  await Promise.race([answers, until('some are refused', () => refused.length >= 1, 15000)]);
  assert.ok(Number(refused[0].headers['retry-after']) >= 1);
  assert.equal(refused[0].json.error.code, 'no_memory');
  assert.ok((await buffered(gate)) <= 2 * 1024 * 1024);
  release();
  const counts = tally((await answers).map(({ status }) => status));
  assert.ok(counts[200] >= 1 && (counts[503] ?? 0) >= 1, JSON.stringify(counts));
  assert.equal(counts[200] + counts[503], 20, JSON.stringify(counts));
  assert.ok(up.requests.length >= counts[200]);
  await assertIdle(gate);
  // One by one: while it is read, a prompt in one piece takes several times its length.
  const later = await many(4, () => call(gate.port, { method: 'POST', path: '/v1/completions', body: { model: 'm', prompt } }), 1);
  assert.deepEqual(tally(later.map(({ status }) => status)), { 200: 4 });
});

test('slow readers under a small budget break alone: others go on, and it recovers', async (t) => {
  const source = flood(8 * 1024 * 1024);
  const { gate } = await stage(t, source.script, { top: 'max_buffered: 512KiB' });
  const slow = await Promise.all(Array.from({ length: 10 }, () => connect(t, gate.port)));
  for (const line of slow) {
    line.socket.pause();
    line.send('GET /flood HTTP/1.1\r\nHost: localhost\r\n\r\n');
  }
  await sleep(500);
  assert.ok((await buffered(gate)) <= 512 * 1024);
  slow.forEach((line) => line.leave());
  await assertIdle(gate);
  const whole = await open(gate.port, { path: '/flood' });
  let length = 0;
  for await (const piece of whole.incoming) {
    length += piece.length;
  }
  assert.equal(length, 8 * 1024 * 1024);
  await assertIdle(gate);
});

test('after all sorts of leaving no descriptor is left over', async (t) => {
  const { gate, up } = await stage(t, inference({ tokens: 50, every: 5 }));
  await chat(gate.port);
  const round = () => many(60, async (i) => {
    const line = await connect(t, gate.port);
    line.send(i % 4 === 0 ? 'POST /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 500000\r\n\r\nabc' : textOf(chatBody({ stream: i % 2 === 0 })));
    await sleep(Math.random() * 100);
    line.leave({ reset: i % 3 === 0 });
  });
  await round();
  await assertIdle(gate);
  const before = gate.descriptors();
  await round();
  await round();
  await assertIdle(gate);
  await until('descriptors are back', () => gate.descriptors() <= before + up.open, 5000, 20);
});
