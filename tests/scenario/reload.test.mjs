// tags: threads
//
// reload - a new configuration without a dropped request, and an orderly end.
//
// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import test from 'node:test';

import { allEvents, call, chat, chatBody, chatStream, events, many, metric, tally } from './lib/client.mjs';
import { Penstock, get, runPenstock, startPenstock, tempDir } from './lib/penstock.mjs';
import { freePort } from './lib/ports.mjs';
import { connect } from './lib/raw.mjs';
import { echo, inference, startUpstream } from './lib/upstream.mjs';
import { now, sanitizer, sleep, until, within } from './lib/wait.mjs';

const reloads = (gate) => gate.stderr.split('configuration reloaded').length - 1;

async function reload(gate, config) {
  const before = reloads(gate);
  gate.reload(config);
  await until('the reload', () => reloads(gate) > before);
}

test('a hundred reloads under load fail no request', async (t) => {
  const a = await startUpstream(t, inference({ tokens: 4, every: 1 }));
  const b = await startUpstream(t, inference({ tokens: 4, every: 1 }));
  const c = await startUpstream(t, inference({ tokens: 4, every: 1 }));
  const first = `upstreams:
  - {name: gpu, engine: openai, endpoints: ["${a.url}", "${b.url}"], health: {interval: 50ms}, admission: {max_in_flight: 200}}
tenants: [{name: team, key: some-key-0123456789, requests_per_minute: 1M}]
`;
  const second = `max_head: 16KiB
upstreams:
  - {name: other, engine: openai, endpoints: ["${c.url}"], health: {interval: 0s}}
  - {name: gpu, engine: openai, endpoints: ["${b.url}", "${c.url}"], balance: prefix, admission: {max_in_flight: 5, max_queue: 10000}}
routes:
  - {name: rest, path: "/v1/models", upstream: other}
  - {name: all, path: /v1/*, kind: openai, upstream: gpu}
models: [{name: test-model, upstream: gpu, target: test-model}]
tenants: [{name: new, key: other-key-0123456789}, {name: team, key: some-key-0123456789, priority: low, tokens_per_minute: 500M}]
`;
  const gate = await startPenstock(t, { config: first });
  const headers = { authorization: 'Bearer some-key-0123456789' };
  const agent = new http.Agent({ keepAlive: true, maxSockets: 24 });
  t.after(() => agent.destroy());
  let going = true;
  const failures = [];
  let done = 0;
  const worker = async (i) => {
    for (let n = 0; going; n++) {
      const use = { headers, agent: i % 2 ? agent : false };
      try {
        if ((i + n) % 3 === 0) {
          const answer = await chatStream(gate.port, use);
          const list = await allEvents(answer.incoming);
          if (answer.status !== 200 || list.at(-1)?.data !== '[DONE]' || list.length !== 6) {
            failures.push(`${answer.status} with ${list.length} events`);
          }
        } else if ((i + n) % 3 === 1) {
          const answer = await call(gate.port, { path: '/v1/models', ...use });
          if (answer.status !== 200) {
            failures.push(`models ${answer.status} ${answer.text}`);
          }
        } else {
          const answer = await chat(gate.port, use);
          if (answer.status !== 200) {
            failures.push(`chat ${answer.status} ${answer.text}`);
          }
        }
      } catch (error) {
        failures.push(String(error));
      }
      done += 1;
    }
  };
  const load = Promise.all(Array.from({ length: 16 }, (_, i) => worker(i)));
  for (let i = 0; i < 100; i++) {
    await reload(gate, i % 2 ? first : second);
    await sleep(10);
  }
  going = false;
  await load;
  assert.deepEqual(failures, []);
  assert.ok(done > 200, `${done}`);
  await gate.stop();
  const left = gate.stderr.split('\n').filter((line) => /unhealthy/.test(line));
  assert.deepEqual(left, []);
});

