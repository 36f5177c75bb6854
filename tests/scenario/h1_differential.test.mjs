// h1_differential - our codec against Node's: each message is refused by us or read identically.
//
// Thousands of messages are built from parts that are known to be read in different ways, and then
// damaged. A seed makes a run repeatable: H1_SEED=n H1_COUNT=n. What we read comes from the program
// h1_dump; what Node reads comes from its own server and client over real connections.
//
// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import path from 'node:path';
import test from 'node:test';

import { program } from './lib/penstock.mjs';

const dump = process.env.H1_DUMP ?? path.join(path.dirname(program), 'tests', 'helpers', 'h1_dump');
const seed = Number(process.env.H1_SEED ?? 20261123);
const requests = Number(process.env.H1_COUNT ?? 3000);
const responses = Math.ceil(requests / 2);
const AT_ONCE = 32;

/// Mulberry32: small, seeded, good enough to choose test cases.
function random(state) {
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let x = Math.imul(state ^ (state >>> 15), 1 | state);
    x = (x + Math.imul(x ^ (x >>> 7), 61 | x)) ^ x;
    return ((x ^ (x >>> 14)) >>> 0) / 4294967296;
  };
}

/// Builds messages. All text is latin1: one character, one byte.
class Maker {
  constructor(number) {
    this.random = random(number);
  }

  chance(share) {
    return this.random() < share;
  }

  number(below) {
    return Math.floor(this.random() * below);
  }

  pick(...choices) {
    return choices[this.number(choices.length)];
  }

  /// Mostly `usual`, sometimes one of the others.
  mostly(usual, ...others) {
    return this.chance(0.965) ? usual : this.pick(...others);
  }

  lineEnd() {
    return this.chance(0.995) ? '\r\n' : this.pick('\n', '\r', '\n\r', '\r\r\n', ' \r\n');
  }

  header(name, value) {
    const colon = this.mostly(': ', ':', ' : ', ':\t', ':  ', ':\r\n ');
    return name + colon + value + this.mostly('', ' ', '\t', '  \t') + this.lineEnd();
  }

  contentLength(length) {
    const value = this.mostly(`${length}`, `+${length}`, `0${length}`, `${length}, ${length}`, `${length} 1`,
      `${length}\x0b`, '-1', '', '99999999999999999999', `0x${length}`);
    return this.header(this.mostly('Content-Length', 'content-length', 'Content_Length'), value);
  }

  transferEncoding() {
    const value = this.mostly('chunked', 'Chunked', 'chunked, chunked', 'gzip, chunked', 'identity', 'xchunked',
      'chunked;a', '"chunked"', ',chunked', 'chunked,', '\x0bchunked', 'CHUNKED', 'chunkedchunked', '');
    return this.header(this.mostly('Transfer-Encoding', 'transfer-encoding', 'Transfer_Encoding'), value);
  }

  text(below = 30) {
    return Array.from({ length: this.number(below) }, () =>
      String.fromCharCode(this.chance(0.9) ? 0x20 + this.number(0x5f) : this.number(256))).join('');
  }

  chunks(body) {
    let out = '';
    for (let at = 0; at < body.length;) {
      const piece = body.slice(at, at + 1 + this.number(body.length));
      at += piece.length;
      out += this.mostly(piece.length.toString(16), `0${piece.length.toString(16)}`,
        piece.length.toString(16).toUpperCase(), `0x${piece.length.toString(16)}`, ` ${piece.length.toString(16)}`);
      out += this.mostly('', ';a', ';a=b', ';a="b;\\"c"', ' ;a=b', ';', '; a', ';a=', ' ', ';a="b', ';\x80=1',
        ';a="\x80\t"', ';a="b"c', ';a=b=c', ';a="\\\x01"');
      out += this.lineEnd() + piece + this.lineEnd();
    }
    out += this.mostly('0', '000', '00000000000000000', '') + this.mostly('', ';a=b', ' ') + this.lineEnd();
    if (this.chance(0.2)) {
      out += this.header(this.mostly('X-Sum', 'Content-Length', 'Host', 'Transfer-Encoding', 'Etag'), this.text());
    }
    return out + this.lineEnd();
  }

  otherHeaders() {
    let out = '';
    for (let left = this.number(4); left > 0; left--) {
      out += this.header(
        this.mostly(this.pick('Accept', 'X-A', 'User-Agent', 'x-b'), 'X A', 'X\x00', '', 'X(', '\xe9', '_x', "a!#$%&'*+-.^`|~9"),
        this.mostly(this.pick('a', 'a b', '', 'text/html; q="1,2"'), this.text(), 'a\x00b', 'a\rb', 'a\nb', 'a\x7f',
          '\xff\x80', 'a\tb', 'a\r\n b', 'a\r\n\tb', '\x01'));
    }
    return out;
  }

