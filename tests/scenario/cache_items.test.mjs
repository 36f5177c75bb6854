// tags: threads
// timeout: 240
//
// cache_items - arrays of embeddings: each text is remembered for itself, and only what is missing
// goes upstream.
//
// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import test from 'node:test';

import OpenAI from 'openai';

import { call, many, metric } from './lib/client.mjs';
import { startPenstock } from './lib/penstock.mjs';
import { needsRedis, startRedis } from './lib/redis.mjs';
import { startSim } from './lib/sim.mjs';
import { startUpstream } from './lib/upstream.mjs';
import { sleep, slowness, until } from './lib/wait.mjs';

/// What the scripted server makes of a text, in numbers whose spelling a reader of doubles would lose.
const vectorOf = (text, size = 4) => {
  const digest = crypto.createHash('sha256').update(JSON.stringify(text)).digest();
  return `[${Array.from({ length: size }, (_, i) => `0.${digest[i % 32]}${i}00000000000000001e-1`).join(',')}]`;
};

const tokensOf = (item) => (Array.isArray(item) ? item.length : item.length + 2);

/// A whole answer, as text.
function answerTo(inputs, { id = 'e', size = 4 } = {}) {
  const items = inputs.map((text, index) => `{"object":"embedding","index":${index},"embedding":${vectorOf(text, size)}}`);
  const tokens = inputs.map(tokensOf).reduce((a, b) => a + b, 0);
  return `{"id":"${id}","object":"list","data":[${items.join(',')}],"model":"m",`
    + `"usage":{"prompt_tokens":${tokens},"total_tokens":${tokens}}}`;
}

const inputsOf = (request) => (Array.isArray(request.json.input) && typeof request.json.input[0] !== 'number'
  ? request.json.input : [request.json.input]);

function embeds(options) {
  let asked = 0;
  return (request, answer) => {
    asked += 1;
    return answer.send(200, { 'Content-Type': 'application/json' },
      answerTo(inputsOf(request), { id: `e${asked}`, ...options }));
  };
}

async function stage(t, script = embeds(), { route = '', top = '' } = {}) {
  const up = await startUpstream(t, script);
  const gate = await startPenstock(t, {
    config: `${top}
upstreams:
  - {name: one, engine: openai, endpoints: ["${up.url}"], health: {interval: 0s}}
routes:
  - {name: embed, path: "/v1/embeddings", kind: openai, cache: yes${route}}
`,
  });
  gate.embed = (input, { headers = {}, ...more } = {}) => call(gate.port, {
    method: 'POST', path: '/v1/embeddings', body: { model: 'm', input, ...more }, headers,
  });
  return { up, gate };
}

const stats = async (gate) => (await call(gate.port, { path: '/api/cache/stats' })).json;
const status = (answer) => answer.headers['cache-status'] ?? '';

/// The same in meaning and digits as what the server says to the whole.
function assertAnswers(answer, inputs) {
  assert.equal(answer.status, 200, answer.text);
  const expected = answerTo(inputs);
  const data = (text) => text.slice(text.indexOf('"data"'), text.indexOf('"model"'));
  assert.equal(data(answer.text), data(expected));
  assert.equal(answer.json.data.length, inputs.length);
}

/// Token ids, so that usage is exact.
const ids = (n) => [n, n + 1, n + 2].slice(0, 1 + (n % 3));

