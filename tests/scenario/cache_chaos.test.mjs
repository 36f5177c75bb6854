// timeout: 300
//
// cache_chaos - whatever happens to Redis, no client notices: nodes that stop, die, answer rubbish, are full, change hands.
//
// Under load through the real program, against the real redis-server. Each story asserts that no request failed and every
// answer was the right one, that each change of a node's state is told once, and that all is well again without a
// restart. How long things took is printed.
//
// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import test from 'node:test';

import { askQuestion, parrot, startLoad } from './lib/cache_load.mjs';
import { call } from './lib/client.mjs';
import { startPenstock } from './lib/penstock.mjs';
import { needsRedis, startCluster, startRedis, startSpoiler } from './lib/redis.mjs';
import { startUpstream } from './lib/upstream.mjs';
import { now, sleep, slowness, until } from './lib/wait.mjs';

const skip = needsRedis;

const stall = 1000 * slowness; // a machine that is busy with other things must not look like a node that stands still

/// Patient: how soon a node is given up with the defaults is the benchmark's question.
const config = (upstream, nodes, { cluster = false, redis = '' } = {}) => `
upstreams:
  - {name: main, endpoints: ["${upstream.url}"], engine: vllm}
routes:
  - {name: chat, path: "/*", kind: inference, cache: yes, cache_tags: [talk]}
cache:
  redis:
    cluster: ${cluster ? 'yes' : 'no'}
    nodes: [${nodes.map(({ name }) => `"${name}"`).join(', ')}]
    timeout: ${50 * slowness}ms
    connect_timeout: ${5 * slowness}s
    breaker: {stall: ${stall}ms, backoff_max: 500ms}
${redis}`;

async function startGates(t, nodes, options = {}) {
  const upstream = await startUpstream(t, parrot(options));
  const gates = [];
  for (let i = 0; i < (options.gates ?? 2); i++) {
    gates.push(await startPenstock(t, { config: config(upstream, nodes, options) }));
  }
  return gates;
}

/// What a gateway's log says of a node: [{up, at (ms of Date), reason}].
function changesOf(gate, node) {
  const line = /^(\S+) (?:warn|info) +cache server is (back|left alone) node=(\S+) reason="([^"]*)"/gm;
  return [...gate.stderr.matchAll(line)].filter(([, , , name]) => name === node.name)
    .map(([, at, word, , reason]) => ({ up: word === 'back', at: Date.parse(at), reason }));
}

/// Each change is told once: away, back, away, back ...
function assertAlternates(gate, nodes) {
  for (const node of nodes) {
    const changes = changesOf(gate, node);
    changes.forEach(({ up }, i) => assert.equal(up, i % 2 === 1, `${node.name}: ${JSON.stringify(changes)}`));
  }
}

const isAway = (gate, node) => changesOf(gate, node).at(-1)?.up === false;
const stats = async (gate) => (await call(gate.port, { path: '/api/cache/stats' })).json;
const allUp = async (gate) => (await stats(gate)).node_distribution.every(({ state }) => state === 'up');

/// Waits until answers come from Redis again, asked at the last gateway.
const served = (load) => until('answers come from Redis', async () => load.detail('L2', now() - 300) > 0, 20000, 20);

/// One fault of a node under load: begin(), time for it, end(). Tells how long the gateways took to notice.
async function suffer(t, { what, gates, nodes, node, begin, end, lasts = 800, flaps = false }) {
  const load = startLoad(t, gates);
  await served(load);
  const before = now();
  const told = gates.map((gate) => changesOf(gate, node).length);
  await sleep(500);
  const began = [Date.now(), now()];
  await begin();
  await until(`${what}: it is left alone`, () => gates.every((gate) => isAway(gate, node)), 10000, 5);
  await sleep(lasts);
  await end();
  await until(`${what}: it is back`, () => gates.every((gate) => !isAway(gate, node)), 20000, 10);
  await served(load);
  await load.stop();
  load.assertServed();
  const changes = gates.map((gate, i) => changesOf(gate, node).slice(told[i]));
  for (const [i, gate] of gates.entries()) {
    assert.ok(flaps ? changes[i].length >= 2 : changes[i].length === 2, `${what}: away once, back once: ${JSON.stringify(changes[i])}`);
    assertAlternates(gate, nodes);
  }
  const opened = changes.map(([away]) => away.at - began[0]);
  t.diagnostic(`${what}: ${load.results.length} requests, none failed; left alone after ${opened.join(' and ')} ms (stall: ${stall}); `
    + `p99 ${load.p99(before, began[1]).toFixed(1)} ms before, ${load.p99(began[1]).toFixed(1)} ms from then on`);
  return load;
}