  connection() {
    return this.header('Connection', this.pick('close', 'keep-alive', 'Close, TE', 'upgrade', 'keep-alive, x-a',
      'close close', 'a/b', ',', ''));
  }

  /// Headers that frame a body, and the body.
  framing(body, shareWithout) {
    if (this.chance(shareWithout)) {
      return ['', this.chance(0.1) ? body : ''];
    }
    const parts = [];
    const chunked = this.chance(0.5);
    parts.push(chunked ? this.transferEncoding() : this.contentLength(body.length));
    if (this.chance(0.06)) {
      parts.push(this.pick(() => this.transferEncoding(), () => this.contentLength(body.length))());
    }
    return [parts.join(''), chunked ? this.chunks(body) : body];
  }

  target(method) {
    if (method === 'CONNECT') {
      return this.mostly('a:443', 'a', '/', 'http://a/');
    }
    return this.mostly(this.pick('/', '/a/b?c=d', '/%20?"x"', '//a', '/a?b?c'), '*', 'http://a/x', 'http://a', 'HTTPS://A/',
      'http://b/', 'a', '', '/a b', '/a#b', '/\xe9', '/\x7f', '/\t', 'http://u@a/', 'http://a?x', 'ftp://a/', '/\x00',
      'http://[::1]/', '?a');
  }

  request() {
    const method = this.mostly(this.pick('GET', 'POST', 'PUT', 'DELETE', 'OPTIONS', 'HEAD', 'PATCH'), 'CONNECT',
      'TRACE', 'get', 'PROPFIND', 'M-SEARCH', 'FOO', 'PRI', 'SOURCE', 'ACL', 'MKCALENDAR', 'QUERY', 'G\x00T', '');
    const [framing, body] = this.framing(this.text(), 0.4);
    let out = this.mostly('', '\r\n', '\n', '\r\n\r\n', ' ');
    out += method + this.mostly(' ', '  ', '\t') + this.target(method) + this.mostly(' ', '  ', '\t', '');
    out += this.mostly(this.mostly('HTTP/1.1', 'HTTP/1.0'), 'HTTP/1.2', 'HTTP/2.0', 'http/1.1', 'HTTP/1.1 ', 'HTTP/01.1',
      'HTTP/1.10', '', 'RTSP/1.0', 'ICE/1.0') + this.lineEnd();
    const headers = [framing, this.otherHeaders()];
    if (this.chance(0.95)) {
      headers.push(this.header('Host', this.mostly('a', 'a:80', 'b', '', 'a, b', 'a b', 'a/b', '[::1]', 'u@a', 'a\x80')));
    }
    if (this.chance(0.02)) {
      headers.push(this.header('Host', 'a'));
    }
    if (this.chance(0.2)) {
      headers.push(this.connection());
    }
    if (this.chance(0.1)) {
      headers.push(this.pick(this.header('Upgrade', 'websocket'), this.header('Expect', '100-continue'),
        this.header('Expect', 'more'), this.header('TE', 'trailers')));
    }
    headers.sort(() => this.random() - 0.5);
    return out + headers.join('') + this.lineEnd() + body;
  }

  requests() {
    let out = '';
    for (let left = this.pick(1, 1, 1, 2, 3); left > 0; left--) {
      out += this.request();
    }
    return this.damage(out);
  }

  response() {
    const status = this.mostly('200', '204', '304', '404', '500', '100', '103', '99', '600', '20', '2000', '2x0', '+20', '999');
    const [framing, body] = this.framing(this.text(), 0.25);
    let out = this.mostly('', '\r\n', '\n', ' ');
    out += this.mostly(this.mostly('HTTP/1.1', 'HTTP/1.0'), 'HTTP/1.2', 'HTTP/2.0', 'http/1.1', 'HTTP/1', 'HTTP/11.1');
    out += this.mostly(' ', '  ', '\t') + status;
    out += this.mostly(` ${this.pick('OK', '', 'Not  Found', 'OK ')}`, '', '  ', ' a\x00b', ' \xe9', '\tOK', ' a\x7f') + this.lineEnd();
    const headers = [framing, this.otherHeaders(), this.chance(0.2) ? this.connection() : ''];
    headers.sort(() => this.random() - 0.5);
    return this.damage(out + headers.join('') + this.lineEnd() + body);
  }