test('only what is missing goes upstream, and the answer is as if all had been asked', async (t) => {
  const { up, gate } = await stage(t);
  const first = await gate.embed([ids(1), ids(2), ids(3)]);
  assertAnswers(first, [ids(1), ids(2), ids(3)]);
  assert.match(status(first), /fwd=/);
  const second = await gate.embed([ids(4), ids(2), ids(5), ids(1)]);
  assertAnswers(second, [ids(4), ids(2), ids(5), ids(1)]);
  assert.deepEqual(up.requests.map((request) => request.json.input), [[ids(1), ids(2), ids(3)], [ids(4), ids(5)]]);
  assert.equal(second.json.usage.prompt_tokens, [4, 2, 5, 1].map((n) => ids(n).length).reduce((a, b) => a + b));
  assert.match(status(second), /fwd=miss.*detail="items=4 hits=2"/);
  assert.equal(second.json.id, 'e2', 'named after what was just asked');
  assert.equal(Number(second.headers['content-length']), Buffer.byteLength(second.text));
  const third = await gate.embed([ids(5), ids(3), ids(4)]);
  assertAnswers(third, [ids(5), ids(3), ids(4)]);
  assert.match(status(third), /; hit.*detail="items=3 hits=3"/);
  assert.match(third.headers.age, /^\d+$/);
  assert.equal(up.requests.length, 2);
  assert.equal(third.headers['content-type'], 'application/json');
});

test('single texts and arrays share what is remembered', async (t) => {
  const { up, gate } = await stage(t);
  await gate.embed('alone');
  assertAnswers(await gate.embed(['alone', 'other']), ['alone', 'other']);
  assert.deepEqual(up.requests[1].json.input, ['other']);
  const other = await gate.embed('other');
  assertAnswers(other, ['other']);
  assert.match(status(other), /; hit/);
  assert.match(status(await gate.embed(['other'])), /; hit/);
  assert.equal(up.requests.length, 2);
  assert.equal(other.json.usage.prompt_tokens, 7, 'it was asked alone, so its tokens are known');
});

test('what else the request says decides with each item, and goes along', async (t) => {
  const { up, gate } = await stage(t);
  await gate.embed(['a', 'b'], { dimensions: 4 });
  await gate.embed(['a', 'c'], { dimensions: 8, user: 'u' });
  assertAnswers(await gate.embed(['c', 'a'], { dimensions: 8 }), ['c', 'a']);
  await gate.embed(['c', 'd'], { dimensions: 8.0 });
  assert.deepEqual(up.requests.map(({ json }) => [json.input, json.dimensions]),
    [[['a', 'b'], 4], [['a', 'c'], 8], [['d'], 8]]);
  const keys = up.requests[2].body.toString();
  assert.equal(keys, '{"model":"m","input":["d"],"dimensions":8}');
});

test('twins are asked once and answered each', async (t) => {
  const { up, gate } = await stage(t);
  const answer = await gate.embed(['x', 'y', 'x', 'x']);
  assertAnswers(answer, ['x', 'y', 'x', 'x']);
  assert.deepEqual(up.requests[0].json.input, ['x', 'y']);
  assertAnswers(await gate.embed(['y', 'y']), ['y', 'y']);
  assert.equal(up.requests.length, 1);
});

test('an error stays with its request: nothing of it is remembered', async (t) => {
  const { up, gate } = await stage(t, (request, answer) => (inputsOf(request).includes('too long')
    ? answer.json(400, { error: { message: 'input is too long', type: 'invalid_request_error' } })
    : embeds()(request, answer)));
  await gate.embed(['a', 'b']);
  const bad = await gate.embed(['a', 'too long', 'c']);
  assert.equal(bad.status, 400);
  assert.equal(bad.json.error.message, 'input is too long');
  assertAnswers(await gate.embed(['c', 'a']), ['c', 'a']);
  assert.deepEqual(up.requests.map(({ json }) => json.input), [['a', 'b'], ['too long', 'c'], ['c']]);
});

test('an answer that can not be taken apart is passed on as it came, whole', async (t) => {
  let lie = false;
  const { up, gate } = await stage(t, (request, answer) => (lie
    ? answer.send(200, { 'Content-Type': 'application/json' },
      answerTo(inputsOf(request)).replaceAll('"index":1', '"index":0'))
    : embeds()(request, answer)));
  await gate.embed(['a', 'b']);
  lie = true;
  const answer = await gate.embed(['a', 'c', 'd']);
  assert.equal(answer.status, 200);
  assert.equal(answer.text, answerTo(['a', 'c', 'd']).replaceAll('"index":1', '"index":0'));
  assert.deepEqual(up.requests.map(({ json }) => json.input), [['a', 'b'], ['c', 'd'], ['a', 'c', 'd']]);
  lie = false;
  assertAnswers(await gate.embed(['c', 'd']), ['c', 'd']);
  assert.equal(up.requests.length, 4, 'nothing of it was remembered');
});

