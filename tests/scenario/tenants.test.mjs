// tags: threads
//
// tenants - limits and budgets that hold under parallel requests on two workers, and the gate behind
// them: what may be inside, who waits, who is sent away.
//
// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import test from 'node:test';

import { call, chat, chatBody, many, metric, open, tally } from './lib/client.mjs';
import { startPenstock } from './lib/penstock.mjs';
import { connect } from './lib/raw.mjs';
import { inference, startUpstream } from './lib/upstream.mjs';
import { sleep, until } from './lib/wait.mjs';

const KEY = 'tenant-key-0123456789';
const headers = { authorization: `Bearer ${KEY}` };

/// Answers chats with this usage, once it is told to; counts how many it has at a time.
function held(usage = { prompt_tokens: 10, completion_tokens: 8, total_tokens: 18 }) {
  const state = { inside: 0, most: 0, order: [] };
  const opened = new Promise((resolve) => { state.release = resolve; });
  state.script = async (request, answer) => {
    state.inside += 1;
    state.most = Math.max(state.most, state.inside);
    state.order.push(request.target);
    await Promise.race([state.wait ? state.wait(request) : opened, request.connection.closed]);
    state.inside -= 1;
    await answer.json(200, { id: 'x', object: 'chat.completion', choices: [], usage });
  };
  return state;
}

function config(up, { tenant = '', upstream = '', more = '' } = {}) {
  return `upstreams:
  - {name: gpu, engine: openai, endpoints: ["${up.url}"], health: {interval: 0s}${upstream}}
${tenant === null ? '' : `tenants:\n  - {name: team, key: ${KEY}${tenant}}\n`}${more}`;
}

/// Sends n chats at once; returns what was answered so far and the promise of all.
function burst(port, n, body = {}, extra = {}) {
  const answers = [];
  const all = many(n, async () => {
    const answer = await chat(port, { headers, body, ...extra });
    answers.push(answer);
    return answer;
  });
  return { answers, all };
}

/// Of 100 parallel chats exactly `pass` get through; the others hear 429 while those are still inside.
async function exactly(t, pass, { tenant, upstream, body, code }) {
  const hold = held();
  const up = await startUpstream(t, hold.script);
  const gate = await startPenstock(t, { config: config(up, { tenant, upstream }) });
  const { answers, all } = burst(gate.port, 100, body);
  await until(`${100 - pass} refusals`, () => answers.length >= 100 - pass, 15000);
  await until(`${pass} upstream`, () => up.requests.length >= pass, 15000);
  await sleep(50); /* for one too many */
  assert.deepEqual(tally(answers.map(({ status }) => status)), { 429: 100 - pass });
  assert.equal(up.requests.length, pass);
  for (const { json, headers: seen } of answers) {
    assert.equal(json.error.code, code);
    assert.ok(Number(seen['retry-after']) >= 1, seen['retry-after']);
  }
  hold.release();
  assert.deepEqual(tally((await all).map(({ status }) => status)), { 200: pass, 429: 100 - pass });
  return { gate, up };
}

test('of 100 parallel requests exactly as many pass as requests_per_minute says', async (t) => {
  await exactly(t, 20, { tenant: ', requests_per_minute: 20', code: 'rate_limit_exceeded' });
});

test('of 100 parallel requests exactly as many pass as tokens_per_minute has room for', async (t) => {
  const { gate } = await exactly(t, 10,
    { tenant: ', tokens_per_minute: 10000', body: { max_tokens: 930 }, code: 'rate_limit_exceeded' });
  /* Settled by usage: what was reserved and not used is there again. */
  const { headers: seen } = await call(gate.port, { path: '/v1/models', headers });
  assert.ok(Number(seen['x-ratelimit-remaining-tokens']) > 9700, seen['x-ratelimit-remaining-tokens']);
});

test('of 100 parallel requests exactly as many are open as max_in_flight says, and its places come back', async (t) => {
  const { gate } = await exactly(t, 7, { tenant: ', max_in_flight: 7', code: 'rate_limit_exceeded' });
  assert.equal((await chat(gate.port, { headers })).status, 200);
});

test('of 100 parallel requests exactly as many pass as the budget pays for', async (t) => {
  const { gate } = await exactly(t, 10, {
    tenant: ', budget_usd: 0.0105, budget_period: day', upstream: ', price: {output_per_million_usd: 1}',
    body: { max_tokens: 1000 }, code: 'insufficient_quota',
  });
  /* Ten answers of eight tokens were all that was really spent. */
  const again = await many(10, () => chat(gate.port, { headers, body: { max_tokens: 1000 } }), 1);
  assert.deepEqual(tally(again.map(({ status }) => status)), { 200: 10 });
});

