// tags: threads
// timeout: 240
//
// cache_http - GET and HEAD through the cache, as RFC 9111 has it, with two workers.
//
// Nothing here waits for an answer to grow old: a server says how old its answer is (Age).
//
// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import test from 'node:test';

import { call, open } from './lib/client.mjs';
import { startPenstock } from './lib/penstock.mjs';
import { needsRedis, startRedis } from './lib/redis.mjs';
import { startUpstream } from './lib/upstream.mjs';
import { sleep, until } from './lib/wait.mjs';

const OLD = { 'Cache-Control': 'max-age=6000', Age: '6000' }; // stale when it comes

/// A gateway before a scripted server; the answers count up, so that none is like another.
async function start(t, script, more = '', route = '') {
  let count = 0;
  const up = await startUpstream(t, (request, answer) => {
    count += 1;
    return script(request, answer, `answer ${count}`);
  });
  const gate = await startPenstock(t, {
    config: `upstreams:
  - {name: web, engine: openai, endpoints: ["${up.url}"], health: {interval: 0s, unhealthy_after: 1000}, retry: {attempts: 1}}
routes:
  - {name: all, path: /*, kind: plain${route}}
${more}`,
  });
  const get = (path = '/a', headers = {}, method = 'GET') => call(gate.port, { path, headers, method });
  return { up, gate, get };
}

const status = (answer) => answer.headers['cache-status'];

test('a fresh answer is asked for once, and says how old it is', async (t) => {
  const { up, get } = await start(t, (request, answer, text) => answer.text(200, text,
    { 'Cache-Control': 'max-age=6000', Age: '700', 'X-Own': 'kept', Connection: 'x-hop', 'X-Hop': 'not' }));
  const first = await get();
  assert.match(status(first), /^Penstock; fwd=uri-miss; fwd-status=200; stored$/);
  for (let i = 0; i < 8; i++) {
    const again = await get();
    assert.equal(again.text, 'answer 1');
    assert.match(status(again), /^Penstock; hit; ttl=5[23]\d\d; detail=L1$/);
    assert.ok(Number(again.headers.age) >= 700);
    assert.equal(again.headers['x-own'], 'kept');
    assert.equal(again.headers['x-hop'], undefined);
    assert.equal(again.headers.via, '1.1 penstock');
    assert.ok(again.headers.date);
  }
  assert.equal(up.requests.length, 1);
  assert.equal((await get('/a?')).text, 'answer 2'); // another target
  assert.equal((await get('/a?b=1')).text, 'answer 3');
  assert.equal((await get('/a', { Host: 'localhost' })).text, 'answer 4');
  assert.equal((await get('/a', { Host: 'LOCALHOST' })).text, 'answer 4');
});

test('what may not be kept is asked for each time', async (t) => {
  const heads = {
    '/no-store': [200, { 'Cache-Control': 'max-age=6000, no-store' }],
    '/private': [200, { 'Cache-Control': 'max-age=6000, private' }],
    '/zero': [200, { 'Cache-Control': 'max-age=0' }],
    '/silent': [200, {}],
    '/star': [200, { 'Cache-Control': 'max-age=6000', Vary: '*' }],
    '/part': [206, { 'Cache-Control': 'max-age=6000' }],
    '/found': [302, { Location: '/x' }],
    '/broken': [200, { 'Cache-Control': 'max-age=6000, x="' }],
  };
  const { up, get } = await start(t, (request, answer, text) => {
    if (request.target === '/cookie') {
      return answer.text(200, text, { 'Last-Modified': 'Mon, 01 Jan 2024 00:00:00 GMT', 'Set-Cookie': 'a=b' });
    }
    const [code, headers] = heads[request.target] ?? [200, { 'Cache-Control': 'max-age=6000' }];
    return answer.send(code, headers, text);
  });
  for (const path of Object.keys(heads)) {
    const first = await get(path);
    const second = await get(path);
    assert.notEqual(first.text, second.text, path);
    assert.doesNotMatch(status(first), /stored/, path);
  }
  // A lifetime is not guessed for an answer with a cookie: it is kept to be validated.
  await get('/cookie');
  await get('/cookie');
  assert.ok(up.requests.at(-1).headers['if-modified-since']);
  const before = up.requests.length;
  await get('/key', { Authorization: 'Bearer x' });
  await get('/key', { Authorization: 'Bearer x' });
  await get('/wish', { 'Cache-Control': 'no-store' });
  const wish = await get('/wish', { 'X-Penstock-Cache': 'bypass' });
  assert.equal(status(wish), 'Penstock; fwd=bypass; fwd-status=200');
  assert.equal(up.requests.length, before + 4);
});

