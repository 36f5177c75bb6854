// tags: threads
// timeout: 240
//
// clients - the gateway as the clients of others see it: curl, the openai library, wrk, Node's fetch
// and agent, in front of two simulated GPU servers.
//
// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import path from 'node:path';
import test from 'node:test';

import OpenAI from 'openai';

import { after } from './lib/after.mjs';
import { call, many, metric, tally } from './lib/client.mjs';
import { Penstock, startPenstock, tempDir } from './lib/penstock.mjs';
import { freePort } from './lib/ports.mjs';
import { now, sanitizer, sleep, slowness, until, within } from './lib/wait.mjs';

const LISTENING = /^penstock sim: listening on 127\.0\.0\.1:(\d+) \(simulated\)$/m;

/// A simulated GPU server: a Penstock with port, url and state().
async function startSim(t, { port = 0, args = [] } = {}) {
  const sim = new Penstock(['sim', '--listen', `127.0.0.1:${port}`, ...args]);
  after(t, () => sim.stop());
  const line = await until('the simulated server listens', () => {
    assert.ok(sim.running(), `it ended: ${sim.stderr}`);
    return LISTENING.exec(sim.stdout);
  });
  sim.port = Number(line[1]);
  sim.url = `http://127.0.0.1:${sim.port}`;
  sim.state = async () => (await call(sim.port, { path: '/sim/state' })).json;
  return sim;
}

const upstreams = (sims, more = '') => `upstreams:
  - {name: gpu, engine: vllm, endpoints: [${sims.map(({ url }) => `"${url}"`).join(', ')}],
     health: {interval: 100ms, healthy_after: 1}${more}}
`;

/// The gateway in front of two simulated servers.
async function startBoth(t, { config = '', more = '', sims = 2, speed = '10', simArgs = [], ...options } = {}) {
  const servers = [];
  for (let i = 0; i < sims; i++) {
    servers.push(await startSim(t, { args: ['--speed', speed, ...simArgs] }));
  }
  const gate = await startPenstock(t, { config: upstreams(servers, more) + config, ...options });
  gate.sims = servers;
  gate.openai = (settings = {}) => new OpenAI({
    baseURL: `${gate.url}/v1`, apiKey: 'none', maxRetries: 0, timeout: 15000 * slowness, ...settings,
  });
  return gate;
}

const sum = (values) => values.reduce((a, b) => a + b, 0);

/// Sequences that run or wait in any of the servers.
async function busy(sims) {
  const states = await Promise.all(sims.map((sim) => sim.state()));
  return sum(states.map(({ sequences }) => sequences.running + sequences.waiting));
}

async function canceled(sims) {
  return sum((await Promise.all(sims.map((sim) => sim.state()))).map(({ sequences }) => sequences.canceled));
}

const chatOf = (content, more = {}) => ({ model: 'sim', messages: [{ role: 'user', content }], ...more });

/// Runs a program to its end: {code, stdout, stderr, pieces}; pieces tell when output came.
async function run(t, program, args, ms = 20000) {
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  const out = { stdout: '', stderr: '', pieces: [] };
  child.stdout.setEncoding('utf8').on('data', (text) => {
    out.stdout += text;
    out.pieces.push({ text, at: now() });
  });
  child.stderr.setEncoding('utf8').on('data', (text) => { out.stderr += text; });
  after(t, () => { child.kill('SIGKILL'); });
  const ended = new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  out.code = await within(ms * slowness, `${program} ${args.join(' ')}`, ended);
  return out;
}

const curl = (t, ...args) => run(t, 'curl', ['--silent', '--show-error', '--noproxy', '*', ...args]);
const asJson = ['-H', 'content-type: application/json'];

/* ------------------------------------------------------------------------------------------ curl */

