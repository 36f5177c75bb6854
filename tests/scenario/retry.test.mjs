// tags: threads
//
// retry - a request that failed upstream is sent again where that is safe, and only there; an endpoint that
// fails is taken out and comes back.
//
// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import test from 'node:test';

import { after } from './lib/after.mjs';
import { call, chat, chatStream, many, metric, open, tally } from './lib/client.mjs';
import { Penstock, get, startPenstock } from './lib/penstock.mjs';
import { freePort } from './lib/ports.mjs';
import { connect } from './lib/raw.mjs';
import { inference, startUpstream } from './lib/upstream.mjs';
import { now, sleep, slowness, until } from './lib/wait.mjs';

function configOf(urls, { retry = '', health = 'interval: 0s', more = '' } = {}) {
  return `upstreams:
  - name: pool
    endpoints: [${urls.map((url) => `"${url}"`).join(', ')}]
    engine: openai
    health: { ${health} }
    retry: { ${retry} }
    ${more}
routes:
  - { path: "/v1/*", kind: openai }
  - { path: "/job*", idempotent: no }
  - { path: "/again*", idempotent: yes }
  - { path: "/*" }
`;
}

const start = (t, urls, options) => startPenstock(t, { config: configOf(urls, options) });
const named = (name) => inference({ name });
const retries = (gate) => metric(gate.port, 'penstock_traffic_retries_total', { upstream: 'pool' });

test('a connection that is refused goes to the other endpoint, whatever the method', async (t) => {
  const good = await startUpstream(t, (_, answer) => answer.text(200, 'good'));
  const gate = await start(t, [`http://127.0.0.1:${await freePort()}`, good.url], {
    health: 'interval: 0s, unhealthy_after: 1000', retry: 'min_retries: 100',
  });
  for (let i = 0; i < 5; i++) {
    assert.equal((await call(gate.port, { method: 'POST', path: '/job', body: 'x' })).status, 200);
    assert.equal((await call(gate.port, { path: '/x' })).status, 200);
    assert.equal((await chat(gate.port)).status, 200);
  }
  assert.equal(good.requests.length, 15);
  assert.ok((await retries(gate)) >= 1);
});

test('a streamed upload goes to the other endpoint when the first refuses, and arrives whole', async (t) => {
  const good = await startUpstream(t, (request, answer) => answer.text(200, `${request.body.length}`));
  const gate = await start(t, [`http://127.0.0.1:${await freePort()}`, good.url], { health: 'interval: 0s, unhealthy_after: 1000' });
  for (let i = 0; i < 4; i++) {
    assert.equal((await call(gate.port, { method: 'POST', path: '/job', body: 'y'.repeat(500000) })).text, '500000');
    const line = await connect(t, gate.port);
    line.send('POST /job HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n');
    await sleep(5);
    line.send(i % 2 === 0 ? '0\r\n\r\n' : '3\r\nabc\r\n0\r\n\r\n');
    assert.equal((await line.response()).text, i % 2 === 0 ? '0' : '3');
  }
});

test('a request that was fully sent is sent again, once, on routes that are idempotent', async (t) => {
  const seen = [];
  const die = (request, answer) => {
    seen.push(`${request.method} ${request.target}`);
    answer.die();
  };
  const one = await startUpstream(t, die);
  const two = await startUpstream(t, die);
  const gate = await start(t, [one.url, two.url], { retry: 'min_retries: 1000', health: 'interval: 0s, unhealthy_after: 1000' });
  const cases = [
    [{ method: 'POST', path: '/again', body: 'x' }, 2],
    [{ method: 'POST', path: '/v1/chat/completions', body: { model: 'm' } }, 2],
    [{ path: '/x' }, 2],
    [{ method: 'HEAD', path: '/x' }, 2],
    [{ method: 'POST', path: '/job', body: 'x' }, 1],
    [{ method: 'POST', path: '/plain', body: 'x' }, 1],
    [{ method: 'DELETE', path: '/plain' }, 1],
  ];
  for (const [options, times] of cases) {
    seen.length = 0;
    assert.equal((await call(gate.port, options)).status, 502, JSON.stringify(options));
    assert.equal(seen.length, times, `${JSON.stringify(options)}: ${seen}`);
  }
});

test('retry.attempts says how often, and every try goes elsewhere', async (t) => {
  const hit = [0, 0, 0];
  const ups = await Promise.all(hit.map((_, i) => startUpstream(t, (__, answer) => {
    hit[i] += 1;
    answer.die();
  })));
  const gate = await start(t, ups.map(({ url }) => url), { retry: 'attempts: 3, min_retries: 100', health: 'interval: 0s, unhealthy_after: 1000' });
  assert.equal((await chat(gate.port)).status, 502);
  assert.deepEqual(hit, [1, 1, 1]);
});

