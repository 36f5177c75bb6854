// upstream - a scripted inference server: answers, streams, stalls, lies and dies on command.
//
// It speaks HTTP/1.1 on bare sockets, so that a story controls every byte and the moment of every
// close, and it remembers what it saw and when.
//
//   const up = await startUpstream(t, (request, answer) => answer.json(200, { hello: request.target }));
//   up.requests[0].headers['x-request-id'];   up.connections[0].closedAt;   up.open;
//
// SPDX-License-Identifier: Apache-2.0
import net from 'node:net';
import tls from 'node:tls';

import { after } from './after.mjs';
import { parseChunked, parseHead } from './raw.mjs';
import { freePort } from './ports.mjs';
import { now, sleep, until } from './wait.mjs';

/// What a script answers with. Every method that writes returns a promise that waits for a slow reader.
class Answer {
  constructor(connection, request) {
    this.connection = connection;
    this.request = request;
    this.chunked = false;
    this.finished = new Promise((resolve) => { this.finish = resolve; });
  }

  get alive() { return !this.connection.socket.destroyed && this.connection.closedAt === undefined; }

  /// Any bytes at all: rubbish too. Text goes out as Latin-1.
  raw(bytes) {
    const { socket } = this.connection;
    if (!this.alive) {
      return Promise.resolve();
    }
    const more = socket.write(typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes);
    return more ? Promise.resolve() : new Promise((resolve) => {
      socket.once('drain', resolve);
      socket.once('close', resolve);
    });
  }

  /// A status line and headers as given: an object, or a list of pairs. Nothing is added.
  rawHead(status, headers = {}) {
    const pairs = Array.isArray(headers) ? headers : Object.entries(headers);
    return this.raw(`HTTP/1.1 ${status} Scripted\r\n${pairs.map(([k, v]) => `${k}: ${v}\r\n`).join('')}\r\n`);
  }

  /// An interim answer, 100 or 103.
  interim(status, headers = {}) {
    return this.rawHead(status, headers);
  }

  /// A whole answer with Content-Length.
  send(status, headers, body = '') {
    const bytes = Buffer.from(body);
    const head = this.rawHead(status, { ...headers, 'Content-Length': bytes.length });
    const done = this.request.method === 'HEAD' ? head : this.raw(bytes);
    this.finish();
    return done;
  }

  json(status, value, headers = {}) {
    return this.send(status, { 'Content-Type': 'application/json', ...headers }, JSON.stringify(value));
  }

  text(status, body, headers = {}) {
    return this.send(status, { 'Content-Type': 'text/plain', ...headers }, body);
  }

  /// Begins a chunked answer; then chunk() as often as wanted, then end().
  begin(status, headers = {}) {
    this.chunked = true;
    return this.rawHead(status, { ...headers, 'Transfer-Encoding': 'chunked' });
  }

  chunk(body) {
    const bytes = Buffer.from(body);
    return this.raw(Buffer.concat([Buffer.from(`${bytes.length.toString(16)}\r\n`), bytes, Buffer.from('\r\n')]));
  }

  /// Ends the chunked answer, with trailers if given.
  end(trailers = {}) {
    const lines = Object.entries(trailers).map(([k, v]) => `${k}: ${v}\r\n`).join('');
    const done = this.chunked ? this.raw(`0\r\n${lines}\r\n`) : Promise.resolve();
    this.finish();
    return done;
  }

  /// Streams events (objects or text) as SSE, `every` ms apart, and ends with [DONE] unless done is false.
  /// Stops when the other side has gone. `headers` replace the usual ones.
  async sse(events, { every = 0, done = true, headers = {} } = {}) {
    await this.begin(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-cache', ...headers });
    let sent = 0;
    for (const event of events) {
      if (!this.alive) {
        break;
      }
      if (every > 0 && sent > 0) {
        await sleep(every);
      }
      await this.chunk(`data: ${typeof event === 'string' ? event : JSON.stringify(event)}\n\n`);
      sent += 1;
    }
    if (done) {
      await this.chunk('data: [DONE]\n\n');
    }
    await this.end();
    return sent;
  }

  /// Ends the connection: an orderly FIN, or a reset.
  die({ reset = false } = {}) {
    const { socket } = this.connection;
    if (reset && socket.resetAndDestroy) {
      socket.resetAndDestroy();
    } else {
      socket.destroy();
    }
    this.finish();
  }

  /// Ends the connection after what was written has gone out.
  dieAfter() {
    this.connection.socket.end();
    this.finish();
  }

  /// Answers 101 and hands over the bare socket with what came after the head.
  upgrade(headers = {}) {
    this.rawHead(101, { Connection: 'Upgrade', Upgrade: this.request.headers.upgrade ?? 'websocket', ...headers });
    this.connection.upgraded = true;
    const { socket, bytes } = this.connection;
    socket.removeAllListeners('data');
    this.finish();
    return { socket, rest: bytes };
  }

  /// Never answers: returns when the other side has given up.
  async stall() {
    await this.connection.closed;
    this.finish();
  }
}

/// One connection: reads requests one after the other and has each answered by the script.
class Connection {
  constructor(server, socket, id) {
    Object.assign(this, { server, socket, id, bytes: Buffer.alloc(0), requests: [], openedAt: now() });
    this.closed = new Promise((resolve) => {
      socket.once('close', () => {
        this.closedAt = now();
        resolve(this.closedAt);
      });
    });
    socket.setNoDelay(true);
    socket.on('error', (error) => { this.error = error; });
    // An end from the other side is a close for us: an inference server stops computing then.
    socket.on('end', () => { this.endedAt = now(); socket.end(); });
    socket.on('data', (piece) => {
      this.bytes = Buffer.concat([this.bytes, piece]);
      this.read();
    });
  }