test('curl: a chat, as JSON and as a stream that arrives as it is written', async (t) => {
  const gate = await startBoth(t, { speed: '1' });
  const url = `${gate.url}/v1/chat/completions`;
  const whole = await curl(t, '-i', url, ...asJson, '-d', JSON.stringify(chatOf('rivers', { max_tokens: 12 })));
  assert.equal(whole.code, 0, whole.stderr);
  assert.match(whole.stdout, /^HTTP\/1\.1 200 OK\r\n/);
  assert.match(whole.stdout, /^x-request-id: \S+\r$/im);
  const { choices, usage } = JSON.parse(whole.stdout.split('\r\n\r\n')[1]);
  assert.equal(usage.completion_tokens, 12);

  const body = JSON.stringify(chatOf('rivers', { max_tokens: 60, stream: true }));
  const stream = await curl(t, '-N', url, ...asJson, '-d', body);
  assert.equal(stream.code, 0, stream.stderr);
  const events = stream.stdout.split('\n\n').filter(Boolean).map((line) => line.replace(/^data: /, ''));
  assert.equal(events.pop(), '[DONE]');
  const text = events.map((event) => JSON.parse(event).choices[0].delta.content).join('');
  assert.equal(text.slice(0, 48), choices[0].message.content);
  assert.equal(text.length, 240);
  // 60 steps of 8 ms and more: what came at once was held back
  assert.ok(stream.pieces.length >= 10, `${stream.pieces.length} pieces`);
  assert.ok(stream.pieces.at(-1).at - stream.pieces[0].at >= 300);
});

