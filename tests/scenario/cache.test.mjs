// tags: threads
// timeout: 240
//
// cache - answers that are remembered: who gets them, in which form, for how long, and which never are.
//
// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import test from 'node:test';

import OpenAI from 'openai';

import { allEvents, call, chatBody, many, metric, open } from './lib/client.mjs';
import { CHAT, ask, configOf, invalidate, landed, partOf, startCached, statsOf } from './lib/cached.mjs';
import { inference, startUpstream } from './lib/upstream.mjs';
import { sleep, slowness, until } from './lib/wait.mjs';

const COMPLETION = {
  id: 'x', object: 'chat.completion', created: 1, model: 'test-model',
  choices: [{ index: 0, message: { role: 'assistant', content: 'known' }, finish_reason: 'stop' }],
  usage: { prompt_tokens: 10, completion_tokens: 8, total_tokens: 18 },
};
const CHUNK = {
  id: 'x', object: 'chat.completion.chunk', created: 1, model: 'test-model',
  choices: [{ index: 0, delta: { role: 'assistant', content: 'known' }, finish_reason: null }],
};
const LAST = { ...CHUNK, choices: [{ index: 0, delta: {}, finish_reason: 'stop' }] };

/// Asks `n` times, one after the other, and says what the cache did each time.
async function parts(gate, n, options) {
  const list = [];
  for (let i = 0; i < n; i++) {
    list.push(partOf(await ask(gate.port, options)));
  }
  return list;
}

/// How many calls an upstream had for chats and the like.
const calls = (up) => up.requests.filter(({ method }) => method === 'POST').length;

test('the second one gets what the first one got, and no call is made', async (t) => {
  const up = await startUpstream(t, inference());
  const gate = await startCached(t, up);
  const first = await ask(gate.port);
  assert.equal(first.status, 200);
  assert.match(first.headers['cache-status'], /^penstock; fwd=uri-miss/i);
  assert.equal(first.headers.age, undefined);
  const answers = await many(20, () => ask(gate.port), 5);
  for (const answer of answers) {
    assert.equal(answer.text, first.text);
    assert.match(answer.headers['cache-status'], /^penstock; hit; ttl=3[56]\d\d; detail="?L1"?$/i);
    assert.ok(Number(answer.headers.age) >= 0);
    assert.equal(answer.headers['content-type'], first.headers['content-type']);
  }
  assert.equal(new Set(answers.map(({ headers }) => headers['x-request-id'])).size, 20);
  assert.equal(calls(up), 1);
  assert.deepEqual(await parts(gate, 1, { body: { messages: [{ role: 'user', content: 'Other.' }] } }), ['miss']);
});

test('one answer is a stream or a whole, as it is asked for', async (t) => {
  const up = await startUpstream(t, inference({ tokens: 5 }));
  const gate = await startCached(t, up);
  const client = new OpenAI({ baseURL: `${gate.url}/v1`, apiKey: 'none', maxRetries: 0, timeout: 15000 * slowness });
  const question = (content, more = {}) => ({
    model: 'test-model', messages: [{ role: 'user', content }], temperature: 0, ...more,
  });
  const streamed = async (content, more = {}) => {
    let text = '';
    let usage;
    let chunks = 0;
    for await (const chunk of await client.chat.completions.create(question(content, { stream: true, ...more }))) {
      text += chunk.choices[0]?.delta?.content ?? '';
      usage = chunk.usage ?? usage;
      chunks += chunk.choices.length === 0 ? 1 : 0;
    }
    return { text, usage, chunks };
  };
  const text = 'word0 word1 word2 word3 word4 ';
  const withUsage = { stream_options: { include_usage: true } };
  // A stream, then wholes of it.
  assert.deepEqual(await streamed('a'), { text, usage: undefined, chunks: 0 });
  const whole = await client.chat.completions.create(question('a'));
  assert.equal(whole.object, 'chat.completion');
  assert.equal(whole.choices[0].message.content, text);
  assert.equal(whole.choices[0].finish_reason, 'stop');
  assert.equal(whole.usage.completion_tokens, 5);
  const shown = await streamed('a', withUsage);
  assert.equal(shown.text, text);
  assert.deepEqual(shown.usage, whole.usage);
  assert.equal(calls(up), 1);
  // A whole, then streams of it.
  const first = await client.chat.completions.create(question('b'));
  assert.deepEqual(await streamed('b'), { text, usage: undefined, chunks: 0 });
  const later = await streamed('b', withUsage);
  assert.equal(later.text, text);
  assert.deepEqual(later.usage, first.usage);
  assert.equal(calls(up), 2);
  // Old completions too.
  const old = await client.completions.create({ model: 'test-model', prompt: 'c', temperature: 0 });
  let joined = '';
  for await (const chunk of await client.completions.create({ model: 'test-model', prompt: 'c', temperature: 0, stream: true })) {
    joined += chunk.choices[0]?.text ?? '';
  }
  assert.equal(joined, old.choices[0].text);
  assert.equal(calls(up), 3);
});

