// tags: threads
// timeout: 300
//
// flight - many ask the same at once, and one call answers them all: whoever comes when, whoever leaves,
// however slowly somebody reads.
//
// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import test from 'node:test';

import { CHAT, ask, configOf, landed, partOf, startCached, statsOf } from './lib/cached.mjs';
import { chatBody, many, metric, open, tally } from './lib/client.mjs';
import { startUpstream } from './lib/upstream.mjs';
import { sanitizer, sleep, until, within, slowness } from './lib/wait.mjs';

const MANY = { '': 1000, address: 250, thread: 100 }[sanitizer] ?? 1000;

const chunk = (content, finish = null) => ({
  id: 'x', object: 'chat.completion.chunk', created: 1, model: 'test-model',
  choices: [{ index: 0, delta: { content }, finish_reason: finish }],
});
const usage = { ...chunk(''), choices: [], usage: { prompt_tokens: 3, completion_tokens: 4, total_tokens: 7 } };
const event = (value) => `data: ${typeof value === 'string' ? value : JSON.stringify(value)}\n\n`;

/// A script that streams the first words, waits until release() and streams the rest. `end` may do
/// something else in place of the rest.
function halting({ words = 3, pad = '', end } = {}) {
  const state = { calls: 0, closed: 0 };
  const opened = new Promise((resolve) => { state.release = resolve; });
  state.script = async (request, answer) => {
    state.calls += 1;
    request.connection.closed.then(() => { state.closed += 1; });
    if (!request.json.stream) {
      await Promise.race([opened, request.connection.closed]);
      if (end) {
        await end(answer);
        return;
      }
      await answer.json(200, {
        id: 'x', object: 'chat.completion', created: 1, model: 'test-model',
        choices: [{ index: 0, message: { role: 'assistant', content: 'whole' }, finish_reason: 'stop' }],
        usage: usage.usage,
      });
      return;
    }
    await answer.begin(200, { 'Content-Type': 'text/event-stream' });
    for (let i = 0; i < words; i++) {
      await answer.chunk(event(chunk(`word${i}${pad} `)));
    }
    await Promise.race([opened, request.connection.closed]);
    if (end) {
      await end(answer);
      return;
    }
    await answer.chunk(event(chunk('last', 'stop')));
    await answer.chunk(event(usage));
    await answer.chunk(event('[DONE]'));
    await answer.end();
  };
  return state;
}

/// A client of the stream: {text, status, headers, ended, broken, leave(), done}.
async function follow(gate, { body = {}, headers = {}, paused = false } = {}) {
  const answer = await open(gate.port, {
    method: 'POST', path: CHAT, headers, body: chatBody({ temperature: 0, stream: true, ...body }), ms: 60000,
  });
  const client = { status: answer.status, headers: answer.headers, text: '', ended: false, broken: false };
  client.leave = () => answer.request.destroy();
  client.done = new Promise((resolve) => {
    answer.incoming.setEncoding('latin1');
    answer.incoming.on('end', () => { client.ended = true; });
    answer.incoming.on('error', () => { client.broken = true; });
    answer.incoming.on('close', resolve);
    client.read = () => answer.incoming.on('data', (piece) => { client.text += piece; });
    if (!paused) {
      client.read();
    }
  });
  client.words = () => (client.text.match(/word\d+/g) ?? []).length;
  return client;
}

const has = (client, words) => until(`${words} words`, () => client.words() >= words, 10000);
const allDone = (clients) => within(60000 * slowness, 'all answers', Promise.all(clients.map(({ done }) => done)));