test('an overloaded endpoint is passed over for another one, and its answer stands when there is none', async (t) => {
  const busy = await startUpstream(t, (_, answer) => answer.json(503, { error: { message: 'busy' } }, { 'Retry-After': '7' }));
  const good = await startUpstream(t, named('good'));
  const both = await start(t, [busy.url, good.url], { health: 'interval: 0s, unhealthy_after: 1000' });
  for (let i = 0; i < 6; i++) {
    assert.equal((await chat(both.port)).status, 200);
  }
  assert.ok(busy.requests.length >= 1);
  const alone = await start(t, [busy.url]);
  const answer = await chat(alone.port);
  assert.equal(answer.status, 503);
  assert.equal(answer.headers['retry-after'], '7');
  assert.equal(answer.json.error.message, 'busy');
});

test('an answer that has begun is never replaced by another', async (t) => {
  let tries = 0;
  const up = await startUpstream(t, async (_, answer) => {
    tries += 1;
    await answer.begin(200, { 'Content-Type': 'text/event-stream' });
    await answer.chunk('data: {"choices":[]}\n\n');
    await sleep(50);
    answer.die();
  });
  const other = await startUpstream(t, up.script);
  const gate = await start(t, [up.url, other.url]);
  const { incoming, status } = await chatStream(gate.port);
  assert.equal(status, 200);
  await assert.rejects(async () => {
    for await (const _ of incoming) { /* until it breaks */ }
  });
  assert.equal(tries, 1);
});

test('an upstream that died after its head and before its body is tried elsewhere', async (t) => {
  const dying = await startUpstream(t, async (_, answer) => {
    await answer.rawHead(200, { 'Content-Type': 'application/json', 'Content-Length': 500, 'X-Who': 'dying' });
    await sleep(20);
    answer.die();
  });
  const good = await startUpstream(t, named('good'));
  const gate = await start(t, [dying.url, good.url], { health: 'interval: 0s, unhealthy_after: 1000', retry: 'min_retries: 1000' });
  for (let i = 0; i < 6; i++) {
    const answer = await chat(gate.port);
    assert.equal(answer.status, 200);
    assert.equal(answer.json.system_fingerprint, 'good');
    assert.equal(answer.headers['x-who'], undefined);
    assert.match((await chat(gate.port, { body: { stream: true } })).text, /\[DONE\]/);
  }
  assert.ok(dying.requests.length >= 1);
});

test('a kept connection that the upstream closes is replaced without anybody seeing it', async (t) => {
  const up = await startUpstream(t, async (request, answer) => {
    answer.text(200, 'ok');
    // Closed without a word of warning, at times just when the next request arrives.
    setTimeout(() => answer.connection.socket.destroy(), Math.random() * 4);
  });
  const gate = await start(t, [up.url], { retry: 'min_retries: 0, budget_percent: 0' });
  for (let i = 0; i < 150; i++) {
    const answer = await call(gate.port, { method: 'POST', path: '/again', body: 'z'.repeat(i) });
    assert.equal(answer.status, 200, answer.text);
    await sleep(Math.random() * 4);
  }
  assert.equal(await retries(gate), 0, 'such a replacement takes nothing from the budget');
});

test('a silent server on a kept connection is asked once only', async (t) => {
  let count = 0;
  const up = await startUpstream(t, async (_, answer) => {
    count += 1;
    await (count === 1 ? answer.text(200, 'ok') : answer.stall());
  });
  const gate = await start(t, [up.url], { more: 'timeouts: { first_byte: 300ms }' });
  assert.equal((await call(gate.port, { path: '/x' })).status, 200);
  assert.equal((await call(gate.port, { path: '/x' })).status, 504);
  assert.equal(count, 2);
});

test('retries stay within their budget', async (t) => {
  let tries = 0;
  const die = (_, answer) => {
    tries += 1;
    answer.die();
  };
  const one = await startUpstream(t, die);
  const two = await startUpstream(t, die);
  const gate = await start(t, [one.url, two.url], {
    retry: 'min_retries: 3, budget_percent: 10', health: 'interval: 0s, unhealthy_after: 1000',
  });
  let n = 0; // each asks for something else: equal ones would share a try
  const answers = await many(100, () => call(gate.port, { path: `/x?${n++}` }), 4);
  assert.deepEqual(tally(answers.map(({ status }) => status)), { 502: 100 });
  // 10 of 100, the minimum of the first ten seconds, and what a slow run adds for each further ten.
  assert.ok(tries >= 103 && tries <= 120, `${tries} tries for 100 requests`);
});

test('an endpoint whose requests fail is taken out, and is used again when it is back', async (t) => {
  const one = await startUpstream(t, named('one'));
  const two = await startUpstream(t, named('two'));
  const gate = await start(t, [one.url, two.url], {
    health: 'interval: 0s, unhealthy_after: 2, backoff: 300ms, backoff_max: 600ms', retry: 'min_retries: 1000',
  });
  const ask = async () => {
    const answer = await chat(gate.port);
    assert.equal(answer.status, 200, answer.text);
    return answer.json.system_fingerprint;
  };
  const both = new Set();
  await until('both answer', async () => both.add(await ask()).size === 2);
  await one.crash();
  const after20 = await many(20, ask, 2);
  assert.deepEqual(tally(after20), { two: 20 });
  await one.revive();
  await until('the first is used again', async () => (await ask()) === 'one', 10000, 20);
});

