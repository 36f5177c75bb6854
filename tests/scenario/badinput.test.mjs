// badinput - whatever a client sends, it gets the right status or a closed door, and the next client is served.
//
// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import test from 'node:test';

import { after } from './lib/after.mjs';
import { chat } from './lib/client.mjs';
import { startPenstock } from './lib/penstock.mjs';
import { connect, exchange } from './lib/raw.mjs';
import { echo, inference, startUpstream } from './lib/upstream.mjs';
import { now, sleep, slowness, until, within } from './lib/wait.mjs';

/// An upstream behind one plain route and one OpenAI route, and a few limits that are easy to pass.
async function stage(t, { script, more = '', options } = {}) {
  const talk = echo();
  const serve = inference();
  const up = await startUpstream(t, script ?? ((request, answer) => (
    request.target.startsWith('/v1/') || request.target === '/health' ? serve(request, answer) : talk(request, answer))), options);
  const gate = await startPenstock(t, {
    config: `max_body: 256KiB
max_head: 8KiB
max_headers: 20
${more}
upstreams:
  - name: one
    endpoints: ["${up.url}"]
    engine: openai
    health: { interval: 0s }
routes:
  - { path: "/v1/*", kind: openai }
  - { path: "/only-get", methods: [GET] }
  - { path: "/*" }
`,
  });
  return { up, gate };
}

/// The gateway still works: the end of every story here.
async function stillServes(gate) {
  assert.equal((await chat(gate.port)).status, 200);
}

const post = (path, headers, body = '') => (
  `POST ${path} HTTP/1.1\r\nHost: localhost\r\n${headers.map((h) => `${h}\r\n`).join('')}\r\n${body}`);
const getText = (path = '/x', headers = []) => (
  `GET ${path} HTTP/1.1\r\nHost: localhost\r\n${headers.map((h) => `${h}\r\n`).join('')}\r\n`);

function assertProblem(answer, status) {
  assert.equal(answer.status, status, answer.text);
  assert.match(answer.headers['content-type'], /^application\/problem\+json/);
  const problem = JSON.parse(answer.text);
  assert.equal(problem.status, status);
  assert.equal(typeof problem.title, 'string');
  assert.equal(typeof problem.detail, 'string');
  return problem;
}

function assertOpenai(answer, status) {
  assert.equal(answer.status, status, answer.text);
  assert.match(answer.headers['content-type'], /^application\/json/);
  const { error } = JSON.parse(answer.text);
  assert.equal(typeof error.message, 'string');
  assert.equal(typeof error.type, 'string');
  assert.ok('code' in error);
  return error;
}

test('a head that is too large or has too many lines is refused with 431', async (t) => {
  const { gate, up } = await stage(t);
  const large = await exchange(t, gate.port, getText('/x', [`X-Large: ${'a'.repeat(9000)}`]));
  assert.equal(large.status, 431);
  assert.equal(large.headers.connection, 'close');
  const many = await exchange(t, gate.port, getText('/x', Array.from({ length: 30 }, (_, i) => `X-${i}: 1`)));
  assert.equal(many.status, 431);
  const endless = await connect(t, gate.port);
  endless.send('GET / HTTP/1.1\r\n');
  await endless.sendSlowly(Array.from({ length: 12 }, (_, i) => `X-${i}: ${'b'.repeat(1000)}\r\n`), 1);
  assert.equal((await endless.response()).status, 431);
  await endless.closed();
  assert.equal(up.requests.length, 0);
  await stillServes(gate);
});

test('a target that is too long is refused with 414', async (t) => {
  const { gate, up } = await stage(t);
  const answer = await exchange(t, gate.port, getText(`/${'a'.repeat(9000)}`));
  assert.equal(answer.status, 414);
  assert.equal(up.requests.length, 0);
  await stillServes(gate);
});