test('a thousand who ask the same at once make one call and get the same bytes', async (t) => {
  const hold = halting();
  const up = await startUpstream(t, hold.script);
  const gate = await startCached(t, up);
  const first = await follow(gate);
  await has(first, 3);
  const clients = [first, ...await many(MANY - 1, (i) => follow(gate, i % 2 === 0 ? {} : {
    body: { stream_options: { include_usage: true } },
  }), 100)];
  await until('all have the beginning', () => clients.every((client) => client.words() === 3), 20000, 20);
  assert.equal(hold.calls, 1);
  hold.release();
  await allDone(clients);
  assert.equal(hold.calls, 1);
  assert.ok(clients.every(({ ended }) => ended));
  const texts = tally(clients.map(({ text }) => text));
  assert.equal(Object.keys(texts).length, 2); // with the usage that they asked for, and without
  const shown = Object.keys(texts).find((text) => text.includes('"usage"'));
  assert.equal(texts[shown], Math.floor((MANY - 1) / 2));
  assert.equal(shown.replace(event(usage), ''), first.text);
  assert.ok(first.text.endsWith(event('[DONE]')));
  assert.match(first.headers['cache-status'], /fwd=uri-miss/);
  assert.doesNotMatch(first.headers['cache-status'], /collapsed/);
  assert.ok(clients.slice(1).every((client) => partOf(client) === 'collapsed'));
  const stats = await statsOf(gate);
  assert.equal(stats.coalesced, MANY - 1);
  assert.equal(stats.lookups, MANY);
  assert.equal(stats.hit_rate_percent, 0);
  assert.equal(await metric(gate.port, 'penstock_cache_answers_total', { result: 'collapsed' }), MANY - 1);
  const after = await follow(gate);
  await after.done;
  assert.equal(after.text, first.text);
  assert.equal(partOf(after), 'hit');
  const log = await until('the log has all', () => (gate.log().length > MANY ? gate.log() : undefined), 10000, 50);
  assert.deepEqual(tally(log.map(({ cache }) => cache)), { miss: 1, collapsed: MANY - 1, hit: 1 });
  const miss = log.find(({ cache }) => cache === 'miss');
  assert.equal(miss.attempts, 1);
  assert.ok(miss.endpoint.includes(String(up.port)));
  assert.equal(log.find(({ cache }) => cache === 'collapsed').endpoint, undefined);
});

test('whoever asks in another form waits for the same call', async (t) => {
  const hold = halting();
  const up = await startUpstream(t, hold.script);
  const gate = await startCached(t, up);
  const stream = await follow(gate);
  const wholes = [ask(gate.port), ask(gate.port)];
  await has(stream, 3);
  const other = { body: { seed: 1 } };
  const whole = ask(gate.port, other);
  await up.seen(2);
  const streams = await Promise.all([1, 2].map(() => {
    const started = follow(gate, other);
    setTimeout(hold.release, 100 * slowness);
    return started;
  }));
  await allDone([stream, ...streams]);
  for (const one of await Promise.all(wholes)) {
    assert.equal(one.json.choices[0].message.content, 'word0 word1 word2 last');
    assert.deepEqual(one.json.usage, usage.usage);
    assert.match(one.headers['cache-status'], /collapsed/);
  }
  assert.equal((await whole).json.choices[0].message.content, 'whole');
  for (const one of streams) {
    assert.match(one.text, /whole/);
    assert.ok(one.text.endsWith(event('[DONE]')));
  }
  assert.equal(hold.calls, 2);
});

test('who comes late gets the beginning at once', async (t) => {
  const hold = halting({ words: 200, pad: 'x'.repeat(500) });
  const up = await startUpstream(t, hold.script);
  const gate = await startCached(t, up);
  const first = await follow(gate);
  await has(first, 200);
  for (let i = 0; i < 5; i++) {
    const late = await follow(gate);
    await has(late, 200); // nothing more comes from upstream
    late.leave();
  }
  hold.release();
  await first.done;
  assert.ok(first.ended);
  assert.equal(hold.calls, 1);
});

test('who began may leave, and the last one to leave ends the call', async (t) => {
  const hold = halting();
  const up = await startUpstream(t, hold.script);
  const gate = await startCached(t, up);
  const first = await follow(gate);
  const others = await many(8, () => follow(gate));
  first.leave();
  others[0].leave();
  await first.done;
  await sleep(50);
  assert.equal(hold.closed, 0);
  const late = await follow(gate);
  await has(late, 3);
  hold.release();
  await allDone([...others, late]);
  assert.ok(others.slice(1).every(({ text, ended }) => ended && text === late.text));
  assert.equal(hold.calls, 1);
  assert.equal(partOf(await follow(gate)), 'hit');
  // Who began did not see what the call took; it is counted all the same.
  assert.equal(await metric(gate.port, 'penstock_traffic_tokens_total', { kind: 'output' }), 4);

  const again = halting();
  up.script = again.script;
  const body = { seed: 1 };
  const some = [await follow(gate, { body }), ...await many(8, () => follow(gate, { body }))];
  for (const client of some.slice(0, -1)) {
    client.leave();
  }
  await sleep(50);
  assert.equal(again.closed, 0);
  some.at(-1).leave();
  await until('the upstream sees the end', () => again.closed === 1);
  await landed(gate);
  assert.equal(again.calls, 1);
  again.release();
  const anew = await follow(gate, { body });
  assert.equal(partOf(anew), 'miss');
  await anew.done;
  assert.equal(again.calls, 2);
});