test('vectors of another model are not mixed with those that are remembered', async (t) => {
  let model = 'm';
  const { up, gate } = await stage(t, (request, answer) => answer.send(200, { 'Content-Type': 'application/json' },
    answerTo(inputsOf(request)).replace('"model":"m"', `"model":"${model}"`)));
  await gate.embed(['a', 'b']);
  model = 'm-2';
  const answer = await gate.embed(['a', 'c']);
  assert.equal(answer.json.model, 'm-2');
  assert.equal(answer.json.data.length, 2);
  assert.deepEqual(up.requests.at(-1).json.input, ['a', 'c']);
  assert.match(status(await gate.embed(['c', 'a'])), /; hit/);
});

test('identical arrays at the same time make one call', async (t) => {
  const { up, gate } = await stage(t, async (request, answer) => {
    await sleep(1000 * slowness);
    return embeds()(request, answer);
  });
  await gate.embed(['a', 'b']);
  const answers = await many(8, () => gate.embed(['a', 'c', 'd', 'a']));
  answers.forEach((answer) => assertAnswers(answer, ['a', 'c', 'd', 'a']));
  assert.equal(up.requests.length, 2);
  assert.equal(answers.filter((answer) => /collapsed/.test(status(answer))).length, 7);
});

test('who leaves midway takes nothing from the others, and the last one ends the call', async (t) => {
  const { up, gate } = await stage(t, async (request, answer) => {
    const text = answerTo(inputsOf(request));
    await answer.begin(200, { 'Content-Type': 'application/json' });
    await answer.chunk(text.slice(0, 40));
    await sleep(1000 * slowness);
    await answer.chunk(text.slice(40));
    return answer.end();
  });
  await gate.embed('a');
  const ask = (input) => {
    const controller = new AbortController();
    const gone = fetch(`${gate.url}/v1/embeddings`, {
      method: 'POST', headers: { 'content-type': 'application/json' }, signal: controller.signal,
      body: JSON.stringify({ model: 'm', input }),
    }).catch(() => undefined);
    return () => { controller.abort(); return gone; };
  };
  const leave = ask(['a', 'b', 'c']);
  await until('the call is under way', () => up.requests.length === 2);
  const stayer = gate.embed(['a', 'b', 'c']);
  await sleep(100 * slowness);
  await leave();
  assertAnswers(await stayer, ['a', 'b', 'c']);
  assert.equal(up.requests.length, 2);
  const leaveAlone = ask(['a', 'd', 'e']);
  await until('the next call is under way', () => up.requests.length === 3);
  await leaveAlone();
  await until('the call was ended', () => up.requests[2].connection.closedAt !== undefined);
  await until('nothing is in flight', async () => (await metric(gate.port, 'penstock_admit_in_flight')) === 0);
  assertAnswers(await gate.embed(['d', 'a']), ['d', 'a']);
  assert.deepEqual(up.requests.at(-1).json.input, ['d']);
});

test('an upstream that breaks off costs the request, and what is stale helps out', async (t) => {
  let mood = 'sound';
  const { up, gate } = await stage(t, async (request, answer) => {
    if (mood === 'sound') {
      return embeds()(request, answer);
    }
    if (mood === 'failing') {
      return answer.json(500, { error: { message: 'out of memory' } });
    }
    await answer.rawHead(200, { 'Content-Type': 'application/json', 'Content-Length': 1000 });
    await answer.raw('{"object":"list","data":[');
    return answer.dieAfter();
  }, { route: ', cache_stale_on_error: 1h' });
  await gate.embed('known');
  await gate.embed(['a', 'b'], { headers: { 'x-penstock-cache-ttl': '1' } });
  mood = 'breaking';
  const broken = await gate.embed(['known', 'c', 'd']);
  assert.equal(broken.status, 502, broken.text);
  mood = 'failing';
  const stale = await until('what is remembered is stale', async () => {
    const answer = await gate.embed(['b', 'a', 'b']);
    return /fwd=stale/.test(status(answer)) && answer;
  }, 5000, 100);
  assertAnswers(stale, ['b', 'a', 'b']);
  const unknown = await gate.embed(['b', 'new']);
  assert.equal(unknown.status, 500, 'for that there is nothing old');
  await up.crash();
  assertAnswers(await gate.embed(['a', 'b']), ['a', 'b']);
  assert.ok((await gate.embed(['a', 'new'])).status > 501);
});