test('a body that is announced too large is refused with 413 before it is sent', async (t) => {
  const { gate, up } = await stage(t);
  assertProblem(await exchange(t, gate.port, post('/x', ['Content-Length: 999999999'])), 413);
  assertOpenai(await exchange(t, gate.port, post('/v1/chat/completions', ['Content-Length: 999999999'])), 413);
  const number = await exchange(t, gate.port, post('/x', ['Content-Length: 99999999999999999999999']));
  assert.ok([400, 413].includes(number.status));
  assert.equal(up.requests.length, 0);
  await stillServes(gate);
});

test('a body that grows too large in chunks is refused with 413 and the client can read it', async (t) => {
  const { gate, up } = await stage(t);
  const chunk = `4000\r\n${'a'.repeat(0x4000)}\r\n`;
  const start = '1b\r\n{"model": "m", "prompt": "a\r\n';
  for (const path of ['/x', '/v1/chat/completions']) {
    const line = await connect(t, gate.port);
    line.send(post(path, ['Transfer-Encoding: chunked'], start));
    await line.sendSlowly(Array.from({ length: 20 }, () => chunk), 1);
    const answer = await line.response();
    (path === '/x' ? assertProblem : assertOpenai)(answer, 413);
    await line.closed();
  }
  assert.equal(up.to('/v1/chat/completions').length, 0);
  await stillServes(gate);
});

test('a body that grows too large after its answer has begun breaks that answer and nothing else', async (t) => {
  const { gate } = await stage(t, {
    options: {
      onHead: async (request, answer) => {
        if (request.target === '/early') {
          await answer.begin(200);
          await answer.chunk('so far so good');
        }
      },
    },
  });
  const line = await connect(t, gate.port);
  line.send(post('/early', ['Transfer-Encoding: chunked'], '5\r\nhello\r\n'));
  assert.equal((await line.head()).status, 200);
  await line.readUntil('so far so good');
  await line.sendSlowly(Array.from({ length: 20 }, () => `4000\r\n${'a'.repeat(0x4000)}\r\n`), 1);
  await line.closed();
  assert.doesNotMatch(line.bytes.toString('latin1'), /\r\n0\r\n/);
  await stillServes(gate);
});

test('a wrong method is 405 with Allow and an unknown one 501', async (t) => {
  const up = await startUpstream(t);
  const gate = await startPenstock(t, {
    config: `upstreams:
  - { name: one, endpoints: ["${up.url}"], engine: openai }
routes:
  - { path: "/v1/*", kind: openai }
  - { path: "/only-get", methods: [GET] }
`,
  });
  const wrong = await exchange(t, gate.port, post('/only-get', ['Content-Length: 0']));
  assertProblem(wrong, 405);
  assert.match(wrong.headers.allow, /GET/);
  const unknown = await exchange(t, gate.port, 'BREW /pot HTTP/1.1\r\nHost: localhost\r\n\r\n');
  assert.equal(unknown.status, 501);
  await stillServes(gate);
});

test('malformed JSON on an OpenAI route is 400 with the offset of the byte', async (t) => {
  const { gate, up } = await stage(t);
  const bad = [
    ['{"model": "m", "messages": [1, 2,, 3]}', 33],
    ['{"model": "m" "stream": true}', 14],
    ['{"model": "m"', 13],
    ['', 0],
    ['{"model": "m"} x', 15],
    ['[1, 2]', 0],
    ['{"model": "m", "stream": tru}', 28],
    ['nonsense', 0],
  ];
  for (const [body, offset] of bad) {
    const answer = await exchange(t, gate.port, post('/v1/chat/completions', [`Content-Length: ${body.length}`, 'Content-Type: application/json'], body));
    const error = assertOpenai(answer, 400);
    assert.equal(error.code, 'invalid_json');
    const told = Number(/at byte (\d+)/.exec(error.message)?.[1] ?? NaN);
    assert.ok(Math.abs(told - offset) <= 2, `${body}: byte ${told}, not about ${offset}: ${error.message}`);
  }
  assert.equal(up.requests.length, 0);
  await stillServes(gate);
});

