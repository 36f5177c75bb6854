// tags: threads
//
// live - /ws/metrics: a frame a second for whoever watches, and nothing but a goodbye for who breaks the rules.
//
// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import zlib from 'node:zlib';

import WebSocket from 'ws';

import { after } from './lib/after.mjs';
import { call, many, metric } from './lib/client.mjs';
import { frame, goodbye, parseFrame } from './lib/frames.mjs';
import { startPenstock, tempDir } from './lib/penstock.mjs';
import { connect } from './lib/raw.mjs';
import { makeAuthority } from './lib/tls.mjs';
import { now, sleep, slowness, until, within } from './lib/wait.mjs';

const TEXT = 1;
const BINARY = 2;
const CLOSE = 8;
const PING = 9;
const PONG = 10;
const token = 'the-token-of-the-looker';

/// A client that others wrote: {socket, frames, next(), closed}. Frames are parsed; next() waits for one.
function watch(t, port, { path = '/ws/metrics', secure = false, ...options } = {}) {
  const socket = new WebSocket(`${secure ? 'wss' : 'ws'}://127.0.0.1:${port}${path}`, options);
  const seen = { socket, frames: [], taken: 0, refused: undefined };
  socket.on('message', (data) => seen.frames.push(JSON.parse(data.toString())));
  socket.on('unexpected-response', (request, answer) => {
    let text = '';
    answer.on('data', (piece) => { text += piece; });
    answer.on('end', () => { seen.refused = { status: answer.statusCode, headers: answer.headers, text }; });
  });
  socket.on('error', (error) => { seen.error = error; });
  seen.closed = new Promise((resolve) => {
    socket.on('close', (code, reason) => resolve({ code, reason: reason.toString() }));
  });
  seen.next = async (what = () => true, ms = 5000) => {
    await until('the next frame', () => {
      while (seen.taken < seen.frames.length && !what(seen.frames[seen.taken])) {
        seen.taken++;
      }
      return seen.taken < seen.frames.length;
    }, ms);
    return seen.frames[seen.taken++];
  };
  seen.send = (message) => socket.send(typeof message === 'string' ? message : JSON.stringify(message));
  after(t, () => socket.terminate());
  return seen;
}

const request = (port, more = '') => `GET /ws/metrics HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nUpgrade: websocket\r\n`
  + `Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n${more}\r\n`;

/// A client that sends what it likes: {line, next()}.
async function join(t, port, more = '') {
  const line = await connect(t, port);
  line.send(request(port, more));
  const head = await line.head();
  assert.equal(head.status, 101);
  assert.equal(head.headers['sec-websocket-accept'], 's3pPLMBiTxaQ9kYGzzhZRbK+xOo=');
  const next = async (wanted) => {
    for (;;) {
      const found = await line.wait('a frame', (bytes) => parseFrame(bytes));
      line.take(found.used);
      if (wanted === undefined || found.opcode === wanted) {
        return found;
      }
    }
  };
  return { line, head, next };
}

const isUpdate = ({ type }) => type === 'metrics_update';

test('the first frame comes within a second and carries the history; then one comes each second', async (t) => {
  const gate = await startPenstock(t);
  for (const perMessageDeflate of [false, true]) {
    const began = now();
    const seen = watch(t, gate.port, { perMessageDeflate });
    const first = await seen.next();
    assert.ok(now() - began < 1000 * slowness, `${now() - began} ms`);
    assert.equal(first.type, 'metrics_update');
    assert.ok(Number.isInteger(first.seq) && Math.abs(first.time - Date.now() / 1000) < 5 * slowness, JSON.stringify(first).slice(0, 200));
    assert.equal(typeof first.metrics, 'object');
    assert.ok(Array.isArray(first.alerts) && Array.isArray(first.events));
    assert.ok(Array.isArray(first.history.time) && typeof first.history.series === 'object');
    let { seq } = first;
    for (let i = 0; i < 3; i++) {
      const update = await seen.next();
      assert.equal(update.seq, seq + 1);
      assert.equal(update.history, undefined);
      ({ seq } = update);
    }
    assert.equal(seen.socket.extensions === '', !perMessageDeflate);
    seen.socket.close(1000);
    assert.deepEqual(await seen.closed, { code: 1000, reason: '' });
  }
});