test('a purge takes items out, and refresh asks anew', async (t) => {
  const { up, gate } = await stage(t);
  await gate.embed(['a', 'b'], { headers: { 'x-penstock-cache-tags': 'old' } });
  await gate.embed(['c', 'd']);
  const purge = await call(gate.port, { method: 'POST', path: '/api/cache/invalidate', body: { tag: 'old' } });
  assert.ok(purge.status < 300, purge.text);
  assertAnswers(await gate.embed(['a', 'c', 'b', 'd']), ['a', 'c', 'b', 'd']);
  assert.deepEqual(up.requests.at(-1).json.input, ['a', 'b']);
  await gate.embed(['a', 'c'], { headers: { 'x-penstock-cache': 'refresh' } });
  assert.deepEqual(up.requests.at(-1).json.input, ['a', 'c']);
  assert.equal(up.requests.length, 4);
  const only = await gate.embed(['a', 'z'], { headers: { 'cache-control': 'only-if-cached' } });
  assert.equal(only.status, 504);
  await gate.embed(['a', 'c'], { headers: { 'x-penstock-cache': 'bypass' } });
  assert.equal(up.requests.length, 5);
});

test('statistics count each item', async (t) => {
  const { gate } = await stage(t);
  await gate.embed(['a', 'b', 'c']);
  await gate.embed(['a', 'b', 'd', 'a']);
  const { hit_rate_percent: rate, l1 } = await stats(gate);
  assert.equal(l1.hits, 2);
  assert.equal(l1.misses, 4);
  assert.equal(l1.entries, 4);
  assert.ok(Math.abs(rate - 100 / 3) < 0.1, `${rate}`);
});

test('big arrays', async (t) => {
  const size = 256;
  const { up, gate } = await stage(t, embeds({ size }));
  const texts = Array.from({ length: 1024 }, (_, i) => `text number ${i}`);
  const check = (answer, inputs) => {
    assert.equal(answer.status, 200);
    const expected = answerTo(inputs, { size });
    assert.ok(answer.text.includes(expected.slice(expected.indexOf('"data"'), expected.indexOf('"model"'))));
  };
  check(await gate.embed(texts.filter((_, i) => i % 2 === 0)), texts.filter((_, i) => i % 2 === 0));
  check(await gate.embed(texts), texts);
  assert.equal(up.requests[1].json.input.length, 512);
  check(await gate.embed([...texts].reverse()), [...texts].reverse());
  assert.equal(up.requests.length, 2);
  await until('no byte is buffered any more', async () => (
    (await metric(gate.port, 'penstock_process_buffered_bytes')) === 0));
});

test('text-embeddings-inference: bare lists', async (t) => {
  const up = await startUpstream(t, (request, answer) => {
    const inputs = [request.json.inputs].flat();
    return answer.send(200, { 'Content-Type': 'application/json', 'x-compute-tokens': `${inputs.length * 5}` },
      `[${inputs.map((text) => vectorOf(text)).join(',')}]`);
  });
  const gate = await startPenstock(t, {
    config: `upstreams:
  - {name: one, engine: tei, endpoints: ["${up.url}"], health: {interval: 0s}}
routes:
  - {path: "/*", kind: inference, cache: yes}
`,
  });
  const embed = (inputs) => call(gate.port, { method: 'POST', path: '/embed', body: { inputs, truncate: true } });
  const expected = (inputs) => `[${inputs.map((text) => vectorOf(text)).join(',')}]`;
  assert.equal((await embed(['a', 'b'])).text, expected(['a', 'b']));
  assert.equal((await embed(['c', 'b', 'a', 'd'])).text, expected(['c', 'b', 'a', 'd']));
  assert.deepEqual(up.requests[1].json, { inputs: ['c', 'd'], truncate: true });
  const one = await embed('d');
  assert.equal(one.text, expected(['d']));
  assert.match(status(one), /; hit/);
});

