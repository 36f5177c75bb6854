// tags: threads
//
// chaos - clients and servers that do everything at once, by a seed: nothing crashes, nothing is left over,
// and who behaves is served.
//
// PENSTOCK_CHAOS_SECONDS makes it longer, PENSTOCK_CHAOS_SEED another story.
//
// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import test from 'node:test';

import { chat, many, metric, tally } from './lib/client.mjs';
import { startPenstock } from './lib/penstock.mjs';
import { connect } from './lib/raw.mjs';
import { inference, startUpstream } from './lib/upstream.mjs';
import { now, sleep, until } from './lib/wait.mjs';

const SECONDS = Number(process.env.PENSTOCK_CHAOS_SECONDS ?? 5);
const SEED = Number(process.env.PENSTOCK_CHAOS_SEED ?? 1);

/// mulberry32: a small generator, so that a story can be told again.
function randomOf(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let x = Math.imul(state ^ (state >>> 15), state | 1);
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61);
    return ((x ^ (x >>> 14)) >>> 0) / 4294967296;
  };
}

/// A server whose mood is in the target: /mood/N, anything else is answered well.
function moody(random) {
  const serve = inference({ tokens: 10, every: 3 });
  const moods = [
    (_, answer) => answer.die(),
    (_, answer) => answer.die({ reset: true }),
    async (_, answer) => { await sleep(random() * 50); answer.die(); },
    async (_, answer) => { await answer.rawHead(200, { 'Content-Length': 5000 }); await answer.raw('short'); answer.die({ reset: random() < 0.5 }); },
    async (_, answer) => { await answer.begin(200); await answer.chunk('x'.repeat(random() * 200000)); answer.die({ reset: random() < 0.5 }); },
    async (_, answer) => { await answer.raw('rubbish\r\n\r\n'); answer.dieAfter(); },
    (_, answer) => answer.text(503, 'busy'),
    async (_, answer) => { await sleep(random() * 100); await answer.text(200, 'y'.repeat(random() * 300000)); },
    async (_, answer) => { await answer.interim(103, { Link: '<x>' }); await answer.begin(200); await answer.chunk('z'); await answer.end({ 'X-T': '1' }); },
    async (_, answer) => { await answer.text(200, 'bye', { Connection: 'close' }); answer.connection.socket.end(); },
    async (_, answer) => { await answer.text(200, 'bye'); answer.connection.socket.destroy(); },
    async (_, answer) => { await answer.text(200, 'more'); await answer.raw('HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n!'); },
    (_, answer) => answer.rawHead(101, { Connection: 'Upgrade', Upgrade: 'websocket' }),
    (_, answer) => answer.stall(),
    async (_, answer) => { for (let i = 0; i < 30 && answer.alive; i++) { await answer.interim(102); } await answer.text(204, ''); },
  ];
  return {
    count: moods.length,
    script: (request, answer) => {
      const mood = /^\/mood\/(\d+)/.exec(request.target);
      return mood ? moods[Number(mood[1])](request, answer) : serve(request, answer);
    },
    onHead: async (request, answer) => {
      if (request.target.startsWith('/early/')) {
        await answer.text(200, 'early');
        if (random() < 0.5) {
          answer.die({ reset: random() < 0.5 });
        }
      }
    },
  };
}

/// One client that misbehaves in a way of its own.
async function client(t, gate, random, count) {
  const line = await connect(t, gate.port);
  const mood = Math.floor(random() * count);
  const size = Math.floor(random() * 300000);
  const method = ['GET', 'POST', 'HEAD', 'PUT', 'DELETE'][Math.floor(random() * 5)];
  const json = JSON.stringify({ model: 'm', stream: random() < 0.5, messages: [], pad: 'p'.repeat(size) });
  const texts = [
    () => `${method} /mood/${mood} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc`,
    () => `GET /mood/${mood} HTTP/1.0\r\nHost: localhost\r\n\r\n`,
    () => `POST /mood/${mood} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n${size.toString(16)}\r\n${'b'.repeat(size)}\r\n0\r\n\r\n`,
    () => `POST /early/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: ${size}\r\n\r\n${'c'.repeat(size)}`,
    () => `POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: ${json.length}\r\n\r\n${json}`,
    () => `POST /mood/${mood} HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello`,
    () => `GET /mood/${mood} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nframes`,
    () => Array.from({ length: 5 }, () => `GET /mood/${Math.floor(random() * count)} HTTP/1.1\r\nHost: localhost\r\n\r\n`).join(''),
    () => Buffer.from(Array.from({ length: 200 }, () => Math.floor(random() * 256))),
    () => `POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: ${json.length}\r\n\r\n${json.slice(0, json.length / 2)}`,
  ];
  const text = texts[Math.floor(random() * texts.length)]();
  if (random() < 0.2) {
    line.socket.pause();
  }
  if (random() < 0.3) {
    const at = Math.floor(random() * text.length);
    await line.sendSlowly([text.slice(0, at), text.slice(at)], random() * 20);
  } else {
    line.send(text);
  }
  await sleep(random() * 150);
  if (random() < 0.3) {
    line.send(text);
    await sleep(random() * 50);
  }
  line.leave({ reset: random() < 0.5 });
}

test('clients and servers that do everything wrong at once leave the gateway whole', async (t) => {
  const random = randomOf(SEED);
  const mood = moody(random);
  const ups = await Promise.all([0, 1].map(() => startUpstream(t, mood.script, { onHead: mood.onHead })));
  const config = `max_body: 400KiB
max_buffered: 64MiB
drain_timeout: 3s
upstreams:
  - name: moody
    endpoints: [${ups.map(({ url }) => `"${url}"`).join(', ')}]
    engine: openai
    health: { interval: 0s, unhealthy_after: 1000 }
    timeouts: { first_byte: 2s, idle: 2s }
    retry: { min_retries: 1000 }
    admission: { max_in_flight: 20, max_queue: 200, max_wait: 2s }
  - name: steady
    endpoints: [${ups.map(({ url }) => `"${url}"`).join(', ')}]
    engine: openai
    health: { interval: 0s, unhealthy_after: 1000 }
routes:
  - { path: "/v1/embeddings", kind: openai, upstream: steady }
  - { path: "/v1/*", kind: openai, upstream: moody }
  - { path: "/*", upstream: moody }
`;
  const gate = await startPenstock(t, { config });
  const end = now() + SECONDS * 1000;
  const good = [];
  const steady = many(2, async () => {
    while (now() < end) {
      good.push((await chat(gate.port, { path: '/v1/embeddings', body: { input: 'x' } })).status);
    }
  });
  const wild = many(24, async () => {
    while (now() < end) {
      await client(t, gate, random, mood.count).catch(() => {});
    }
  });
  const reloads = (async () => {
    while (now() < end) {
      await sleep(400);
      gate.reload(config);
    }
  })();
  await Promise.all([steady, wild, reloads]);
  assert.ok(gate.running(), gate.stderr.slice(-4000));
  t.diagnostic(`${ups[0].requests.length + ups[1].requests.length} requests upstream, ${good.length} good ones`);
  assert.deepEqual(Object.keys(tally(good)), ['200']);
  await until('nothing is in flight', async () => (await metric(gate.port, 'penstock_admit_in_flight')) === 0, 10000, 50);
  await until('nothing is buffered', async () => (await metric(gate.port, 'penstock_process_buffered_bytes')) === 0, 10000, 50);
  await gate.stop();
});