  /// Takes whole requests off the bytes; one is answered at a time.
  read() {
    if (this.busy || this.upgraded) {
      return;
    }
    this.request ??= this.takeHead();
    if (!this.request) {
      return;
    }
    if (this.server.onHead && !this.request.headSeen) {
      this.request.headSeen = true;
      this.server.onHead(this.request, new Answer(this, this.request));
      if (this.socket.destroyed) {
        return;
      }
    }
    this.expect();
    const body = this.takeBody(this.request);
    if (body) {
      this.serve(Object.assign(this.request, body, { completeAt: now() }));
    }
  }

  takeHead() {
    const end = this.bytes.indexOf('\r\n\r\n');
    if (end < 0) {
      return undefined;
    }
    const raw = this.bytes.toString('latin1', 0, end + 4);
    this.bytes = this.bytes.subarray(end + 4);
    const { first, list, headers } = parseHead(raw);
    const [method, target, version] = first.split(' ');
    const request = {
      method, target, version, headers, list, raw, arrivedAt: now(), connection: this, body: Buffer.alloc(0),
    };
    this.requests.push(request);
    this.server.requests.push(request);
    return request;
  }

  expect() {
    const { request } = this;
    if (/100-continue/i.test(request.headers.expect ?? '') && !request.continued && this.server.continues) {
      request.continued = true;
      this.socket.write('HTTP/1.1 100 Continue\r\n\r\n');
    }
  }

  takeBody({ headers }) {
    if (/chunked/i.test(headers['transfer-encoding'] ?? '')) {
      const whole = parseChunked(this.bytes);
      if (!whole) {
        return undefined;
      }
      this.bytes = this.bytes.subarray(whole.used);
      return { body: whole.body, trailers: whole.trailers };
    }
    const length = Number(headers['content-length'] ?? 0);
    if (this.bytes.length < length) {
      return undefined;
    }
    const body = Buffer.from(this.bytes.subarray(0, length));
    this.bytes = this.bytes.subarray(length);
    return { body };
  }

  async serve(request) {
    this.busy = true;
    this.request = undefined;
    Object.defineProperty(request, 'json', { get: () => JSON.parse(request.body.toString('utf8')) });
    const answer = new Answer(this, request);
    try {
      await this.server.script(request, answer);
      await answer.finished;
    } catch (error) {
      this.server.errors.push(error);
      answer.die();
    }
    this.busy = false;
    if (/close/i.test(request.headers.connection ?? '') && !this.upgraded) {
      this.socket.end();
    } else if (!this.socket.destroyed) {
      this.read();
    }
  }
}

/// A running scripted server.
class Upstream {
  constructor(script, { onHead, continues = true } = {}) {
    Object.assign(this, { script, onHead, continues, requests: [], connections: [], errors: [] });
  }

  /// Connections that are open now.
  get open() { return this.connections.filter((c) => c.closedAt === undefined).length; }

  /// Waits until n requests came (by default: one).
  async seen(n = 1, ms = 5000) {
    await until(`${n} requests upstream`, () => this.requests.length >= n, ms, 2);
    return this.requests[n - 1];
  }

  /// Requests for a path, health checks and model lists of the gateway left out.
  to(path) { return this.requests.filter(({ target }) => target.split('?')[0] === path); }

  /// Stops listening and ends every connection, as a crash does.
  async crash() {
    for (const connection of this.connections) {
      connection.socket.destroy();
    }
    await new Promise((resolve) => { this.server.close(resolve); });
  }