test('two gateways share items through Redis', { skip: needsRedis }, async (t) => {
  const node = await startRedis(t);
  const up = await startUpstream(t, embeds({ size: 64 }));
  const start = () => startPenstock(t, {
    config: `upstreams:
  - {name: one, engine: openai, endpoints: ["${up.url}"], health: {interval: 0s}}
routes:
  - {name: embed, path: "/v1/embeddings", kind: openai, cache: yes}
cache:
  redis: {nodes: ["${node.name}"], timeout: 2s, breaker: {stall: 5s}}
`,
  });
  const gates = [await start(), await start()];
  const embed = (gate, input) => call(gate.port, { method: 'POST', path: '/v1/embeddings', body: { model: 'm', input } });
  let lot = 0;
  const texts = () => Array.from({ length: 40 }, (_, i) => `text ${i} of lot ${lot}`);
  const shared = await until('the other gateway has all of it from Redis', async () => {
    lot += 1;
    await embed(gates[0], texts());
    await sleep(50);
    const answer = await embed(gates[1], texts());
    return /; hit/.test(status(answer)) && answer;
  }, 20000, 20);
  const expected = answerTo(texts(), { size: 64 });
  assert.ok(shared.text.includes(expected.slice(expected.indexOf('"data"'), expected.indexOf('"model"'))));
  assert.match(status(shared), /items=40 hits=40/);
  const before = up.requests.length;
  await embed(gates[0], ['one more', 'and another']);
  const mixed = await until('what is missing is asked, the rest is known', async () => {
    const answer = await embed(gates[1], ['one more', `new ${up.requests.length}`, 'and another']);
    return /items=3 hits=2/.test(status(answer)) && answer;
  }, 10000, 50);
  assert.equal(mixed.json.data.length, 3);
  assert.ok(up.requests.length > before);
});

test('a real client and simulated servers: floats and base64, each apart', async (t) => {
  const sims = [await startSim(t, 'vllm', '--model', 'm'), await startSim(t, 'vllm', '--model', 'm')];
  const gate = await startPenstock(t, {
    config: `upstreams:
  - {name: one, engine: vllm, endpoints: ["${sims[0].url}", "${sims[1].url}"]}
routes:
  - {path: "/v1/*", kind: openai, cache: yes}
`,
  });
  const through = new OpenAI({ baseURL: `${gate.url}/v1`, apiKey: 'none', maxRetries: 0, timeout: 15000 * slowness });
  const direct = new OpenAI({ baseURL: `${sims[0].url}/v1`, apiKey: 'none', maxRetries: 0, timeout: 15000 * slowness });
  const texts = Array.from({ length: 12 }, (_, i) => `A sentence about gate ${i}, and about water.`);
  for (const encoding_format of ['float', undefined]) {
    const ask = (client, input) => client.embeddings.create({ model: 'm', input, encoding_format });
    await ask(through, texts.slice(0, 9));
    const mixed = await ask(through, texts);
    const whole = await ask(direct, texts);
    assert.deepEqual(mixed.data, whole.data);
    assert.equal(mixed.model, whole.model);
    const again = await ask(through, texts).withResponse();
    assert.deepEqual(again.data.data, whole.data);
    assert.match(again.response.headers.get('cache-status'), /; hit.*items=12 hits=12/);
    assert.equal(again.data.usage.prompt_tokens, mixed.usage.prompt_tokens);
  }
});
