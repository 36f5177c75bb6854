// upstream - servers that refuse, die, lie or stay silent: the client gets an error that says where it
// happened, or a broken connection, and never an answer that only looks complete.
//
// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import fs from 'node:fs';
import net from 'node:net';
import test from 'node:test';

import { after } from './lib/after.mjs';
import { call, chat, metric, open } from './lib/client.mjs';
import { freePort } from './lib/ports.mjs';
import { startPenstock } from './lib/penstock.mjs';
import { connect, exchange } from './lib/raw.mjs';
import { makeAuthority } from './lib/tls.mjs';
import { inference, startUpstream } from './lib/upstream.mjs';
import { now, sleep, slowness, until } from './lib/wait.mjs';

const ROUTES = `routes:
  - { path: "/v1/*", kind: openai }
  - { path: "/job*", idempotent: no }
  - { path: "/*" }
`;

function configOf(url, more = '') {
  return `upstreams:
  - name: one
    endpoints: ["${url}"]
    engine: openai
    health: { interval: 0s }
${more.split('\n').map((line) => `    ${line}`).join('\n')}
${ROUTES}`;
}

/// A gateway in front of one scripted server.
async function stage(t, script, { more, options } = {}) {
  const up = await startUpstream(t, script, options);
  const gate = await startPenstock(t, { config: configOf(up.url, more) });
  return { up, gate };
}

const ask = (path, version = '1.1') => `GET ${path} HTTP/${version}\r\nHost: localhost\r\n\r\n`;
const chatText = (() => {
  const body = '{"model":"m","stream":true,"messages":[]}';
  return `POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n`
    + `Content-Length: ${body.length}\r\n\r\n${body}`;
})();

/// A 502 or 504 that names the upstream and the phase.
function assertBlames(answer, status, phase) {
  assert.equal(answer.status, status, answer.text);
  assert.match(answer.text, /upstream one/);
  assert.match(answer.text, new RegExp(`phase ${phase}`));
}

test('an upstream that refuses connections is told as 502 in phase connect', async (t) => {
  const gate = await startPenstock(t, { config: configOf(`http://127.0.0.1:${await freePort()}`) });
  assertBlames(await call(gate.port, { path: '/x' }), 502, 'connect');
  const openai = await chat(gate.port);
  assertBlames(openai, 502, 'connect');
  assert.equal(openai.json.error.code, 'upstream_failed');
});

test('an upstream that can not be reached is told as 504 when its time to connect is over', async (t) => {
  // 192.0.2.0/24 is for documentation: nobody answers there, or a router says so at once.
  const gate = await startPenstock(t, { config: configOf('http://192.0.2.1:9', 'timeouts: { connect: 300ms }') });
  const began = now();
  const answer = await call(gate.port, { path: '/x' });
  assert.ok([502, 504].includes(answer.status), answer.text);
  assert.match(answer.text, /upstream one failed in phase connect/);
  assert.ok(now() - began < 3000 * slowness);
});

test('a name that does not resolve is no endpoint', async (t) => {
  const gate = await startPenstock(t, { config: configOf('http://no-such-host.invalid:80') });
  const answer = await call(gate.port, { path: '/x', ms: 15000 });
  assert.ok([502, 503].includes(answer.status), answer.text);
});

test('an upstream that dies before its head is told as 502 in phase head', async (t) => {
  for (const reset of [false, true]) {
    const { gate, up } = await stage(t, (_, answer) => answer.die({ reset }));
    assertBlames(await call(gate.port, { method: 'POST', path: '/job', body: 'x' }), 502, 'head');
    assert.equal(up.requests.length, 1, 'a job that was sent is not sent again');
    assertBlames(await chat(gate.port), 502, 'head');
  }
});

test('an upstream that dies inside its head is told as 502', async (t) => {
  const { gate } = await stage(t, async (_, answer) => {
    await answer.raw('HTTP/1.1 200 OK\r\nContent-Type: text/pl');
    answer.dieAfter();
  });
  assertBlames(await call(gate.port, { method: 'POST', path: '/job', body: 'x' }), 502, 'head');
});

test('an upstream that dies after its head and before its body is told as 502', async (t) => {
  const { gate } = await stage(t, async (_, answer) => {
    await answer.rawHead(200, { 'Content-Type': 'text/plain', 'Content-Length': 100 });
    answer.dieAfter();
  });
  assertBlames(await call(gate.port, { method: 'POST', path: '/job', body: 'x' }), 502, 'body');
  assertBlames(await chat(gate.port), 502, 'body');
});