test('a budget that is spent stays spent', async (t) => {
  const hold = held({ prompt_tokens: 1000, completion_tokens: 1000, total_tokens: 2000 });
  hold.release();
  const up = await startUpstream(t, hold.script);
  const gate = await startPenstock(t, {
    config: config(up, { tenant: ', budget_usd: 0.005', upstream: ', price: {input_per_million_usd: 1, output_per_million_usd: 1}' }),
  });
  const codes = [];
  for (let i = 0; i < 5; i++) {
    codes.push((await chat(gate.port, { headers, body: { max_tokens: 10 } })).status);
  }
  assert.deepEqual(codes, [200, 200, 200, 429, 429]);
  const refused = await chat(gate.port, { headers });
  assert.equal(refused.json.error.type, 'insufficient_quota');
  assert.ok(Number(refused.headers['retry-after']) >= 1);
});

test('a prompt under another content type is counted all the same', async (t) => {
  const up = await startUpstream(t, inference());
  const gate = await startPenstock(t, { config: config(up, { tenant: ', tokens_per_minute: 100' }) });
  const ask = (type, body = chatBody({ max_tokens: 90 })) => call(gate.port, {
    method: 'POST', path: '/v1/chat/completions', headers: { ...headers, 'content-type': type }, body: JSON.stringify(body) });
  assert.equal((await ask('text/plain', chatBody({ max_tokens: 1000 }))).status, 429);
  assert.equal((await ask('application/octet-stream', chatBody({ max_tokens: 1000 }))).status, 429);
  assert.equal((await ask('text/plain', 'no object')).status, 400);
  assert.equal(up.requests.length, 0);
  assert.equal((await ask('text/plain')).status, 200);
});

test('limits of one tenant are not felt by another', async (t) => {
  const up = await startUpstream(t, inference());
  const gate = await startPenstock(t, {
    config: config(up, { tenant: ', requests_per_minute: 1', more: '  - {name: other, key: other-key-0123456789, requests_per_minute: 50}\n' }),
  });
  const other = { headers: { authorization: 'Bearer other-key-0123456789' } };
  const codes = await many(40, async (i) => (await chat(gate.port, i % 2 ? other : { headers })).status);
  assert.deepEqual(tally(codes), { 200: 21, 429: 19 });
});

test('an unknown key is 401, no key is 401, and neither costs anything', async (t) => {
  const up = await startUpstream(t, inference());
  const gate = await startPenstock(t, { config: config(up, { tenant: ', requests_per_minute: 2' }) });
  for (const wrong of [{}, { authorization: 'Bearer wrong' }, { authorization: `Basic ${KEY}` }, { authorization: 'Bearer ' }, { 'x-api-key': 'wrong' }]) {
    const answer = await chat(gate.port, { headers: wrong });
    assert.equal(answer.status, 401);
    assert.equal(answer.json.error.type, 'authentication_error');
    assert.equal(answer.headers['x-ratelimit-limit-requests'], undefined);
  }
  assert.equal(up.requests.length, 0);
  const good = [{ authorization: `bearer ${KEY}` }, { 'x-api-key': KEY }];
  assert.deepEqual(tally(await many(2, async (i) => (await chat(gate.port, { headers: good[i] })).status)), { 200: 2 });
});

test('every answer says where the limits stand', async (t) => {
  const up = await startUpstream(t, inference());
  const gate = await startPenstock(t, { config: config(up, { tenant: ', requests_per_minute: 3, tokens_per_minute: 9000' }) });
  const first = await chat(gate.port, { headers, body: { max_tokens: 100 } });
  assert.equal(first.status, 200);
  assert.equal(first.headers['ratelimit-policy'], '"requests";q=3;w=60, "tokens";q=9000;w=60');
  assert.match(first.headers.ratelimit, /^"requests";r=2;t=\d+, "tokens";r=8\d\d\d;t=\d+$/);
  assert.equal(first.headers['x-ratelimit-limit-requests'], '3');
  assert.equal(first.headers['x-ratelimit-remaining-requests'], '2');
  assert.match(first.headers['x-ratelimit-reset-requests'], /^\d+(ms|s)$/);
  assert.equal(first.headers['x-ratelimit-limit-tokens'], '9000');
  await chat(gate.port, { headers });
  await chat(gate.port, { headers });
  const refused = await chat(gate.port, { headers });
  assert.equal(refused.status, 429);
  assert.equal(refused.headers['x-ratelimit-remaining-requests'], '0');
  assert.match(refused.headers.ratelimit, /^"requests";r=0/);
  const wait = Number(refused.headers['retry-after']);
  assert.ok(wait >= 1 && wait <= 20, `${wait}`);
  assert.match(refused.json.error.message, /requests/);
});