test('a stale answer is asked for with its validators, and a 304 makes it fresh', async (t) => {
  const { up, get } = await start(t, (request, answer, text) => (request.headers['if-none-match'] === '"v1"'
    ? answer.send(304, { ETag: '"v1"', 'Cache-Control': 'max-age=6000', 'X-News': 'yes', 'Content-Length': 0 })
    : answer.text(200, text, { ...OLD, ETag: '"v1"', 'X-Old': 'yes',
      'Last-Modified': 'Mon, 01 Jan 2024 00:00:00 GMT' })));
  await get();
  const second = await get();
  assert.equal(second.status, 200);
  assert.equal(second.text, 'answer 1');
  assert.match(status(second), /^Penstock; fwd=stale; fwd-status=304; stored; ttl=\d+$/);
  assert.equal(up.requests[1].headers['if-modified-since'], 'Mon, 01 Jan 2024 00:00:00 GMT');
  const third = await get();
  assert.equal(third.text, 'answer 1');
  assert.match(status(third), /; hit; /);
  assert.equal(third.headers['x-news'], 'yes');
  assert.equal(third.headers['x-old'], 'yes');
  assert.equal(third.headers['content-type'], 'text/plain');
  assert.equal(up.requests.length, 2);
});

test('a stale answer that has changed is replaced', async (t) => {
  const { up, get } = await start(t, (request, answer, text) => answer.text(200, text,
    request.headers['if-none-match'] ? { 'Cache-Control': 'max-age=6000', ETag: '"v2"' } : { ...OLD, ETag: '"v1"' }));
  await get();
  assert.equal((await get()).text, 'answer 2');
  assert.equal((await get()).text, 'answer 2');
  assert.equal(up.requests.length, 2);
});

test('what is never fresh is confirmed again and again', async (t) => {
  const { up, get } = await start(t, (request, answer, text) => (request.headers['if-none-match'] === '"v1"'
    ? answer.send(304, { ETag: '"v1"', 'Cache-Control': 'no-cache', 'X-Times': up.requests.length, 'Content-Length': 0 })
    : answer.text(200, text, { 'Cache-Control': 'no-cache', ETag: '"v1"' })));
  for (let i = 1; i <= 40; i++) {
    const answer = await get();
    assert.equal(answer.text, 'answer 1');
    assert.equal(answer.headers['x-times'], i === 1 ? undefined : String(i));
  }
  assert.equal(up.requests.length, 40);
});