test('what means the same is the same question', async (t) => {
  const up = await startUpstream(t, inference());
  const gate = await startCached(t, up);
  const send = (text) => call(gate.port, {
    method: 'POST', path: CHAT, body: text, headers: { 'content-type': 'application/json' },
  });
  const same = [
    '{"model":"test-model","temperature":0,"top_p":1,"messages":[{"role":"user","content":"é"}]}',
    ' { "messages" : [ {"content":"\\u00e9", "role":"user"} ], "top_p":1.0,"temperature":0.0,\n"model":"test-model"} ',
    '{"model":"test-model","temperature":0e0,"top_p":1e0,"user":"me","messages":[{"role":"user","content":"é"}]}',
  ];
  assert.deepEqual(await many(3, async (i) => partOf(await send(same[i])), 1), ['miss', 'hit', 'hit']);
  const other = [
    same[0].replace('"top_p":1', '"top_p":2'), same[0].replace('é', 'e'), same[0].replace('test-model', 'test-modem'),
    same[0].replace('"top_p"', '"top_k"'), same[0].replace('}]}', '}],"n":1}'),
  ];
  for (const text of other) {
    assert.equal(partOf(await send(text)), 'miss', text);
  }
});

test('only what is certain is remembered', async (t) => {
  const up = await startUpstream(t, inference());
  const gate = await startCached(t, up);
  const none = ['', ''];
  assert.deepEqual(await parts(gate, 2, { body: { temperature: 0.7 } }), none);
  assert.deepEqual(await parts(gate, 2, { body: { temperature: undefined } }), none);
  assert.deepEqual(await parts(gate, 2, { body: { temperature: 0.7, seed: 1 } }), ['miss', 'hit']);
  assert.deepEqual(await parts(gate, 2, { body: { store: true } }), none);
  const twice = '{"model":"test-model","temperature":0,"temperature":0,"messages":[{"role":"user","content":"x"}]}';
  const deep = '{"model":"test-model","temperature":0,"x":{"a":1,"a":2},"messages":[{"role":"user","content":"x"}]}';
  for (const body of [twice, twice, deep, deep]) {
    const answer = await call(gate.port, { method: 'POST', path: CHAT, body, headers: { 'content-type': 'application/json' } });
    assert.equal(answer.status, 200);
    assert.equal(partOf(answer), '', body);
  }
  const embed = { method: 'POST', path: '/v1/embeddings', body: { model: 'test-model', input: 'gate' } };
  assert.deepEqual(await many(2, async () => partOf(await call(gate.port, embed)), 1), ['miss', 'hit']);
  const before = calls(up);
  const { bypassed } = await statsOf(gate);
  assert.equal(bypassed, 10);
  assert.equal(before, 8 + 4);
});