  /// Now and then: bytes lost, doubled, changed or put in.
  damage(text) {
    while (this.chance(0.25)) {
      const at = this.number(text.length + 1);
      const strange = this.pick('\r', '\n', '\r\n', ' ', '\t', '\0', ':', ';', ',', '\x7f', '\x80', '0', 'A', '\x0b');
      const cut = this.pick(0, 0, 1, 1, 2, this.number(20));
      text = text.slice(0, at) + this.pick(strange, strange, '', text.slice(at, at + 10)) + text.slice(at + cut);
    }
    return text;
  }
}

/// What we read: one object per line {kind, method, text}.
async function readOurs(cases) {
  const child = spawn(dump, ['--lines'], { stdio: ['pipe', 'pipe', 'inherit'] });
  let out = '';
  child.stdout.setEncoding('latin1');
  child.stdout.on('data', (piece) => { out += piece; });
  for (const { kind, method, text } of cases) {
    child.stdin.write(`${kind} ${method} ${Buffer.from(text, 'latin1').toString('hex')}\n`);
  }
  child.stdin.end();
  const [code] = await once(child, 'close');
  assert.equal(code, 0, 'h1_dump');
  return out.trimEnd().split('\n').map((line) => JSON.parse(line));
}

function pairs(raw) {
  const out = [];
  for (let i = 0; i < raw.length; i += 2) {
    out.push([raw[i], raw[i + 1]]);
  }
  return out;
}

function collect(message) {
  const entry = { headers: pairs(message.rawHeaders), body: '', complete: false };
  message.setEncoding('latin1');
  message.on('data', (piece) => { entry.body += piece; });
  message.on('error', () => {});
  message.on('end', () => {
    entry.complete = message.complete;
    entry.trailers = pairs(message.rawTrailers);
  });
  return entry;
}

/// A Node server that notes down what it reads on each connection.
function startReader() {
  const server = http.createServer();
  const seen = (socket) => { socket.messages ??= []; return socket.messages; };
  const take = (request, reply) => {
    const entry = { method: request.method, target: request.url, minor: request.httpVersionMinor, ...collect(request) };
    seen(request.socket).push(entry);
    request.on('data', (piece) => { entry.body += piece; });
    request.on('end', () => {
      entry.complete = request.complete;
      entry.trailers = pairs(request.rawTrailers);
      reply.end();
    });
  };
  server.httpAllowHalfOpen = true; // a client that has said all must not cut off what it said
  server.keepAliveTimeout = 5000;
  server.on('request', take);
  server.on('checkContinue', take);
  server.on('checkExpectation', take);
  server.on('connect', (request, socket) => {
    seen(socket).push({ method: 'CONNECT', target: request.url, minor: request.httpVersionMinor,
      headers: pairs(request.rawHeaders), body: '', complete: true, trailers: [] });
    socket.destroy();
  });
  server.on('clientError', (error, socket) => {
    socket.refused = error.code;
    socket.destroy();
  });
  return server;
}

/// What Node's server reads from the bytes of one connection. Node forgets a connection whose request
/// asked for an upgrade and then broke off its body: after a while it is closed here.
function readByServer(server, port, text) {
  return new Promise((resolve) => {
    const client = net.connect(port, '127.0.0.1');
    server.once('connection', (socket) => {
      const forgotten = setTimeout(() => socket.destroy(), 1000);
      socket.once('close', () => {
        clearTimeout(forgotten);
        resolve({ messages: socket.messages ?? [], refused: socket.refused });
      });
    });
    client.on('connect', () => client.end(Buffer.from(text, 'latin1')));
    client.on('error', () => {});
    client.resume();
  });
}

/// What Node's client reads when a server answers with these bytes.
function readByClient(port, method, text) {
  return new Promise((resolve) => {
    const result = { interim: [], message: null };
    const request = http.request({ port, host: '127.0.0.1', method, agent: false, setHost: true,
      headers: { 'x-bytes': Buffer.from(text, 'latin1').toString('base64') } });
    request.on('information', (info) => result.interim.push(info.statusCode));
    request.on('response', (response) => {
      result.message = { status: response.statusCode, reason: response.statusMessage,
        minor: response.httpVersionMinor, ...collect(response) };
      const entry = result.message;
      response.on('data', (piece) => { entry.body += piece; });
      response.on('end', () => {
        entry.complete = response.complete;
        entry.trailers = pairs(response.rawTrailers);
      });
      response.on('close', () => resolve(result));
    });
    request.on('upgrade', (response, socket) => {
      socket.destroy();
      resolve({ ...result, upgraded: response.statusCode });
    });
    request.on('error', (error) => { result.refused = error.code; });
    request.on('close', () => setImmediate(() => resolve(result)));
    request.end();
  });
}

