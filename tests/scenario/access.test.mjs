// access - who may ask for what: the reserved paths, the gateway, and what never leaves it.
//
// One test for each rule of docs/access.md.
//
// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import test from 'node:test';

import { call, chat } from './lib/client.mjs';
import { get, runPenstock, startPenstock, tempDir } from './lib/penstock.mjs';
import { freePort } from './lib/ports.mjs';
import { connect, exchange } from './lib/raw.mjs';
import { echo, inference, startUpstream } from './lib/upstream.mjs';
import { sleep, until } from './lib/wait.mjs';

const READ = 'read-token-0123456789abcdef';
const INGEST = 'ingest-token-0123456789abcdef';
const ADMIN = 'admin-token-0123456789abcdef';
const TENANT = 'tenant-key-0123456789abcdef';

const tokens = `
  tokens:
    - {name: looker, role: read, token: ${READ}}
    - {name: feeder, role: ingest, token: ${INGEST}}
    - {name: boss, role: admin, token: ${ADMIN}}
`;

/// Every path that the design reserves, but the two health paths.
const RESERVED = [
  '/', '/dashboard.html', '/metrics', '/ws/metrics', '/api/gpu/profile', '/api/gpu/report', '/api/gpu/cleanup',
  '/api/gpu/batch-size', '/api/dashboard/summary', '/api/cache/stats', '/api/cache/invalidate', '/api/forecast',
  '/api/alerts', '/api/alerts/rules', '/api/alerts/silences', '/api/cost/summary', '/api/cost/export.csv',
  '/api/anomalies', '/api/traces', '/api/metrics', '/api/history', '/api/otlp/v1/metrics',
];

const bearer = (token) => ({ authorization: `Bearer ${token}` });

const upstreams = (up, more = '') => `upstreams:
  - {name: gpu, engine: openai, endpoints: ["${up.url}"], health: {interval: 0s}${more}}
`;

const asJson = { 'content-type': 'application/json' };

function post(port, target, headers = {}, body = '{}') {
  return call(port, { method: 'POST', path: target, headers: { ...asJson, ...headers }, body });
}

/// An address of this machine that is not loopback, or undefined.
function outerAddress() {
  return Object.values(os.networkInterfaces()).flat()
    .find(({ family, internal }) => family === 'IPv4' && !internal)?.address;
}

/// The requests of a scripted server that a story sent: the gateway's own look-ups are left out.
const sent = (up) => up.requests.filter(({ headers }) => 'x-request-id' in headers);

test('with tokens every reserved path but the health paths needs one', async (t) => {
  const gate = await startPenstock(t, { config: `admin:${tokens}` });
  for (const target of RESERVED) {
    const bare = await call(gate.port, { path: target });
    assert.equal(bare.status, 401, target);
    assert.match(bare.headers['www-authenticate'], /^Bearer/, target);
    assert.equal((await call(gate.port, { path: target, headers: bearer('no-such-token-000000') })).status, 401, target);
    const known = await call(gate.port, { path: target, headers: bearer(READ) });
    assert.ok(![401, 403, 404].includes(known.status), `${target}: ${known.status}`);
  }
  assert.equal((await get(gate.port, '/healthz')).status, 200);
  assert.equal((await get(gate.port, '/readyz')).status, 503);
});

test('a read token looks, an ingest token hands in metrics, an admin token does everything', async (t) => {
  const gate = await startPenstock(t, { config: `admin:${tokens}` });
  const may = async (token, method, target) => {
    const { status } = await call(gate.port, { method, path: target, headers: { ...asJson, ...bearer(token) },
      body: method === 'POST' ? '{}' : undefined });
    return ![401, 403].includes(status);
  };
  const rows = [
    ['GET', '/metrics', [true, false, true]],
    ['GET', '/api/alerts', [true, false, true]],
    ['POST', '/api/metrics', [false, true, true]],
    ['POST', '/api/otlp/v1/metrics', [false, true, true]],
    ['POST', '/api/gpu/cleanup', [false, false, true]],
    ['POST', '/api/cache/invalidate', [false, false, true]],
    ['DELETE', '/api/alerts/silences', [false, false, true]],
  ];
  for (const [method, target, expected] of rows) {
    const seen = [];
    for (const token of [READ, INGEST, ADMIN]) {
      seen.push(await may(token, method, target));
    }
    assert.deepEqual(seen, expected, `${method} ${target}`);
  }
});