test('who leaves before there is a head ends nothing for the others', async (t) => {
  const hold = halting();
  const up = await startUpstream(t, hold.script);
  const gate = await startCached(t, up);
  const controllers = Array.from({ length: 6 }, () => new AbortController());
  const wholes = controllers.map(({ signal }) => fetch(`${gate.url}${CHAT}`, {
    method: 'POST', signal, headers: { 'content-type': 'application/json' }, body: JSON.stringify(chatBody({ temperature: 0 })),
  }).then((answer) => answer.text(), () => null));
  await up.seen(1);
  await sleep(50);
  for (const controller of controllers.slice(0, 5)) {
    controller.abort();
  }
  await Promise.all(wholes.slice(0, 5));
  await sleep(50);
  assert.equal(hold.closed, 0);
  hold.release();
  assert.match(await wholes[5], /whole/);
  assert.equal(hold.calls, 1);
});

test('an answer that breaks off is broken for all, and is not kept', async (t) => {
  const hold = halting({ end: (answer) => answer.die() });
  const up = await startUpstream(t, hold.script);
  const gate = await startCached(t, up);
  const first = await follow(gate);
  const clients = [first, ...await many(20, () => follow(gate))];
  const whole = ask(gate.port);
  await until('all have the beginning', () => clients.every((client) => client.words() === 3), 10000);
  hold.release();
  await allDone(clients);
  for (const client of clients) {
    assert.ok(client.broken && !client.ended);
    assert.equal(client.words(), 3);
  }
  assert.equal((await whole).status, 502); // it had nothing yet and asked for itself
  assert.equal((await statsOf(gate)).l1.entries, 0);
  assert.equal(await metric(gate.port, 'penstock_cache_flights'), 0);
});

test('what the gate says is told to all', async (t) => {
  const hold = halting();
  const up = await startUpstream(t, hold.script);
  const gate = await startCached(t, up, { upstream: ', admission: {max_in_flight: 1, max_queue: 0}' });
  const inside = await follow(gate);
  await has(inside, 3);
  const answers = await many(20, () => ask(gate.port, { body: { seed: 1 } }));
  assert.deepEqual(tally(answers.map(({ status }) => status)), { 429: 20 });
  for (const { json, headers } of answers) {
    assert.equal(json.error.code, 'queue_full');
    assert.ok(Number(headers['retry-after']) >= 1);
  }
  hold.release();
  await inside.done;
  assert.ok(inside.ended);
  await up.crash();
  const dead = await many(20, () => ask(gate.port, { body: { seed: 2 } }));
  for (const { status, json } of dead) {
    assert.ok(status === 502 || status === 503, `${status}`);
    assert.ok(json.error.code);
  }
  assert.equal(await metric(gate.port, 'penstock_cache_flights'), 0);
});

test('an answer that is for one alone is not given to the others', async (t) => {
  let calls = 0;
  let release;
  const opened = new Promise((resolve) => { release = resolve; });
  const up = await startUpstream(t, async (request, answer) => {
    const number = ++calls;
    await Promise.race([opened, request.connection.closed]);
    await answer.json(200, { id: `call-${number}`, object: 'chat.completion', choices: [] }, { 'Set-Cookie': `who=${number}` });
  });
  const gate = await startCached(t, up);
  const all = many(5, () => ask(gate.port));
  await up.seen(1);
  await sleep(100 * slowness);
  release();
  const answers = await all;
  assert.equal(new Set(answers.map(({ json }) => json.id)).size, 5);
  assert.equal(calls, 5);
});

test('tenants do not share a call', async (t) => {
  const hold = halting();
  const up = await startUpstream(t, hold.script);
  const keys = ['red', 'blue'].map((name) => `  - {name: ${name}, key: key-of-${name}-0123456789, max_in_flight: 3}\n`);
  const gate = await startCached(t, up, { more: `tenants:\n${keys.join('')}` });
  const of = (name) => ({ headers: { authorization: `Bearer key-of-${name}-0123456789` } });
  const clients = await many(6, (i) => follow(gate, of(i % 2 === 0 ? 'red' : 'blue')));
  assert.equal(hold.calls, 2);
  const refused = await ask(gate.port, { ...of('red'), body: { seed: 1 } });
  assert.equal(refused.status, 429); // each who waits is one in flight
  hold.release();
  await allDone(clients);
  assert.ok(clients.every(({ ended }) => ended));
  assert.equal((await ask(gate.port, of('red'))).status, 200);
});

/// A long stream, as fast as it goes.
function flood(pieces, size) {
  const state = { calls: 0, sent: 0 };
  const piece = event(chunk('y'.repeat(size)));
  state.script = async (request, answer) => {
    state.calls += 1;
    await answer.begin(200, { 'Content-Type': 'text/event-stream' });
    await answer.chunk(event(chunk('word0 ')));
    await sleep(200 * slowness);
    for (let i = 0; i < pieces && answer.alive; i++) {
      await answer.chunk(piece);
      state.sent += 1;
    }
    await answer.chunk(event(chunk('', 'stop')));
    await answer.chunk(event('[DONE]'));
    await answer.end();
  };
  return state;
}