test('with sampled: yes everything is remembered, and without cache: yes nothing', async (t) => {
  const up = await startUpstream(t, inference());
  const drawn = await startCached(t, up, { route: ', sampled: yes' });
  assert.deepEqual(await parts(drawn, 2, { body: { temperature: 0.7 } }), ['miss', 'hit']);
  const off = await startCached(t, up, { route: '', more: '' , program: { config: configOf(up).replace('cache: yes', 'cache: auto') } });
  assert.deepEqual(await parts(off, 2), ['', '']);
});

/// Scripts whose answers are never stored; each is asked for twice and must be called twice.
const sse = { 'Content-Type': 'text/event-stream' };
const event = (value) => `data: ${typeof value === 'string' ? value : JSON.stringify(value)}\n\n`;
const never = {
  'an error': (request, answer) => answer.json(500, { error: { message: 'no' } }),
  'a refusal': (request, answer) => answer.json(400, { error: { message: 'no' } }),
  'another success': (request, answer) => answer.json(203, COMPLETION),
  'an error that says 200': (request, answer) => answer.json(200, { error: { message: 'no' } }),
  'an error behind other members': (request, answer) => answer.json(200, { id: 'x', error: { message: 'no' } }),
  'an error as an object': (request, answer) => answer.json(200, { object: 'error', message: 'no' }),
  'a whole that is cut': (request, answer) => {
    answer.rawHead(200, { 'Content-Type': 'application/json', Connection: 'close' });
    answer.raw(JSON.stringify(COMPLETION).slice(0, -20));
    answer.dieAfter();
  },
  'a body that is cut': (request, answer) => {
    answer.rawHead(200, { 'Content-Type': 'application/json', 'Content-Length': '1000' });
    answer.raw(JSON.stringify(COMPLETION));
    answer.dieAfter();
  },
  'no-store': (request, answer) => answer.json(200, COMPLETION, { 'Cache-Control': 'max-age=60, No-Store' }),
  private: (request, answer) => answer.json(200, COMPLETION, { 'Cache-Control': 'private' }),
  'a cookie': (request, answer) => answer.json(200, COMPLETION, { 'Set-Cookie': 'who=me' }),
  'a stream without an end': (request, answer) => answer.sse([CHUNK, LAST], { done: false }),
  'a stream that breaks': async (request, answer) => {
    await answer.begin(200, sse);
    await answer.chunk(event(CHUNK));
    await answer.chunk(event('[DONE]'));
    answer.dieAfter();
  },
  'a stream with an error': (request, answer) => answer.sse([CHUNK, { error: { message: 'no' } }]),
  'a stream with an error of another kind': (request, answer) => answer.sse([CHUNK, { type: 'error', error: 'no' }]),
  'a stream whose last event is not ended': async (request, answer) => {
    await answer.begin(200, sse);
    await answer.chunk(`${event(CHUNK)}data: [DONE]`);
    await answer.end();
  },
  'more than fits': (request, answer) => answer.json(200, { ...COMPLETION, pad: 'x'.repeat(300 * 1024) }),
};

test('some answers are never stored', async (t) => {
  let script;
  const up = await startUpstream(t, (request, answer) => script(request, answer));
  const gate = await startCached(t, up, { more: 'cache: {l1: {size: 8MiB, max_entry: 256KiB}}' });
  for (const [name, one] of Object.entries(never)) {
    script = one;
    const before = calls(up);
    const body = { messages: [{ role: 'user', content: name }], stream: /stream/.test(name) };
    for (let i = 0; i < 2; i++) {
      await ask(gate.port, { body }).catch(() => {}); // broken off is fine
      await landed(gate);
    }
    assert.ok(calls(up) - before >= 2, name);
    assert.equal((await statsOf(gate)).l1.entries, 0, name);
  }
});