test('a reload to servers that are known by name only fails no request either', async (t) => {
  const a = await startUpstream(t, inference({ name: 'a' }));
  const b = await startUpstream(t, inference({ name: 'b' }));
  const config = (up, n) => `upstreams: [{name: u${n}, engine: openai, endpoints: ["http://localhost:${up.port}"], health: {interval: 0s}}]`;
  const gate = await startPenstock(t, { config: config(a, 0) });
  await until('the first name is known', async () => (await get(gate.port, '/readyz'))?.status === 200);
  const codes = [];
  let going = true;
  const load = Promise.all([0, 1, 2, 3].map(async () => {
    while (going) {
      codes.push((await chat(gate.port)).status);
    }
  }));
  for (let i = 1; i <= 20; i++) {
    await reload(gate, config(i % 2 ? b : a, i));
    await sleep(20);
  }
  going = false;
  await load;
  assert.deepEqual(Object.keys(tally(codes)), ['200'], JSON.stringify(tally(codes)));
});

test('a stream that began before a reload ends as it began', async (t) => {
  const up = await startUpstream(t, inference({ tokens: 40, every: 10 }));
  const other = await startUpstream(t, inference({ name: 'other' }));
  const config = (url) => `upstreams: [{name: gpu, engine: openai, endpoints: ["${url}"], health: {interval: 0s}}]`;
  const gate = await startPenstock(t, { config: config(up.url) });
  const answer = await chatStream(gate.port);
  const seen = [];
  for await (const event of events(answer.incoming)) {
    seen.push(event);
    if (seen.length === 5) {
      await reload(gate, config(other.url));
      assert.equal((await until('the new upstream', async () => {
        const next = await chat(gate.port);
        return next.json.system_fingerprint === 'other' && next;
      })).status, 200);
    }
  }
  assert.equal(seen.length, 42);
});

test('a request that waits at the gate is not lost by a reload that takes its upstream away', async (t) => {
  let release;
  const opened = new Promise((resolve) => { release = resolve; });
  const up = await startUpstream(t, async (_, answer) => {
    await opened;
    await answer.json(200, {});
  });
  const other = await startUpstream(t, echo());
  const gate = await startPenstock(t, {
    config: `upstreams: [{name: old, engine: openai, endpoints: ["${up.url}"], health: {interval: 0s}, admission: {max_in_flight: 1}}]`,
  });
  const all = many(6, async () => (await chat(gate.port)).status);
  await up.seen();
  await reload(gate, `upstreams: [{name: new, engine: openai, endpoints: ["${other.url}"], health: {interval: 0s}}]`);
  await until('the new one serves', async () => (await call(gate.port, { path: '/x' })).json?.target === '/x');
  release();
  assert.deepEqual(tally(await all), { 200: 6 });
});

test('a broken file keeps the old configuration in force and says where', async (t) => {
  const up = await startUpstream(t, echo());
  const good = `upstreams: [{name: gpu, engine: openai, endpoints: ["${up.url}"], health: {interval: 0s}}]`;
  const gate = await startPenstock(t, { config: good });
  const broken = [
    [`${good}\nrouts: []`, /penstock\.yaml:4:1: routs: unknown key 'routs'; did you mean 'routes'/],
    [`${good}\nroutes: [{path: /x, upstream: none}]`, /penstock\.yaml:4:\d+: routes\[0\]\.upstream: there is no upstream 'none'/],
    ['upstreams: [', /penstock\.yaml:\d+/],
    [`${good}\nupstreams: []`, /penstock\.yaml:4/],
    [`${good}\ntenants: [{name: a}]`, /penstock\.yaml:4|neither key/],
    [`${good}\ntrusted_proxies: [nowhere]`, /trusted_proxies/],
    [`${good}\ntls: {certificate: /nonexistent.pem, key_file: /nonexistent.pem}`, /nonexistent/],
  ];
  for (const [text, says] of broken) {
    const before = gate.stderr.length;
    gate.reload(text);
    await until('the complaint', () => gate.stderr.slice(before).includes('old configuration stays in force'));
    assert.match(gate.stderr.slice(before), says);
    assert.equal((await call(gate.port, { path: '/still' })).json.target, '/still');
  }
  fs.unlinkSync(gate.file);
  const before = gate.stderr.length;
  gate.signal('SIGHUP');
  await until('the complaint', () => gate.stderr.slice(before).includes('old configuration stays in force'));
  assert.equal((await call(gate.port, { path: '/still' })).status, 200);
  await reload(gate, `${good}\nmax_body: 1KiB`);
  await until('the new limit', async () => (await call(gate.port, { method: 'POST', path: '/x', body: 'x'.repeat(2000) })).status === 413);
});