test('what was used is settled: more than reserved is debited', async (t) => {
  const hold = held({ prompt_tokens: 10, completion_tokens: 6000, total_tokens: 6010 });
  hold.release();
  const up = await startUpstream(t, hold.script);
  const gate = await startPenstock(t, { config: config(up, { tenant: ', tokens_per_minute: 10000' }) });
  assert.equal((await chat(gate.port, { headers, body: { max_tokens: 10 } })).status, 200);
  const { headers: seen } = await call(gate.port, { path: '/v1/models', headers });
  const left = Number(seen['x-ratelimit-remaining-tokens']);
  assert.ok(left >= 3990 && left < 6000, `${left}`);
  assert.equal((await chat(gate.port, { headers, body: { max_tokens: 8000 } })).status, 429);
});

test('a client that leaves before the answer pays for the prompt that was read', async (t) => {
  const up = await startUpstream(t, (_, answer) => answer.stall());
  const gate = await startPenstock(t, { config: config(up, { tenant: ', tokens_per_minute: 20000' }) });
  const line = await connect(t, gate.port);
  const body = JSON.stringify(chatBody({ max_tokens: 10, messages: [{ role: 'user', content: 'word '.repeat(8000) }] }));
  line.send(`POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${KEY}\r\n`
    + `Content-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
  await up.seen();
  line.leave({ reset: true });
  await up.connections[0].closed;
  const refused = await chat(gate.port, { headers, body: { max_tokens: 19000 }, ms: 2000 });
  assert.equal(refused.status, 429);
  assert.ok(Number(refused.headers['x-ratelimit-remaining-tokens']) < 14000, refused.headers['x-ratelimit-remaining-tokens']);
});

test('streams are settled by the usage that the client never sees', async (t) => {
  const up = await startUpstream(t, inference({ tokens: 8, every: 1 }));
  const gate = await startPenstock(t, { config: config(up, { tenant: ', tokens_per_minute: 10000' }) });
  const answer = await chat(gate.port, { headers, body: { stream: true, max_tokens: 9000 } });
  assert.doesNotMatch(answer.text, /"usage":\{/);
  const { headers: seen } = await call(gate.port, { path: '/v1/models', headers });
  assert.ok(Number(seen['x-ratelimit-remaining-tokens']) > 9800, seen['x-ratelimit-remaining-tokens']);
});

test('a request that can never fit is refused with a reason and changes nothing', async (t) => {
  const up = await startUpstream(t, inference());
  const gate = await startPenstock(t, { config: config(up, { tenant: ', tokens_per_minute: 1000, requests_per_minute: 10' }) });
  for (let i = 0; i < 12; i++) {
    const { status, json, headers: seen } = await chat(gate.port, { headers, body: { max_tokens: 5000 } });
    assert.equal(status, 429);
    assert.match(json.error.message, /larger than the whole limit on tokens/);
    assert.ok(Number(seen['retry-after']) >= 1);
  }
  assert.equal((await chat(gate.port, { headers, body: { max_tokens: 10 } })).status, 200);
});

test('what never reached an upstream is given back', async (t) => {
  const up = await startUpstream(t, inference());
  await up.crash();
  const gate = await startPenstock(t, {
    config: config(up, { tenant: ', requests_per_minute: 5, max_in_flight: 2', upstream: ', retry: {min_retries: 0, budget_percent: 0}' }),
  });
  const dead = await many(4, () => chat(gate.port, { headers }), 1);
  assert.ok(dead.every(({ status }) => status === 502 || status === 503), JSON.stringify(tally(dead.map(({ status }) => status))));
  await up.revive();
  await until('the endpoint is back', async () => (await chat(gate.port, { headers })).status === 200, 8000, 250);
});

test('a reload keeps what was used', async (t) => {
  const up = await startUpstream(t, inference());
  const text = (more) => config(up, { tenant: `, requests_per_minute: 5, budget_usd: 5${more}` });
  const gate = await startPenstock(t, { config: text('') });
  await many(3, () => chat(gate.port, { headers }));
  gate.reload(text(', tokens_per_minute: 100000'));
  await until('the reload', () => gate.stderr.includes('configuration reloaded'));
  await sleep(50);
  const codes = await many(20, async () => (await chat(gate.port, { headers })).status);
  assert.deepEqual(tally(codes), { 200: 2, 429: 18 });
});

test('a reload in the middle of a request gives its place back in the new configuration', async (t) => {
  const hold = held();
  const up = await startUpstream(t, hold.script);
  const text = (more) => config(up, { tenant: `, max_in_flight: 1${more}` });
  const gate = await startPenstock(t, { config: text('') });
  const running = chat(gate.port, { headers });
  await up.seen();
  gate.reload(text(', priority: low'));
  await until('the reload', () => gate.stderr.includes('configuration reloaded'));
  await sleep(50);
  assert.equal((await chat(gate.port, { headers })).status, 429);
  hold.release();
  assert.equal((await running).status, 200);
  assert.equal((await chat(gate.port, { headers })).status, 200);
});

test('a client that leaves in the middle frees its place in flight', async (t) => {
  const hold = held();
  const up = await startUpstream(t, hold.script);
  const gate = await startPenstock(t, { config: config(up, { tenant: ', max_in_flight: 2' }) });
  for (let round = 0; round < 3; round++) {
    const lines = await Promise.all([0, 1].map(() => connect(t, gate.port)));
    const body = JSON.stringify(chatBody());
    for (const line of lines) {
      line.send(`POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${KEY}\r\n`
        + `Content-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
    }
    await up.seen(2 * round + 2);
    assert.equal((await chat(gate.port, { headers })).status, 429);
    lines.forEach((line, i) => line.leave({ reset: i === 0 }));
    await until('both are gone upstream', () => up.connections.filter((c) => c.closedAt).length >= 2 * round + 2);
  }
  hold.release();
  assert.equal((await chat(gate.port, { headers })).status, 200);
});

