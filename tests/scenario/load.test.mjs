// timeout: 300
//
// penstock load: any HTTP service under load, with a verdict that a job can act on.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import net from 'node:net';
import path from 'node:path';
import { test } from 'node:test';

import { after } from './lib/after.mjs';
import { Penstock, runPenstock, tempDir } from './lib/penstock.mjs';
import { freePort } from './lib/ports.mjs';
import { startSim } from './lib/sim.mjs';
import { makeAuthority } from './lib/tls.mjs';
import { sleep, until } from './lib/wait.mjs';

// A server of this process: {url, port, requests}.
async function serve(t, handle, { tls } = {}) {
  const requests = [];
  const take = (request, response) => {
    let body = '';
    request.setEncoding('utf8');
    request.on('data', (piece) => { body += piece; });
    request.on('end', () => {
      requests.push({ method: request.method, url: request.url, headers: request.headers, body });
      handle(request, response, body);
    });
  };
  const server = tls === undefined ? http.createServer(take) : https.createServer(tls, take);
  server.listen(0, '127.0.0.1');
  await new Promise((resolve) => { server.once('listening', resolve); });
  after(t, () => { server.closeAllConnections(); server.close(); });
  const { port } = server.address();
  return { url: `${tls === undefined ? 'http' : 'https'}://127.0.0.1:${port}`, port, requests };
}

const ok = (request, response) => response.end('ok');

// Bytes for whoever connects.
async function serveRaw(t, onConnection) {
  const sockets = new Set();
  const server = net.createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    socket.on('close', () => sockets.delete(socket));
    onConnection(socket);
  });
  server.listen(0, '127.0.0.1');
  await new Promise((resolve) => { server.once('listening', resolve); });
  after(t, () => { server.close(); sockets.forEach((socket) => socket.destroy()); });
  return `http://127.0.0.1:${server.address().port}/`;
}

// The machine that runs the tests has more to do than to be punctual.
const LAX = ['--max-lag', '1h'];

// Runs it; the result has its report.
async function load(t, args, options = {}) {
  const out = path.join(tempDir(t), 'report.json');
  const result = await runPenstock(t, ['load', ...args, ...LAX, '--out', out], options);
  result.out = out;
  if (fs.existsSync(out)) {
    result.report = JSON.parse(fs.readFileSync(out, 'utf8'));
    result.test = result.report.load_test;
  }
  return result;
}

test('any URL is asked at the rate, and the report says what came of it', async (t) => {
  const server = await serve(t, ok);
  const bare = `127.0.0.1:${server.port}/some/path?a=b`; // http where nothing is said
  const result = await load(t, [bare, '--rate', '50', '--duration', '2s', '--tag', 'build=17']);
  assert.equal(result.code, 0, result.stderr);
  assert.equal(server.requests.length, 100);
  assert.ok(server.requests.every(({ method, url }) => method === 'GET' && url === '/some/path?a=b'));
  assert.equal(result.test.total_requests, 100);
  assert.equal(result.test.successful_requests, 100);
  assert.equal(result.test.verdict, 'pass');
  assert.equal(result.report.summary.verdict, 'pass');
  assert.ok(Math.abs(result.test.rps - 50) < 2, `rps ${result.test.rps}`);
  assert.match(result.stdout, /PASS/);
  assert.ok(!fs.existsSync(`${result.out}.load.journal`), 'the journal goes when the report has everything');
});

test('a ramp and steps send what lies below them', async (t) => {
  const server = await serve(t, ok);
  const ramp = await load(t, [server.url, '--rate', '10..50', '--duration', '2s']);
  assert.equal(ramp.code, 0, ramp.stderr);
  assert.ok(Math.abs(server.requests.length - 60) <= 1, `${server.requests.length} requests`);
  server.requests.length = 0;
  const steps = await load(t, [server.url, '--rate', '10,30', '--duration', '2s']);
  assert.equal(steps.code, 0, steps.stderr + steps.stdout);
  assert.equal(server.requests.length, 40);
});

test('users of a closed loop wait for their answers', async (t) => {
  let inside = 0;
  let most = 0;
  const server = await serve(t, async (request, response) => {
    inside++;
    most = Math.max(most, inside);
    await sleep(20);
    inside--;
    response.end('ok');
  });
  const result = await load(t, [server.url, '--connections', '4', '--duration', '1s']);
  assert.equal(result.code, 0, result.stderr);
  assert.ok(most <= 4, `${most} at a time`);
  assert.ok(server.requests.length > 20, `${server.requests.length} requests`);
  assert.equal(result.test.successful_requests, server.requests.length);
});