test('what the command line says holds after a reload, too', async (t) => {
  const port = await freePort();
  const file = await freePort();
  const gate = await startPenstock(t, {
    port, config: `listen: ["127.0.0.1:${file}"]\nworkers: 1`, args: ['--listen', `127.0.0.1:${port}`, '--workers', '2'],
  });
  await reload(gate, `listen: ["127.0.0.1:${file}"]\nworkers: 1\nmax_headers: 50`);
  assert.doesNotMatch(gate.stderr, /takes effect after a restart/);
  assert.equal((await get(port, '/healthz')).status, 200);
  assert.equal(await get(file, '/healthz'), null);
});

test('the servers come from the file or from the command line, not from both', async (t) => {
  const dir = tempDir(t);
  fs.writeFileSync(path.join(dir, 'a.yaml'), '');
  const { code, stderr } = await runPenstock(t, ['serve', '--config', path.join(dir, 'a.yaml'), '--upstream', 'http://127.0.0.1:1']);
  assert.equal(code, 2);
  assert.match(stderr, /--upstream is for starting without --config/);
});

test('what only a restart can change is said', async (t) => {
  const gate = await startPenstock(t, { config: '' });
  await reload(gate, 'workers: 3\nmax_buffered: 64MiB\naccess_log: stderr');
  for (const field of ['workers', 'max_buffered', 'access_log']) {
    assert.match(gate.stderr, new RegExp(`takes effect after a restart.*${field}`));
  }
  assert.equal((await get(gate.port, '/healthz')).status, 200);
});

test('SIGHUP without a file changes nothing', async (t) => {
  const gate = await startPenstock(t);
  gate.signal('SIGHUP');
  await until('it says so', () => gate.stderr.includes('nothing to reload'));
  assert.equal((await get(gate.port, '/healthz')).status, 200);
});

test('many reloads one after the other leave no memory and no descriptors behind', async (t) => {
  const up = await startUpstream(t, inference());
  const text = (n) => `upstreams: [{name: u${n}, engine: openai, endpoints: ["${up.url}"], health: {interval: 20ms}}]
routes: [{name: r, path: "/*", kind: openai}]\ntenants: [{name: t${n}, key: some-key-${n}}]`;
  const gate = await startPenstock(t, { config: text(0) });
  const round = async (n) => {
    await reload(gate, text(n));
    await many(4, () => chat(gate.port, { headers: { authorization: `Bearer some-key-${n}` } }));
  };
  for (let i = 1; i <= 30; i++) {
    await round(i);
  }
  const before = { fds: gate.descriptors(), memory: gate.memory() };
  for (let i = 31; i <= 130; i++) {
    await round(i);
  }
  await until('the connections are gone', () => gate.descriptors() <= before.fds + 8);
  if (sanitizer === '') {
    assert.ok(gate.memory() - before.memory < 8 * 1024 * 1024, `${gate.memory() - before.memory}`);
  }
});

// --- the end