/// The client got the beginning, the connection ended, and it can tell that the rest is missing.
async function assertBroken(t, gate, bytes) {
  const line = await connect(t, gate.port);
  line.send(bytes);
  const head = await line.head();
  assert.equal(head.status, 200);
  await line.closed();
  const text = line.bytes.toString('latin1');
  if ('content-length' in head.headers) {
    assert.ok(text.length < Number(head.headers['content-length']), 'shorter than announced');
  } else if ('transfer-encoding' in head.headers) {
    assert.doesNotMatch(text, /(^|\r\n)0\r\n/, 'no last chunk');
  } else {
    assert.equal(line.error?.code, 'ECONNRESET', 'an end without framing must be a reset');
  }
  return text;
}

test('an answer cut in the middle is cut for the client, whatever the framing', async (t) => {
  for (const reset of [false, true]) {
    const end = async (answer) => {
      await sleep(30);
      answer.die({ reset });
    };
    const { gate } = await stage(t, async (request, answer) => {
      if (request.target === '/length') {
        await answer.rawHead(200, { 'Content-Length': 1000 });
        await answer.raw('the first part');
      } else if (request.target.startsWith('/v1/')) {
        await answer.begin(200, { 'Content-Type': 'text/event-stream' });
        await answer.chunk('data: {"choices":[]}\n\n');
      } else {
        await answer.begin(200);
        await answer.chunk('the first part');
        if (request.target === '/half-chunk') {
          await answer.raw('ff\r\nhalf');
        }
      }
      await end(answer);
    });
    assert.match(await assertBroken(t, gate, ask('/length')), /the first part/);
    assert.match(await assertBroken(t, gate, ask('/chunked')), /the first part/);
    await assertBroken(t, gate, ask('/half-chunk'));
    assert.match(await assertBroken(t, gate, chatText), /choices/);
    await assertBroken(t, gate, ask('/chunked', '1.0'));
    await assertBroken(t, gate, ask('/length', '1.0'));
  }
});

test('an answer without framing ends with its connection and is whole', async (t) => {
  const { gate } = await stage(t, async (_, answer) => {
    await answer.raw('HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nuntil ');
    await sleep(20);
    await answer.raw('the end');
    answer.dieAfter();
  });
  const answer = await exchange(t, gate.port, ask('/x'));
  assert.equal(answer.text, 'until the end');
  assert.match(answer.headers['transfer-encoding'], /chunked/);
  assert.equal((await exchange(t, gate.port, ask('/x', '1.0'))).text, 'until the end');
});

test('rubbish instead of an answer is 502', async (t) => {
  const rubbish = {
    'no HTTP': 'SSH-2.0-OpenSSH_9.2\r\n',
    'binary': '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03',
    'an HTTP/2 preface': '\x00\x00\x12\x04\x00\x00\x00\x00\x00',
    'a status that is no number': 'HTTP/1.1 abc OK\r\n\r\n',
    'a status of two digits': 'HTTP/1.1 20 OK\r\n\r\n',
    'two lengths that differ': 'HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd',
    'a negative length': 'HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello',
    'a length too large to count': 'HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\nhello',
    'length and chunked': 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
    'an unknown coding': 'HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, deflate\r\n\r\nhello',
    'a folded line': 'HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n',
    'a NUL in a value': 'HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n',
    'a huge chunk size at once': 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffffff\r\n',
    'a chunk size that is no number': 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n',
  };
  const { gate } = await stage(t, async (request, answer) => {
    await answer.raw(rubbish[decodeURIComponent(request.target.slice(5)).replaceAll('+', ' ')]);
    await sleep(20);
    answer.dieAfter();
  });
  for (const name of Object.keys(rubbish)) {
    const answer = await call(gate.port, { method: 'POST', path: `/job/${name.replaceAll(' ', '+')}`, body: 'x' });
    assert.equal(answer.status, 502, `${name}: ${answer.text}`);
    assert.match(answer.text, /upstream one failed in phase/, name);
  }
});