test('streams of other APIs are stored when they say that they end', async (t) => {
  let lines;
  const up = await startUpstream(t, async (request, answer) => {
    await answer.begin(200, { 'Content-Type': lines[0] });
    for (const line of lines.slice(1)) {
      await answer.chunk(line);
    }
    await answer.end();
  });
  const gate = await startCached(t, up);
  const ollama = { path: '/api/chat', body: { model: 'm', stream: true, options: { temperature: 0 }, messages: [{ role: 'user', content: 'x' }] } };
  const anthropic = { path: '/v1/messages', body: { model: 'm', stream: true, temperature: 0, max_tokens: 9, messages: [{ role: 'user', content: 'x' }] } };
  const tgi = { path: '/generate_stream', body: { inputs: 'x', parameters: { seed: 1 } } };
  const llamacpp = { path: '/completion', body: { prompt: 'x', stream: true, temperature: 0 } };
  const typed = (value) => `event: ${value.type}\n${event(value)}`;
  const stories = [
    [ollama, 'application/x-ndjson', ['{"message":{"content":"a"},"done":false}\n', '{"message":{"content":""},"done":true,"eval_count":1}\n'],
      '{"error":"out of memory"}\n'],
    [anthropic, 'text/event-stream', [typed({ type: 'content_block_delta', delta: { text: '"message_stop"' } }), typed({ type: 'message_stop' })],
      typed({ type: 'error', error: { type: 'overloaded_error', message: 'no' } })],
    [tgi, 'text/event-stream', [event({ token: { text: 'a' }, generated_text: null }), event({ token: { text: 'b' }, generated_text: 'ab' })],
      event({ error: 'no', error_type: 'generation' })],
    [llamacpp, 'text/event-stream', [event({ content: 'a', stop: false }), event({ content: '', stop: true })],
      event({ error: { message: 'no' } })],
  ];
  let stored = 0;
  for (const [request, type, [word, end], error] of stories) {
    const twice = async (body) => {
      lines = [type, ...body];
      const list = [];
      for (let i = 0; i < 2; i++) {
        list.push(partOf(await call(gate.port, { method: 'POST', ...request })));
      }
      return list.join();
    };
    assert.equal(await twice([word]), 'miss,miss', `${request.path} without an end`);
    assert.equal(await twice([word, error, end]), 'miss,miss', `${request.path} with an error`);
    assert.equal(await twice([word, end]), 'miss,hit', request.path);
    stored += 1;
    assert.equal((await statsOf(gate)).l1.entries, stored);
  }
});

test('an answer is fresh for as long as the route or a header says', async (t) => {
  const up = await startUpstream(t, inference({ first: 0 }));
  const gate = await startCached(t, up, { route: ', cache_ttl: 1s' });
  const long = { headers: { 'x-penstock-cache-ttl': '600' }, body: { seed: 1 } };
  assert.deepEqual(await parts(gate, 1), ['miss']);
  assert.deepEqual(await parts(gate, 2, long), ['miss', 'hit']);
  assert.match((await ask(gate.port, long)).headers['cache-status'], /ttl=(600|59\d)/);
  await sleep(1100);
  assert.deepEqual(await parts(gate, 1), ['miss']);
  assert.deepEqual(await parts(gate, 1, long), ['hit']);
  for (const odd of ['0', '-1', 'x', '99999999999999999999', '1000000001']) {
    const answer = await ask(gate.port, { headers: { 'x-penstock-cache-ttl': odd }, body: { seed: 2 } });
    assert.equal(answer.status, 200, odd);
  }
});