test('JSON that is deep, huge in numbers or of the wrong shape does no harm', async (t) => {
  const { gate } = await stage(t);
  const bodies = [
    '['.repeat(100000),
    `{"a":${'['.repeat(5000)}${']'.repeat(5000)}}`,
    '{"model": 5, "messages": "no", "stream": "maybe", "max_tokens": -1e999}',
    '{"max_tokens": 99999999999999999999999999, "n": -5}',
    `{"model": "${'m'.repeat(100000)}"}`,
    '{"model": "\\ud800", "stream_options": []}',
    '[]', 'null', '"text"', '12',
  ];
  for (const body of bodies) {
    const answer = await exchange(t, gate.port, post('/v1/chat/completions', [`Content-Length: ${body.length}`, 'Content-Type: application/json'], body));
    assert.ok(answer.status >= 200 && answer.status < 505, `${body.slice(0, 30)}: ${answer.status}`);
  }
  await stillServes(gate);
});

test('a path that two servers could read differently is refused with 400', async (t) => {
  const { gate, up } = await stage(t);
  for (const path of ['/a/../b', '/a/%2e%2e/b', '/a/./b', '/a\\b', '/a%5cb', '/a%00b', '/..', '/%zz', '/a%']) {
    const answer = await exchange(t, gate.port, getText(path));
    assert.equal(answer.status, 400, path);
  }
  assert.equal(up.requests.length, 0);
  await stillServes(gate);
});

test('messages that two parsers could read differently are refused and never forwarded', async (t) => {
  const { gate, up } = await stage(t);
  const cases = {
    'bare LF after the start line': 'GET /x HTTP/1.1\nHost: localhost\n\n',
    'bare LF after a header': 'GET /x HTTP/1.1\r\nHost: localhost\n\r\n',
    'bare CR in a value': 'GET /x HTTP/1.1\r\nHost: localhost\r\nX: a\rb\r\n\r\n',
    'NUL in a value': 'GET /x HTTP/1.1\r\nHost: localhost\r\nX: a\0b\r\n\r\n',
    'length and chunked': post('/x', ['Content-Length: 5', 'Transfer-Encoding: chunked'], '0\r\n\r\n'),
    'chunked and length': post('/x', ['Transfer-Encoding: chunked', 'Content-Length: 6'], '0\r\n\r\nG'),
    'two lengths that differ': post('/x', ['Content-Length: 5', 'Content-Length: 6'], 'hello!'),
    'a list of lengths': post('/x', ['Content-Length: 5, 6'], 'hello!'),
    'a signed length': post('/x', ['Content-Length: +5'], 'hello'),
    'a hexadecimal length': post('/x', ['Content-Length: 0x5'], 'hello'),
    'an empty length': post('/x', ['Content-Length: '], ''),
    'a coding that is not chunked': post('/x', ['Transfer-Encoding: xchunked'], '0\r\n\r\n'),
    'chunked that is not last': post('/x', ['Transfer-Encoding: chunked, identity'], '0\r\n\r\n'),
    'chunked twice': post('/x', ['Transfer-Encoding: chunked', 'Transfer-Encoding: chunked'], '0\r\n\r\n'),
    'a folded line': 'GET /x HTTP/1.1\r\nHost: localhost\r\nX: a\r\n b\r\n\r\n',
    'a space before the colon': post('/x', ['Content-Length : 5'], 'hello'),
    'a line without a colon': 'GET /x HTTP/1.1\r\nHost: localhost\r\nnonsense\r\n\r\n',
    'no Host': 'GET /x HTTP/1.1\r\n\r\n',
    'two Hosts': 'GET /x HTTP/1.1\r\nHost: localhost\r\nHost: other\r\n\r\n',
    'two spaces in the start line': 'GET  /x HTTP/1.1\r\nHost: localhost\r\n\r\n',
    'no version': 'GET /x\r\nHost: localhost\r\n\r\n',
    'a control character in the target': 'GET /x\x01 HTTP/1.1\r\nHost: localhost\r\n\r\n',
  };
  for (const [name, bytes] of Object.entries(cases)) {
    const line = await connect(t, gate.port);
    line.send(bytes);
    const answer = await line.response();
    assert.equal(answer.status >= 400 && answer.status < 600, true, `${name}: ${answer.status}`);
    assert.notEqual(answer.status, 408, name);
    await line.closed();
    assert.equal(line.bytes.length, 0, `${name}: something follows the refusal`);
  }
  for (const version of ['HTTP/2.0', 'HTTP/1.2', 'HTTP/9.9', 'http/1.1']) {
    const answer = await exchange(t, gate.port, `GET /x ${version}\r\nHost: localhost\r\n\r\n`);
    assert.ok([400, 505].includes(answer.status), `${version}: ${answer.status}`);
  }
  assert.equal(up.requests.length, 0);
  await stillServes(gate);
});