test('clients with conditions get a 304 from memory', async (t) => {
  const { up, get } = await start(t, (request, answer, text) => answer.text(200, text, { 'Cache-Control': 'max-age=6000',
    ETag: 'W/"v1"', 'Last-Modified': 'Mon, 01 Jan 2024 00:00:00 GMT', 'Content-Language': 'en' }));
  await get();
  for (const headers of [{ 'If-None-Match': '"v1"' }, { 'If-None-Match': '"x", W/"v1"' }, { 'If-None-Match': '*' },
    { 'If-Modified-Since': 'Mon, 01 Jan 2024 00:00:00 GMT' }, { 'If-Modified-Since': 'Tuesday, 02-Jan-24 00:00:00 GMT' }]) {
    const answer = await get('/a', headers);
    assert.equal(answer.status, 304);
    assert.equal(answer.text, '');
    assert.equal(answer.headers.etag, 'W/"v1"');
    assert.equal(answer.headers['content-type'], undefined);
    assert.equal(answer.headers['content-language'], undefined);
    assert.match(status(answer), /; hit; /);
  }
  for (const headers of [{ 'If-None-Match': '"v2"' }, { 'If-Modified-Since': 'Sun, 31 Dec 2023 00:00:00 GMT' },
    { 'If-None-Match': '"v2"', 'If-Modified-Since': 'Mon, 01 Jan 2024 00:00:00 GMT' }]) {
    assert.equal((await get('/a', headers)).status, 200);
  }
  assert.equal(up.requests.length, 1);
  await get('/b', { 'If-None-Match': '"v1"' }); // unknown here: the server decides
  assert.equal(up.requests[1].headers['if-none-match'], '"v1"');
  assert.equal((await get('/a', { 'If-Match': '"x"' })).status, 200);
  assert.equal(up.requests[2].headers['if-match'], '"x"');
});

test('variants are told apart by what Vary names', async (t) => {
  const { up, get } = await start(t, (request, answer, text) => answer.text(200, `${text} ${request.headers.flavour}`,
    { 'Cache-Control': 'max-age=6000', Vary: 'Flavour, Accept-Encoding' }));
  const sweet = await get('/a', { Flavour: 'sweet', 'Accept-Encoding': 'gzip, br' });
  const sour = await get('/a', { Flavour: 'sour', 'Accept-Encoding': 'gzip, br' });
  assert.match(status(sweet), /fwd=uri-miss/);
  assert.match(status(sour), /fwd=vary-miss/);
  assert.equal(sour.text, 'answer 2 sour');
  for (let i = 0; i < 4; i++) {
    assert.equal((await get('/a', { Flavour: 'sweet', 'Accept-Encoding': 'BR,gzip' })).text, 'answer 1 sweet');
    assert.equal((await get('/a', { Flavour: 'sour', 'Accept-Encoding': 'br , gzip' })).text, 'answer 2 sour');
  }
  assert.equal((await get('/a', { Flavour: 'sour' })).text, 'answer 3 sour');
  assert.equal((await get('/a')).text, 'answer 4 undefined');
  assert.equal(up.requests.length, 4);
});

test('a crowd asks once, and nobody gets what is for another', async (t) => {
  const heads = {
    '/shared': { 'Cache-Control': 'max-age=6000' },
    '/own': { 'Cache-Control': 'no-store' },
    '/flavours': { 'Cache-Control': 'max-age=6000', Vary: 'Flavour' },
  };
  const { up, get } = await start(t, async (request, answer, text) => {
    await sleep(100);
    await answer.text(200, `${text} ${request.headers.flavour}`, heads[request.target]);
  });
  const crowd = (path, flavours = 1) => Promise.all(Array.from({ length: 24 },
    (_, i) => get(path, { Flavour: `f${i % flavours}` })));
  const shared = await crowd('/shared');
  assert.equal(up.to('/shared').length, 1);
  assert.ok(shared.every(({ text }) => text === 'answer 1 f0'));
  assert.equal(shared.filter((answer) => /collapsed/.test(status(answer))).length
    + shared.filter((answer) => /; hit;/.test(status(answer))).length, 23);
  const own = await crowd('/own');
  assert.equal(new Set(own.map(({ text }) => text)).size, 24);
  assert.ok(own.every((answer) => !/collapsed/.test(status(answer))));
  heads['/own'] = { 'Cache-Control': 'max-age=6000' }; // from now on they may share it
  await get('/own');
  await get('/own');
  const asked = up.to('/own').length;
  await crowd('/own');
  assert.equal(up.to('/own').length, asked);
  const flavours = await crowd('/flavours', 3);
  flavours.forEach((answer, i) => assert.equal(answer.text.split(' ').at(-1), `f${i % 3}`));
  await crowd('/flavours', 3);
  const before = up.to('/flavours').length;
  await crowd('/flavours', 3);
  assert.equal(up.to('/flavours').length, before);
});