test('a stale answer is sent while one call in the background asks anew', async (t) => {
  let release;
  let round = 0;
  const up = await startUpstream(t, async (request, answer) => {
    const number = ++round;
    if (number > 1) {
      await Promise.race([new Promise((resolve) => { release = resolve; }), request.connection.closed]);
    }
    await answer.json(200, { ...COMPLETION, id: `round-${number}` });
  });
  const gate = await startCached(t, up, { route: ', cache_ttl: 1s, cache_stale: 60s' });
  assert.equal((await ask(gate.port)).json.id, 'round-1');
  await sleep(1100);
  const stale = await many(10, () => ask(gate.port), 5);
  for (const answer of stale) {
    assert.equal(answer.json.id, 'round-1');
    assert.match(answer.headers['cache-status'], /; hit; ttl=-?\d+/);
  }
  await up.seen(2);
  assert.equal(calls(up), 2);
  assert.deepEqual(await parts(gate, 1, { headers: { 'cache-control': 'only-if-cached' } }), ['hit']);
  release();
  await until('the new answer', async () => (await ask(gate.port)).json.id === 'round-2', 5000, 20);
  assert.equal(calls(up), 2);
  await until('the log says so', () => gate.log().filter(({ cache }) => cache === 'stale').length >= 11);
});

test('a stale answer that must take another form is of use, or is asked for by itself', async (t) => {
  let odd = false;
  const up = await startUpstream(t, (request, answer) => {
    const text = request.body.toString();
    if (!request.json.stream) {
      return answer.json(200, { ...COMPLETION, id: 'whole', length: text.length });
    }
    return answer.sse(odd ? [CHUNK] : [CHUNK, LAST]);
  });
  const gate = await startCached(t, up, { route: ', cache_ttl: 1s, cache_stale: 60s' });
  const body = { stream: true };
  assert.deepEqual(await parts(gate, 1, { body }), ['miss']);
  odd = true; // no finish_reason: can't be made a whole
  assert.deepEqual(await parts(gate, 1, { body: { ...body, seed: 1 } }), ['miss']);
  await sleep(1100);
  const whole = await ask(gate.port);
  assert.equal(whole.json.choices[0].message.content, 'known');
  assert.equal(partOf(whole), 'hit');
  await landed(gate);
  const other = await ask(gate.port, { body: { seed: 1 } });
  assert.equal(other.status, 200);
  assert.equal(other.json.id, 'whole');
  assert.ok(other.json.length > 50, 'the body went upstream');
});

test('a stale answer is sent when the upstream fails', async (t) => {
  let fails = false;
  const up = await startUpstream(t, (request, answer) => (fails
    ? answer.json(500, { error: { message: 'no' } }) : answer.json(200, COMPLETION)));
  const gate = await startCached(t, up, { route: ', cache_ttl: 1s, cache_stale_on_error: 60s' });
  const first = await ask(gate.port);
  await ask(gate.port, { body: { stream: true, seed: 3 } });
  await sleep(1100);
  fails = true;
  const failed = await ask(gate.port);
  assert.equal(failed.text, first.text);
  assert.match(failed.headers['cache-status'], /fwd=stale; fwd-status=500/);
  assert.deepEqual(tallyOf(await many(10, async () => (await ask(gate.port)).status, 10)), { 200: 10 });
  assert.equal((await ask(gate.port, { body: { seed: 9 } })).status, 500); // never known
  await up.crash();
  const dead = await ask(gate.port);
  assert.equal(dead.text, first.text);
  assert.equal(partOf(dead), 'stale');
  const streamed = await open(gate.port, { method: 'POST', path: CHAT, body: chatBody({ temperature: 0, seed: 3, stream: true }) });
  assert.equal((await allEvents(streamed.incoming)).at(-1).data, '[DONE]');
  fails = false;
  await up.revive();
  await until('the upstream is asked again', async () => partOf(await ask(gate.port)) === 'hit', 10000, 50);
});

function tallyOf(list) {
  return list.reduce((sums, one) => ({ ...sums, [one]: (sums[one] ?? 0) + 1 }), {});
}