test('chunks that are malformed end the request, and nothing of them is taken for another', async (t) => {
  const { gate, up } = await stage(t);
  const hidden = 'GET /hidden HTTP/1.1\r\nHost: localhost\r\n\r\n';
  const bodies = {
    'a size that is no number': `zz\r\nhello\r\n0\r\n\r\n${hidden}`,
    'a size with a sign': `+5\r\nhello\r\n0\r\n\r\n${hidden}`,
    'a size too large to count': `fffffffffffffffff\r\n${hidden}`,
    'a bare LF after the size': `5\nhello\r\n0\r\n\r\n${hidden}`,
    'data longer than its size': `5\r\nhello!\r\n0\r\n\r\n${hidden}`,
    'an empty size': `\r\nhello\r\n0\r\n\r\n${hidden}`,
    'a bare CR in an extension': `5;a\rb\r\nhello\r\n0\r\n\r\n${hidden}`,
  };
  for (const path of ['/x', '/v1/chat/completions']) {
    for (const [name, body] of Object.entries(bodies)) {
      const line = await connect(t, gate.port);
      line.send(post(path, ['Transfer-Encoding: chunked'], body));
      const answer = await line.response();
      assert.ok(answer.status >= 400 && answer.status < 600, `${name}: ${answer.status}`);
      await line.closed();
      assert.equal(line.bytes.length, 0, `${name}: something follows the refusal`);
    }
  }
  assert.equal(up.to('/hidden').length, 0);
  await stillServes(gate);
});

test('pipelined requests are answered in order, on both kinds of route', async (t) => {
  const { gate } = await stage(t, {
    script: async (request, answer) => {
      await sleep(request.target === '/slow' ? 100 : 0);
      await answer.json(200, { target: request.target, body: request.body.toString() });
    },
  });
  const line = await connect(t, gate.port);
  const json = '{"model":"m"}';
  line.send(getText('/slow') + getText('/b') + post('/c', ['Content-Length: 3'], 'abc')
    + post('/v1/completions', [`Content-Length: ${json.length}`], json)
    + post('/d', ['Transfer-Encoding: chunked'], '3\r\nxyz\r\n0\r\n\r\n') + getText('/e'));
  const seen = [];
  for (let i = 0; i < 6; i++) {
    const answer = await line.response();
    assert.equal(answer.status, 200, answer.text);
    seen.push(JSON.parse(answer.text));
  }
  assert.deepEqual(seen.map(({ target }) => target), ['/slow', '/b', '/c', '/v1/completions', '/d', '/e']);
  assert.deepEqual(seen.map(({ body }) => body), ['', '', 'abc', json, 'xyz', '']);
});

test('a hundred pipelined requests in one write all get their own answer', async (t) => {
  const { gate } = await stage(t);
  const line = await connect(t, gate.port);
  line.send(Array.from({ length: 100 }, (_, i) => getText(`/n${i}`, [`X-Pad: ${'p'.repeat(2000)}`])).join(''));
  for (let i = 0; i < 100; i++) {
    assert.equal(JSON.parse((await line.response({ ms: 20000 })).text).target, `/n${i}`);
  }
});