test('a subset has a frame of its own, whose first carries its history', async (t) => {
  const gate = await startPenstock(t);
  const seen = watch(t, gate.port);
  await seen.next();
  seen.send({ subscribe: ['cpu', 'no such key'] });
  const first = await seen.next(({ history }) => history !== undefined);
  assert.ok(Object.keys(first.metrics).every((key) => ['cpu', 'no such key'].includes(key)), JSON.stringify(first.metrics));
  const second = await seen.next();
  assert.equal(second.history, undefined);
  assert.ok(Object.keys(second.metrics).every((key) => ['cpu', 'no such key'].includes(key)));
  seen.send({ unsubscribe: ['cpu', 'no such key'] });
  await seen.next(({ history }) => history !== undefined);
});

test('the example of docs/live.md does what the page says', async (t) => {
  const page = fs.readFileSync(new URL('../../docs/live.md', import.meta.url), 'utf8');
  const gate = await startPenstock(t, { config: `admin: {tokens: [{name: looker, role: read, token: ${token}}]}` });
  const dir = tempDir(t);
  const file = path.join(dir, 'example.mjs');
  fs.writeFileSync(file, /```js\n(.*?)```/s.exec(page)[1].replace('127.0.0.1:5000', `127.0.0.1:${gate.port}`));
  fs.symlinkSync(fileURLToPath(new URL('node_modules', import.meta.url)), path.join(dir, 'node_modules'));
  const run = spawn(process.execPath, [file], { env: { ...process.env, PENSTOCK_TOKEN: token }, stdio: ['ignore', 'pipe', 'pipe'] });
  let text = '';
  run.stdout.on('data', (piece) => { text += piece; });
  run.stderr.on('data', (piece) => { text += piece; });
  after(t, () => run.kill());
  await until('figures of three seconds', () => (text.match(/^\d{4}-.*Z \{/gm) ?? []).length >= 3);
  await gate.stop();
  await until('the goodbye', () => /^closed 1001 the server is stopping$/m.test(text));
});

test('a message that is none is answered and changes nothing', async (t) => {
  const gate = await startPenstock(t);
  const seen = watch(t, gate.port);
  await seen.next();
  const many501 = Array.from({ length: 501 }, (_, i) => `key${i}`);
  const rows = [
    ['no JSON', 'invalid_message'],
    ['{"subscribe":["a"],"subscribe":["b"]}', 'invalid_message'],
    ['{"subscribe":["\\ud800"]}', 'invalid_message'],
    [{ subscribe: [] }, 'invalid_message'],
    [{ subscribe: [7] }, 'invalid_message'],
    [{ subscribe: ['a'], unsubscribe: ['b'] }, 'invalid_message'],
    [{ other: 1 }, 'invalid_message'],
    [`${'['.repeat(20000)}`, 'invalid_message'],
    [{ subscribe: many501 }, 'too_many_keys'],
  ];
  for (const [message, code] of rows) {
    seen.send(message);
    const answer = await seen.next(({ type }) => type === 'error');
    assert.equal(answer.code, code);
    assert.equal(typeof answer.message, 'string');
  }
  assert.ok(isUpdate(await seen.next(isUpdate)));
  assert.equal(seen.socket.readyState, WebSocket.OPEN);
});

test('who breaks the rules of RFC 6455 hears which code it is', async (t) => {
  const gate = await startPenstock(t);
  const big = 64 * 1024 + 1;
  const rows = [
    ['no mask', frame(TEXT, 'hi', { mask: false }), 1002],
    ['a reserved bit', frame(TEXT, 'hi', { rsv: 4 }), 1002],
    ['another', frame(TEXT, 'hi', { rsv: 1 }), 1002],
    ['a reserved opcode', frame(3, 'hi'), 1002],
    ['a reserved control opcode', frame(11), 1002],
    ['a ping in pieces', frame(PING, 'hi', { fin: false }), 1002],
    ['a ping over 125 bytes', frame(PING, 'x'.repeat(126)), 1002],
    ['a close frame in pieces', frame(CLOSE, goodbye(1000), { fin: false }), 1002],
    ['a continuation of nothing', frame(0, 'hi'), 1002],
    ['a message inside another', Buffer.concat([frame(TEXT, 'a', { fin: false }), frame(TEXT, 'b')]), 1002],
    ['a length in more bytes than it needs', frame(TEXT, 'hi', { wide: 2 }), 1002],
    ['a length over 2^63', frame(TEXT, 'hi', { told: 2n ** 63n, wide: 8 }), 1002],
    ['a length of all but 2^63', frame(TEXT, 'hi', { told: 2n ** 63n - 1n, wide: 8 }), 1009],
    ['a message over 64 KiB', frame(TEXT, 'x', { told: big }), 1009],
    ['the same in pieces', Buffer.concat([frame(TEXT, 'x'.repeat(big - 1), { fin: false }), frame(0, 'x')]), 1009],
    ['text that is not UTF-8', frame(TEXT, Buffer.from([0xc3, 0x28])), 1007],
    ['the same over two frames', Buffer.concat([frame(TEXT, Buffer.from([0xe2, 0x82]), { fin: false }),
      frame(PING), frame(0, Buffer.from([0x28]))]), 1007],
    ['text that ends too early', frame(TEXT, Buffer.from([0xe2, 0x82])), 1007],
    ['binary', frame(BINARY, '{}'), 1003],
    ['a close frame of one byte', frame(CLOSE, 'x'), 1002],
    ['a close reason that is not UTF-8', frame(CLOSE, goodbye(1000, Buffer.from([0xff]))), 1007],
    ...[0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000].map((code) => [`a close code ${code}`, frame(CLOSE, goodbye(code)), 1002]),
  ];
  await many(rows.length, async (i) => {
    const [what, bytes, code] = rows[i];
    const { line, next } = await join(t, gate.port);
    line.send(bytes);
    const { payload, masked } = await next(CLOSE);
    assert.equal(payload.readUInt16BE(0), code, what);
    assert.equal(masked, false);
    await line.closed();
  }, 8);
  const alive = watch(t, gate.port); // nobody else has noticed
  assert.ok(isUpdate(await alive.next()));
});

test('goodbyes are answered with their code, and nothing is read after them', async (t) => {
  const gate = await startPenstock(t);
  for (const code of [1000, 1001, 1003, 1007, 1011, 1012, 1014, 3000, 4999]) {
    const { line, next } = await join(t, gate.port);
    line.send(Buffer.concat([frame(CLOSE, goodbye(code, 'fare well')), frame(TEXT, 'no JSON')]));
    const { payload } = await next(CLOSE);
    assert.deepEqual(payload, goodbye(code));
    await line.closed();
    assert.equal(line.bytes.length, 0);
  }
  const { line, next } = await join(t, gate.port);
  line.send(frame(CLOSE));
  assert.equal((await next(CLOSE)).payload.length, 0);
});

test('pings are answered, pieces are put together, however the bytes arrive', async (t) => {
  const gate = await startPenstock(t);
  const { line, next } = await join(t, gate.port);
  const bytes = Buffer.concat([frame(TEXT, '{"subscribe":', { fin: false }), frame(PING, 'still there?'),
    frame(0, '["cp', { fin: false }), frame(0, 'u"]}')]);
  await line.sendSlowly([...bytes].map((byte) => Buffer.from([byte])), 1);
  assert.equal((await next(PONG)).payload.toString(), 'still there?');
  for (;;) {
    const update = JSON.parse((await next(TEXT)).payload.toString());
    if (update.history !== undefined && !('gpu' in update.metrics)) {
      break;
    }
  }
  const early = await connect(t, gate.port); // before it has the answer
  early.send(Buffer.concat([Buffer.from(request(gate.port)), frame(PING, 'early')]));
  assert.equal((await early.head()).status, 101);
  const found = await early.wait('a pong', (all) => {
    const at = all.indexOf('\x8a\x05early', 0, 'latin1');
    return at < 0 ? undefined : at;
  });
  assert.ok(found >= 0);
});

test('compressed messages are read, and bombs are not', async (t) => {
  const gate = await startPenstock(t);
  const offer = 'Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n';
  const deflated = (text) => zlib.deflateRawSync(text, { finishFlush: zlib.constants.Z_SYNC_FLUSH }).subarray(0, -4);
  const one = await join(t, gate.port, offer);
  assert.equal(one.head.headers['sec-websocket-extensions'],
    'permessage-deflate; server_no_context_takeover; client_no_context_takeover');
  one.line.send(frame(TEXT, deflated(JSON.stringify({ subscribe: ['cpu'] })), { rsv: 4 }));
  one.line.send(frame(TEXT, deflated('no JSON'), { rsv: 4 }));
  for (;;) {
    const { payload, rsv } = await one.next(TEXT);
    const text = rsv === 4 ? zlib.inflateRawSync(payload, { finishFlush: zlib.constants.Z_SYNC_FLUSH }) : payload;
    if (JSON.parse(text.toString()).type === 'error') {
      break;
    }
  }
  one.line.send(frame(TEXT, deflated(Buffer.alloc(10 * 1024 * 1024)), { rsv: 4 }));
  assert.equal((await one.next(CLOSE)).payload.readUInt16BE(0), 1009);
  const two = await join(t, gate.port, offer);
  two.line.send(frame(TEXT, 'this was never compressed', { rsv: 4 }));
  assert.equal((await two.next(CLOSE)).payload.readUInt16BE(0), 1007);
  const three = await join(t, gate.port, 'Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=9\r\n');
  assert.equal(three.head.headers['sec-websocket-extensions'], undefined);
  const plain = await startPenstock(t, { config: 'dashboard: {compress: no}' });
  assert.equal((await join(t, plain.port, offer)).head.headers['sec-websocket-extensions'], undefined);
});

test('a request that asks for no WebSocket is told what is missing', async (t) => {
  const gate = await startPenstock(t);
  const plain = await call(gate.port, { path: '/ws/metrics' });
  assert.equal(plain.status, 426);
  assert.equal(plain.headers.upgrade, 'websocket');
  assert.equal(plain.headers['sec-websocket-version'], '13');
  assert.equal(plain.json.code, 'websocket_needed');
  const wrong = await connect(t, gate.port);
  wrong.send(request(gate.port).replace('Version: 13', 'Version: 8'));
  assert.equal((await wrong.response()).status, 426);
  const keyless = await connect(t, gate.port);
  keyless.send(request(gate.port).replace(/Sec-WebSocket-Key.*\r\n/, ''));
  assert.equal((await keyless.response()).status, 400);
  const posted = await call(gate.port, { method: 'POST', path: '/ws/metrics', headers: { 'content-type': 'application/json' }, body: '{}' });
  assert.equal(posted.status, 405);
});

test('without the token nobody watches; with it, or the cookie for it, one does; pages of others do not', async (t) => {
  const config = `admin: {tokens: [{name: looker, role: read, token: ${token}}, {name: feeder, role: ingest, token: ${token}2}]}`;
  const gate = await startPenstock(t, { config });
  const bearer = (text) => ({ authorization: `Bearer ${text}` });
  const refusals = [
    [{}, 401], [{ headers: bearer(`${token}x`) }, 401], [{ headers: bearer(`${token}2`) }, 403],
    [{ headers: bearer(token), origin: 'https://evil.example' }, 403], [{ headers: { cookie: 'penstock_session=abc' } }, 401],
  ];
  for (const [options, status] of refusals) {
    const seen = watch(t, gate.port, options);
    await until('a refusal', () => seen.refused !== undefined);
    assert.equal(seen.refused.status, status);
  }
  assert.ok(isUpdate(await watch(t, gate.port, { headers: bearer(token) }).next()));
  const login = await call(gate.port, { method: 'POST', path: '/', headers: { ...bearer(token), 'content-type': 'application/json' }, body: '{}' });
  assert.equal(login.status, 204);
  const cookie = login.headers['set-cookie'][0].split(';')[0];
  assert.ok(isUpdate(await watch(t, gate.port, { headers: { cookie }, origin: `http://127.0.0.1:${gate.port}` }).next()));
  const foreign = watch(t, gate.port, { headers: { cookie }, origin: 'http://127.0.0.1:1' });
  await until('a refusal', () => foreign.refused !== undefined);
  assert.equal(foreign.refused.status, 403);
});

test('over TLS, on both ports, and with two workers', async (t) => {
  const { ca, issue } = makeAuthority(t);
  const { cert, key } = issue();
  const gate = await startPenstock(t, { config: `tls: {certificate: ${cert}, key_file: ${key}}`, ready: false });
  const agent = { secure: true, ca: fs.readFileSync(ca) };
  await until('it listens', async () => (await connect(t, gate.port).catch(() => null)) !== null);
  const all = Array.from({ length: 12 }, (_, i) => watch(t, gate.port, { ...agent, perMessageDeflate: i % 2 === 0 }));
  for (const seen of all) {
    const first = await seen.next();
    assert.notEqual(first.history, undefined);
    assert.equal((await seen.next()).seq, first.seq + 1);
  }
  all[0].socket.close(1000);
  assert.equal((await all[0].closed).code, 1000);
});

test('the port of admin.listen serves it, and the gateway\'s then does not', async (t) => {
  const adminGate = await startPenstock(t);
  const port = adminGate.port;
  await adminGate.stop();
  const gate = await startPenstock(t, { config: `admin: {listen: ["127.0.0.1:${port}"]}` });
  const seen = watch(t, port);
  const first = await seen.next();
  assert.equal((await seen.next()).seq, first.seq + 1);
  const other = watch(t, gate.port);
  await until('a refusal', () => other.refused !== undefined);
  assert.notEqual(other.refused.status, 101);
});

test('who does not answer is let go, and who answers stays', async (t) => {
  const gate = await startPenstock(t, { config: 'dashboard: {ping_interval: 1s}' });
  const quiet = watch(t, gate.port, { autoPong: false });
  const polite = watch(t, gate.port);
  await quiet.next();
  const { code } = await within(10000 * slowness, 'the quiet one is let go', quiet.closed);
  assert.equal(code, 1006);
  await sleep(2000);
  assert.equal(polite.socket.readyState, WebSocket.OPEN);
  assert.equal(await metric(gate.port, 'penstock_live_subscribers'), 1);
  assert.equal(await metric(gate.port, 'penstock_live_ended_total', { reason: 'lost' }), 1);
});

test('who does not read misses frames, and nobody else does', async (t) => {
  const gate = await startPenstock(t);
  const slow = await join(t, gate.port);
  slow.line.socket.pause();
  // Errors fill its socket as fast as it asks for them: the frames of each second are the least of it.
  const nonsense = frame(TEXT, 'x');
  const flood = Buffer.concat(Array.from({ length: 2000 }, () => nonsense));
  const stop = now() + 60000 * slowness;
  let sent = 0;
  while (await metric(gate.port, 'penstock_live_skipped_total') === 0 && now() < stop) {
    for (let i = 0; i < 10; i++) {
      await new Promise((resolve) => { slow.line.socket.write(flood, resolve); setTimeout(resolve, 50); });
      sent++;
    }
  }
  assert.ok(await metric(gate.port, 'penstock_live_skipped_total') > 0, `${sent} floods`);
  const quick = watch(t, gate.port);
  const first = await quick.next();
  for (let i = 1; i < 4; i++) {
    assert.equal((await quick.next()).seq, first.seq + i);
  }
  slow.line.leave({ reset: true });
  await until('it has left', async () => await metric(gate.port, 'penstock_live_subscribers') === 1);
});

test('places are bounded, and a reload changes the bound for those who come', async (t) => {
  const gate = await startPenstock(t, { config: 'dashboard: {max_subscribers: 3}' });
  const all = [1, 2, 3].map(() => watch(t, gate.port));
  for (const seen of all) {
    await seen.next();
  }
  const late = watch(t, gate.port);
  await until('a refusal', () => late.refused !== undefined);
  assert.equal(late.refused.status, 503);
  assert.ok(Number(late.refused.headers['retry-after']) > 0);
  assert.equal(JSON.parse(late.refused.text).code, 'too_many_subscribers');
  gate.reload('dashboard: {max_subscribers: 4}');
  await until('the reload', () => /configuration reloaded/.test(gate.stderr));
  const fourth = watch(t, gate.port);
  await fourth.next();
  for (const seen of all) { // who was there before the reload still is
    await seen.next();
    assert.equal(seen.socket.readyState, WebSocket.OPEN);
  }
  all[0].socket.terminate();
  await until('its place is free', async () => await metric(gate.port, 'penstock_live_subscribers') === 3);
});

test('max_connections counts subscribers until they leave', async (t) => {
  const gate = await startPenstock(t, { config: 'max_connections: 4' });
  const all = [1, 2, 3].map(() => watch(t, gate.port));
  for (const seen of all) {
    await seen.next();
  }
  const agentless = () => call(gate.port, { path: '/healthz' }).then(({ status }) => status, () => 0);
  assert.equal(await agentless(), 200); // the fourth
  const fourth = watch(t, gate.port);
  await fourth.next();
  assert.equal(await agentless(), 0);
  for (const seen of [...all, fourth]) {
    seen.socket.close();
    await seen.closed;
  }
  await until('there is room again', async () => await agentless() === 200);
});

test('at the end everybody hears 1001, and who does not answer delays nothing', async (t) => {
  const gate = await startPenstock(t);
  const seen = [1, 2, 3, 4].map((i) => watch(t, gate.port, { perMessageDeflate: i > 2 }));
  for (const one of seen) {
    await one.next();
  }
  const deaf = await join(t, gate.port);
  const began = now();
  await gate.stop();
  assert.ok(now() - began < 3000 * slowness, `${now() - began} ms`);
  for (const one of seen) {
    assert.deepEqual(await one.closed, { code: 1001, reason: 'the server is stopping' });
  }
  assert.equal((await deaf.next(CLOSE)).payload.readUInt16BE(0), 1001);
});

test('subscribers come and go by the hundred while others watch', async (t) => {
  const gate = await startPenstock(t);
  const stays = watch(t, gate.port);
  let { seq } = await stays.next();
  let going = true;
  const churn = many(8, async (i) => {
    for (let n = 0; going; n++) {
      const { line, next } = await join(t, gate.port);
      if (n % 3 === 0) {
        line.send(frame(TEXT, JSON.stringify({ subscribe: [`key${(i + n) % 7}`] })));
      }
      if (n % 2 === 0) {
        await next(TEXT);
      }
      line.leave({ reset: n % 4 === 1 });
    }
  });
  for (let i = 0; i < 4; i++) {
    const update = await stays.next();
    assert.equal(update.seq, seq + 1);
    ({ seq } = update);
  }
  going = false;
  await churn;
  await until('they have left', async () => await metric(gate.port, 'penstock_live_subscribers') === 1);
});