test('a request says what it wants of the cache', async (t) => {
  const up = await startUpstream(t, inference());
  const gate = await startCached(t, up);
  const wants = (headers) => parts(gate, 1, { headers });
  const uncached = await ask(gate.port, { headers: { 'cache-control': 'only-if-cached' } });
  assert.equal(uncached.status, 504);
  assert.equal(uncached.json.error.code, 'not_cached');
  assert.equal(calls(up), 0);
  assert.deepEqual(await wants({ 'x-penstock-cache': 'bypass' }), ['']);
  assert.deepEqual(await wants({ 'cache-control': 'no-store' }), ['']);
  assert.deepEqual(await wants({}), ['miss']); // neither was kept
  assert.deepEqual(await wants({ 'cache-control': 'only-if-cached' }), ['hit']);
  assert.deepEqual(await wants({ 'cache-control': 'max-age=0, No-Cache' }), ['miss']);
  assert.deepEqual(await wants({ 'x-penstock-cache': 'refresh' }), ['miss']);
  assert.deepEqual(await wants({}), ['hit']);
  assert.deepEqual(await wants({ 'x-penstock-cache': 'bypass' }), ['']);
  assert.equal(calls(up), 6);
  const { requests } = up;
  assert.ok(requests.every(({ raw }) => !/x-penstock/i.test(raw)), 'ours do not go upstream');
});

test('tenants never get each other\'s answers, unless the route says so', async (t) => {
  const up = await startUpstream(t, inference());
  const tenants = 'tenants:\n  - {name: red, key: key-of-red-0123456789}\n  - {name: blue, key: key-of-blue-0123456789}\n';
  const red = { headers: { authorization: 'Bearer key-of-red-0123456789' } };
  const blue = { headers: { authorization: 'Bearer key-of-blue-0123456789' } };
  const apart = await startCached(t, up, { more: tenants });
  assert.deepEqual(await parts(apart, 2, red), ['miss', 'hit']);
  assert.deepEqual(await parts(apart, 2, blue), ['miss', 'hit']);
  assert.equal((await ask(apart.port)).status, 401);
  const shared = await startCached(t, up, { more: tenants, route: ', cache_shared: yes' });
  assert.deepEqual(await parts(shared, 1, red), ['miss']);
  assert.deepEqual(await parts(shared, 1, blue), ['hit']);
});

test('a hit counts as a request of its tenant and takes no tokens', async (t) => {
  const up = await startUpstream(t, inference());
  const gate = await startCached(t, up, {
    more: 'tenants:\n  - {name: red, key: key-of-red-0123456789, requests_per_minute: 30, tokens_per_minute: 1000000}\n',
  });
  const red = { headers: { authorization: 'Bearer key-of-red-0123456789' } };
  const left = ({ headers }) => [Number(headers['x-ratelimit-remaining-requests']), Number(headers['x-ratelimit-remaining-tokens'])];
  await ask(gate.port, red);
  const before = left(await ask(gate.port, red));
  await many(20, () => ask(gate.port, red), 4);
  const after = left(await ask(gate.port, red));
  assert.ok(before[0] - after[0] >= 1, `${before} -> ${after}`); // it fills up meanwhile
  // The reservation of a hit is given back at its end: what is shown holds its own alone.
  assert.ok(after[1] >= before[1] - 1, `${before} -> ${after}`);
  const log = await until('the log has all', () => (gate.log().length >= 23 ? gate.log() : undefined));
  const hit = log.find(({ cache }) => cache === 'hit');
  const miss = log.find(({ cache }) => cache === 'miss');
  assert.equal(miss.attempts, 1);
  assert.equal(log.filter(({ cache }) => cache === 'hit').length, 22);
  assert.equal(hit.endpoint, undefined);
  assert.equal(await metric(gate.port, 'penstock_traffic_tokens_total', { kind: 'output' }), 8);
});