test('method, headers, body, key and expected status are sent and judged as asked', async (t) => {
  const server = await serve(t, (request, response) => { response.statusCode = 418; response.end(); });
  const dir = tempDir(t);
  fs.writeFileSync(path.join(dir, 'body'), 'x=1');
  fs.writeFileSync(path.join(dir, 'key'), 'sk-secret\n');
  const result = await load(t, [`${server.url}/put`, '--method', 'PUT', '--body', path.join(dir, 'body'), '--header',
    'content-type: text/plain', '--header', 'x-a: b', '--api-key-file', path.join(dir, 'key'), '--status', '418',
    '--count', '3']);
  assert.equal(result.code, 0, result.stderr);
  assert.equal(server.requests.length, 3);
  const { method, headers, body } = server.requests[0];
  assert.deepEqual([method, headers['content-type'], headers['x-a'], headers.authorization, body],
    ['PUT', 'text/plain', 'b', 'Bearer sk-secret', 'x=1']);
  assert.doesNotMatch(JSON.stringify(result.report) + result.stdout + result.stderr, /sk-secret/);
});

test('requests of a file take turns', async (t) => {
  const server = await serve(t, (request, response) => {
    response.statusCode = request.url === '/gone' ? 410 : 200;
    response.end();
  });
  const file = path.join(tempDir(t), 'requests.jsonl');
  fs.writeFileSync(file, `${[
    { path: '/a', headers: { 'x-a': '1' }, key: 'tenant-1' },
    { method: 'POST', path: '/b', body: { n: 1 } },
    { path: '/gone', status: 410 },
  ].map((row) => JSON.stringify(row)).join('\n')}\n`);
  const result = await load(t, [server.url, '--requests', file, '--rate', '30', '--count', '6']);
  assert.equal(result.code, 0, result.stderr);
  assert.deepEqual(server.requests.map(({ method, url }) => `${method} ${url}`),
    ['GET /a', 'POST /b', 'GET /gone', 'GET /a', 'POST /b', 'GET /gone']);
  assert.equal(server.requests[0].headers.authorization, 'Bearer tenant-1');
  assert.equal(server.requests[1].body, '{"n":1}');
});

test('chats of a simulated server are made, and their tokens timed', async (t) => {
  const sim = await startSim(t, 'vllm');
  const result = await load(t, [`${sim.url}/v1/chat/completions`, '--rate', '20', '--duration', '1s', '--max-tokens', '8',
    '--goodput', 'ttft:5s', '--goodput', 'latency:1ms', '--threshold', 'ttft: p(95)<5s', '--threshold', 'output_tokens: count>=100']);
  assert.equal(result.code, 0, result.stderr + result.stdout);
  assert.equal(result.test.successful_requests, 20);
  assert.match(result.stdout, /kept +time_to_first_token/);
});

test('embeddings and chats of Ollama are made, too', async (t) => {
  const sim = await startSim(t, 'ollama', '--model', 'tiny:latest');
  for (const target of ['/api/chat', '/api/embed']) {
    const result = await load(t, [`${sim.url}${target}`, '--rate', '10', '--count', '5']);
    assert.equal(result.code, 0, result.stderr + result.stdout);
    assert.equal(result.test.successful_requests, 5);
  }
});

test('thresholds that are not kept end with 1, and the reason is named', async (t) => {
  const server = await serve(t, async (request, response) => { await sleep(30); response.end(); });
  const result = await load(t, [server.url, '--rate', '20', '--duration', '1s', '--threshold',
    'http_req_duration: p(95)<5']);
  assert.equal(result.code, 1);
  assert.equal(result.test.verdict, 'fail');
  assert.match(result.test.reason, /^http_req_duration p\(95\)<5: it was [\d.]+ ms$/);
});

test('a threshold that says so ends the test at once', async (t) => {
  const server = await serve(t, (request, response) => { response.statusCode = 500; response.end('{"error":"full"}'); });
  const began = Date.now();
  const result = await load(t, [server.url, '--rate', '20', '--duration', '60s', '--threshold',
    'http_req_failed: rate<0.5, abortOnFail']);
  assert.equal(result.code, 1);
  assert.ok(Date.now() - began < 30000);
  assert.match(result.test.reason, /HTTP status: \d+, the first: full/);
});