/// Runs `work` over all cases, a few at a time.
async function each(cases, atOnce, work) {
  let next = 0;
  const lane = async () => {
    while (next < cases.length) {
      const i = next++;
      await work(cases[i], i);
    }
  };
  await Promise.all(Array.from({ length: atOnce }, lane));
}

function sameMessage(ours, theirs, where, fields) {
  for (const field of fields) {
    assert.deepEqual(theirs[field], ours[field], `${field} of ${where}`);
  }
}

const shown = (text) => JSON.stringify(text);

test('requests: refused by us or read identically by Node', { timeout: 60000 }, async (t) => {
  assert.ok(fs.existsSync(dump), `${dump} is built by: ninja -C build`);
  const maker = new Maker(seed);
  const cases = Array.from({ length: requests }, () => ({ kind: 'request', method: '-', text: maker.requests() }));
  const ours = await readOurs(cases);
  const server = startReader();
  await once(server.listen(0, '127.0.0.1'), 'listening');
  t.after(() => server.close());
  const port = server.address().port;
  const count = { messages: 0, refused: 0, open: 0, stricter: 0 };
  // One at a time: 'connection' events are matched to clients by order.
  await each(cases, 1, async ({ text }, i) => {
    const node = await readByServer(server, port, text);
    const mine = ours[i];
    const where = `case ${i}: ${shown(text)} ours ${shown(mine)} Node ${shown(node)}`;
    const complete = mine.messages.filter((message) => message.complete);
    complete.forEach((message, k) => {
      const theirs = node.messages[k];
      assert.ok(theirs, `Node has not read message ${k} of ${where}`);
      assert.equal(theirs.complete, true, `Node has not read all of message ${k} of ${where}`);
      sameMessage({ trailers: [], ...message }, theirs, where,
        ['method', 'target', 'minor', 'headers', 'body', 'trailers']);
    });
    if (mine.error === null) {
      const theirs = node.messages.filter((message) => message.complete);
      assert.equal(theirs.length, complete.length, `messages in ${where}`);
    }
    count.messages += complete.length;
    count.refused += mine.error !== null;
    count.open += mine.open;
    count.stricter += mine.error !== null && node.refused === undefined;
  });
  t.diagnostic(`${requests} connections: ${shown(count)}`);
  assert.ok(count.messages > requests / 4, 'enough messages are read');
  assert.ok(count.refused > requests / 10, 'enough messages are refused');
});

test('responses: refused by us or read identically by Node', { timeout: 60000 }, async (t) => {
  const maker = new Maker(seed + 1);
  const cases = Array.from({ length: responses }, () => ({
    kind: 'response', method: maker.mostly('GET', 'HEAD'), text: maker.response(),
  }));
  const ours = await readOurs(cases);
  // The bytes to answer with are in the request, so that connections may be open side by side.
  const server = net.createServer((socket) => {
    let asked = '';
    socket.setEncoding('latin1');
    socket.on('error', () => {});
    socket.on('data', (piece) => {
      asked += piece;
      const bytes = /x-bytes: (\S*)\r\n/i.exec(asked);
      if (bytes && asked.includes('\r\n\r\n')) {
        socket.end(Buffer.from(bytes[1], 'base64'));
      }
    });
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  t.after(() => server.close());
  const port = server.address().port;
  const count = { messages: 0, refused: 0, open: 0, stricter: 0 };
  await each(cases, AT_ONCE, async ({ method, text }, i) => {
    const node = await readByClient(port, method, text);
    const mine = ours[i];
    const where = `case ${i}: ${method} ${shown(text)} ours ${shown(mine)} Node ${shown(node)}`;
    const final = mine.messages.find((message) => !(message.status >= 100 && message.status < 200));
    if (final?.complete) {
      assert.ok(node.message, `Node has not read the response of ${where}`);
      assert.equal(node.message.complete, true, `Node has not read all of ${where}`);
      sameMessage({ trailers: [], ...final }, node.message, where,
        ['status', 'reason', 'minor', 'headers', 'body', 'trailers']);
    } else if (mine.error === null && !mine.messages.some((message) => message.tunnel)) {
      assert.ok(!node.message?.complete, `Node has read a whole response: ${where}`);
    }
    count.messages += final?.complete ? 1 : 0;
    count.refused += mine.error !== null;
    count.open += mine.open;
    count.stricter += mine.error !== null && Boolean(node.message?.complete);
  });
  t.diagnostic(`${responses} responses: ${shown(count)}`);
  assert.ok(count.messages > responses / 4, 'enough messages are read');
  assert.ok(count.refused > responses / 10, 'enough messages are refused');
});