test('invalidation by tag, pattern and key takes answers out, those on their way too', async (t) => {
  let release;
  let hold = false;
  const up = await startUpstream(t, async (request, answer) => {
    if (hold) {
      await Promise.race([new Promise((resolve) => { release = resolve; }), request.connection.closed]);
    }
    await answer.json(200, COMPLETION);
  });
  const gate = await startCached(t, up, { route: ', cache_tags: [docs]' });
  const tagged = { headers: { 'x-penstock-cache-tags': 'faq, news' }, body: { seed: 1 } };
  const plain = { body: { seed: 2 } };
  const fill = async () => [...await parts(gate, 1, tagged), ...await parts(gate, 1, plain)].join();
  await fill();
  assert.equal(await fill(), 'hit,hit');
  const tell = async (body) => {
    const answer = await invalidate(gate, body);
    assert.equal(answer.status, 200, answer.text);
    assert.equal(answer.json.invalidated, true);
  };
  await tell({ tag: 'faq' });
  assert.equal(await fill(), 'miss,hit');
  await tell({ tag: 'docs' });
  assert.equal(await fill(), 'miss,miss');
  await tell({ pattern: 'all/model*' });
  assert.equal(await fill(), 'hit,hit');
  await tell({ pattern: 'all/test-*/*' });
  assert.equal(await fill(), 'miss,miss');
  await tell({ pattern: 'other/*' });
  await tell({ tag: 'faq', tenant: 'somebody' });
  assert.equal(await fill(), 'hit,hit');
  await tell({ key: '00'.repeat(32) });
  assert.equal(await fill(), 'hit,hit');

  hold = true;
  const late = { headers: { 'x-penstock-cache-tags': 'late' }, body: { seed: 3 } };
  const before = ask(gate.port, late);
  await up.seen(calls(up) + 1);
  await tell({ tag: 'docs' });
  const after = ask(gate.port, { body: { seed: 3 } }); // does not join what began before
  await until('a second call', () => up.requests.filter(({ body }) => body.includes('"seed":3')).length === 2, 5000, 5);
  const second = release;
  hold = false;
  second();
  await until('both are answered', async () => {
    release();
    return true;
  });
  assert.equal((await after).status, 200);
  const last = up.requests.filter(({ body }) => body.includes('"seed":3'))[0];
  last.connection.socket.destroy(); // whatever became of the first
  await before.catch(() => {});
  assert.equal(partOf(await ask(gate.port, { body: { seed: 3 } })), 'hit'); // the second was kept
});

test('what makes no sense to invalidate is refused with a reason', async (t) => {
  const up = await startUpstream(t, inference());
  const gate = await startCached(t, up, {
    more: 'admin:\n  tokens:\n    - {name: root, token: token-of-root-0123456789, role: admin}\n    - {name: eye, token: token-of-eye-0123456789, role: read}\n',
  });
  const root = { authorization: 'Bearer token-of-root-0123456789' };
  const eye = { authorization: 'Bearer token-of-eye-0123456789' };
  const wrong = [
    '', '[]', '{', 'null', '{}', '{"pattern":1}', '{"pattern":""}', '{"pattern":"a","tag":"b"}', '{"tag":"a","more":1}',
    '{"tag":"a","tag":"b"}', '{"key":"12"}', '{"key":"zz"}', `{"key":"${'g'.repeat(64)}"}`, '{"tag":"a","tenant":1}',
    `{"tag":"a","tenant":"${'t'.repeat(300)}"}`, `{"tag":"${'t'.repeat(5000)}"}`, '{"tag":"a"} x', '{"tag":"\\ud800"}',
  ];
  const json = { 'content-type': 'application/json' };
  for (const body of wrong) {
    const answer = await call(gate.port, { method: 'POST', path: '/api/cache/invalidate', body, headers: { ...root, ...json } });
    assert.equal(answer.status, 400, `${body.slice(0, 80)}: ${answer.text}`);
    assert.ok(answer.json, `${body.slice(0, 80)}: ${answer.text}`);
    assert.equal(answer.json.code, 'invalid_request');
    assert.ok(answer.json.detail.length > 10);
  }
  assert.equal((await invalidate(gate, { tag: 'a' })).status, 401);
  assert.equal((await invalidate(gate, { tag: 'a' }, eye)).status, 403);
  assert.equal((await invalidate(gate, { tag: 'a' }, root)).status, 200);
  assert.equal((await call(gate.port, { path: '/api/cache/stats', headers: eye })).status, 200);
  assert.equal((await call(gate.port, { path: '/api/cache/stats' })).status, 401);
  const got = await call(gate.port, { path: '/api/cache/invalidate', headers: root });
  assert.equal(got.status, 405);
  assert.equal(got.headers.allow, 'POST');
  const form = await call(gate.port, { method: 'POST', path: '/api/cache/invalidate', body: 'tag=a', headers: { ...root, 'content-type': 'text/plain' } });
  assert.equal(form.status, 415);
});