test('active checks take an endpoint out before requests fail, and bring it back', async (t) => {
  let sick = false;
  const serve = named('one');
  const one = await startUpstream(t, (request, answer) => (
    request.target === '/health' && sick ? answer.text(500, 'sick') : serve(request, answer)));
  const two = await startUpstream(t, named('two'));
  const gate = await start(t, [one.url, two.url], {
    health: 'path: /health, interval: 50ms, timeout: 1s, unhealthy_after: 2, healthy_after: 2',
  });
  const who = async () => {
    const answer = await chat(gate.port);
    assert.equal(answer.status, 200, answer.text);
    return answer.json.system_fingerprint;
  };
  const seen = async () => new Set(await many(8, who, 1));
  await until('both answer', async () => (await seen()).size === 2);
  sick = true;
  await until('only the other answers', async () => [...(await seen())].join() === 'two', 10000, 50);
  sick = false;
  await until('both answer again', async () => (await seen()).size === 2, 10000, 50);
  await one.crash();
  await until('it is out again', async () => [...(await seen())].join() === 'two', 10000, 50);
  await one.revive();
  await until('and in again', async () => (await seen()).size === 2, 10000, 50);
});

/// A simulated server as a process of its own.
async function startSim(t, port) {
  const sim = new Penstock(['sim', '--listen', `127.0.0.1:${port}`, '--seed', '7']);
  after(t, () => sim.stop());
  await until('the simulated server answers', async () => {
    if (!sim.running()) {
      throw new Error(`it ended at once:\n${sim.stderr.slice(-2000)}`);
    }
    return (await get(port, '/health'))?.status === 200;
  }, 10000, 20);
  return sim;
}

test('kill -9 of one of two servers under load: no client sees an error', async (t) => {
  const ports = [await freePort(), await freePort()];
  const sims = await Promise.all(ports.map((port) => startSim(t, port)));
  const gate = await start(t, ports.map((port) => `http://127.0.0.1:${port}`), {
    health: 'interval: 200ms, timeout: 2s, unhealthy_after: 2, backoff: 300ms, backoff_max: 600ms',
    retry: 'min_retries: 100',
  });
  let stop = false;
  let done = 0;
  const failures = [];
  let brokenStreams = 0;
  const one = async (i) => {
    const model = 'sim';
    const kinds = [
      () => call(gate.port, { method: 'POST', path: '/v1/embeddings', body: { model: 'sim', input: `text ${i}` } }),
      () => chat(gate.port, { body: { model, max_tokens: 2, seed: i } }),
    ];
    const answer = await kinds[i % kinds.length]();
    done += 1;
    if (answer.status !== 200) {
      failures.push(`${answer.status} ${answer.text}`);
    }
  };
  const load = many(8, async (lane) => {
    for (let i = lane; !stop; i += 8) {
      try {
        await one(i);
      } catch (error) {
        failures.push(String(error));
      }
    }
  });
  const streams = many(2, async () => {
    while (!stop) {
      try {
        const { incoming, status } = await open(gate.port, {
          method: 'POST', path: '/v1/chat/completions',
          body: { model: 'sim', stream: true, max_tokens: 5, messages: [{ role: 'user', content: 'Hello' }] },
        });
        if (status !== 200) {
          failures.push(`stream ${status}`);
        }
        for await (const _ of incoming) { /* read */ }
      } catch {
        brokenStreams += 1; // a stream that had begun may break
      }
    }
  });
  const progress = (what, count) => until(what, () => {
    assert.deepEqual(failures.slice(0, 3), []);
    return done > count;
  }, 30000);
  await progress('the load runs', 60);
  await sims[0].kill();
  const atKill = done;
  await progress('it goes on', atKill + 150);
  sims[0] = await startSim(t, ports[0]);
  const before = await metric(ports[0], 'vllm:request_success_total');
  await until('the killed one is used again', async () => (
    (await metric(ports[0], 'vllm:request_success_total')) > before + 5), 20000, 50);
  await sims[1].kill();
  const atSecond = done;
  await progress('it goes on again', atSecond + 150);
  stop = true;
  await Promise.all([load, streams]);
  t.diagnostic(`${done} requests, ${failures.length} failures, ${brokenStreams} streams broken, ${await retries(gate)} retries`);
  assert.deepEqual(failures.slice(0, 5), []);
  assert.ok(brokenStreams <= 4, `${brokenStreams} streams broke`);
});

test('without any endpoint left requests are refused with 503 and Retry-After, and come back with it', async (t) => {
  const up = await startUpstream(t, named('one'));
  const gate = await start(t, [up.url], { health: 'path: /health, interval: 50ms, unhealthy_after: 1, healthy_after: 1' });
  assert.equal((await chat(gate.port)).status, 200);
  await up.crash();
  let refused;
  await until('it is taken out', async () => {
    refused = await chat(gate.port);
    return refused.status === 503;
  }, 10000, 20);
  assert.ok(Number(refused.headers['retry-after']) >= 1);
  assert.match(refused.text, /pool/);
  await up.revive();
  const began = now();
  await until('it is back', async () => (await chat(gate.port)).status === 200, 10000, 20);
  assert.ok(now() - began < 10000 * slowness);
});