test('garbage behind a good request does not spoil its answer', async (t) => {
  const { gate } = await stage(t);
  const line = await connect(t, gate.port);
  line.send(`${getText('/good')}\x00\x01garbage that is no request\r\n\r\n`);
  const good = await line.response();
  assert.equal(good.status, 200);
  assert.equal(JSON.parse(good.text).target, '/good');
  assert.ok((await line.response()).status >= 400);
  await line.closed();
  const last = await connect(t, gate.port);
  last.send(`${getText('/last', ['Connection: close'])}${'garbage '.repeat(100000)}`);
  assert.equal(JSON.parse((await last.response()).text).target, '/last');
  await last.closed();
  await stillServes(gate);
});

test('a head that does not arrive in time is answered 408', async (t) => {
  const { gate, up } = await stage(t, { more: 'head_timeout: 300ms' });
  const line = await connect(t, gate.port);
  const began = now();
  const trickle = setInterval(() => line.send('X'), 50);
  after(t, () => clearInterval(trickle));
  line.send('GET /x HTTP/1.1\r\nHost: localhost\r\nX-');
  const answer = await line.response();
  clearInterval(trickle);
  assert.equal(answer.status, 408);
  assert.ok(now() - began >= 290, 'not before its time');
  assert.ok(now() - began < 2000 * slowness, 'not long after it');
  const second = await connect(t, gate.port);
  second.send(getText('/first'));
  assert.equal((await second.response()).status, 200);
  second.send('GET /second HT');
  assert.equal((await second.response()).status, 408);
  await second.closed();
  assert.deepEqual(up.requests.map(({ target }) => target), ['/first']);
  await stillServes(gate);
});

test('a body that stops arriving is answered 408, and the upstream is let go', async (t) => {
  const { gate, up } = await stage(t, { more: 'body_timeout: 300ms' });
  for (const path of ['/x', '/v1/chat/completions']) {
    const line = await connect(t, gate.port);
    line.send(post(path, ['Content-Length: 100'], '{"model":'));
    assert.equal((await line.response()).status, 408, path);
    await line.closed();
  }
  const streamed = await connect(t, gate.port);
  streamed.send(post('/streamed', ['Transfer-Encoding: chunked'], '5\r\nhello\r\n'));
  assert.equal((await streamed.response()).status, 408);
  await streamed.closed();
  await within(2000 * slowness, 'the upstream connection closes', Promise.all(
    up.connections.filter((c) => c.requests.some(({ target }) => target === '/streamed')).map((c) => c.closed)));
  await stillServes(gate);
});

test('a body that arrives slowly but steadily is taken', async (t) => {
  const { gate } = await stage(t, { more: 'body_timeout: 600ms' });
  const line = await connect(t, gate.port);
  line.send(post('/x', ['Content-Length: 10']));
  await line.sendSlowly([...'0123456789'], 100);
  assert.equal(JSON.parse((await line.response()).text).body, '0123456789');
});

test('HTTP/1.0 clients get an answer that ends with the connection, or keep it when they ask', async (t) => {
  const { gate } = await stage(t, {
    script: async (request, answer) => {
      if (request.target === '/chunked') {
        await answer.begin(200, { 'Content-Type': 'text/plain' });
        await answer.chunk('one ');
        await answer.chunk('two');
        await answer.end();
      } else {
        await answer.text(200, 'whole');
      }
    },
  });
  const plain = await exchange(t, gate.port, 'GET /whole HTTP/1.0\r\nHost: localhost\r\n\r\n');
  assert.equal(plain.text, 'whole');
  assert.equal(plain.headers.connection, 'close');
  const chunked = await exchange(t, gate.port, 'GET /chunked HTTP/1.0\r\nHost: localhost\r\n\r\n');
  assert.equal(chunked.headers['transfer-encoding'], undefined);
  assert.equal(chunked.text, 'one two');
  const line = await connect(t, gate.port);
  for (let i = 0; i < 2; i++) {
    line.send('GET /whole HTTP/1.0\r\nHost: localhost\r\nConnection: keep-alive\r\n\r\n');
    const answer = await line.response();
    assert.equal(answer.text, 'whole');
    assert.match(answer.headers.connection, /keep-alive/i);
  }
});

