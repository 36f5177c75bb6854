// cached - a gateway that remembers answers, and what stories ask it.
//
// SPDX-License-Identifier: Apache-2.0
import fs from 'node:fs';
import path from 'node:path';

import { call, chatBody } from './client.mjs';
import { startPenstock } from './penstock.mjs';
import { until } from './wait.mjs';

export const CHAT = '/v1/chat/completions';

/// The configuration: one upstream, and one route for everything that is an inference call.
///   route    more options of the route, as ", cache_ttl: 1s"
///   more     more of the top level
export function configOf(up, { route = '', upstream = '', more = '', kind = 'inference' } = {}) {
  return `access_log: access.log
upstreams:
  - {name: gpu, engine: openai, endpoints: ["${up.url}"], health: {interval: 0s}${upstream}}
routes:
  - {name: all, path: "/*", kind: ${kind}, cache: yes${route}}
${more}`;
}

/// A gateway on two workers with log(): the lines of its access log.
export async function startCached(t, up, options = {}) {
  const gate = await startPenstock(t, { config: configOf(up, options), ...options.program });
  gate.log = () => {
    const file = path.join(gate.dir, 'access.log');
    return fs.existsSync(file)
      ? fs.readFileSync(file, 'utf8').split('\n').filter(Boolean).map((line) => JSON.parse(line)) : [];
  };
  return gate;
}

/// One chat whose answer is certain; `body` adds to it.
export function ask(port, { body = {}, path: target = CHAT, ...options } = {}) {
  return call(port, { method: 'POST', path: target, ...options, body: chatBody({ temperature: 0, ...body }) });
}

/// What an answer says of the cache: 'hit', 'miss', 'collapsed', 'stale' or '' where it was not asked.
export function partOf({ headers }) {
  const status = headers['cache-status'] ?? '';
  if (/; hit/.test(status)) {
    return 'hit';
  }
  return /; collapsed/.test(status) ? 'collapsed' : /fwd=stale/.test(status) ? 'stale' : status ? 'miss' : '';
}

export async function statsOf(gate, headers = {}) {
  return (await call(gate.port, { path: '/api/cache/stats', headers })).json;
}

export function invalidate(gate, body, headers = {}) {
  return call(gate.port, { method: 'POST', path: '/api/cache/invalidate', body, headers });
}

/// Waits until no call is under way that others could join.
export async function landed(gate) {
  await until('no flight is left', async () => {
    const { text } = await call(gate.port, { path: '/metrics' });
    return /^penstock_cache_flights 0$/m.test(text);
  }, 5000, 20);
}