test('a node that is stopped (SIGSTOP)', { skip }, async (t) => {
  const nodes = [await startRedis(t), await startRedis(t), await startRedis(t)];
  const gates = await startGates(t, nodes);
  await suffer(t, {
    what: 'SIGSTOP', gates, nodes, node: nodes[0], begin: () => nodes[0].signal('SIGSTOP'), end: () => nodes[0].signal('SIGCONT'),
  });
});

test('a node that is killed (SIGKILL) and comes back empty', { skip }, async (t) => {
  const nodes = [await startRedis(t), await startRedis(t), await startRedis(t)];
  const gates = await startGates(t, nodes);
  await suffer(t, {
    what: 'SIGKILL', gates, nodes, node: nodes[1], begin: () => nodes[1].kill(), end: () => nodes[1].start(),
  });
});

const rubbish = {
  'another protocol': () => Buffer.from('HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n'),
  'bytes by chance': (bytes) => Buffer.from(Uint8Array.from(bytes, () => Math.floor(Math.random() * 256))),
  'a length without end': () => Buffer.from('$99999999999999\r\nabc'),
  'an array without end': () => Buffer.from('*1000000000\r\n'),
  'replies to nothing': (bytes) => Buffer.concat([bytes, Buffer.from('+OK\r\n:1\r\n$3\r\nabc\r\n')]),
  'arrays inside arrays': () => Buffer.from('*1\r\n'.repeat(1000)),
};

/// What answers a probe, too; and what one worker may wait for until `stall`, which here is long after another one has
/// found it out and the node is back.
const flapping = new Set(['replies to nothing', 'a length without end']);

test('a node that answers rubbish', { skip }, async (t) => {
  const spoiler = await startSpoiler(t, await startRedis(t));
  const nodes = [await startRedis(t), spoiler];
  const gates = await startGates(t, nodes);
  for (const [what, spoil] of Object.entries(rubbish)) {
    await suffer(t, {
      what, gates, nodes, node: spoiler, lasts: 200, flaps: flapping.has(what),
      begin: () => { spoiler.spoil = spoil; }, end: () => { spoiler.spoil = undefined; },
    });
  }
});

/// What somebody may have done to a value.
const forgeries = {
  'cut short': (value) => value.subarray(0, Math.floor(value.length / 2)),
  'one bit off': (value) => {
    const other = Buffer.from(value);
    other[Math.floor(Math.random() * other.length)] ^= 1 << Math.floor(Math.random() * 8);
    return other;
  },
  'another one\'s': (_, other) => other,
  empty: () => Buffer.alloc(0),
  'bytes by chance': () => Buffer.from(Array.from({ length: 500 }, () => Math.floor(Math.random() * 256))),
  longer: (value) => Buffer.concat([value, Buffer.from('more')]),
};