  /// Listens again on the same port.
  async revive() {
    await listen(this, this.port);
  }
}

async function listen(up, port) {
  const accept = (socket) => up.connections.push(new Connection(up, socket, up.connections.length));
  up.server = up.secure ? tls.createServer(up.secure, accept) : net.createServer({ allowHalfOpen: true }, accept);
  up.server.on('tlsClientError', (error) => up.errors.push(error));
  await new Promise((resolve, reject) => {
    up.server.once('error', reject);
    up.server.listen(port, '127.0.0.1', 1024, resolve);
  });
}

/// Starts a scripted server; it ends with the test.
///   script(request, answer)   called when a request is all there; may be async
///   options.onHead            called when only its head is there, e.g. to die in the middle of a body
///   options.secure            options of node:tls for a server with TLS: {cert, key, ca, requestCert}
///   options.continues         false: no 100 Continue
export async function startUpstream(t, script = inference(), options = {}) {
  const up = new Upstream(script, options);
  up.secure = options.secure;
  up.port = options.port ?? (await freePort());
  await listen(up, up.port);
  up.url = `${up.secure ? 'https' : 'http'}://127.0.0.1:${up.port}`;
  after(t, () => up.crash());
  return up;
}

/// A script that tells what it saw: {method, target, headers, body}.
export function echo() {
  return (request, answer) => answer.json(200, {
    method: request.method,
    target: request.target,
    headers: request.headers,
    list: request.list,
    body: request.body.toString('latin1'),
  });
}

function usage(prompt, completion) {
  return { prompt_tokens: prompt, completion_tokens: completion, total_tokens: prompt + completion };
}

/// A script that behaves like an OpenAI-compatible server: chat, completions, embeddings, models, health.
///   model    the name it lists and answers with
///   tokens   how many words an answer has
///   every    ms between the words of a stream
///   first    ms until the first word (or the whole answer)
///   name     put into every answer as system_fingerprint, to tell servers apart
export function inference({ model = 'test-model', tokens = 8, every = 5, first = 0, name = 'upstream' } = {}) {
  const words = Array.from({ length: tokens }, (_, i) => `word${i} `);
  const base = (object) => ({ id: 'chatcmpl-1', object, created: 1, model, system_fingerprint: name });
  const promptTokens = (request) => Math.max(1, Math.floor(request.body.length / 4));

  async function stream(request, answer, delta) {
    const asked = request.json.stream_options?.include_usage;
    const events = words.map((word, i) => ({ ...base(delta.object), choices: [delta.choice(word, i)] }));
    events.push({ ...base(delta.object), choices: [{ index: 0, ...delta.empty, finish_reason: 'stop' }] });
    if (asked) {
      events.push({ ...base(delta.object), choices: [], usage: usage(promptTokens(request), tokens) });
    }
    await sleep(first);
    await answer.sse(events, { every });
  }

  const chatDelta = {
    object: 'chat.completion.chunk',
    empty: { delta: {} },
    choice: (word, i) => ({
      index: 0, delta: i === 0 ? { role: 'assistant', content: word } : { content: word }, finish_reason: null,
    }),
  };
  const textDelta = {
    object: 'text_completion',
    empty: { text: '' },
    choice: (word) => ({ index: 0, text: word, finish_reason: null }),
  };

  const routes = {
    '/health': (_, answer) => answer.text(200, ''),
    '/v1/models': (_, answer) => answer.json(200, {
      object: 'list', data: [{ id: model, object: 'model', created: 1, owned_by: 'vllm' }],
    }),
    '/v1/chat/completions': async (request, answer) => {
      if (request.json.stream) {
        await stream(request, answer, chatDelta);
        return;
      }
      await sleep(first);
      await answer.json(200, {
        ...base('chat.completion'),
        choices: [{ index: 0, message: { role: 'assistant', content: words.join('') }, finish_reason: 'stop' }],
        usage: usage(promptTokens(request), tokens),
      });
    },
    '/v1/completions': async (request, answer) => {
      if (request.json.stream) {
        await stream(request, answer, textDelta);
        return;
      }
      await sleep(first);
      await answer.json(200, {
        ...base('text_completion'),
        choices: [{ index: 0, text: words.join(''), finish_reason: 'stop' }],
        usage: usage(promptTokens(request), tokens),
      });
    },
    '/v1/embeddings': async (request, answer) => {
      const input = [request.json.input].flat();
      await sleep(first);
      await answer.json(200, {
        object: 'list',
        model,
        data: input.map((_, index) => ({ object: 'embedding', index, embedding: [0.25, -0.5, index] })),
        usage: { prompt_tokens: promptTokens(request), total_tokens: promptTokens(request) },
      });
    },
  };
  return async (request, answer) => {
    const route = routes[request.target.split('?')[0]];
    if (!route) {
      await answer.json(404, { error: { message: 'no such path', type: 'not_found', code: null } });
      return;
    }
    await route(request, answer);
  };
}
