// client - what stories ask for again and again: a chat, a stream's events, many at once, a metric.
//
// Each request takes a connection of its own unless an agent is given, so that stories do not touch.
//
// SPDX-License-Identifier: Apache-2.0
import http from 'node:http';

import { now, slowness } from './wait.mjs';

const MS = 20000;

/// Starts a request and waits for the head of its answer: {status, headers, incoming, request, sentAt, headAt}.
/// The body is `incoming`, a stream. `body` may be text, bytes or a value for JSON.
export function open(port, { method = 'GET', path = '/', headers = {}, body, agent = false, ms = MS } = {}) {
  const isJson = body !== undefined && typeof body !== 'string' && !Buffer.isBuffer(body);
  const bytes = body === undefined ? undefined : Buffer.from(isJson ? JSON.stringify(body) : body);
  const all = { ...headers };
  if (isJson && !('content-type' in all)) {
    all['content-type'] = 'application/json';
  }
  if (bytes !== undefined) {
    all['content-length'] = bytes.length;
  }
  return new Promise((resolve, reject) => {
    const sentAt = now();
    const request = http.request({ host: '127.0.0.1', port, method, path, headers: all, agent }, (incoming) => {
      resolve({ status: incoming.statusCode, headers: incoming.headers, incoming, request, sentAt, headAt: now() });
    });
    request.setTimeout(ms * slowness, () => request.destroy(new Error(`${method} ${path}: silence for ${ms * slowness} ms`)));
    request.on('error', reject);
    request.end(bytes);
  });
}

/// A whole exchange: {status, headers, text, json, ms}. json is undefined when the body is none.
export async function call(port, options) {
  const answer = await open(port, options);
  const pieces = [];
  for await (const piece of answer.incoming) {
    pieces.push(piece);
  }
  const text = Buffer.concat(pieces).toString('utf8');
  let json;
  try {
    json = JSON.parse(text);
  } catch { /* not JSON */ }
  return { status: answer.status, headers: answer.headers, text, json, ms: now() - answer.sentAt };
}

/// What / shows to a terminal: the upstreams and their endpoints. (A browser gets the page there.)
export async function front(port) {
  return (await call(port, { path: '/', headers: { accept: 'text/plain' } })).text;
}

/// The body of a chat request.
export function chatBody(more = {}) {
  return { model: 'test-model', messages: [{ role: 'user', content: 'Tell me about gates.' }], ...more };
}

/// One chat completion, not streamed.
export function chat(port, { body = {}, ...options } = {}) {
  return call(port, { method: 'POST', path: '/v1/chat/completions', ...options, body: chatBody(body) });
}

/// One streamed chat completion, up to its events: see events().
export function chatStream(port, { body = {}, ...options } = {}) {
  return open(port, { method: 'POST', path: '/v1/chat/completions', ...options, body: chatBody({ stream: true, ...body }) });
}

/// The events of an SSE body as they come: {data, json, at}. json is undefined for [DONE].
export async function* events(incoming) {
  let rest = '';
  for await (const piece of incoming) {
    const at = now();
    const parts = (rest + piece.toString('utf8')).split('\n\n');
    rest = parts.pop();
    for (const part of parts) {
      const data = part.split('\n').filter((l) => l.startsWith('data:')).map((l) => l.slice(5).trimStart()).join('\n');
      yield { data, json: data === '[DONE]' ? undefined : JSON.parse(data), at };
    }
  }
}

/// All events of a body, as a list.
export async function allEvents(incoming) {
  const list = [];
  for await (const event of events(incoming)) {
    list.push(event);
  }
  return list;
}

/// Runs fn(0), fn(1)... for n, at most `width` at a time; returns the results in order.
export async function many(n, fn, width = n) {
  const results = new Array(n);
  let next = 0;
  const worker = async () => {
    while (next < n) {
      const i = next++;
      results[i] = await fn(i);
    }
  };
  await Promise.all(Array.from({ length: Math.min(width, n) }, worker));
  return results;
}

/// How many results there are of each: {200: 98, 503: 2}.
export function tally(values) {
  const counts = {};
  for (const value of values) {
    counts[value] = (counts[value] ?? 0) + 1;
  }
  return counts;
}

/// The Prometheus page as a list of {name, labels, value}.
export async function metrics(port, headers = {}) {
  const { status, text } = await call(port, { path: '/metrics', headers });
  if (status !== 200) {
    throw new Error(`/metrics answered ${status}: ${text.slice(0, 200)}`);
  }
  const list = [];
  for (const line of text.split('\n')) {
    const found = /^([A-Za-z_:][\w:]*)(?:\{(.*)\})? (\S+)/.exec(line);
    if (found) {
      const labels = Object.fromEntries([...(found[2] ?? '').matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)].map((m) => [m[1], m[2]]));
      list.push({ name: found[1], labels, value: Number(found[3]) });
    }
  }
  return list;
}

/// The sum of a metric over all its series that have these labels.
export async function metric(port, name, labels = {}) {
  const fits = (sample) => sample.name === name
    && Object.entries(labels).every(([key, value]) => sample.labels[key] === value);
  return (await metrics(port)).filter(fits).reduce((sum, { value }) => sum + value, 0);
}