test('values that were forged or cut short are misses', { skip }, async (t) => {
  const node = await startRedis(t);
  const [one, other] = await startGates(t, [node]);
  let questions = 0;
  for (const [what, forge] of Object.entries(forgeries)) {
    await node.ask('FLUSHALL');
    const asked = Array.from({ length: 20 }, () => `forged ${questions++}`);
    for (const question of asked) {
      assert.equal((await askQuestion(one.port, question)).error, undefined);
    }
    const keys = await until('all values are there', async () => {
      const found = await node.keys();
      return found.length === asked.length && found;
    }, 5000, 20);
    const values = [];
    for (const key of keys) {
      values.push(await node.ask('GET', key));
    }
    for (const [i, key] of keys.entries()) {
      await node.ask('SET', key, forge(values[i], values[(i + 1) % values.length]));
    }
    for (const question of asked) {
      const { error, detail } = await askQuestion(other.port, question);
      assert.equal(error, undefined, what);
      assert.equal(detail, 'miss', `${what}: it is not believed`);
    }
  }
  await node.ask('FLUSHALL');
  assert.equal((await askQuestion(one.port, 'wrong type')).error, undefined);
  const [key] = await until('the value is there', async () => {
    const found = await node.keys();
    return found.length === 1 && found;
  });
  await node.ask('DEL', key);
  await node.ask('RPUSH', key, 'a list');
  const { error, detail } = await askQuestion(other.port, 'wrong type');
  assert.deepEqual({ error, detail }, { error: undefined, detail: 'miss' });
  assert.ok((await stats(other)).l2.errors > 100, 'all of them were counted');
  assert.deepEqual(changesOf(other, node), [], 'a bad value is no bad node');
});

test('with sign_key a value that somebody else wrote is a miss', { skip }, async (t) => {
  const node = await startRedis(t);
  const [plain] = await startGates(t, [node], { gates: 1 });
  const signed = [];
  for (const key of ['one secret of the gateways 0123456789', 'another secret 0123456789 0123456789']) {
    signed.push((await startGates(t, [node], { gates: 1, redis: `    sign_key: "${key}"` }))[0]);
  }
  const all = [plain, ...signed];
  for (const [n, writer] of all.entries()) {
    const question = `signed ${n}`;
    assert.equal((await askQuestion(writer.port, question)).error, undefined);
    await until('it is stored', async () => (await node.keys()).length === n + 1, 5000, 20);
    for (const reader of all.filter((gate) => gate !== writer)) {
      const { error, detail } = await askQuestion(reader.port, question);
      assert.deepEqual({ error, detail }, { error: undefined, detail: 'miss' }, 'not believed');
    }
  }
});

test('a node that is full (noeviction) still answers, and takes what it can again later', { skip }, async (t) => {
  const nodes = [await startRedis(t, '--maxmemory-policy', 'noeviction'), await startRedis(t)];
  const gates = await startGates(t, nodes);
  const load = startLoad(t, gates);
  await served(load);
  await nodes[0].ask('CONFIG', 'SET', 'maxmemory', '1');
  await sleep(1500);
  const full = await nodes[0].keys();
  const { l2 } = await stats(gates[0]);
  await nodes[0].ask('CONFIG', 'SET', 'maxmemory', '0');
  await until('it takes values again', async () => (await nodes[0].keys()).length > full.length, 10000, 50);
  await served(load);
  await load.stop();
  load.assertServed();
  assert.ok(l2.errors > 0, 'what it refused was counted');
  for (const gate of gates) {
    assert.deepEqual(nodes.map((node) => changesOf(gate, node)), [[], []], 'it is not left alone: what it has it gives');
  }
});

async function invalidate(gate, body) {
  const answer = await call(gate.port, { method: 'POST', path: '/api/cache/invalidate', body });
  assert.equal(answer.status, 200, answer.text);
}

const away = {
  'it was stopped': {
    leave: (node) => node.signal('SIGSTOP'),
    come: (node) => node.signal('SIGCONT'),
    keeps: true,
  },
  'it was killed and forgot the log': { leave: (node) => node.kill(), come: (node) => node.start(), keeps: false },
  'it was full': {
    leave: (node) => node.ask('CONFIG', 'SET', 'maxmemory', '1'),
    come: (node) => node.ask('CONFIG', 'SET', 'maxmemory', '0'),
    keeps: true,
  },
};