test('HEAD is answered with the head alone, and the connection goes on', async (t) => {
  const { gate, up } = await stage(t, {
    script: async (request, answer) => {
      if (request.target === '/chunked') {
        await answer.rawHead(200, { 'Transfer-Encoding': 'chunked' });
        answer.finish();
      } else {
        await answer.text(200, 'twelve bytes');
      }
    },
  });
  const line = await connect(t, gate.port);
  for (const target of ['/x', '/chunked', '/x']) {
    line.send(`HEAD ${target} HTTP/1.1\r\nHost: localhost\r\n\r\n`);
    const answer = await line.response({ method: 'HEAD' });
    assert.equal(answer.status, 200);
    assert.equal(answer.headers['content-length'], target === '/x' ? '12' : undefined);
  }
  line.send(`HEAD /a/../b HTTP/1.1\r\nHost: localhost\r\n\r\n`);
  assert.equal((await line.response({ method: 'HEAD' })).status, 400);
  line.send(getText('/x'));
  assert.equal((await line.response()).text, 'twelve bytes');
  assert.deepEqual(up.requests.map(({ method }) => method), ['HEAD', 'HEAD', 'HEAD', 'GET']);
});

test('Expect: 100-continue is answered before the body, or the refusal comes without it', async (t) => {
  const { gate } = await stage(t);
  for (const [path, body] of [['/x', 'hello'], ['/v1/completions', '{"model":"m","prompt":"p"}']]) {
    const line = await connect(t, gate.port);
    line.send(post(path, [`Content-Length: ${body.length}`, 'Expect: 100-continue']));
    assert.equal((await line.head()).status, 100);
    line.send(body);
    assert.equal((await line.response()).status, 200);
  }
  const large = await connect(t, gate.port);
  large.send(post('/x', [`Content-Length: ${200 * 1024}`, 'Expect: 100-continue']));
  assert.equal((await large.head()).status, 100);
  large.send('x'.repeat(200 * 1024));
  assert.equal(JSON.parse((await large.response()).text).body.length, 200 * 1024);
  const refused = await connect(t, gate.port);
  refused.send(post('/x', ['Content-Length: 999999999', 'Expect: 100-continue']));
  const answer = await refused.response();
  assert.equal(answer.status, 413);
  assert.deepEqual(answer.interim, []);
  await refused.closed();
  await stillServes(gate);
});

test('trailers of the upstream reach a client that takes them, and interim answers do too', async (t) => {
  const { gate } = await stage(t, {
    script: async (_, answer) => {
      await answer.interim(103, { Link: '</style.css>; rel=preload' });
      await answer.begin(200, { 'Content-Type': 'text/plain', Trailer: 'X-Sum' });
      await answer.chunk('body');
      await answer.end({ 'X-Sum': '42' });
    },
  });
  const line = await connect(t, gate.port);
  line.send(getText('/x', ['TE: trailers', 'Connection: TE']));
  const taken = await line.response();
  assert.equal(taken.text, 'body');
  assert.equal(taken.trailers['x-sum'], '42');
  assert.deepEqual(taken.interim.map(({ status, headers }) => [status, headers.link]), [[103, '</style.css>; rel=preload']]);
  line.send(getText('/x'));
  const without = await line.response();
  assert.equal(without.text, 'body');
  assert.deepEqual(without.trailers, {});
});