test('SIGTERM lets running streams end, takes no new connections, and leaves with 0', async (t) => {
  const up = await startUpstream(t, inference({ tokens: 60, every: 10 }));
  const gate = await startPenstock(t, { config: `upstreams: [{name: gpu, engine: openai, endpoints: ["${up.url}"], health: {interval: 0s}}]` });
  const running = await many(8, () => chatStream(gate.port));
  const keep = await connect(t, gate.port);
  keep.send('GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n');
  assert.equal((await keep.response()).status, 200);
  const half = await connect(t, gate.port);
  const body = JSON.stringify(chatBody());
  half.send(`POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body.slice(0, 10)}`);
  await sleep(50);
  gate.signal('SIGTERM');
  await keep.closed();
  await until('new connections are refused', async () => connect(t, gate.port, { ms: 300 }).then((line) => { line.leave(); return false; }, () => true));
  half.send(body.slice(10));
  const late = await half.response();
  assert.deepEqual([late.status, late.headers.connection], [200, 'close']);
  const lists = await Promise.all(running.map(({ incoming }) => allEvents(incoming)));
  assert.deepEqual(tally(lists.map((list) => `${list.length} ${list.at(-1).data}`)), { '62 [DONE]': 8 });
  await gate.stop();
  assert.equal(gate.result.code, 0);
});

test('readyz says draining while requests still run', async (t) => {
  const up = await startUpstream(t, inference({ tokens: 50, every: 10 }));
  const admin = await freePort();
  const gate = await startPenstock(t, {
    config: `upstreams: [{name: gpu, engine: openai, endpoints: ["${up.url}"], health: {interval: 0s}}]\nadmin: {listen: ["127.0.0.1:${admin}"]}`,
  });
  assert.equal((await get(admin, '/readyz')).status, 200);
  const answer = await chatStream(gate.port);
  gate.signal('SIGTERM');
  const ready = await until('it drains', async () => {
    const seen = await get(admin, '/readyz');
    return seen?.status === 503 && seen;
  });
  assert.match(ready.body, /draining/);
  assert.equal((await allEvents(answer.incoming)).length, 52);
});

test('at the deadline of the drain what still runs is cut', async (t) => {
  const up = await startUpstream(t, inference({ tokens: 10000, every: 10 }));
  const log = path.join(tempDir(t), 'access.log');
  const gate = await startPenstock(t, {
    config: `drain_timeout: 300ms\naccess_log: "${log}"\nupstreams: [{name: gpu, engine: openai, endpoints: ["${up.url}"], health: {interval: 0s}, admission: {max_in_flight: 3}}]`,
  });
  const cut = many(6, async () => {
    const { incoming } = await chatStream(gate.port, { ms: 60000 });
    await allEvents(incoming);
    return 'ended';
  }).then(() => 'ended', (error) => error.code);
  await up.seen(3); /* all that may be in: who comes now stays in the queue */
  const socket = await connect(t, gate.port);
  socket.send('GET /stays HTTP/1.1\r\nHost: localhost\r\n\r\n');
  await until('the others wait', async () => (await metric(gate.port, 'penstock_admit_queued')) === 4);
  const start = now();
  gate.signal('SIGTERM');
  assert.match(await cut, /ECONNRESET|ERR_STREAM_PREMATURE_CLOSE/);
  await gate.stop();
  assert.ok(now() - start >= 280, `${now() - start}`);
  await until('the upstream has no connections', () => up.open === 0);
  const lines = fs.readFileSync(log, 'utf8').trim().split('\n').map((line) => JSON.parse(line));
  assert.equal(lines.filter(({ complete, error }) => complete === false && error === 'shut down').length, 7, JSON.stringify(lines));
});

test('a tunnel lives until the deadline of the drain and has its line in the log', async (t) => {
  const up = await startUpstream(t, (_, answer) => {
    const { socket } = answer.upgrade();
    socket.on('data', (data) => socket.write(data));
  });
  const log = path.join(tempDir(t), 'access.log');
  const gate = await startPenstock(t, {
    config: `drain_timeout: 400ms\naccess_log: "${log}"\nupstreams: [{name: gpu, engine: openai, endpoints: ["${up.url}"], health: {interval: 0s}}]`,
  });
  const line = await connect(t, gate.port);
  line.send('GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: keep-alive, Upgrade\r\nUpgrade: echo\r\n\r\nfirst');
  assert.equal((await line.head()).status, 101);
  await line.readUntil('first');
  gate.signal('SIGTERM');
  await sleep(100);
  line.send('second');
  await line.readUntil('second');
  await line.closed();
  await gate.stop();
  const [only] = fs.readFileSync(log, 'utf8').trim().split('\n').map((text) => JSON.parse(text));
  assert.deepEqual([only.status, only.path, only.bytes_in, only.bytes_out], [101, '/ws', 11, 11]);
});