test('metrics.public opens /metrics and nothing else', async (t) => {
  const gate = await startPenstock(t, { config: `admin:${tokens}\nmetrics: {public: yes}` });
  assert.equal((await get(gate.port, '/metrics')).status, 200);
  for (const target of RESERVED.filter((name) => name !== '/metrics')) {
    assert.equal((await get(gate.port, target)).status, 401, target);
  }
  assert.equal((await post(gate.port, '/metrics')).status, 401);
});

test('a tenant key never opens a reserved path, and a token is no tenant', async (t) => {
  const up = await startUpstream(t, inference());
  const gate = await startPenstock(t, {
    config: `${upstreams(up)}admin:${tokens}tenants: [{name: a, key: ${TENANT}}]`,
  });
  for (const target of RESERVED) {
    for (const headers of [bearer(TENANT), { 'x-api-key': TENANT }]) {
      assert.equal((await call(gate.port, { path: target, headers })).status, 401, target);
    }
  }
  assert.equal((await chat(gate.port, { headers: bearer(TENANT) })).status, 200);
  assert.equal((await chat(gate.port, { headers: bearer(ADMIN) })).status, 401);
});

/// Signs in and returns the cookie's pair.
async function signIn(gate, token, target = '/') {
  const answer = await post(gate.port, target, bearer(token));
  assert.equal(answer.status, 204, answer.text);
  const [cookie] = answer.headers['set-cookie'];
  assert.match(cookie, /; HttpOnly/);
  assert.match(cookie, /; SameSite=Strict/);
  assert.match(cookie, /; Path=\//);
  assert.ok(!cookie.includes(token));
  return cookie.split(';')[0];
}

test('a page exchanges its token once for a cookie that opens what the token opens', async (t) => {
  const gate = await startPenstock(t, { config: `admin:${tokens}` });
  for (const target of ['/', '/dashboard.html']) {
    const cookie = await signIn(gate, READ, target);
    assert.equal((await get(gate.port, '/metrics', { cookie })).status, 200);
    assert.equal((await get(gate.port, '/', { cookie: `theme=dark; ${cookie}; b=c` })).status, 200);
    assert.equal((await post(gate.port, '/api/gpu/cleanup', { cookie })).status, 403);
  }
  const boss = await signIn(gate, ADMIN);
  assert.notEqual((await post(gate.port, '/api/gpu/cleanup', { cookie: boss })).status, 403);
  assert.equal((await get(gate.port, '/metrics', { cookie: `${boss.slice(0, -1)}x` })).status, 401);
  assert.equal((await get(gate.port, '/metrics', { cookie: 'penstock_session=' })).status, 401);
});

test('a cookie makes no cookie, a wrong token none either, and an ingest token has nothing to look at', async (t) => {
  const gate = await startPenstock(t, { config: `admin:${tokens}` });
  const cookie = await signIn(gate, ADMIN);
  for (const [headers, status] of [[{ cookie }, 401], [bearer('wrong-token-00000000'), 401], [{}, 401], [bearer(INGEST), 403]]) {
    const answer = await post(gate.port, '/', headers);
    assert.equal(answer.status, status, JSON.stringify(headers));
    assert.equal(answer.headers['set-cookie'], undefined);
  }
});

test('a cookie ends with its token when a reload takes that away', async (t) => {
  const gate = await startPenstock(t, { config: `admin:${tokens}` });
  const looker = await signIn(gate, READ);
  const boss = await signIn(gate, ADMIN);
  gate.reload(`admin: {tokens: [{name: looker, token: ${READ}}]}`);
  await until('the reload', () => gate.stderr.includes('configuration reloaded'));
  assert.equal((await get(gate.port, '/metrics', { cookie: looker })).status, 200);
  assert.equal((await get(gate.port, '/metrics', { cookie: boss })).status, 401);
});

test('the session cookie stays here, the other cookies go upstream', async (t) => {
  const up = await startUpstream(t, echo());
  const gate = await startPenstock(t, { config: `${upstreams(up)}admin:${tokens}` });
  const cookie = await signIn(gate, READ);
  const seen = await call(gate.port, { path: '/ui', headers: { cookie: `a=1; ${cookie}; b=2` } });
  assert.equal(seen.json.headers.cookie, 'a=1; b=2');
  const alone = await call(gate.port, { path: '/ui', headers: { cookie } });
  assert.equal(alone.json.headers.cookie, undefined);
  const like = await call(gate.port, { path: '/ui', headers: { cookie: 'my_penstock_session=1; x=penstock_session' } });
  assert.equal(like.json.headers.cookie, 'my_penstock_session=1; x=penstock_session');
  assert.ok(!up.requests.some(({ raw }) => raw.includes(cookie)));
});

test('without a token only names of this machine are served, for reserved paths and the gateway alike', async (t) => {
  const up = await startUpstream(t, echo());
  const gate = await startPenstock(t, { config: upstreams(up) });
  const status = async (target, host) =>
    (await exchange(t, gate.port, `GET ${target} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`)).status;
  for (const host of ['localhost', `localhost:${gate.port}`, '127.0.0.1', `127.0.0.1:${gate.port}`, '[::1]:5000',
    'LOCALHOST', 'app.localhost', '127.8.9.1']) {
    assert.deepEqual([await status('/metrics', host), await status('/x', host)], [200, 200], host);
  }
  for (const host of ['evil.example', `evil.example:${gate.port}`, 'localhost.evil.example', '127.0.0.1.evil.example',
    '10.0.0.1', '[::2]', 'evillocalhost', '0.0.0.0', '2130706433']) {
    assert.deepEqual([await status('/metrics', host), await status('/', host), await status('/x', host)],
      [403, 403, 403], host);
    assert.equal(await status('/healthz', host), 200, host);
  }
  assert.ok(!up.requests.some(({ raw }) => /evil/.test(raw)));
});

test('without a token only this machine reaches the reserved paths, whatever the gateway serves', async (t) => {
  const outer = outerAddress();
  if (!outer) {
    t.skip('this machine has no address but loopback');
    return;
  }
  const up = await startUpstream(t, echo());
  const port = await freePort('0.0.0.0');
  const refused = await runPenstock(t, ['serve', '--listen', `0.0.0.0:${port}`]);
  assert.notEqual(refused.code, 0);
  assert.match(refused.stderr + refused.stdout, /need a token/);
  const gate = await startPenstock(t, {
    port,
    config: `listen: ["0.0.0.0:${port}"]\ntenants: open\n${upstreams(up)}admin:${tokens}`,
  });
  const ask = (target, headers = '') => exchange(t, port,
    `GET ${target} HTTP/1.1\r\nHost: ${outer}:${port}\r\n${headers}Connection: close\r\n\r\n`, { host: outer });
  assert.equal((await ask('/metrics')).status, 401);
  assert.equal((await ask('/metrics', `Authorization: Bearer ${READ}\r\n`)).status, 200);
  assert.equal((await ask('/x')).status, 200);
  assert.equal((await ask('/healthz')).status, 200);
  await gate.stop();
});

test('a reload that closes the gateway to strangers does so at once, whatever it still listens on', async (t) => {
  const outer = outerAddress();
  if (!outer) {
    t.skip('this machine has no address but loopback');
    return;
  }
  const up = await startUpstream(t, echo());
  const port = await freePort('0.0.0.0');
  const gate = await startPenstock(t, {
    port, config: `listen: ["0.0.0.0:${port}"]\ntenants: open\n${upstreams(up)}admin:${tokens}`,
  });
  const ask = (target) => exchange(t, port,
    `GET ${target} HTTP/1.1\r\nHost: localhost:${port}\r\nConnection: close\r\n\r\n`, { host: outer });
  assert.equal((await ask('/x')).status, 200);
  gate.reload(`listen: ["127.0.0.1:${port}"]\n${upstreams(up)}`);
  await until('the reload', () => gate.stderr.includes('configuration reloaded'));
  await until('nobody comes in', async () => (await ask('/x')).status === 403);
  assert.equal((await ask('/metrics')).status, 403);
  assert.equal((await ask('/')).status, 403);
  assert.equal((await get(port, '/metrics')).status, 200);
});

test('a page of another origin is refused at the reserved paths, token or not', async (t) => {
  const bare = await startPenstock(t);
  const gate = await startPenstock(t, { config: `admin:${tokens}` });
  const foreign = ['https://evil.example', 'http://localhost:1', 'null', `http://127.0.0.1.evil.example:${gate.port}`, 'file://'];
  for (const origin of foreign) {
    for (const target of ['/', '/metrics', '/api/gpu/cleanup', '/api/cache/invalidate', '/api/metrics']) {
      assert.equal((await post(bare.port, target, { origin })).status, 403, `${origin} ${target}`);
      assert.equal((await post(gate.port, target, { origin, ...bearer(ADMIN) })).status, 403, `${origin} ${target}`);
      assert.equal((await get(gate.port, target, { origin, ...bearer(ADMIN) })).status, 403, `${origin} ${target}`);
    }
    assert.equal((await post(gate.port, '/healthz', { origin })).status, 403, origin);
  }
  const own = `http://127.0.0.1:${gate.port}`;
  assert.equal((await get(gate.port, '/metrics', { origin: own, ...bearer(READ) })).status, 200);
  assert.equal((await post(gate.port, '/', { origin: own, ...bearer(READ) })).status, 204);
});

test('a foreign page has no use of the gateway without tenants either, unless cors.origins lets it in', async (t) => {
  const up = await startUpstream(t, echo());
  const gate = await startPenstock(t, { config: `${upstreams(up)}cors: {origins: ["https://app.example"]}` });
  assert.equal((await post(gate.port, '/x', { origin: 'https://evil.example' })).status, 403);
  assert.equal((await post(gate.port, '/x', { origin: 'null' })).status, 403);
  assert.equal((await post(gate.port, '/x', { origin: 'https://app.example' })).status, 200);
  assert.equal((await post(gate.port, '/x', { origin: 'http://localhost:3000' })).status, 200);
});

test('JSON paths take application/json and nothing that a form can send', async (t) => {
  const gate = await startPenstock(t);
  const forms = ['text/plain', 'application/x-www-form-urlencoded', 'multipart/form-data; boundary=x', 'application/jsonp',
    'text/plain; application/json', ''];
  for (const type of forms) {
    for (const target of ['/api/gpu/cleanup', '/api/cache/invalidate', '/api/metrics', '/api/alerts/silences']) {
      assert.equal((await post(gate.port, target, { 'content-type': type })).status, 415, `${target} ${type}`);
    }
  }
  for (const type of ['application/json', 'application/json; charset=utf-8', 'Application/JSON']) {
    assert.notEqual((await post(gate.port, '/api/gpu/cleanup', { 'content-type': type })).status, 415, type);
  }
});

test('exactly the listed paths are reserved, never what begins like one', async (t) => {
  const up = await startUpstream(t, echo());
  const gate = await startPenstock(t, { config: `${upstreams(up)}admin:${tokens}` });
  const free = ['/api/tags', '/api/history/1', '/api/generate', '/api', '/api/', '/metrics/', '/metricsx', '/healthz/x', '/api/alerts/rules/1',
    '/dashboard', '/index.html', '/ws', '/ws/metrics/1', '/v1/models', '/API/METRICS', '/api/metrics/job/x'];
  for (const target of free) {
    const seen = await call(gate.port, { path: target });
    assert.deepEqual([seen.status, seen.json?.target], [200, target], target);
  }
  for (const target of RESERVED) {
    assert.equal((await call(gate.port, { path: `${target}?x=1` })).status, 401, target);
  }
  assert.ok(!sent(up).some(({ target }) => RESERVED.includes(target.split('?')[0])));
});

test('with admin.listen the gateway port reserves the health paths alone', async (t) => {
  const up = await startUpstream(t, echo());
  const admin = await freePort();
  const gate = await startPenstock(t, { config: `${upstreams(up)}admin:\n  listen: ["127.0.0.1:${admin}"]${tokens}` });
  for (const target of RESERVED) {
    const seen = await call(gate.port, { path: target });
    assert.deepEqual([seen.status, seen.json?.target], [200, target], target);
    assert.equal((await call(admin, { path: target })).status, 401, target);
  }
  assert.equal((await call(admin, { path: '/metrics', headers: bearer(READ) })).status, 200);
  assert.equal((await call(admin, { path: '/v1/models', headers: bearer(READ) })).status, 404);
  for (const port of [gate.port, admin]) {
    assert.match((await call(port, { path: '/healthz' })).json.status, /ok/);
    assert.equal((await call(port, { path: '/readyz' })).json.status, 'ready');
  }
});

test('admin.listen without a token serves this machine under its own names only', async (t) => {
  const up = await startUpstream(t, echo());
  const admin = await freePort();
  await startPenstock(t, { config: `${upstreams(up)}admin: {listen: ["127.0.0.1:${admin}"]}` });
  assert.equal((await get(admin, '/metrics')).status, 200);
  assert.equal((await get(admin, '/metrics', { host: 'evil.example' })).status, 403);
  assert.equal((await post(admin, '/api/gpu/cleanup', { origin: 'https://evil.example' })).status, 403);
});

test('the client\'s key never goes upstream, in whatever header, and the upstream gets its own', async (t) => {
  const up = await startUpstream(t, echo());
  const dir = tempDir(t);
  const file = path.join(dir, 'key');
  fs.writeFileSync(file, 'upstream-key-from-file\n');
  const config = (more) => `${upstreams(up, more)}admin:${tokens}tenants: [{name: a, key: ${TENANT}}]`;
  const gate = await startPenstock(t, { config: config(', api_key: upstream-key-1') });
  const all = [bearer(TENANT), { 'x-api-key': TENANT }, { 'api-key': TENANT },
    { ...bearer(TENANT), 'x-api-key': 'spare-1', 'api-key': 'spare-2', 'proxy-authorization': 'Basic spare-3' }];
  for (const headers of all) {
    for (const target of ['/v1/chat/completions', '/plain']) {
      const seen = await call(gate.port, { method: 'POST', path: target, headers, body: { model: 'm', messages: [] } });
      assert.equal(seen.status, 200, seen.text);
      assert.equal(seen.json.headers.authorization, 'Bearer upstream-key-1');
    }
  }
  gate.reload(config(`, api_key_file: "${file}"`));
  await until('the reload', () => gate.stderr.includes('configuration reloaded'));
  await until('the new key', async () => (await call(gate.port, { path: '/x', headers: bearer(TENANT) }))
    .json.headers.authorization === 'Bearer upstream-key-from-file');
  const bare = await startPenstock(t, { config: upstreams(up) });
  const seen = await call(bare.port, { path: '/x', headers: bearer('stray-key') });
  assert.equal(seen.json.headers.authorization, undefined);
  for (const { raw } of up.requests) {
    assert.doesNotMatch(raw, new RegExp(`${TENANT}|spare-|stray-key`));
  }
});

test('x-penstock-* of a client is stripped', async (t) => {
  const up = await startUpstream(t, echo());
  const gate = await startPenstock(t, { config: upstreams(up) });
  const seen = await call(gate.port, { path: '/x', headers: { 'X-Penstock-Cost': '1', 'x-penstock-tenant': 'boss', 'x-penstoc': 'stays' } });
  assert.deepEqual(Object.keys(seen.json.headers).filter((name) => name.startsWith('x-penstoc')), ['x-penstoc']);
});

const claims = {
  'x-forwarded-for': '203.0.113.9', 'x-forwarded-proto': 'https', 'x-forwarded-host': 'public.example',
  'x-forwarded-port': '443', forwarded: 'for=203.0.113.9', 'x-real-ip': '203.0.113.9',
};

test('X-Forwarded-* of just anybody are replaced by what is known', async (t) => {
  const up = await startUpstream(t, echo());
  const gate = await startPenstock(t, { config: upstreams(up) });
  const { headers } = (await call(gate.port, { path: '/x', headers: claims })).json;
  assert.equal(headers['x-forwarded-for'], '127.0.0.1');
  assert.equal(headers['x-forwarded-proto'], 'http');
  assert.equal(headers['x-forwarded-host'], `127.0.0.1:${gate.port}`);
  assert.deepEqual([headers.forwarded, headers['x-real-ip'], headers['x-forwarded-port']], [undefined, undefined, undefined]);
});

test('X-Forwarded-* of a trusted proxy are kept and continued', async (t) => {
  const up = await startUpstream(t, echo());
  const gate = await startPenstock(t, { config: `${upstreams(up)}trusted_proxies: ["127.0.0.0/8"]` });
  const { headers } = (await call(gate.port, { path: '/x', headers: claims })).json;
  assert.equal(headers['x-forwarded-for'], '203.0.113.9, 127.0.0.1');
  assert.equal(headers['x-forwarded-proto'], 'https');
  assert.equal(headers['x-forwarded-host'], 'public.example');
  assert.equal(headers['x-forwarded-port'], '443');
  const two = await exchange(t, gate.port, 'GET /x HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 1.1.1.1\r\n'
    + 'X-Forwarded-For: 2.2.2.2\r\nConnection: close\r\n\r\n');
  assert.equal(JSON.parse(two.text).headers['x-forwarded-for'], '1.1.1.1, 2.2.2.2, 127.0.0.1');
});

test('secrets are in nothing that the program prints, answers or exports', async (t) => {
  const secrets = {
    tenant: 'zzz-secret-tenant-111111', second: 'zzz-secret-hashed-222222', token: 'zzz-secret-token-333333',
    upstream: 'zzz-secret-upstream-444444', env: 'zzz-secret-env-555555', query: 'zzz-secret-query-666666',
    wrong: 'zzz-secret-wrong-777777', model: 'fine',
  };
  const up = await startUpstream(t, inference());
  const dead = await freePort();
  const log = path.join(tempDir(t), 'access.log');
  const gate = await startPenstock(t, {
    env: { UPSTREAM_KEY: secrets.env },
    config: `log_level: debug
access_log: "${log}"
upstreams:
  - {name: gpu, engine: openai, endpoints: ["${up.url}"], api_key: ${secrets.upstream}, health: {interval: 100ms}}
  - {name: gone, engine: openai, endpoints: ["http://127.0.0.1:${dead}"], api_key: "\${UPSTREAM_KEY}", health: {interval: 100ms}}
routes:
  - {path: /gone, upstream: gone}
  - {path: /v1/*, kind: openai, upstream: gpu}
admin: {tokens: [{name: t, role: admin, token: ${secrets.token}}]}
tenants: [{name: a, key: ${secrets.tenant}, requests_per_minute: 6}]
`,
  });
  const answers = [];
  const ask = async (options) => { answers.push(await call(gate.port, options)); };
  const key = bearer(secrets.tenant);
  await ask({ method: 'POST', path: `/v1/chat/completions?api_key=${secrets.query}`, headers: key, body: { model: 'm', messages: [] } });
  await ask({ path: '/gone', headers: key });
  await ask({ path: '/gone', headers: bearer(secrets.wrong) });
  await ask({ path: '/metrics', headers: bearer(secrets.wrong) });
  await ask({ path: '/none', headers: { ...key, 'x-api-key': secrets.second } });
  await ask({ method: 'POST', path: '/v1/chat/completions', headers: key, body: '{"model": ' });
  for (let i = 0; i < 8; i++) {
    await ask({ path: '/v1/models', headers: key });
  }
  await ask({ path: '/metrics', headers: bearer(secrets.token) });
  await ask({ path: '/', headers: bearer(secrets.token) });
  assert.ok(answers.some(({ status }) => status === 429));
  assert.ok(answers.some(({ status }) => status === 502 || status === 503));
  gate.reload(`upstreams: [{name: gpu, api_key: ${secrets.upstream}, endpoints: []}]\nadmin: {tokens: [{name: t, token: "${secrets.token} x"}]}`);
  await until('the reload', () => gate.stderr.includes('reload failed'));
  await gate.stop();
  const all = [gate.stdout, gate.stderr, fs.readFileSync(log, 'utf8'),
    ...answers.map(({ text, headers }) => text + JSON.stringify(headers))].join('\n');
  assert.match(all, /"tenant":"a"/);
  assert.doesNotMatch(all, /zzz-secret/);
});

test('config --print shows that there is a secret, never which', async (t) => {
  const dir = tempDir(t);
  const file = path.join(dir, 'penstock.yaml');
  fs.writeFileSync(path.join(dir, 'key'), 'zzz-secret-in-file-1\n');
  fs.writeFileSync(file, `
upstreams:
  - {name: a, endpoints: ["http://127.0.0.1:1"], api_key: zzz-secret-a}
  - {name: b, endpoints: ["http://127.0.0.1:1"], api_key: "\${B_KEY}"}
  - {name: c, endpoints: ["http://127.0.0.1:1"], api_key_file: key}
tenants: [{name: t, key: zzz-secret-tenant-key}]
admin: {tokens: [{name: x, token: zzz-secret-token-0001}]}
`);
  const env = { B_KEY: 'zzz-secret-b' };
  const shown = await runPenstock(t, ['config', '--print', file], { env });
  assert.equal(shown.code, 0, shown.stderr);
  assert.match(shown.stdout, /api_key/);
  assert.doesNotMatch(shown.stdout + shown.stderr, /zzz-secret/);
  const checked = await runPenstock(t, ['config', '--check', file], { env });
  assert.doesNotMatch(checked.stdout + checked.stderr, /zzz-secret/);
  const missing = await runPenstock(t, ['config', '--check', file], { env: { B_KEY: undefined } });
  assert.equal(missing.code, 1);
  assert.match(missing.stdout, /B_KEY/);
  assert.doesNotMatch(missing.stdout + missing.stderr, /zzz-secret/);
});

test('secrets come from the environment, and what is not set is an error', async (t) => {
  const up = await startUpstream(t, echo());
  const gate = await startPenstock(t, {
    config: upstreams(up, ', api_key: "${GPU_KEY}"'), env: { GPU_KEY: 'from-the-environment' },
  });
  const seen = await call(gate.port, { path: '/x' });
  assert.equal(seen.json.headers.authorization, 'Bearer from-the-environment');
});

test('YAML aliases and anchors are refused', async (t) => {
  const file = path.join(tempDir(t), 'penstock.yaml');
  fs.writeFileSync(file, 'upstreams: &a\n  - {name: x, endpoints: ["http://127.0.0.1:1"]}\nmodels: *a\n');
  const checked = await runPenstock(t, ['config', '--check', file]);
  assert.equal(checked.code, 1);
  assert.match(checked.stdout, /anchor|alias/);
  assert.notEqual((await runPenstock(t, ['serve', '--config', file])).code, 0);
});

test('a configuration that would serve strangers unnamed does not start', async (t) => {
  const port = await freePort();
  const rows = [
    [`listen: ["0.0.0.0:${port}"]`, /need a token/],
    [`listen: ["0.0.0.0:${port}"]\nadmin: {tokens: [{name: x, token: ${READ}}]}`, /needs tenants/],
    [`listen: ["0.0.0.0:${port}"]\ntenants: [{name: x, key: ${TENANT}}]`, /need a token/],
    [`listen: ["127.0.0.1:${port}"]\nadmin: {listen: ["0.0.0.0:${port + 1}"]}`, /need a token/],
  ];
  for (const [text, why] of rows) {
    const file = path.join(tempDir(t), 'penstock.yaml');
    fs.writeFileSync(file, text);
    const { code, stderr, stdout } = await runPenstock(t, ['serve', '--config', file]);
    assert.notEqual(code, 0, text);
    assert.match(stderr + stdout, why);
  }
});

test('a key is known by its SHA-256 too', async (t) => {
  const { createHash } = await import('node:crypto');
  const up = await startUpstream(t, echo());
  const hex = createHash('sha256').update('rotated-key').digest('hex');
  const gate = await startPenstock(t, { config: `${upstreams(up)}admin:${tokens}tenants: [{name: a, key_sha256: ["${hex}"]}]` });
  assert.equal((await call(gate.port, { path: '/x', headers: bearer('rotated-key') })).status, 200);
  assert.equal((await call(gate.port, { path: '/x', headers: bearer(hex) })).status, 401);
  assert.equal((await call(gate.port, { path: '/x' })).status, 401);
});

test('an address has no more connections than max_connections_per_address, on all workers together', async (t) => {
  const gate = await startPenstock(t, { config: 'max_connections_per_address: 8', ready: false });
  await until('it listens', () => gate.stderr.includes('listening'));
  const lines = [];
  for (let i = 0; i < 24; i++) {
    lines.push(await connect(t, gate.port));
  }
  for (const line of lines) {
    line.send('GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n');
  }
  const served = (await Promise.all(lines.map((line) => line.response().then(() => true, () => false)))).filter(Boolean);
  assert.equal(served.length, 8);
  lines.forEach((line) => line.leave());
  await until('the places are free again', async () => (await get(gate.port, '/healthz'))?.status === 200);
  await sleep(20);
});

test('what may not pass does not pass with underscores either', async (t) => {
  const up = await startUpstream(t, echo());
  const gate = await startPenstock(t, { config: upstreams(up) });
  const never = ['X_Forwarded_For', 'X-Real_IP', 'x_penstock_tenant', 'X-Penstock_Cost', 'Transfer_Encoding', 'x_api_key',
    'Content_Length', 'API_KEY', 'Proxy_Authorization'];
  const line = await connect(t, gate.port);
  const lines = [...never, 'X_Own', 'Accept_Language_X'].map((name) => `${name}: 7\r\n`).join('');
  line.send(`GET /x HTTP/1.1\r\nHost: localhost\r\n${lines}\r\n`);
  assert.equal((await line.response()).status, 200);
  const seen = Object.keys(up.requests.at(-1).headers);
  for (const name of never) {
    assert.ok(!seen.includes(name.toLowerCase()), name);
  }
  assert.ok(seen.includes('x_own') && seen.includes('accept_language_x'));
});

test('TRACE never reaches an upstream, which would show its own key', async (t) => {
  const up = await startUpstream(t, echo());
  const gate = await startPenstock(t, { config: upstreams(up) });
  for (const path of ['/x', '/v1/chat/completions']) {
    const answer = await call(gate.port, { method: 'TRACE', path });
    assert.equal(answer.status, 405);
    assert.match(answer.headers.allow, /POST/);
  }
  assert.equal(up.requests.filter((request) => request.method === 'TRACE').length, 0);
});

test('a tunnel is a connection of its address until it ends', async (t) => {
  const up = await startUpstream(t, (request, answer) => answer.upgrade());
  const gate = await startPenstock(t, { config: `max_connections_per_address: 8\n${upstreams(up)}`, ready: false });
  await until('it listens', () => gate.stderr.includes('listening'));
  const open = async () => {
    const line = await connect(t, gate.port);
    line.send('GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n');
    return [line, await line.head().then((head) => head.status, () => 0)];
  };
  const tunnels = [];
  for (let i = 0; i < 12; i++) {
    tunnels.push(await open());
  }
  assert.deepEqual(tunnels.map(([, status]) => status), [...Array(8).fill(101), ...Array(4).fill(0)]);
  tunnels.forEach(([line]) => line.leave());
  await until('the places are free again', async () => (await open())[1] === 101);
});

test('max_connections bounds the connections of all workers together', async (t) => {
  const gate = await startPenstock(t, { config: 'max_connections: 8', ready: false });
  await until('it listens', () => gate.stderr.includes('listening'));
  const lines = [];
  for (let i = 0; i < 32; i++) {
    lines.push(await connect(t, gate.port));
  }
  lines.forEach((line) => line.send('GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n'));
  const served = (await Promise.all(lines.map((line) => line.response().then(() => true, () => false)))).filter(Boolean);
  assert.equal(served.length, 8);
  lines.forEach((line) => line.leave());
  await until('the places are free again', async () => (await get(gate.port, '/healthz'))?.status === 200);
});

test('certificates of the admin port are read again like those of the gateway', async (t) => {
  const { makeAuthority } = await import('./lib/tls.mjs');
  const authority = makeAuthority(t);
  const first = authority.issue('first');
  const second = authority.issue('second');
  const dir = tempDir(t);
  const use = (from) => {
    fs.copyFileSync(from.cert, path.join(dir, 'cert.pem'));
    fs.copyFileSync(from.key, path.join(dir, 'key.pem'));
  };
  use(first);
  const admin = await freePort();
  const config = `tls: {certificate: "${dir}/cert.pem", key_file: "${dir}/key.pem"}
admin:\n  listen: ["127.0.0.1:${admin}"]${tokens}`;
  const gate = await startPenstock(t, { config, ready: false });
  await until('it listens', () => /listening"?.*\d/.test(gate.stderr));
  const secure = { ca: fs.readFileSync(authority.ca), servername: 'localhost' };
  const serial = async (port) => {
    const line = await connect(t, port, { secure });
    const number = line.socket.getPeerCertificate().serialNumber;
    line.leave();
    return number;
  };
  const before = [await serial(gate.port), await serial(admin)];
  assert.equal(before[0], before[1]);
  use(second);
  gate.signal('SIGHUP');
  await until('the reload', () => gate.stderr.includes('configuration reloaded'));
  await until('the new certificate everywhere', async () => (await serial(gate.port)) !== before[0] && (await serial(admin)) !== before[0]);
  const cookies = await exchange(t, admin, `POST / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${READ}\r\nContent-Length: 0\r\n\r\n`, { secure });
  assert.match(cookies.headers['set-cookie'], /; Secure/);
});