test('HEAD and parts come out of the answer to a GET', async (t) => {
  const { up, get } = await start(t, (request, answer) => answer.send(200,
    { 'Cache-Control': 'max-age=6000', ETag: '"v1"' }, '0123456789'));
  await get('/b', {}, 'HEAD');
  await get('/b', {}, 'HEAD');
  assert.equal(up.requests.length, 2); // HEAD alone is not kept
  await get();
  const head = await get('/a', {}, 'HEAD');
  assert.equal(head.headers['content-length'], '10');
  assert.match(status(head), /; hit; /);
  const part = await get('/a', { Range: 'bytes=2-5' });
  assert.equal(part.status, 206);
  assert.equal(part.text, '2345');
  assert.equal(part.headers['content-range'], 'bytes 2-5/10');
  assert.equal(part.headers['content-length'], '4');
  assert.equal((await get('/a', { Range: 'bytes=-3' })).text, '789');
  assert.equal((await get('/a', { Range: 'bytes=8-', 'If-Range': '"v1"' })).text, '89');
  assert.equal((await get('/a', { Range: 'bytes=8-', 'If-Range': '"v2"' })).text, '0123456789');
  assert.equal(up.requests.length, 3);
  await get('/a', { Range: 'bytes=10-' }); // there is none: the server may say so
  assert.equal(up.requests.length, 4);
});

test('a request may want an answer of its own', async (t) => {
  const { up, get } = await start(t, (request, answer, text) => answer.text(200, text, { 'Cache-Control': 'max-age=6000', Age: '2000' }));
  const missing = await get('/a', { 'Cache-Control': 'only-if-cached' });
  assert.equal(missing.status, 504);
  assert.equal(up.requests.length, 0);
  await get();
  const wants = async (value, text) => {
    const answer = await get('/a', { 'Cache-Control': value });
    assert.equal(answer.status === 200 ? answer.text : answer.status, text, value);
    return answer;
  };
  await wants('only-if-cached', 'answer 1');
  await wants('max-age=5000', 'answer 1');
  await wants('min-fresh=1000', 'answer 1');
  assert.match(status(await wants('max-age=1000', 'answer 2')), /fwd=request/);
  await wants('min-fresh=5000', 'answer 3');
  await wants('no-cache', 'answer 4');
  await wants('max-age=0', 'answer 5');
  assert.equal((await get('/a', { Pragma: 'no-cache' })).text, 'answer 6');
  assert.equal((await get('/a', { 'X-Penstock-Cache': 'refresh' })).text, 'answer 7');
  assert.equal((await get()).text, 'answer 7'); // what came is kept
  await wants('only-if-cached, no-cache', 504);
});

test('a stale answer may be sent while it is asked for anew', async (t) => {
  const { up, get } = await start(t, async (request, answer, text) => {
    if (text === 'answer 1') {
      await answer.text(200, text, { 'Cache-Control': 'max-age=6000, stale-while-revalidate=60000', Age: '7000' });
    } else {
      await sleep(200);
      await answer.text(200, text, { 'Cache-Control': 'max-age=6000' });
    }
  });
  await get();
  const stale = await Promise.all([get(), get(), get()]);
  for (const answer of stale) {
    assert.equal(answer.text, 'answer 1');
    assert.match(status(answer), /^Penstock; hit; ttl=-\d+; detail=L1$/);
  }
  await until('the new answer is there', async () => (await get()).text === 'answer 2');
  assert.equal(up.requests.length, 2);
});