test('endless headers are 502 and cost no memory', async (t) => {
  let sent = 0;
  const { gate } = await stage(t, async (_, answer) => {
    await answer.raw('HTTP/1.1 200 OK\r\n');
    while (answer.alive && sent < 64 * 1024 * 1024) {
      await answer.raw(`X-${sent}: ${'y'.repeat(1000)}\r\n`.repeat(16));
      sent += 16 * 1000;
    }
    answer.finish();
  });
  const before = gate.memory();
  const answer = await call(gate.port, { method: 'POST', path: '/job', body: 'x' });
  assertBlames(answer, 502, 'head');
  assert.ok(sent < 32 * 1024 * 1024, `it read on for ${sent} bytes`);
  assert.ok(gate.memory() - before < 32 * 1024 * 1024);
});

test('endless interim answers are ended by the limit on the wait for the head', async (t) => {
  const { gate } = await stage(t, async (_, answer) => {
    while (answer.alive) {
      await answer.interim(102);
      await sleep(20);
    }
    answer.finish();
  }, { more: 'timeouts: { first_byte: 400ms }' });
  const began = now();
  assert.equal((await call(gate.port, { method: 'POST', path: '/job', body: 'x' })).status, 504);
  assert.ok(now() - began < 5000 * slowness);
});

test('a 101 that nobody asked for is 502', async (t) => {
  const { gate } = await stage(t, (_, answer) => answer.rawHead(101, { Connection: 'Upgrade', Upgrade: 'websocket' }));
  const answer = await call(gate.port, { method: 'POST', path: '/job', body: 'x' });
  assert.equal(answer.status, 502);
  assert.match(answer.text, /upstream one/);
});

test('bytes behind an answer spoil the connection, not the next answer', async (t) => {
  const { gate, up } = await stage(t, (request, answer) => {
    answer.text(200, request.target);
    answer.raw('HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged');
  });
  for (let i = 0; i < 10; i++) {
    assert.equal((await call(gate.port, { path: `/n${i}` })).text, `/n${i}`);
  }
  assert.ok(up.connections.length >= 5, 'the spoilt connections were not used again');
});

test('an answer that comes before the request was sent reaches the client, even when a reset follows', async (t) => {
  const { gate } = await stage(t, undefined, {
    options: {
      onHead: async (request, answer) => {
        if (request.method !== 'POST') {
          return;
        }
        await answer.raw('HTTP/1.1 403 Forbidden\r\nContent-Length: 6\r\nConnection: close\r\n\r\nno way');
        await sleep(50);
        answer.die({ reset: true });
      },
    },
  });
  for (let i = 0; i < 5; i++) {
    const line = await connect(t, gate.port);
    line.send('POST /job HTTP/1.1\r\nHost: localhost\r\nContent-Length: 20000000\r\n\r\n');
    const flood = setInterval(() => line.send(Buffer.alloc(100000)), 1);
    after(t, () => clearInterval(flood));
    const answer = await line.response();
    clearInterval(flood);
    line.leave();
    assert.equal(answer.status, 403);
    assert.equal(answer.text, 'no way');
  }
});

test('a silent upstream is told as 504 in phase head when its time is over', async (t) => {
  const { gate, up } = await stage(t, (_, answer) => answer.stall(), { more: 'timeouts: { first_byte: 300ms }' });
  const began = now();
  assertBlames(await call(gate.port, { method: 'POST', path: '/job', body: 'x' }), 504, 'head');
  assert.ok(now() - began >= 290);
  assert.ok(now() - began < 3000 * slowness);
  const openai = await chat(gate.port);
  assertBlames(openai, 504, 'head');
  assert.equal(openai.json.error.code, 'upstream_timeout');
  await until('its connections are closed', () => up.open === 0);
});

test('a stream that stalls is broken off when its gap is too long', async (t) => {
  const { gate, up } = await stage(t, async (_, answer) => {
    await answer.begin(200, { 'Content-Type': 'text/event-stream' });
    await answer.chunk('data: {"choices":[]}\n\n');
    await answer.stall();
  }, { more: 'timeouts: { idle: 300ms }' });
  const began = now();
  assert.match(await assertBroken(t, gate, chatText), /choices/);
  assert.ok(now() - began >= 290);
  assert.ok(now() - began < 4000 * slowness);
  await until('its connections are closed', () => up.open === 0);
});

test('a slow but steady stream is not broken off', async (t) => {
  const { gate } = await stage(t, inference({ tokens: 12, every: 100 }), { more: 'timeouts: { idle: 600ms }' });
  const answer = await chat(gate.port, { body: { stream: true } });
  assert.equal(answer.status, 200);
  assert.match(answer.text, /\[DONE\]/);
});