// --- the gate

test('an upstream never has more requests inside than max_in_flight, and all come through in the end', async (t) => {
  const hold = held();
  hold.wait = () => sleep(5 + Math.random() * 10);
  const up = await startUpstream(t, hold.script);
  const gate = await startPenstock(t, { config: config(up, { tenant: null, upstream: ', admission: {max_in_flight: 4}' }) });
  const codes = await many(120, async () => (await chat(gate.port)).status);
  assert.deepEqual(tally(codes), { 200: 120 });
  assert.equal(hold.most, 4);
  assert.equal(await metric(gate.port, 'penstock_admit_in_flight'), 0);
  assert.equal(await metric(gate.port, 'penstock_admit_queued'), 0);
});

test('a single slot is handed over between the workers until everybody had it', async (t) => {
  const hold = held();
  hold.wait = () => sleep(1);
  const up = await startUpstream(t, hold.script);
  const gate = await startPenstock(t, { config: config(up, { tenant: null, upstream: ', admission: {max_in_flight: 1}' }) });
  const codes = await many(80, async () => (await chat(gate.port)).status);
  assert.deepEqual(tally(codes), { 200: 80 });
  assert.equal(hold.most, 1);
});

test('two upstreams have gates of their own', async (t) => {
  const [one, two] = [held(), held()];
  const a = await startUpstream(t, one.script);
  const b = await startUpstream(t, two.script);
  two.release();
  const gate = await startPenstock(t, {
    config: `upstreams:
  - {name: a, engine: openai, endpoints: ["${a.url}"], health: {interval: 0s}, admission: {max_in_flight: 1}}
  - {name: b, engine: openai, endpoints: ["${b.url}"], health: {interval: 0s}, admission: {max_in_flight: 1}}
models: [{name: m-a, upstream: a}, {name: m-b, upstream: b}]
`,
  });
  const waiting = many(3, () => chat(gate.port, { body: { model: 'm-a' } }));
  await a.seen();
  const codes = await many(10, async () => (await chat(gate.port, { body: { model: 'm-b' } })).status);
  assert.deepEqual(tally(codes), { 200: 10 });
  one.release();
  await waiting;
  assert.equal(one.most, 1);
});