test('who asks for the head or a part of a stale answer brings the whole anew', async (t) => {
  const { up, get } = await start(t, (request, answer, text) => answer.text(200, text, {
    'Cache-Control': 'max-age=6000, stale-while-revalidate=60000',
    Age: request.target === '/none' || /[13]$/.test(text) ? '7000' : '0',
  }));
  const renew = async (path, headers, method, fresh) => {
    await get(path);
    assert.match(status(await get(path, headers, method)), /^Penstock; hit; ttl=-\d+; detail=L1$/);
    await until('it is renewed', async () => (await get(path)).text === fresh);
    assert.equal(up.requests.at(-1).method, 'GET');
    assert.equal(up.requests.at(-1).headers.range, undefined);
    assert.equal(up.requests.at(-1).headers['if-range'], undefined);
  };
  await renew('/head', {}, 'HEAD', 'answer 2');
  await renew('/part', { Range: 'bytes=2-5' }, 'GET', 'answer 4');
  assert.equal(up.requests.length, 4);
  await get('/none');
  assert.equal((await get('/none', { Range: 'bytes=100-' })).status, 200); // the server's to refuse
  assert.equal(up.requests.at(-1).headers.range, 'bytes=100-');
  assert.equal(up.requests.length, 6);
});

test('a stale answer may be sent when the upstream fails, if it says so', async (t) => {
  let fail = false;
  const { get } = await start(t, (request, answer, text) => {
    if (fail) {
      return request.target.endsWith('503') ? answer.text(503, 'no') : answer.die();
    }
    const more = request.target.startsWith('/sie') ? ', stale-if-error=60000'
      : request.target.startsWith('/must') ? ', stale-if-error=60000, must-revalidate' : '';
    return answer.text(200, text, { 'Cache-Control': `max-age=6000${more}`, Age: '6000', ETag: '"v1"' });
  });
  const paths = ['/sie', '/sie503', '/must', '/must503', '/plain', '/plain503'];
  for (const path of paths) {
    await get(path);
  }
  fail = true;
  const got = {};
  for (const path of paths) {
    got[path] = await get(path);
  }
  assert.deepEqual(paths.map((path) => got[path].status), [200, 200, 502, 503, 502, 503]);
  assert.equal(got['/sie'].text, 'answer 1');
  assert.match(status(got['/sie503']), /^Penstock; fwd=stale; fwd-status=503; ttl=-?\d+$/);
});

test('unsafe methods make invalid what they name, all variants of it', async (t) => {
  let code = 200;
  const { up, get } = await start(t, (request, answer, text) => (request.method === 'GET'
    ? answer.text(200, text, { 'Cache-Control': 'max-age=6000', Vary: 'Flavour' })
    : answer.text(code, 'done', { Location: '/b', 'Content-Location': 'http://elsewhere.example/c' })));
  const all = async () => {
    const texts = [];
    for (const [path, flavour] of [['/a', 'x'], ['/a', 'y'], ['/b', 'x'], ['/c', 'x']]) {
      texts.push((await get(path, { Flavour: flavour })).text);
    }
    return texts;
  };
  const before = await all();
  assert.deepEqual(await all(), before);
  code = 500;
  await get('/a', {}, 'PUT');
  assert.deepEqual(await all(), before); // it failed: nothing has changed
  code = 201;
  await get('/a', {}, 'PUT');
  const after = await all();
  assert.ok(after.slice(0, 3).every((text, i) => text !== before[i]));
  assert.equal(after[3], before[3]); // another host's word counts for nothing
  await get('/a', {}, 'DELETE');
  assert.notDeepEqual(await all(), after);
  assert.equal(up.requests.filter(({ method }) => method === 'GET').length, 10);
});

test('an answer that was on its way when it became invalid is not kept', async (t) => {
  let go;
  const held = new Promise((resolve) => { go = resolve; });
  const { up, gate, get } = await start(t, async (request, answer, text) => {
    if (text === 'answer 1') {
      await held;
    }
    await answer.text(200, text, { 'Cache-Control': 'max-age=6000' });
  });
  const early = open(gate.port, { path: '/a' });
  await up.seen(1);
  await get('/a', {}, 'POST');
  const late = await get(); // does not join what began before
  assert.equal(late.text, 'answer 3');
  go();
  (await early).incoming.resume();
  await sleep(50);
  assert.equal((await get()).text, 'answer 3');
  assert.equal(up.requests.length, 3);
});