test('a second SIGTERM stops at once', async (t) => {
  const up = await startUpstream(t, inference({ tokens: 10000, every: 10 }));
  const gate = await startPenstock(t, { config: `drain_timeout: 10m\nupstreams: [{name: gpu, engine: openai, endpoints: ["${up.url}"], health: {interval: 0s}}]` });
  const { incoming } = await chatStream(gate.port);
  incoming.on('error', () => {});
  incoming.resume();
  gate.signal('SIGTERM');
  await until('it drains', () => gate.stderr.includes('no new connections'));
  await sleep(100);
  assert.ok(gate.running());
  const start = now();
  await gate.stop();
  assert.ok(now() - start < 8000);
  assert.equal(gate.result.code, 0);
});

test('a shower of SIGTERM ends it with 0 all the same', async (t) => {
  for (let round = 0; round < 4; round++) {
    const gate = await startPenstock(t);
    while (gate.running()) {
      gate.signal('SIGTERM');
      await sleep(0.2);
    }
    gate.assertClean();
    assert.deepEqual([gate.result.code, gate.result.signal], [0, null]);
  }
});

test('SIGINT is like SIGTERM', async (t) => {
  const gate = await startPenstock(t);
  gate.signal('SIGINT');
  const { code } = await within(8000, 'the end', gate.ended);
  assert.equal(code, 0);
});

test('SIGHUP, SIGUSR1 and SIGTERM in one moment, under load', async (t) => {
  const up = await startUpstream(t, inference({ tokens: 5, every: 1 }));
  const gate = await startPenstock(t, { config: `access_log: "${tempDir(t)}/a.log"\nupstreams: [{name: gpu, engine: openai, endpoints: ["${up.url}"], health: {interval: 10ms}}]` });
  const load = many(20, () => chat(gate.port).catch(() => null));
  for (const name of ['SIGHUP', 'SIGUSR1', 'SIGHUP', 'SIGTERM', 'SIGHUP', 'SIGUSR1']) {
    gate.signal(name);
  }
  await load;
  await gate.stop();
});

test('SIGTERM at any moment of the start ends it: by itself, or before it could listen to signals', async (t) => {
  const up = await startUpstream(t, inference());
  for (let i = 0; i < 12; i++) {
    const dir = tempDir(t);
    const file = path.join(dir, 'penstock.yaml');
    fs.writeFileSync(file, `listen: ["127.0.0.1:${await freePort()}"]\nworkers: 2\naccess_log: ${dir}/a.log\nupstreams: [{name: gpu, endpoints: ["${up.url}"]}]\n`);
    const gate = new Penstock(['serve', '--config', file]);
    await sleep(i * 5);
    gate.signal('SIGTERM');
    const { code, signal } = await within(10000, 'the end', gate.ended);
    gate.assertClean();
    assert.ok(code === 0 || signal === 'SIGTERM', `after ${i * 5} ms: ${code} ${signal}\n${gate.stderr}`);
  }
});

test('a port that is taken is an error that names the address', async (t) => {
  const up = await startUpstream(t, echo());
  const gate = new Penstock(['serve', '--listen', `127.0.0.1:${up.port}`]);
  const { code } = await within(10000, 'the end', gate.ended);
  gate.assertClean();
  assert.notEqual(code, 0);
  assert.match(gate.stderr, new RegExp(`127.0.0.1:${up.port}`));
});