test('failures are counted by phase', async (t) => {
  const { gate } = await stage(t, (_, answer) => answer.die());
  await call(gate.port, { method: 'POST', path: '/job', body: 'x' });
  await until('the failure is counted', async () => (
    (await metric(gate.port, 'penstock_traffic_upstream_failures_total', { upstream: 'one', phase: 'head' })) >= 1));
});

/* --- TLS -------------------------------------------------------------------------------------- */

function secureOf({ cert, key }) {
  return { cert: fs.readFileSync(cert), key: fs.readFileSync(key) };
}

test('an upstream with TLS is verified by the authority that the configuration names', async (t) => {
  const authority = makeAuthority(t);
  const up = await startUpstream(t, inference({ tokens: 200, every: 0 }), { secure: secureOf(authority.issue()) });
  const gate = await startPenstock(t, { config: configOf(up.url, `tls: { ca_file: "${authority.ca}" }`) });
  for (let i = 0; i < 3; i++) {
    assert.equal((await chat(gate.port)).status, 200);
    assert.match((await chat(gate.port, { body: { stream: true } })).text, /\[DONE\]/);
  }
  assert.ok(up.connections.length <= 4, 'connections are kept');
});

test('an upstream certificate that can not be verified is 502 with the reason', async (t) => {
  const authority = makeAuthority(t);
  const other = makeAuthority(t);
  const cases = [
    ['an unknown authority', authority.issue('a'), `tls: { ca_file: "${other.ca}" }`, /certificate|issuer/i],
    ['the system\'s authorities', authority.issue('b'), '', /certificate|issuer/i],
    ['a wrong name', authority.issue('c', { names: ['elsewhere.example'] }), `tls: { ca_file: "${authority.ca}" }`, /mismatch|name/i],
    ['a wrong server_name', authority.issue('d'), `tls: { ca_file: "${authority.ca}", server_name: other.example }`, /mismatch|name/i],
  ];
  for (const [name, pair, more, reason] of cases) {
    const up = await startUpstream(t, inference(), { secure: secureOf(pair) });
    const gate = await startPenstock(t, { config: configOf(up.url, more) });
    const answer = await chat(gate.port);
    assertBlames(answer, 502, 'connect');
    assert.match(answer.text, reason, name);
    assert.equal(up.requests.length, 0, name);
    await gate.stop();
  }
});

test('server_name is verified instead of the address, and verify: no takes any certificate', async (t) => {
  const authority = makeAuthority(t);
  const up = await startUpstream(t, inference(), { secure: secureOf(authority.issue('s', { names: ['gpu.example'] })) });
  const named = await startPenstock(t, {
    config: configOf(up.url, `tls: { ca_file: "${authority.ca}", server_name: gpu.example }`),
  });
  assert.equal((await chat(named.port)).status, 200);
  const any = await startPenstock(t, { config: configOf(up.url, 'tls: { verify: no }') });
  assert.equal((await chat(any.port)).status, 200);
});

test('an upstream that speaks no TLS, or plain HTTP to a TLS port, is 502', async (t) => {
  const port = await freePort();
  const plain = net.createServer((socket) => {
    socket.on('error', () => {});
    socket.once('data', () => socket.end('HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n'));
  });
  await new Promise((resolve) => { plain.listen(port, '127.0.0.1', resolve); });
  after(t, () => plain.close());
  const gate = await startPenstock(t, { config: configOf(`https://127.0.0.1:${port}`, 'tls: { verify: no }') });
  assertBlames(await chat(gate.port), 502, 'connect');
  const authority = makeAuthority(t);
  const secure = await startUpstream(t, inference(), { secure: secureOf(authority.issue()) });
  const other = await startPenstock(t, { config: configOf(secure.url.replace('https:', 'http:')) });
  assert.equal((await chat(other.port)).status, 502);
});

test('an upstream that does not finish its handshake is told when its time to connect is over', async (t) => {
  const port = await freePort();
  const server = net.createServer((socket) => socket.on('error', () => {}));
  await new Promise((resolve) => { server.listen(port, '127.0.0.1', resolve); });
  after(t, () => server.close());
  const gate = await startPenstock(t, {
    config: configOf(`https://127.0.0.1:${port}`, 'timeouts: { connect: 300ms }\ntls: { verify: no }'),
  });
  const began = now();
  assertBlames(await chat(gate.port), 504, 'connect');
  assert.ok(now() - began < 4000 * slowness);
});

