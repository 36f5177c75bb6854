// tags: threads
// timeout: 240
//
// cache_cluster - two gateways on the same real Redis share their answers and their invalidations.
//
// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import test from 'node:test';

import { call } from './lib/client.mjs';
import { startPenstock } from './lib/penstock.mjs';
import { needsRedis, startCluster, startRedis } from './lib/redis.mjs';
import { inference, startUpstream } from './lib/upstream.mjs';
import { now, sleep, slowness, until } from './lib/wait.mjs';

const skip = needsRedis;
const nodeList = (nodes) => `[${nodes.map(({ name }) => `"${name}"`).join(', ')}]`;

/// What the stories here configure: L2 has time, so that a slow machine makes no misses of hits.
const config = (upstream, nodes, { cluster = false, more = '' } = {}) => `
upstreams:
  - {name: main, endpoints: ["${upstream.url}"], engine: vllm}
routes:
  - {name: chat, path: "/v1/chat/completions", kind: openai, cache: yes, cache_tags: [talk]}
  - {name: rest, path: "/*", kind: inference, cache: yes}
cache:
  redis:
    cluster: ${cluster ? 'yes' : 'no'}
    nodes: ${nodeList(nodes)}
    timeout: 1s
    breaker: {stall: 3s}
${more}`;

const question = (n) => ({ model: 'test-model', temperature: 0, messages: [{ role: 'user', content: `question ${n}` }] });

/// Asks a gateway: {answer, hit, detail} with what its Cache-Status says.
async function ask(gate, body, headers = {}) {
  const answer = await call(gate.port, { method: 'POST', path: '/v1/chat/completions', body, headers });
  assert.equal(answer.status, 200, answer.text);
  const status = answer.headers['cache-status'] ?? '';
  return { answer, hit: /; ?hit/.test(status), detail: /detail=([A-Z0-9a-z]+)/.exec(status)?.[1] };
}

const stats = async (gate) => (await call(gate.port, { path: '/api/cache/stats' })).json;

/// Two gateways in front of one upstream and on the same nodes.
async function pair(t, upstream, nodes, options) {
  const gates = [];
  for (let i = 0; i < 2; i++) {
    gates.push(await startPenstock(t, { config: config(upstream, nodes, options) }));
  }
  return gates;
}

/// Puts questions to one gateway until the other one has the answer from Redis; the number of that question.
async function share(from, to, offset = 0, headers = {}) {
  for (let n = offset; n < offset + 200; n++) {
    await ask(from, question(n), headers);
    await sleep(20);
    const { hit, detail } = await ask(to, question(n), headers);
    if (hit && detail === 'L2') {
      return n;
    }
  }
  throw new Error('nothing came from Redis');
}

async function invalidate(gate, body) {
  const answer = await call(gate.port, { method: 'POST', path: '/api/cache/invalidate', body });
  assert.equal(answer.status, 200, answer.text);
}

/// Ms until an answer that both gateways have in memory is gone at the second, when the first invalidates it.
async function timeToForget(gates, n, target) {
  const [one, other] = gates;
  await ask(one, question(n));
  await until('both have it in memory', async () => (await ask(other, question(n))).detail === 'L1', 5000, 5);
  const began = now();
  await invalidate(one, target);
  for (;;) {
    const status = await call(other.port, {
      method: 'POST', path: '/v1/chat/completions', body: question(n), headers: { 'cache-control': 'only-if-cached' },
    });
    const took = now() - began;
    if (status.status !== 200) {
      return took;
    }
    assert.ok(took < 5000 * slowness, 'the other gateway still has it');
    await sleep(1);
  }
}

async function tell(t, nodes, options) {
  const upstream = await startUpstream(t, inference({ tokens: 4, every: 0 }));
  const gates = await pair(t, upstream, nodes, options);
  const before = await share(gates[0], gates[1]);
  await share(gates[1], gates[0], 1000);

  const calls = () => upstream.to('/v1/chat/completions').length;
  for (let n = 2000; n < 2040; n++) {
    await ask(gates[n % 2], question(n));
  }
  const asked = calls();
  await until('the others have them', async () => {
    const { l2 } = await stats(gates[1]);
    return l2.stores >= 20;
  }, 5000, 20);
  await sleep(50);
  const seen = [];
  for (let n = 2000; n < 2040; n++) {
    const { hit, detail, answer } = await ask(gates[(n + 1) % 2], question(n));
    assert.equal(answer.json.choices[0].message.content, 'word0 word1 word2 word3 ');
    seen.push(hit ? detail : 'miss');
  }
  assert.deepEqual(new Set(seen), new Set(['L2']), `every answer of one is a hit at the other: ${seen}`);
  assert.equal(calls(), asked, 'and cost no call');

  const times = [];
  for (const [n, target] of [[before, { pattern: 'chat/*' }], [2001, { tag: 'talk' }], [2002, { pattern: '*' }], [2003, { tag: 'talk' }],
    [2004, { pattern: 'chat/*' }]]) {
    times.push(await timeToForget(gates, n, target));
  }
  t.diagnostic(`an invalidation reached the other gateway after ${times.map((ms) => ms.toFixed(1)).join(', ')} ms (100 ms demanded)`);
  const after = await ask(gates[1], question(2001));
  assert.ok(!after.hit, 'nor is it taken from Redis');
  return gates;
}

test('independent nodes: an answer of one gateway is a hit at the other, an invalidation reaches both', { skip }, async (t) => {
  const nodes = [await startRedis(t), await startRedis(t), await startRedis(t)];
  const gates = await tell(t, nodes);
  const { node_distribution: list, imbalance_percent: imbalance } = await stats(gates[0]);
  assert.equal(list.length, 3);
  assert.ok(list.every(({ state, operations }) => state === 'up' && operations > 0), JSON.stringify(list));
  assert.ok(imbalance < 0.2);
});

test('a cluster of six nodes: the same', { skip }, async (t) => {
  const cluster = await startCluster(t);
  const gates = await tell(t, cluster.nodes, { cluster: true });
  const { node_distribution: list } = await stats(gates[0]);
  assert.equal(list.length, 3, 'values are on masters');
  assert.equal(list.reduce((sum, { slots }) => sum + slots, 0), 16384);
});

test('two tenants never share an answer, at one gateway or at two', { skip }, async (t) => {
  const nodes = [await startRedis(t)];
  const upstream = await startUpstream(t, inference({ tokens: 2, every: 0 }));
  const more = 'tenants:\n  - {name: ash, key: key-of-ash-0123456789}\n  - {name: birch, key: key-of-birch-0123456789}\n'
    + 'admin:\n  tokens:\n    - {name: ops, role: admin, token: token-of-ops-0123456789}\n';
  const gates = await pair(t, upstream, nodes, { more });
  const as = (name) => ({ authorization: `Bearer key-of-${name}-0123456789` });
  await share(gates[0], gates[1], 0, as('ash'));
  for (let n = 500; n < 520; n++) {
    await ask(gates[0], question(n), as('ash'));
  }
  await sleep(100);
  for (let n = 500; n < 520; n++) {
    for (const gate of gates) {
      const { hit } = await ask(gate, question(n), { ...as('birch'), 'cache-control': 'no-store' });
      assert.ok(!hit);
    }
    assert.ok(!(await ask(gates[1], question(n), as('birch'))).hit, 'birch does not get what ash was told');
  }
  for (let n = 500; n < 520; n++) {
    assert.ok((await ask(gates[1], question(n), as('ash'))).hit, 'ash does');
  }
});