test('routes, tenants and purges bound what is shared', async (t) => {
  const script = (request, answer, text) => answer.text(200, text, { 'Cache-Control': 'max-age=6000' });
  const { up, gate, get } = await start(t, script, `  - {name: off, path: /off/*, kind: plain, cache: no}
tenants:
  - {name: one, key: key-of-one-123456}
  - {name: two, key: key-of-two-123456}
`);
  const as = (who, path = '/a') => get(path, { Authorization: `Bearer key-of-${who}-123456` });
  assert.equal((await as('one')).text, 'answer 1');
  assert.equal((await as('one')).text, 'answer 1'); // the key is ours: the server never saw it
  assert.equal((await as('two')).text, 'answer 2');
  assert.equal((await as('two')).text, 'answer 2');
  assert.notEqual((await as('one', '/off/a')).text, (await as('one', '/off/a')).text);
  assert.equal(status(await as('one', '/off/a')), undefined);
  const purge = await call(gate.port, { method: 'POST', path: '/api/cache/invalidate', body: { pattern: 'all', tenant: 'one' } });
  assert.equal(purge.status, 200);
  const asked = up.requests.length;
  assert.equal((await as('two')).text, 'answer 2');
  assert.notEqual((await as('one')).text, 'answer 1');
  assert.equal(up.requests.length, asked + 1);
});

test('gateways share variants, validators and invalidations through Redis', { skip: needsRedis }, async (t) => {
  const node = await startRedis(t);
  const script = (request, answer, text) => {
    if (request.headers['if-none-match'] !== undefined) {
      return answer.send(304, { ETag: '"v1"', 'Cache-Control': 'max-age=6000', 'Content-Length': 0 });
    }
    const old = request.target.startsWith('/old') ? OLD : { 'Cache-Control': 'max-age=6000' };
    return answer.text(200, `${text} ${request.headers.flavour}`, { ...old, ETag: '"v1"', Vary: 'Flavour' });
  };
  const redis = `cache: {redis: {nodes: ["${node.name}"], timeout: 1s, breaker: {stall: 3s}}}\n`;
  const { up, get: one } = await start(t, script, redis);
  const other = await startPenstock(t, {
    config: `upstreams:
  - {name: web, engine: openai, endpoints: ["${up.url}"], health: {interval: 0s, unhealthy_after: 1000}, retry: {attempts: 1}}
routes:
  - {name: all, path: /*, kind: plain}
${redis}`,
  });
  const headers = { Host: 'localhost', Flavour: 'sweet' };
  const two = (path, more = {}, method = 'GET') => call(other.port, { path, method, headers: { ...headers, ...more } });
  /// Asks one gateway, then the other, at a new path each time, until Redis was quick enough.
  const share = async (prefix, wanted) => {
    for (let n = 0; n < 100; n++) {
      const first = await one(`${prefix}${n}`, headers);
      await sleep(30);
      const second = await two(`${prefix}${n}`);
      if (wanted.test(status(second))) {
        return { first, second, path: `${prefix}${n}` };
      }
    }
    assert.fail(`never ${wanted}`);
  };
  const { first, second, path } = await share('/a', /^Penstock; hit; ttl=\d+; detail=L2$/);
  assert.equal(second.text, first.text);
  assert.match((await two(path, { Flavour: 'sour' })).text, /sour$/);
  const { first: stale, second: confirmed } = await share('/old', /^Penstock; fwd=stale; fwd-status=304; stored; ttl=\d+$/);
  assert.equal(confirmed.text, stale.text);
  const gone = await one('/b', headers);
  await one('/b', headers, 'PUT');
  assert.notEqual((await two('/b')).text, gone.text);
});