for (const [what, { leave, come, keeps }] of Object.entries(away)) {
  test(`an invalidation that was made while the node was away is applied when it returns: ${what}`, { skip }, async (t) => {
    const node = await startRedis(t, '--maxmemory-policy', 'noeviction');
    const [one, other] = await startGates(t, [node]);
    const question = 'what holds until then';
    assert.equal((await askQuestion(one.port, question)).error, undefined);
    await until('both have it in memory', async () => (await askQuestion(other.port, question)).detail === 'L1', 10000, 20);
    await leave(node);
    if (what !== 'it was full') {
      await until('it is left alone', () => isAway(one, node) && isAway(other, node), 10000, 10);
    }
    await invalidate(one, { tag: 'talk' });
    assert.equal((await askQuestion(one.port, question, { headers: { 'cache-control': 'no-store' } })).detail, 'miss', 'here it holds at once');
    assert.equal((await askQuestion(other.port, question)).detail, 'L1', 'the other does not know yet');
    const began = now();
    await come(node);
    const gone = () => askQuestion(other.port, question, { headers: { 'cache-control': 'only-if-cached' } });
    await until('the other knows', async () => (await gone()).error !== undefined, 20000, 10);
    t.diagnostic(`${what}: the other gateway knew ${(now() - began).toFixed(0)} ms after it was back`);
    const third = await startGates(t, [node], { gates: 1 });
    await until('a gateway that comes later takes answers from Redis', async () => {
      const fresh = `asked later ${Math.random()}`;
      await askQuestion(one.port, fresh);
      await sleep(30);
      return (await askQuestion(third[0].port, fresh)).detail === 'L2';
    }, 20000, 20);
    if (keeps) {
      // The other may have missed because it read the log again, before the first could write to it.
      await until('and does not believe the old one', async () =>
        (await askQuestion(third[0].port, question)).detail === 'miss', 20000, 20);
    }
  });
}

test('a cluster: resharding under load, then the failover of a master', { skip }, async (t) => {
  const cluster = await startCluster(t);
  const gates = await startGates(t, cluster.nodes, { cluster: true });
  const load = startLoad(t, gates);
  await served(load);
  const id = async (node) => (await node.ask('CLUSTER', 'MYID')).toString();
  const [from, to] = [cluster.nodes[0], cluster.nodes[1]];
  const slots = async (gate, node) => (await stats(gate)).node_distribution.find(({ node: name }) => name === node.name)?.slots;
  const had = await slots(gates[0], to);
  const began = now();
  await cluster.cli('--cluster', 'reshard', from.name, '--cluster-from', await id(from), '--cluster-to', await id(to),
    '--cluster-slots', '200', '--cluster-yes');
  const resharded = now();
  await served(load);
  const know = async (gate) => (await slots(gate, to)) === had + 200;
  await until('the gateways know the new map', async () => (await know(gates[0])) && (await know(gates[1])), 40000, 100);
  for (const gate of gates) {
    assert.deepEqual(cluster.nodes.map((node) => changesOf(gate, node).length), [0, 0, 0, 0, 0, 0], 'nobody was left alone');
  }
  t.diagnostic(`reshard: 200 slots moved in ${(resharded - began).toFixed(0)} ms; p99 ${load.p99(0, began).toFixed(1)} ms before, `
    + `${load.p99(began, resharded).toFixed(1)} ms meanwhile`);

  const killed = [Date.now(), now()];
  await to.kill();
  await until('it is left alone', () => gates.every((gate) => isAway(gate, to)), 10000, 5);
  await until('its replica took over', async () => (await cluster.masters()).length === 3, 30000, 50);
  const promoted = now();
  await until('the gateways know', async () => (await allUp(gates[0])) && (await allUp(gates[1])), 30000, 50);
  const known = now();
  await served(load);
  await to.start();
  await until('it is a replica now', async () => (await to.ask('ROLE'))[0].toString() === 'slave', 30000, 50);
  await load.stop();
  load.assertServed();
  for (const gate of gates) {
    assertAlternates(gate, cluster.nodes);
  }
  const opened = gates.map((gate) => changesOf(gate, to)[0].at - killed[0]);
  t.diagnostic(`failover: ${load.results.length} requests, none failed; left alone after ${opened.join(' and ')} ms; the replica took over `
    + `after ${(promoted - killed[1]).toFixed(0)} ms, the gateways knew ${(known - promoted).toFixed(0)} ms later; `
    + `p99 ${load.p99(killed[1], known).toFixed(1)} ms meanwhile`);
});