test('errors fail a test unless another bound is set', async (t) => {
  let n = 0;
  const server = await serve(t, (request, response) => { response.statusCode = n++ % 10 === 0 ? 500 : 200; response.end(); });
  const strict = await load(t, [server.url, '--rate', '50', '--duration', '1s']);
  assert.equal(strict.code, 1);
  const lax = await load(t, [server.url, '--rate', '50', '--duration', '1s', '--threshold', 'http_req_failed: rate<20%']);
  assert.equal(lax.code, 0, lax.stderr);
});

test('who is not there ends with 3 and a sentence', async (t) => {
  const refused = await load(t, [`http://127.0.0.1:${await freePort()}/`]);
  assert.equal(refused.code, 3);
  assert.match(refused.test.reason, /the connection was refused/);
  assert.equal(refused.report.summary.verdict, 'unreachable');
  const unknown = await load(t, ['http://no-such-name.invalid/']);
  assert.equal(unknown.code, 3);
  assert.match(unknown.test.reason, /no-such-name\.invalid: the name could not be resolved/);
  const chats = await load(t, [`http://127.0.0.1:${await freePort()}/v1/chat/completions`]);
  assert.equal(chats.code, 3);
});

test('TLS is verified, and why it failed is told', async (t) => {
  const authority = makeAuthority(t);
  const { cert, key } = authority.issue('server');
  const server = await serve(t, ok, { tls: { cert: fs.readFileSync(cert), key: fs.readFileSync(key) } });
  const distrusted = await load(t, [server.url, '--rate', '20', '--count', '5']);
  assert.equal(distrusted.code, 3);
  assert.match(distrusted.test.reason, /TLS.*(certificate|verify)/i);
  const trusted = await load(t, [server.url, '--rate', '20', '--count', '5', '--ca-file', authority.ca]);
  assert.equal(trusted.code, 0, trusted.stderr + trusted.stdout);
  const insecure = await load(t, [server.url, '--rate', '20', '--count', '5', '--insecure']);
  assert.equal(insecure.code, 0, insecure.stderr);
  const plain = await serve(t, ok);
  const wrong = await load(t, [plain.url.replace('http', 'https'), '--rate', '20', '--count', '5']);
  assert.equal(wrong.code, 3);
});

test('a server that closes each connection, talks rubbish or not at all is told by kind', async (t) => {
  const closing = await serveRaw(t, (socket) => socket.once('data', () => socket.end()));
  const rubbish = await serveRaw(t, (socket) => socket.on('data', () => socket.write('hello\r\n\r\n')));
  const silent = await serveRaw(t, () => {});
  for (const [url, kind] of [[closing, /no request was answered: connection broken/],
    [rubbish, /no request was answered: answer not understood/], [silent, /no request was answered: timed out/]]) {
    const result = await load(t, [url, '--rate', '20', '--count', '5', '--timeout', '500ms']);
    assert.equal(result.code, 3, url);
    assert.match(result.test.reason, kind);
    assert.equal(result.test.failed_requests, 5);
  }
});

test('a redirect is told, and nobody follows it', async (t) => {
  const elsewhere = await serve(t, ok);
  const server = await serve(t, (request, response) => {
    response.writeHead(302, { location: `${elsewhere.url}/x` });
    response.end();
  });
  const result = await load(t, [server.url, '--rate', '20', '--count', '5']);
  assert.equal(result.code, 1);
  assert.match(result.test.reason, /redirect, not followed: 5, the first: 302 to http:\/\/127\.0\.0\.1/);
  assert.equal(elsewhere.requests.length, 0);
});

test('a stall shows in the latencies from the intended time', async (t) => {
  let stalled = false;
  const server = await serve(t, async (request, response) => {
    await until('the stall is over', () => !stalled, 10000);
    response.end('ok');
  });
  setTimeout(() => { stalled = true; }, 500);
  setTimeout(() => { stalled = false; }, 1500);
  const result = await load(t, [server.url, '--rate', '50', '--duration', '2s']);
  assert.equal(result.code, 0, result.stderr);
  assert.ok(result.test.response_time_ms.p95 > 600, `p95 ${result.test.response_time_ms.p95}`);
});

test('a generator that was the limit says so and ends with 4', async (t) => {
  const server = await serve(t, async (request, response) => { await sleep(500); response.end(); });
  const result = await load(t, [server.url, '--rate', '100', '--duration', '1s', '--max-in-flight', '5']);
  assert.equal(result.code, 4);
  assert.equal(result.test.verdict, 'generator_limited');
  assert.equal(result.report.summary.generator_limited, true);
  assert.match(result.test.reason, /5 in flight is the bound/);
});