test('trailers of a client end its body and are no headers of anything', async (t) => {
  const { gate, up } = await stage(t);
  const line = await connect(t, gate.port);
  line.send(post('/x', ['Transfer-Encoding: chunked'], '5\r\nhello\r\n0\r\nX-Late: 1\r\nContent-Length: 3\r\n\r\n') + getText('/next'));
  const first = await line.response();
  if (first.status === 200) {
    assert.equal(JSON.parse(first.text).body, 'hello');
    assert.equal(JSON.parse((await line.response()).text).target, '/next');
  } else {
    assert.equal(first.status, 400);
  }
  assert.ok(up.requests.every(({ headers }) => !('x-late' in headers)));
});

test('an unknown path and an unknown model are told in the shape of their route', async (t) => {
  const up = await startUpstream(t);
  const gate = await startPenstock(t, {
    config: `upstreams:
  - { name: one, endpoints: ["${up.url}"], engine: openai }
routes:
  - { path: "/v1/*", kind: openai }
`,
  });
  const nowhere = await exchange(t, gate.port, getText('/nowhere'));
  const problem = assertProblem(nowhere, 404);
  assert.equal(problem.code, 'no_route');
  assert.ok(nowhere.headers['x-request-id']);
  const id = await exchange(t, gate.port, getText('/nowhere', ['X-Request-Id: mine-1']));
  assert.equal(id.headers['x-request-id'], 'mine-1');
});

/// Runs slowhttptest for a few seconds and returns what it said at the end.
async function slowhttptest(t, args) {
  const child = spawn('slowhttptest', args, { stdio: ['ignore', 'pipe', 'pipe'] });
  after(t, () => child.kill('SIGKILL'));
  let text = '';
  child.stdout.on('data', (piece) => { text += piece; });
  child.stderr.on('data', (piece) => { text += piece; });
  await within(40000, `slowhttptest ${args.join(' ')}`, new Promise((resolve) => { child.on('close', resolve); }));
  return text.replaceAll(/\x1b\[[0-9;]*[A-Za-z]/g, '');
}

const hasSlowhttptest = spawnSync('slowhttptest', ['-h']).error === undefined;
for (const [name, flags] of [['slow heads', ['-H']], ['slow bodies', ['-B', '-s', '4096']]]) {
  test(`slowhttptest ${name}: all its connections are closed in time and others are served`, {
    skip: hasSlowhttptest ? false : 'slowhttptest is not installed',
  }, async (t) => {
    const { gate } = await stage(t, { more: 'head_timeout: 1s\nbody_timeout: 1s' });
    const running = slowhttptest(t, [...flags, '-c', '100', '-r', '100', '-i', '3', '-l', '8', '-p', '3',
      '-u', `${gate.url}/x`]);
    await sleep(1000);
    for (let i = 0; i < 10; i++) {
      const began = now();
      await stillServes(gate);
      assert.ok(now() - began < 2000 * slowness, 'others are served quickly');
      await sleep(100);
    }
    const said = await running;
    const count = (word) => Number(new RegExp(`${word}:\\s+(\\d+)`).exec(said)?.[1] ?? NaN);
    assert.equal(count('connected'), 0, said.slice(-800));
    assert.match(said, /service available:\s+YES/, said.slice(-800));
    await stillServes(gate);
  });
}

test('bodies to reserved paths count against max_buffered, before anybody has shown a token', async (t) => {
  const { gate } = await stage(t, { more: 'max_buffered: 2MiB' });
  const most = 1000000;
  const lines = [];
  for (let i = 0; i < 6; i++) {
    const line = await connect(t, gate.port);
    line.send(post('/api/metrics', ['Content-Type: application/json', `Content-Length: ${most + 1}`], 'x'.repeat(most)));
    lines.push(line);
  }
  const refused = await Promise.race(lines.map((line) => line.response({ ms: 8000 })));
  assert.equal(assertProblem(refused, 503).code, 'no_memory');
  assert.ok(Number(refused.headers['retry-after']) >= 1);
  lines.forEach((line) => line.leave());
  await until('there is room again', async () => (
    (await exchange(t, gate.port, post('/api/metrics', ['Content-Type: application/json', `Content-Length: ${most}`], 'x'.repeat(most)))).status === 400));
  await stillServes(gate);
});