test('curl: HTTP/1.0, whole and as a stream that ends with the connection', async (t) => {
  const gate = await startBoth(t);
  const url = `${gate.url}/v1/chat/completions`;
  const whole = await curl(t, '-i', '--http1.0', url, ...asJson, '-d', JSON.stringify(chatOf('x', { max_tokens: 4 })));
  assert.equal(whole.code, 0, whole.stderr);
  assert.match(whole.stdout, /^HTTP\/1\.[01] 200 OK\r\n/);
  assert.doesNotMatch(whole.stdout, /transfer-encoding/i);
  assert.equal(JSON.parse(whole.stdout.split('\r\n\r\n')[1]).usage.completion_tokens, 4);
  const stream = await curl(t, '-i', '-N', '--http1.0', url, ...asJson, '-d',
    JSON.stringify(chatOf('x', { max_tokens: 4, stream: true })));
  assert.equal(stream.code, 0, stream.stderr);
  assert.doesNotMatch(stream.stdout, /transfer-encoding/i);
  assert.match(stream.stdout, /^connection: close\r$/im);
  assert.match(stream.stdout, /\r\n\r\ndata: \{/);
  assert.ok(stream.stdout.endsWith('data: [DONE]\n\n'));
});

test('curl: HEAD has the headers of GET and no body', async (t) => {
  const gate = await startBoth(t);
  const head = await curl(t, '--head', `${gate.url}/v1/models`, `${gate.url}/v1/models`, '-w', '%{num_connects}\n');
  assert.equal(head.code, 0, head.stderr);
  const got = await curl(t, '-i', `${gate.url}/v1/models`);
  const length = (text) => /^content-length: (\d+)\r$/im.exec(text)[1];
  assert.equal(length(head.stdout), length(got.stdout));
  assert.equal(Number(length(got.stdout)), got.stdout.split('\r\n\r\n')[1].length);
  // both HEADs over one connection: nothing was left on it
  assert.deepEqual(head.stdout.match(/^\d$/gm), ['1', '0']);
});

test('curl: an upload waits for 100 Continue, and one that is too large is never sent', async (t) => {
  const gate = await startBoth(t, { config: 'max_body: 1MiB\n' });
  const dir = tempDir(t);
  const file = (name, size) => {
    fs.writeFileSync(path.join(dir, name), JSON.stringify(chatOf('y'.repeat(size), { max_tokens: 1 })));
    return `@${path.join(dir, name)}`;
  };
  const send = (data, ...more) => curl(t, '-v', '-o', '/dev/null', '-w', '%{http_code} %{size_upload}',
    `${gate.url}/v1/chat/completions`, ...asJson, '-H', 'expect: 100-continue', '--expect100-timeout', '20',
    '--data-binary', data, ...more);
  const small = await send(file('small', 100000));
  assert.equal(small.code, 0, small.stderr);
  assert.match(small.stderr, /^< HTTP\/1\.1 100 Continue/m);
  assert.match(small.stdout, /^200 1000\d\d$/);
  const large = await send(file('large', 3000000));
  assert.doesNotMatch(large.stderr, /100 Continue/);
  assert.equal(large.stdout, '413 0');
  const chunked = await send(file('large', 3000000), '-H', 'transfer-encoding: chunked');
  assert.match(chunked.stdout, /^413 /);
});

test('curl: the same over IPv6', async (t) => {
  const port = await freePort();
  const has = await new Promise((resolve) => {
    const probe = net.createServer().once('error', () => resolve(false))
      .listen(port, '::1', () => probe.close(() => resolve(true)));
  });
  if (!has) {
    t.skip('this machine has no IPv6 loopback');
    return;
  }
  const gate = await startBoth(t, { port, config: `listen: ["127.0.0.1:${port}", "[::1]:${port}"]\n` });
  for (const args of [[`http://[::1]:${port}/v1/models`],
    ['--resolve', `localhost:${port}:[::1]`, `http://localhost:${port}/v1/models`],
    [`http://127.0.0.1:${port}/v1/models`], [`http://[::1]:${port}/healthz`]]) {
    const answer = await curl(t, '-f', '-w', '\n%{remote_ip}', ...args);
    assert.equal(answer.code, 0, `${args}: ${answer.stderr}`);
    assert.equal(answer.stdout.split('\n').pop(), args.at(-1).includes('127.0.0.1') ? '127.0.0.1' : '::1');
  }
  assert.ok(gate.running());
});

/* ---------------------------------------------------------------------------------------- openai */

test('openai: every call that the servers answer, and usage as they counted it', async (t) => {
  const gate = await startBoth(t);
  const client = gate.openai();
  const usages = [];
  assert.deepEqual((await client.models.list()).data.map(({ id }) => id), ['sim']);

  const answer = await client.chat.completions.create(chatOf('tell me of rivers', { max_tokens: 20 }));
  assert.equal(answer.choices[0].message.content.length, 80);
  usages.push(answer.usage);

  const asked = await client.chat.completions.create(
    chatOf('tell me of rivers', { max_tokens: 20, stream: true, stream_options: { include_usage: true } }));
  let text = '';
  for await (const chunk of asked) {
    text += chunk.choices[0]?.delta.content ?? '';
    if (chunk.usage) {
      usages.push(chunk.usage);
    }
  }
  assert.equal(text, answer.choices[0].message.content);
  assert.equal(usages.length, 2);

  // who does not ask for usage does not see it; it is counted all the same
  const quiet = await client.chat.completions.create(chatOf('tell me of rivers', { max_tokens: 20, stream: true }));
  for await (const chunk of quiet) {
    assert.equal(chunk.choices.length, 1);
    assert.ok(!chunk.usage);
  }
  usages.push(answer.usage);

  const runner = client.beta.chat.completions.stream(chatOf('of mills', { max_tokens: 9 }));
  const final = await runner.finalChatCompletion();
  assert.equal(final.choices[0].message.content.length, 36);
  usages.push({ prompt_tokens: (await client.chat.completions.create(chatOf('of mills', { max_tokens: 9 }))).usage.prompt_tokens,
    completion_tokens: 9 });
  usages.push(usages.at(-1));

  const completion = await client.completions.create({ model: 'sim', prompt: 'once', max_tokens: 6 });
  assert.equal(completion.choices[0].text.length, 24);
  usages.push(completion.usage);

  const floats = await client.embeddings.create({ model: 'sim', input: ['a mill', 'a wheel'], encoding_format: 'float' });
  assert.deepEqual(floats.data.map(({ index, embedding }) => [index, embedding.length]), [[0, 768], [1, 768]]);
  const decoded = await client.embeddings.create({ model: 'sim', input: 'a mill' }); // asks for base64 by itself
  assert.deepEqual(Array.from(decoded.data[0].embedding), Array.from(Float32Array.from(floats.data[0].embedding)));
  usages.push(floats.usage, decoded.usage);

  const images = await client.images.generate({ model: 'sim', prompt: 'a mill', size: '256x256' });
  assert.equal(Buffer.from(images.data[0].b64_json, 'base64').subarray(1, 4).toString(), 'PNG');

  const input = sum(usages.map(({ prompt_tokens: n }) => n));
  const output = sum(usages.map(({ completion_tokens: n = 0 }) => n));
  const ours = (labels) => metric(gate.port, 'penstock_traffic_tokens_total', labels);
  const pictures = { route: '/v1/images/generations' };
  assert.equal(await ours({ kind: 'input' }) - await ours({ ...pictures, kind: 'input' }), input);
  assert.equal(await ours({ kind: 'output' }), output);
  assert.equal(await ours({ ...pictures, kind: 'output' }), 0, 'a picture is no text');
  const states = await Promise.all(gate.sims.map((sim) => sim.state()));
  assert.equal(sum(states.map(({ tokens }) => tokens.generated)), output);
  assert.equal(await metric(gate.port, 'penstock_traffic_requests_total', { route: '/v1/chat/completions', code: '200' }), 5);
});

test('openai: usage stays exact under 120 parallel requests of every kind', async (t) => {
  const gate = await startBoth(t, { speed: '20' });
  const client = gate.openai();
  const usages = await many(120, async (i) => {
    const body = chatOf(`story ${i} ${'z'.repeat(i * 10)}`, { max_tokens: 1 + (i % 17) });
    if (i % 3 === 0) {
      return (await client.chat.completions.create(body)).usage;
    }
    let last;
    const more = i % 3 === 1 ? { stream: true, stream_options: { include_usage: true } } : { stream: true };
    for await (const chunk of await client.chat.completions.create({ ...body, ...more })) {
      last = chunk.usage ?? last;
    }
    return last ?? { hidden: true, completion_tokens: body.max_tokens };
  });
  const states = await Promise.all(gate.sims.map((sim) => sim.state()));
  const ours = (kind) => metric(gate.port, 'penstock_traffic_tokens_total', { kind });
  assert.equal(usages.filter(({ hidden }) => hidden).length, 40);
  assert.equal(await ours('output'), sum(usages.map(({ completion_tokens: n }) => n)));
  assert.equal(await ours('output'), sum(states.map(({ tokens }) => tokens.generated)));
  assert.equal(await ours('input'), sum(states.map(({ tokens }) => tokens.prompt)));
  assert.ok(states.every(({ tokens }) => tokens.prompt > 0), 'both servers had a share');
});

test('openai: an abort in the middle of a stream ends the work upstream', async (t) => {
  const gate = await startBoth(t, { speed: '1' });
  const client = gate.openai();
  const stream = await client.chat.completions.create(chatOf('a long one', { max_tokens: 20000, stream: true }));
  let seen = 0;
  for await (const chunk of stream) {
    assert.ok(chunk.choices[0].delta.content);
    if (++seen === 3) {
      break; // the library aborts the request
    }
  }
  await until('nothing runs upstream', async () => (await busy(gate.sims)) === 0, 1000);
  assert.equal(await canceled(gate.sims), 1);
  // and one that was not streamed
  const controller = new AbortController();
  const answer = client.chat.completions.create(chatOf('a long one', { max_tokens: 20000 }), { signal: controller.signal });
  await until('it runs upstream', async () => (await busy(gate.sims)) === 1);
  controller.abort();
  await assert.rejects(answer, OpenAI.APIUserAbortError);
  await until('nothing runs upstream', async () => (await busy(gate.sims)) === 0, 1000);
  assert.equal(await canceled(gate.sims), 2);
  await until('nothing is in flight here', async () => (await metric(gate.port, 'penstock_admit_in_flight')) === 0);
});

const KEY = 'sk-blue-0123456789abcdef';
const tenants = (limits) => `tenants:\n  - {name: blue, key: ${KEY}, ${limits}}\n`;

test('openai: a tenant over its rate gets 429, and the library tries again when Retry-After says', async (t) => {
  const gate = await startBoth(t, { config: tenants('requests_per_minute: 30') });
  const client = gate.openai({ apiKey: KEY, maxRetries: 5 });
  const answers = await many(31, (i) => client.chat.completions.create(chatOf(`${i}`, { max_tokens: 1 })));
  assert.equal(answers.length, 31);
  const refused = await metric(gate.port, 'penstock_traffic_requests_total', { code: '429' });
  assert.ok(refused >= 1 && refused <= 5, `${refused} were refused`);
  const eager = gate.openai({ apiKey: KEY });
  const errors = await many(40, (i) => eager.chat.completions.create(chatOf(`${i}`, { max_tokens: 1 })).catch((error) => error));
  const limit = errors.find((error) => error instanceof OpenAI.RateLimitError);
  assert.ok(limit, 'without retries the library throws RateLimitError');
  assert.equal(limit.status, 429);
  assert.ok(Number(limit.headers['retry-after']) >= 1);
  assert.match(limit.error.message, /./);
});

test('openai: a full queue is 429 with Retry-After, and trying again succeeds', async (t) => {
  const gate = await startBoth(t, { sims: 1, speed: '1', more: ', admission: {max_in_flight: 1, max_queue: 1}' });
  const body = chatOf('x', { max_tokens: 20 });
  const eager = gate.openai();
  const first = await many(6, () => eager.chat.completions.create(body).then(() => 200, (error) => error));
  const refused = first.filter((error) => error instanceof OpenAI.RateLimitError);
  assert.equal(refused.length, 4, JSON.stringify(first.map(String)));
  assert.ok(refused.every(({ headers }) => Number(headers['retry-after']) >= 1));
  const client = gate.openai({ maxRetries: 8 });
  const later = await many(4, () => client.chat.completions.create(body));
  assert.ok(later.every(({ usage }) => usage.completion_tokens === 20));
});

test('openai: a server that is down is 502 or 503, and when it is back the same call succeeds', async (t) => {
  const gate = await startBoth(t, { sims: 1 });
  const [sim] = gate.sims;
  await sim.kill();
  const eager = gate.openai();
  const body = chatOf('x', { max_tokens: 1 });
  const gone = await until('the gateway knows that it is down', async () => {
    const error = await eager.chat.completions.create(body).catch((e) => e);
    assert.ok(error instanceof OpenAI.InternalServerError, `${error}`);
    assert.ok([502, 503].includes(error.status));
    return error.status === 503 && error;
  }, 5000, 50);
  assert.ok(Number(gone.headers['retry-after']) >= 1);
  assert.equal(gone.code, 'no_endpoint');
  const patient = gate.openai({ maxRetries: 8 }).chat.completions.create(body);
  await sleep(300);
  await startSim(t, { port: sim.port });
  assert.equal((await patient).usage.completion_tokens, 1);
});

test('openai: errors become the classes that a program catches', async (t) => {
  const gate = await startBoth(t, {
    config: `${tenants('max_in_flight: 50')}routes:\n  - {path: /v1/chat/completions, kind: openai}\n  - {path: /v1/models}\n`,
  });
  const client = gate.openai({ apiKey: KEY });
  await assert.rejects(gate.openai({ apiKey: 'sk-wrong' }).chat.completions.create(chatOf('x')), (error) => {
    assert.ok(error instanceof OpenAI.AuthenticationError, `${error}`);
    assert.equal(error.status, 401);
    assert.doesNotMatch(error.message, /sk-wrong/);
    return true;
  });
  await assert.rejects(client.chat.completions.create({ ...chatOf('x'), model: 'unknown' }), (error) => {
    assert.ok(error instanceof OpenAI.NotFoundError, `${error}`);
    assert.match(error.message, /unknown/);
    return true;
  });
  await assert.rejects(client.embeddings.create({ model: 'sim', input: 'x' }), OpenAI.NotFoundError);
  // (the library sends the whole ArrayBuffer behind a view, so it must be no larger)
  const broken = new TextEncoder().encode('{"model":"sim","messages":[}').slice();
  await assert.rejects(client.post('/chat/completions', { body: broken, headers: { 'content-type': 'application/json' } }),
    (error) => {
      assert.ok(error instanceof OpenAI.BadRequestError, `${error}`);
      assert.match(error.message, /byte 28\b/);
      return true;
    });
  const states = await Promise.all(gate.sims.map((sim) => sim.state()));
  assert.equal(sum(states.map(({ tokens }) => tokens.prompt)), 0, 'nothing of this was computed');
});

/* ------------------------------------------------------------------------------------------- wrk */

test('wrk: two seconds of requests without an error', async (t) => {
  const gate = await startBoth(t, { speed: '1000' });
  const script = path.join(tempDir(t), 'chat.lua');
  fs.writeFileSync(script, `wrk.method = "POST"
wrk.headers["content-type"] = "application/json"
wrk.body = '${JSON.stringify(chatOf('x', { max_tokens: 2 }))}'
`);
  for (const args of [[`${gate.url}/v1/models`], ['-s', script, `${gate.url}/v1/chat/completions`]]) {
    const result = await run(t, 'wrk', ['-t1', '-c32', '-d2s', ...args]);
    assert.equal(result.code, 0, result.stderr);
    assert.match(result.stdout, /^ +[1-9]\d* requests in /m);
    assert.doesNotMatch(result.stdout, /Non-2xx|Socket errors/);
  }
});

/* ------------------------------------------------------------------------------------------ Node */

test('fetch: streams arrive in pieces, and an abort ends the work upstream', async (t) => {
  const gate = await startBoth(t, { speed: '1' });
  const post = (body, more = {}) => fetch(`${gate.url}/v1/chat/completions`, {
    method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body), ...more,
  });
  const answer = await post(chatOf('x', { max_tokens: 50, stream: true }));
  assert.equal(answer.status, 200);
  const times = [];
  let text = '';
  for await (const piece of answer.body) {
    times.push(now());
    text += Buffer.from(piece).toString('utf8');
  }
  assert.equal(text.match(/^data: \{/gm).length, 50);
  assert.ok(times.at(-1) - times[0] >= 250);
  const controller = new AbortController();
  const long = await post(chatOf('x', { max_tokens: 20000, stream: true }), { signal: controller.signal });
  await long.body.getReader().read();
  controller.abort();
  await until('nothing runs upstream', async () => (await busy(gate.sims)) === 0, 1000);
  assert.equal(await canceled(gate.sims), 1);
});

test('fetch: 300 at once are all answered, each with its own answer', async (t) => {
  const gate = await startBoth(t, { speed: '50' });
  const texts = await many(300, async (i) => {
    const answer = await fetch(`${gate.url}/v1/completions`, {
      method: 'POST', headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ model: 'sim', prompt: `prompt ${i % 150}`, max_tokens: 8 }),
    });
    assert.equal(answer.status, 200);
    return (await answer.json()).choices[0].text;
  });
  for (let i = 0; i < 150; i++) {
    assert.equal(texts[i], texts[i + 150]);
  }
  assert.equal(new Set(texts).size, 150);
});

test('an agent with keep-alive carries hundreds of requests over few connections', async (t) => {
  const gate = await startBoth(t, { speed: '50' });
  const agent = new http.Agent({ keepAlive: true, maxSockets: 40 });
  after(t, () => agent.destroy());
  const locals = new Set();
  agent.on('free', (socket) => locals.add(socket.localPort));
  const results = await many(600, (i) => (i % 4 === 3
    ? call(gate.port, { path: '/v1/models', agent })
    : call(gate.port, { method: 'POST', path: '/v1/chat/completions', agent, body: chatOf(`${i}`, { max_tokens: 3, stream: i % 4 === 1 }) })));
  assert.deepEqual(tally(results.map(({ status }) => status)), { 200: 600 });
  assert.ok(locals.size <= 40, `${locals.size} connections`);
  assert.equal(sanitizer === '' ? await metric(gate.port, 'penstock_admit_in_flight') : 0, 0);
});