test('requests are broken off on purpose', async (t) => {
  const server = await serve(t, async (request, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.write('data: 1\n\n');
    await sleep(300);
    response.end('data: 2\n\n');
  });
  const result = await load(t, [server.url, '--rate', '40', '--duration', '1s', '--cancel', '50']);
  assert.equal(result.code, 0, result.stderr);
  assert.ok(result.test.successful_requests >= 10 && result.test.successful_requests <= 30,
    `${result.test.successful_requests} ended`);
});

test('Ctrl-C leaves a valid report of what ran', async (t) => {
  const server = await serve(t, ok);
  const out = path.join(tempDir(t), 'report.json');
  const run = new Penstock(['load', server.url, ...LAX, '--rate', '50', '--duration', '60s', '--out', out]);
  after(t, () => run.kill());
  await until('requests came', () => server.requests.length > 60, 20000);
  assert.ok(fs.existsSync(`${out}.load.journal`), 'a journal is kept while it runs');
  run.signal('SIGINT');
  const { code } = await run.ended;
  run.assertClean();
  assert.equal(code, 5);
  const { load_test: test } = JSON.parse(fs.readFileSync(out, 'utf8'));
  assert.equal(test.verdict, 'aborted');
  assert.ok(test.total_requests >= 60);
});

test('a run that was killed has its seconds in the journal', async (t) => {
  const server = await serve(t, ok);
  const out = path.join(tempDir(t), 'report.json');
  const run = new Penstock(['load', server.url, ...LAX, '--rate', '50', '--duration', '60s', '--out', out]);
  after(t, () => run.kill());
  await until('requests came', () => server.requests.length > 120, 20000);
  await until('they are written', () => fs.readFileSync(`${out}.load.journal`, 'utf8').split('\n').length > 3, 20000);
  await run.kill();
  const lines = fs.readFileSync(`${out}.load.journal`, 'utf8').split('\n').slice(1, 3).map((line) => JSON.parse(line));
  assert.equal(lines[0].sent + lines[1].sent >= 98 && lines[0].sent + lines[1].sent <= 102, true);
});

test('a report that cannot be written goes to standard output, and the status says so', async (t) => {
  const server = await serve(t, ok);
  const result = await runPenstock(t, ['load', server.url, ...LAX, '--rate', '50', '--count', '10', '--out', '/dev/full']);
  assert.equal(result.code, 5);
  const document = JSON.parse(result.stdout);
  assert.equal(document.load_test.total_requests, 10);
  const nowhere = await runPenstock(t, ['load', server.url, ...LAX, '--rate', '50', '--count', '10', '--out', '/no/such/folder/x.json']);
  assert.equal(nowhere.code, 5);
  assert.equal(JSON.parse(nowhere.stdout).load_test.total_requests, 10);
});

test('wrong usage ends with 2 and says what was meant', async (t) => {
  const dir = tempDir(t);
  fs.writeFileSync(path.join(dir, 'other.json'), '{"a":1}');
  fs.writeFileSync(path.join(dir, 'bad.jsonl'), '{"path":"/"}\n{"path":"x"}\n');
  const cases = [
    [[], /URL is missing/],
    [['ftp://h'], /expected http:/],
    [['http://h', '--rate', 'fast'], /--rate fast: expected 50, 10\.\.50 or 10,20,50/],
    [['http://h', '--rate', '0'], /--rate 0/],
    [['http://h', '--rate', '5', '--connections', '3'], /exclude each other/],
    [['http://h', '--threshold', 'p95<5'], /--threshold 'p95<5': expected 'metric: condition'/],
    [['http://h', '--goodput', 'x:5ms'], /--goodput x:5ms/],
    [['http://h', '--tag', 'x'], /--tag x: expected NAME=VALUE/],
    [['http://h', '--header', 'bad'], /name: value/],
    [['http://h', '--header', 'content-length: 5'], /name: value/],
    [['http://h', '--body', '/no/such'], /\/no\/such: No such file/],
    [['http://h', '--requests', path.join(dir, 'bad.jsonl')], /bad\.jsonl:2: path must begin with \//],
    [['http://h', '--method', 'get'], /method/],
    [['http://h', '--out', path.join(dir, 'other.json')], /other\.json.*--force/],
  ];
  for (const [args, words] of cases) {
    const result = await runPenstock(t, ['load', ...args], { cwd: dir });
    assert.equal(result.code, 2, `${args.join(' ')}: ${result.stderr}`);
    assert.match(result.stderr, words);
  }
});