test('beyond the queue the answer is 429 with Retry-After', async (t) => {
  const hold = held();
  const up = await startUpstream(t, hold.script);
  const gate = await startPenstock(t, {
    config: config(up, { tenant: null, upstream: ', admission: {max_in_flight: 2, max_queue: 3}' }),
  });
  const { answers, all } = burst(gate.port, 50);
  await until('45 refusals', () => answers.length >= 45);
  await sleep(50);
  assert.deepEqual(tally(answers.map(({ status }) => status)), { 429: 45 });
  for (const { json, headers: seen } of answers) {
    assert.equal(json.error.code, 'queue_full');
    assert.ok(Number(seen['retry-after']) >= 1);
  }
  assert.equal(await metric(gate.port, 'penstock_admit_in_flight'), 2);
  assert.equal(await metric(gate.port, 'penstock_admit_queued'), 3);
  assert.equal(await metric(gate.port, 'penstock_admit_refused_total'), 45);
  hold.release();
  assert.deepEqual(tally((await all).map(({ status }) => status)), { 200: 5, 429: 45 });
  assert.equal(hold.most, 2);
});

test('bodies that wait are bounded in bytes too', async (t) => {
  const hold = held();
  const up = await startUpstream(t, hold.script);
  const gate = await startPenstock(t, {
    config: config(up, { tenant: null, upstream: ', admission: {max_in_flight: 1, max_queue_bytes: 100KiB}' }),
  });
  const body = { messages: [{ role: 'user', content: 'x'.repeat(40 * 1024) }] };
  const { answers, all } = burst(gate.port, 10, body);
  await until('7 refusals', () => answers.length >= 7);
  hold.release();
  assert.deepEqual(tally((await all).map(({ status }) => status)), { 200: 3, 429: 7 });
});

test('who waits longer than max_wait is answered 429', async (t) => {
  const hold = held();
  const up = await startUpstream(t, hold.script);
  const gate = await startPenstock(t, {
    config: config(up, { tenant: ', max_in_flight: 100', upstream: ', admission: {max_in_flight: 1, max_wait: 150ms}' }),
  });
  const first = chat(gate.port, { headers });
  await up.seen();
  const late = await many(20, () => chat(gate.port, { headers }));
  for (const { status, json, headers: seen, ms } of late) {
    assert.deepEqual([status, json.error.code], [429, 'queue_timeout']);
    assert.ok(Number(seen['retry-after']) >= 1);
    assert.ok(ms >= 140, `${ms} ms`);
  }
  assert.equal(up.requests.length, 1);
  hold.release();
  assert.equal((await first).status, 200);
  assert.equal((await chat(gate.port, { headers })).status, 200);
});

test('a slot that becomes free at the deadline goes to exactly one', async (t) => {
  const hold = held();
  hold.wait = () => sleep(8 + Math.random() * 6);
  const up = await startUpstream(t, hold.script);
  const gate = await startPenstock(t, {
    config: config(up, { tenant: null, upstream: ', admission: {max_in_flight: 2, max_wait: 30ms}' }),
  });
  for (let round = 0; round < 6; round++) {
    const codes = await many(30, async () => (await chat(gate.port)).status);
    assert.equal(codes.filter((code) => code !== 200 && code !== 429).length, 0, JSON.stringify(tally(codes)));
  }
  assert.ok(hold.most <= 2, `${hold.most}`);
  assert.equal(await metric(gate.port, 'penstock_admit_in_flight'), 0);
});

test('high goes before normal before low, and a tenant has no better class than its own', async (t) => {
  const hold = held();
  let step;
  hold.wait = () => new Promise((resolve) => { step = resolve; });
  const up = await startUpstream(t, hold.script);
  const gate = await startPenstock(t, {
    config: `${config(up, { tenant: ', priority: high', upstream: ', admission: {max_in_flight: 1}', more: '  - {name: slow, key: slow-key-0123456789, priority: low}\n' })}
routes:
  - {path: /low, priority: low}
  - {path: /normal, priority: normal}
  - {path: /high, priority: high}
`,
  });
  const all = [call(gate.port, { path: '/normal', headers })];
  await up.seen();
  const queue = async (path, key = KEY) => {
    const before = await metric(gate.port, 'penstock_admit_queued');
    all.push(call(gate.port, { path, headers: { authorization: `Bearer ${key}` } }));
    await until('it waits', async () => (await metric(gate.port, 'penstock_admit_queued')) === before + 1);
  };
  await queue('/low?1');
  await queue('/high?slow', 'slow-key-0123456789');
  await queue('/normal?1');
  await queue('/high?1');
  await queue('/normal?2');
  await queue('/high?2');
  for (let i = 1; i <= 7; i++) {
    await up.seen(i);
    step();
    step = undefined;
    if (i < 7) {
      await until('the next', () => step);
    }
  }
  await Promise.all(all);
  assert.deepEqual(hold.order, ['/normal', '/high?1', '/high?2', '/normal?1', '/normal?2', '/low?1', '/high?slow']);
});