test('a TLS answer that is cut without a goodbye is broken for the client', async (t) => {
  const authority = makeAuthority(t);
  const { up, gate } = await (async () => {
    const server = await startUpstream(t, async (_, answer) => {
      await answer.raw('HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nsome');
      await sleep(50);
      answer.connection.socket._handle?.close?.();
      answer.die();
    }, { secure: secureOf(authority.issue()) });
    return { up: server, gate: await startPenstock(t, { config: configOf(server.url, `tls: { ca_file: "${authority.ca}" }`) }) };
  })();
  await assertBroken(t, gate, ask('/x'));
  assert.equal(up.requests.length, 1);
});

/// A gateway that speaks TLS to its clients. Its readiness is asked for by TLS too.
async function startSecure(t, authority, name) {
  const { cert, key } = authority.issue(name);
  const up = await startUpstream(t, inference({ tokens: 50, every: 2 }));
  const gate = await startPenstock(t, {
    config: `${configOf(up.url)}tls: { certificate: "${cert}", key_file: "${key}" }\nhead_timeout: 1s\n`,
    ready: false,
  });
  const secure = { ca: fs.readFileSync(authority.ca), servername: 'localhost' };
  await until('it answers over TLS', async () => {
    try {
      return (await exchange(t, gate.port, ask('/healthz'), { secure })).status === 200;
    } catch {
      return false;
    }
  }, 10000, 30);
  return { up, gate, secure, cert, key };
}

test('clients may speak TLS, and a plain client, a bad handshake or a silent one harm nobody', async (t) => {
  const authority = makeAuthority(t);
  const { gate, secure } = await startSecure(t, authority, 'front');
  const line = await connect(t, gate.port, { secure });
  for (let i = 0; i < 3; i++) {
    line.send(chatText);
    const answer = await line.response();
    assert.equal(answer.status, 200);
    assert.match(answer.text, /\[DONE\]/);
  }
  const big = 'x'.repeat(300000);
  line.send(`POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: ${big.length + 25}\r\n\r\n{"model":"m","prompt":"${big}"}`);
  assert.equal((await line.response()).status, 200);
  const plain = await connect(t, gate.port);
  plain.send(ask('/x'));
  await plain.closed();
  const silent = await connect(t, gate.port);
  const half = await connect(t, gate.port);
  half.send('\x16\x03\x01\x02\x00\x01');
  await sleep(50);
  half.leave({ reset: true });
  line.send(chatText);
  assert.equal((await line.response()).status, 200);
  await silent.closed(10000);
});

test('a new certificate is served after SIGHUP, and streams under way go on', async (t) => {
  const authority = makeAuthority(t);
  const { gate, secure, cert, key } = await startSecure(t, authority, 'first');
  const serial = (line) => line.socket.getPeerCertificate().serialNumber;
  const old = await connect(t, gate.port, { secure });
  old.send(chatText);
  await old.head();
  const next = authority.issue('second');
  fs.copyFileSync(next.cert, cert);
  fs.copyFileSync(next.key, key);
  gate.signal('SIGHUP');
  const before = serial(old);
  await until('the new certificate is served', async () => {
    const line = await connect(t, gate.port, { secure });
    const seen = serial(line);
    line.leave();
    return seen !== before;
  }, 5000, 30);
  assert.match(await old.readUntil('[DONE]'), /\[DONE\]/);
  fs.writeFileSync(cert, 'no certificate at all');
  gate.signal('SIGHUP');
  await sleep(200);
  const still = await connect(t, gate.port, { secure });
  assert.notEqual(serial(still), before, 'a certificate that can not be read leaves the last one in place');
  assert.ok(gate.running());
});

test('an upstream that answers in single bytes is understood', async (t) => {
  const { gate } = await stage(t, async (_, answer) => {
    const text = 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-A: b\r\n\r\n5;ext=1\r\nhello\r\n0\r\nX-T: 1\r\n\r\n';
    for (const byte of text) {
      await answer.raw(byte);
      await sleep(1);
    }
    answer.finish();
  });
  const { incoming, status } = await open(gate.port, { path: '/x' });
  assert.equal(status, 200);
  const pieces = [];
  for await (const piece of incoming) {
    pieces.push(piece);
  }
  assert.equal(Buffer.concat(pieces).toString(), 'hello');
});
