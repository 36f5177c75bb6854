// raw - a TCP client that sends exactly the bytes it is given and reads answers byte by byte.
//
//   const line = await connect(t, gate.port);
//   line.send('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
//   const answer = await line.response();
//
// SPDX-License-Identifier: Apache-2.0
import net from 'node:net';
import tls from 'node:tls';

import { after } from './after.mjs';
import { now, slowness, within } from './wait.mjs';

const MS = 5000;

/// Finds the end of the head; -1 while it is not all there.
function endOfHead(bytes) {
  const at = bytes.indexOf('\r\n\r\n');
  return at < 0 ? -1 : at + 4;
}

/// Status line or request line and headers of a head, as sent and by lower-case name.
export function parseHead(text) {
  const [first, ...lines] = text.replace(/\r\n\r\n$/, '').split('\r\n');
  const list = lines.map((line) => {
    const colon = line.indexOf(':');
    return [line.slice(0, colon), line.slice(colon + 1).trim()];
  });
  const headers = {};
  for (const [name, value] of list) {
    const key = name.toLowerCase();
    headers[key] = key in headers ? `${headers[key]}, ${value}` : value;
  }
  return { first, list, headers };
}

/// Takes a chunked body apart: {body, chunks, trailers, used}, or null while it is not all there.
export function parseChunked(bytes) {
  const chunks = [];
  let at = 0;
  for (;;) {
    const eol = bytes.indexOf('\r\n', at);
    if (eol < 0) {
      return null;
    }
    const size = parseInt(bytes.toString('latin1', at, eol), 16);
    if (Number.isNaN(size)) {
      throw new Error(`not a chunk size: ${JSON.stringify(bytes.toString('latin1', at, eol))}`);
    }
    at = eol + 2;
    if (size === 0) {
      const rest = bytes.subarray(at);
      const end = rest.indexOf('\r\n') === 0 ? 2 : endOfHead(rest);
      if (end < 0 || rest.length < 2) {
        return null;
      }
      const trailers = end === 2 ? {} : parseHead(`x\r\n${rest.toString('latin1', 0, end)}`).headers;
      return { body: Buffer.concat(chunks), chunks, trailers, used: at + end };
    }
    if (bytes.length < at + size + 2) {
      return null;
    }
    chunks.push(bytes.subarray(at, at + size));
    at += size + 2;
  }
}

/// One open connection.
export class Line {
  constructor(socket) {
    this.socket = socket;
    this.bytes = Buffer.alloc(0); // received and not yet taken
    this.received = 0; // received in all
    this.firstAt = undefined; // when the first byte came
    this.waiting = new Set();
    this.ended = false;
    this.closedAt = undefined;
    socket.on('data', (piece) => {
      this.firstAt ??= now();
      this.received += piece.length;
      this.bytes = Buffer.concat([this.bytes, piece]);
      this.wake();
    });
    socket.on('end', () => { this.ended = true; this.wake(); });
    socket.on('error', (error) => { this.error = error; this.wake(); });
    socket.on('close', () => { this.ended = true; this.closedAt = now(); this.wake(); });
  }

  wake() {
    for (const look of [...this.waiting]) {
      look();
    }
  }

  /// Writes bytes or text (as Latin-1: one character, one byte). Never waits.
  send(bytes) {
    this.socket.write(typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes);
    return this;
  }

  /// Writes the pieces with a pause between them; each leaves in a packet of its own.
  async sendSlowly(pieces, ms = 5) {
    this.socket.setNoDelay(true);
    for (const piece of pieces) {
      this.send(piece);
      await new Promise((resolve) => { setTimeout(resolve, ms); });
    }
    return this;
  }

  /// Waits until look(bytes, ended) gives something other than undefined.
  wait(what, look, ms = MS) {
    let attempt;
    const done = new Promise((resolve, reject) => {
      attempt = () => {
        try {
          const value = look(this.bytes, this.ended);
          if (value !== undefined) {
            resolve(value);
          } else if (this.ended) {
            reject(new Error(`${what}: the connection ended after ${JSON.stringify(this.bytes.toString('latin1').slice(-500))}`));
          }
        } catch (error) {
          reject(error);
        }
      };
      this.waiting.add(attempt);
      attempt();
    });
    return within(ms * slowness, what, done).finally(() => this.waiting.delete(attempt));
  }