test('a client that leaves the queue is never sent upstream and makes room', async (t) => {
  const hold = held();
  const up = await startUpstream(t, hold.script);
  const gate = await startPenstock(t, {
    config: config(up, { tenant: null, upstream: ', admission: {max_in_flight: 1, max_queue: 2}' }),
  });
  const first = chat(gate.port);
  await up.seen();
  const queued = () => metric(gate.port, 'penstock_admit_queued');
  for (let round = 0; round < 3; round++) {
    const lines = await Promise.all([0, 1].map(() => connect(t, gate.port)));
    lines.forEach((line, i) => line.send(`GET /leaves?${i} HTTP/1.1\r\nHost: localhost\r\n\r\n`));
    await until('both wait', async () => (await queued()) === 2);
    assert.equal((await call(gate.port, { path: '/x' })).status, 429);
    lines.forEach((line, i) => line.leave({ reset: i === 0 }));
    await until('the queue is empty', async () => (await queued()) === 0);
  }
  hold.release();
  assert.equal((await first).status, 200);
  assert.deepEqual(up.to('/leaves'), []);
});

test('clients that leave while slots are handed over lose none of them', async (t) => {
  const hold = held();
  hold.wait = () => sleep(1 + Math.random() * 3);
  const up = await startUpstream(t, hold.script);
  const gate = await startPenstock(t, { config: config(up, { tenant: null, upstream: ', admission: {max_in_flight: 3}' }) });
  await many(200, async (i) => {
    const exchange = open(gate.port, { path: `/x${i}` });
    if (i % 2 === 0) {
      const answer = await exchange;
      answer.incoming.resume();
      await new Promise((resolve) => { answer.incoming.once('end', resolve); });
    } else {
      const line = await connect(t, gate.port);
      line.send('GET /y HTTP/1.1\r\nHost: localhost\r\n\r\n');
      await sleep(Math.random() * 10);
      line.leave({ reset: i % 4 === 1 });
      (await exchange).incoming.resume();
    }
  }, 40);
  await until('the gate is empty', async () => (await metric(gate.port, 'penstock_admit_in_flight')) === 0);
  assert.equal(await metric(gate.port, 'penstock_admit_queued'), 0);
  const codes = await many(10, async () => (await call(gate.port, { path: '/z' })).status);
  assert.deepEqual(tally(codes), { 200: 10 });
});

test('tokens in flight are bounded by max_in_flight_tokens, and a giant gets in alone', async (t) => {
  const hold = held();
  const up = await startUpstream(t, hold.script);
  const gate = await startPenstock(t, {
    config: config(up, { tenant: null, upstream: ', admission: {max_in_flight_tokens: 5000}' }),
  });
  const all = burst(gate.port, 12, { max_tokens: 900 }).all;
  await up.seen(5);
  await sleep(100);
  assert.equal(up.requests.length, 5);
  hold.release();
  assert.deepEqual(tally((await all).map(({ status }) => status)), { 200: 12 });
  assert.equal((await chat(gate.port, { body: { max_tokens: 50000 } })).status, 200);
});

test('a reload that widens the gate lets those in who wait', async (t) => {
  const hold = held();
  const up = await startUpstream(t, hold.script);
  const text = (n) => config(up, { tenant: null, upstream: `, admission: {max_in_flight: ${n}}` });
  const gate = await startPenstock(t, { config: text(1) });
  const { all } = burst(gate.port, 10);
  await up.seen();
  await until('nine wait', async () => (await metric(gate.port, 'penstock_admit_queued')) === 9);
  gate.reload(text(6));
  await up.seen(6);
  await sleep(50);
  assert.equal(hold.inside, 6);
  hold.release();
  assert.deepEqual(tally((await all).map(({ status }) => status)), { 200: 10 });
});

test('the official client waits as long as Retry-After says and succeeds', async (t) => {
  const { default: OpenAI } = await import('openai');
  const up = await startUpstream(t, inference());
  const gate = await startPenstock(t, { config: config(up, { tenant: ', requests_per_minute: 60' }) });
  await many(60, () => chat(gate.port, { headers }));
  const client = new OpenAI({ baseURL: `${gate.url}/v1`, apiKey: KEY, maxRetries: 4 });
  const answer = await client.chat.completions.create({ model: 'test-model', messages: [{ role: 'user', content: 'hi' }] });
  assert.match(answer.choices[0].message.content, /word0/);
});