test('the figures say what happened', async (t) => {
  const up = await startUpstream(t, inference({ first: 20 }));
  const gate = await startCached(t, up, { upstream: ', price: {input_per_million_usd: 1000, output_per_million_usd: 1000}' });
  assert.equal((await statsOf(gate)).hit_rate_percent, undefined);
  await parts(gate, 4); // miss, 3 hits
  await parts(gate, 1, { body: { seed: 1, stream: true } }); // miss
  await parts(gate, 3, { headers: { 'x-penstock-cache': 'bypass' } });
  await parts(gate, 1, { body: { temperature: 1 } });
  const stats = await statsOf(gate);
  assert.equal(stats.lookups, 5);
  assert.equal(stats.hit_rate_percent, 60);
  assert.equal(stats.hit_rate_percent_5m, 60);
  assert.equal(stats.bypassed, 4);
  assert.equal(stats.coalesced, 0);
  assert.equal(stats.l1.hits, 3);
  assert.equal(stats.l1.misses, 2);
  assert.equal(stats.l1.entries, 2);
  assert.ok(stats.l1.bytes > 0 && stats.l1.bytes <= stats.l1.size);
  assert.ok(stats.gpu_seconds_saved > 0.05 && stats.gpu_seconds_saved < 60, `${stats.gpu_seconds_saved}`);
  assert.ok(stats.cost_saved.amount > 0, JSON.stringify(stats));
  assert.equal(stats.cost_saved.currency, 'USD');
  assert.equal(stats.l2, undefined);
  const answers = (result) => metric(gate.port, 'penstock_cache_answers_total', { result });
  assert.deepEqual(await Promise.all(['hit', 'miss', 'bypass', 'stale', 'collapsed'].map(answers)), [3, 2, 4, 0, 0]);
  assert.equal(await metric(gate.port, 'penstock_cache_entries'), 2);
  assert.equal(await metric(gate.port, 'penstock_cache_stored_total'), 2);
  assert.equal(await metric(gate.port, 'penstock_cache_flights'), 0);
  await invalidate(gate, { pattern: '*' });
  await until('the purged are swept', async () => (await metric(gate.port, 'penstock_cache_removed_total', { reason: 'purged' })) === 2, 10000, 50);
  assert.equal((await statsOf(gate)).l1.entries, 0);
});

test('a reload keeps what is known', async (t) => {
  const up = await startUpstream(t, inference());
  const gate = await startCached(t, up);
  assert.deepEqual(await parts(gate, 2), ['miss', 'hit']);
  gate.reload(configOf(up, { route: ', cache_ttl: 2h', more: 'max_connections: 1234' }));
  await until('it is reloaded', () => /reload/.test(gate.stderr), 10000, 20);
  assert.deepEqual(await parts(gate, 2), ['hit', 'hit']);
  gate.reload(configOf(up).replace('cache: yes', 'cache: no'));
  await until('the route forgets', async () => partOf(await ask(gate.port)) === '', 10000, 20);
  gate.reload(configOf(up));
  await until('and remembers', async () => partOf(await ask(gate.port)) === 'hit', 10000, 20);
});