for (const [name, more] of Object.entries({
  'an answer that is kept': 'cache: {l1: {size: 256MiB, max_entry: 128MiB}}',
  'an answer that is too long to keep': 'cache: {l1: {size: 64MiB, max_entry: 256KiB}}',
})) {
  test(`one who does not read slows nobody: ${name}`, async (t) => {
    const pieces = sanitizer === '' ? 800 : 400;
    const long = flood(pieces, 64 * 1024);
    const up = await startUpstream(t, long.script);
    const gate = await startCached(t, up, { more });
    const slow = await follow(gate, { paused: true });
    const fast = await many(2, () => follow(gate));
    await allDone(fast);
    assert.equal(long.calls, 1);
    assert.equal(long.sent, pieces);
    assert.ok(fast.every(({ text, ended }) => ended && text === fast[0].text));
    assert.ok(fast[0].text.length > pieces * 64 * 1024);
    slow.read();
    await slow.done;
    if (slow.ended) {
      assert.ok(slow.text === fast[0].text);
    } else { // it was given up in the middle: what it has is right
      assert.ok(slow.broken && fast[0].text.startsWith(slow.text));
    }
    assert.ok(slow.ended || /256KiB/.test(more));
    await landed(gate);
  });
}

test('an upstream is not read faster than its only reader reads', async (t) => {
  const long = flood(1600, 64 * 1024);
  const up = await startUpstream(t, long.script);
  const gate = await startCached(t, up, { more: 'cache: {l1: {size: 64MiB, max_entry: 256KiB}}' });
  const slow = await follow(gate, { paused: true });
  let before = -1;
  await until('the upstream has to wait', async () => {
    const stands = long.sent > 0 && long.sent === before;
    before = long.sent;
    await sleep(300);
    return stands && long.sent === before;
  }, 60000);
  assert.ok(long.sent < 800, `${long.sent}`);
  slow.leave();
  await until('the call is ended', () => up.open === 0, 5000);
});

test('memory that is used up ends the keeping, not the answer', async (t) => {
  const long = flood(60, 64 * 1024);
  const up = await startUpstream(t, long.script);
  const gate = await startCached(t, up, { more: 'max_buffered: 2MiB\ncache: {l1: {size: 64MiB, max_entry: 16MiB}}' });
  const clients = await many(3, () => follow(gate));
  await allDone(clients);
  assert.equal(long.calls, 1);
  const complete = clients.filter(({ ended }) => ended);
  assert.ok(complete.length >= 1);
  assert.ok(complete.every(({ text }) => text === complete[0].text && text.length > 60 * 64 * 1024));
  assert.equal((await statsOf(gate)).l1.entries, 0);
  const next = await follow(gate); // nothing is held any more
  await next.done;
  assert.ok(next.ended);
});

test('a reload in the middle of a call changes nothing for those who wait', async (t) => {
  const hold = halting();
  const up = await startUpstream(t, hold.script);
  const gate = await startCached(t, up);
  const first = await follow(gate);
  await has(first, 3);
  gate.reload(configOf(up, { more: 'max_connections: 1234' }));
  await until('it is reloaded', () => /reload/.test(gate.stderr), 10000, 20);
  const late = await many(4, () => follow(gate));
  hold.release();
  await allDone([first, ...late]);
  assert.ok(late.every(({ text }) => text === first.text));
  assert.equal(hold.calls, 1);
});

test('a program that is told to end lets the answers land', async (t) => {
  const hold = halting();
  const up = await startUpstream(t, hold.script);
  const gate = await startCached(t, up);
  const clients = [await follow(gate), ...await many(10, () => follow(gate))];
  const stopped = gate.stop();
  await until('it is told', () => /drain|stop/i.test(gate.stderr), 5000).catch(() => {});
  await sleep(100);
  clients[0].leave(); // who began does not see the end
  hold.release();
  await allDone(clients);
  assert.ok(clients.slice(1).every(({ ended, text }) => ended && text === clients[1].text));
  await stopped;
});

test('a program whose time to end is over breaks off what is left', async (t) => {
  const hold = halting();
  const up = await startUpstream(t, hold.script);
  const gate = await startCached(t, up, { more: 'drain_timeout: 300ms' });
  const clients = [await follow(gate), ...await many(10, () => follow(gate))];
  const wholes = many(4, () => ask(gate.port, { body: { seed: 1 } }).catch(() => {}));
  await up.seen(2);
  await gate.stop();
  await allDone(clients);
  assert.ok(clients.every(({ ended }) => !ended));
  await wholes;
});