  /// Takes n bytes off what was received.
  take(n) {
    const taken = this.bytes.subarray(0, n);
    this.bytes = this.bytes.subarray(n);
    return taken;
  }

  /// Takes everything up to and with the mark.
  async readUntil(mark, ms = MS) {
    const end = await this.wait(`until ${JSON.stringify(mark)}`, (bytes) => {
      const at = bytes.indexOf(mark);
      return at < 0 ? undefined : at + Buffer.byteLength(mark);
    }, ms);
    return this.take(end).toString('latin1');
  }

  /// Takes a head: {status, reason, headers, list}.
  async head(ms = MS) {
    const end = await this.wait('a head', (bytes) => (endOfHead(bytes) < 0 ? undefined : endOfHead(bytes)), ms);
    const { first, headers, list } = parseHead(this.take(end).toString('latin1'));
    const [, status, reason] = /^HTTP\/1\.[01] (\d{3}) ?(.*)$/.exec(first) ?? [];
    if (!status) {
      throw new Error(`not a status line: ${JSON.stringify(first)}`);
    }
    return { status: Number(status), reason, headers, list };
  }

  /// Takes a whole response. 1xx are collected in `interim`; `method` HEAD has no body.
  async response({ method = 'GET', ms = MS } = {}) {
    const interim = [];
    let head = await this.head(ms);
    while (head.status >= 100 && head.status < 200 && head.status !== 101) {
      interim.push(head);
      head = await this.head(ms);
    }
    const body = await this.body(head, method, ms);
    return { ...head, interim, ...body, text: body.body.toString('utf8') };
  }

  async body({ status, headers }, method, ms) {
    if (method === 'HEAD' || status === 204 || status === 304 || status === 101) {
      return { body: Buffer.alloc(0), trailers: {} };
    }
    if (/chunked/i.test(headers['transfer-encoding'] ?? '')) {
      const whole = await this.wait('a chunked body', (bytes) => parseChunked(bytes) ?? undefined, ms);
      this.take(whole.used);
      return { body: whole.body, chunks: whole.chunks, trailers: whole.trailers };
    }
    if ('content-length' in headers) {
      const length = Number(headers['content-length']);
      await this.wait(`a body of ${length}`, (bytes) => (bytes.length >= length ? true : undefined), ms);
      return { body: Buffer.from(this.take(length)), trailers: {} };
    }
    await this.closed(ms);
    return { body: Buffer.from(this.take(this.bytes.length)), trailers: {} };
  }

  /// Waits until the other side has ended the connection (or reset it).
  closed(ms = MS) {
    return this.wait('the end of the connection', (_, ended) => (ended ? true : undefined), ms);
  }

  /// Ends our side; what comes can still be read.
  end() { this.socket.end(); }

  /// Goes away: at once, without a goodbye when reset is true.
  leave({ reset = false } = {}) {
    if (reset && this.socket.resetAndDestroy) {
      this.socket.resetAndDestroy();
    } else {
      this.socket.destroy();
    }
  }
}

/// Connects; `secure` takes the options of node:tls. The line is closed when the test ends.
export async function connect(t, port, { host = '127.0.0.1', secure, ms = MS } = {}) {
  const socket = secure
    ? tls.connect({ host, port, ...secure })
    : net.connect({ host, port, allowHalfOpen: true });
  const line = new Line(socket);
  after(t, () => socket.destroy());
  await within(ms * slowness, `connect to ${host}:${port}`, new Promise((resolve, reject) => {
    socket.once(secure ? 'secureConnect' : 'connect', resolve);
    socket.once('error', reject);
  }));
  return line;
}

/// Sends bytes on a connection of its own and returns the one response.
export async function exchange(t, port, bytes, options = {}) {
  const line = await connect(t, port, options);
  line.send(bytes);
  try {
    return await line.response(options);
  } finally {
    line.leave();
  }
}
