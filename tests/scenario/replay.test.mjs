// penstock replay: recorded traffic as real requests, at its times whatever the server does.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import zlib from 'node:zlib';

import { Penstock, runPenstock as runProgram, tempDir } from './lib/penstock.mjs';
import { freePort } from './lib/ports.mjs';
import { startUpstream } from './lib/upstream.mjs';
import { now, sleep, until } from './lib/wait.mjs';

const AZURE = 't_s,context_tokens,generated_tokens\n';
const sample = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../data/azure2023_conv_10min.csv.gz');

const word = (text) => ({ choices: [{ index: 0, delta: { content: text } }] });
const usage = (prompt, completion) => ({
  choices: [], usage: { prompt_tokens: prompt, completion_tokens: completion },
});

// Answers every chat with two words and its usage.
async function chat(request, answer) {
  await answer.sse([word('a'), word('b'), usage(request.json.messages[0].content.length / 4, 2)], { every: 5 });
}

function trace(t, text, name = 'trace.csv') {
  const file = path.join(tempDir(t), name);
  fs.writeFileSync(file, text);
  return file;
}

// Its report goes where nobody looks.
function runPenstock(t, args) {
  const more = ['--max-lag', '1h', '--out', path.join(tempDir(t), 'report.json')];
  return runProgram(t, [...args, ...(args.includes('--help') ? [] : more)]);
}

function figures(result) {
  return JSON.parse(result.stdout);
}

test('an azure trace is replayed with its lengths, at its times', async (t) => {
  const up = await startUpstream(t, chat);
  const file = trace(t, `${AZURE}10,374,44\n10.25,5,1\n10.75,1000,7\n`);
  const began = now();
  const result = await runPenstock(t, ['replay', file, '--to', up.url, '--model', 'm', '--json', '-']);
  assert.equal(result.code, 0, result.stderr);
  const sent = up.to('/v1/chat/completions').map(({ json, arrivedAt }) => ({ json, arrivedAt }));
  assert.deepEqual(sent.map(({ json }) => json.messages[0].content.length), [374 * 4, 5 * 4, 1000 * 4]);
  assert.deepEqual(sent.map(({ json }) => json.max_tokens), [44, 1, 7]);
  assert.deepEqual(sent.map(({ json }) => [json.model, json.stream, json.stream_options.include_usage]),
    Array(3).fill(['m', true, true]));
  assert.ok(sent[1].arrivedAt - began >= 250); // never before its time; the first may come late itself
  assert.ok(sent[2].arrivedAt - began >= 750);
  const got = figures(result);
  assert.equal(got.total_requests, 3);
  assert.equal(got.successful_requests, 3);
  assert.equal(got.prompt_tokens, 374 + 5 + 1000);
  assert.equal(got.output_tokens, 6);
  assert.equal(got.ttft_ms.count, 3);
  assert.deepEqual(got.statuses, { 200: 3 });
  assert.match(result.stderr, /requests {3}3 sent .* 3 succeeded, 0 failed/);
});

test('a server that stalls gets no relief, and its stall is in the latencies', async (t) => {
  let stalled = true;
  const up = await startUpstream(t, async (request, answer) => {
    await until('the stall is over', () => !stalled, 10000);
    await chat(request, answer);
  });
  const lines = Array.from({ length: 11 }, (_, i) => `${i / 10},1,1`).join('\n');
  const file = trace(t, AZURE + lines);
  const running = runPenstock(t, ['replay', file, '--to', up.url, '--json', '-']);
  await up.seen(11, 10000); // all of them arrive although none was answered
  stalled = false;
  const got = figures(await running);
  assert.equal(got.successful_requests, 11);
  assert.ok(got.response_time_ms.max >= 900, `max ${got.response_time_ms.max}`);
  assert.ok(got.response_time_ms.median >= 400, `median ${got.response_time_ms.median}`);
});

test('equal block ids of a mooncake trace are equal bytes of prompt', async (t) => {
  const up = await startUpstream(t, chat);
  const row = (at, ids) => JSON.stringify({
    timestamp: at, input_length: 512 * ids.length - 12, output_length: 3, hash_ids: ids,
  });
  const file = trace(t, `${row(0, [0, 5, 6])}\n${row(10, [0, 5, 7])}\n${row(20, [1, 5, 6])}\n`, 'trace.jsonl');
  const result = await runPenstock(t, ['replay', file, '--to', up.url]);
  assert.equal(result.code, 0, result.stderr);
  const [a, b, c] = up.requests.map(({ json }) => json.messages[0].content);
  assert.equal(a.length, (512 * 3 - 12) * 4);
  assert.equal(a.slice(0, 4096), b.slice(0, 4096));
  assert.notEqual(a.slice(4096), b.slice(4096));
  assert.equal(a.slice(2048), c.slice(2048)); // the same blocks behind another first one
  assert.notEqual(a.slice(0, 2048), c.slice(0, 2048));
});

test('servegen rates become about as many requests, the same with the same seed', async (t) => {
  const up = await startUpstream(t, chat);
  const file = trace(t, 't_s,total_rps,c1\n0,200,1\n600,1,1\n');
  const args = ['replay', file, '--to', up.url, '--scale', '0.5', '--duration', '1s', '--json', '-'];
  const first = figures(await runPenstock(t, [...args, '--seed', '7']));
  const second = figures(await runPenstock(t, [...args, '--seed', '7']));
  assert.ok(first.total_requests > 50 && first.total_requests < 150, `${first.total_requests} of about 100`);
  assert.equal(first.total_requests, second.total_requests);
  assert.equal(first.prompt_tokens, second.prompt_tokens);
});

test('keys become embeddings: equal keys ask the same', async (t) => {
  const up = await startUpstream(t, (request, answer) => answer.json(200, { data: [] }));
  const keys = Buffer.alloc(16);
  [5, 9, 5, 7].forEach((key, i) => keys.writeUInt32BE(key, 4 * i));
  const file = trace(t, zlib.gzipSync(keys), 'keys.u32be.gz');
  const result = await runPenstock(t, ['replay', file, '--keys', '100', '--to', up.url]);
  assert.equal(result.code, 0, result.stderr);
  const inputs = up.to('/v1/embeddings').map(({ json }) => json.input);
  assert.equal(inputs.length, 4);
  assert.equal(inputs[0], inputs[2]);
  assert.equal(new Set(inputs).size, 3);
});

test('failures are told by kind and end with 1', async (t) => {
  const answers = [
    (answer) => answer.json(503, { error: { message: 'no room' } }),
    (answer) => answer.sse([word('a')], { done: false }),
    (answer) => answer.sse([word('a'), { error: { message: 'lost it' } }]),
    (answer) => answer.die(),
    (answer) => answer.json(200, {}),
    (answer) => answer.stall(),
  ];
  const up = await startUpstream(t, (request, answer) => answers[request.json.max_tokens - 1](answer));
  const lines = answers.map((_, i) => `${i / 20},1,${i + 1}`).join('\n');
  const result = await runPenstock(t, ['replay', trace(t, AZURE + lines), '--to', up.url, '--timeout', '1s',
    '--json', '-']);
  assert.equal(result.code, 1);
  const kinds = Object.fromEntries(figures(result).errors.map(({ kind, count, example }) => [kind, [count, example]]));
  assert.deepEqual(Object.keys(kinds).sort(), ['HTTP status', 'answer not understood', 'connection broken',
    'error inside a stream', 'stream without its end', 'timed out']);
  assert.match(kinds['HTTP status'][1], /no room/);
  assert.equal(kinds['error inside a stream'][1], 'lost it');
  assert.match(result.stderr, /503: 1/);
});

test('a server that is not there is a refused connection', async (t) => {
  const port = await freePort();
  const result = await runPenstock(t, ['replay', trace(t, `${AZURE}0,1,1\n`), '--to', `http://127.0.0.1:${port}`]);
  assert.equal(result.code, 3);
  assert.match(result.stderr, /127\.0\.0\.1:\d+\): the connection was refused/);
});

test('what cannot be sent is told and never hidden', async (t) => {
  const up = await startUpstream(t, async (request, answer) => {
    await sleep(300);
    await chat(request, answer);
  });
  const lines = Array.from({ length: 10 }, () => '0,1,1').join('\n');
  const result = await runPenstock(t, ['replay', trace(t, AZURE + lines), '--to', up.url, '--max-in-flight', '4',
    '--json', '-']);
  const got = figures(result);
  assert.equal(got.total_requests, 4);
  assert.equal(got.unsent_requests, 6);
  assert.equal(got.generator_limited, true);
  assert.match(result.stderr, /generator_limited: .* 6 could not be\s+sent/);
  assert.equal(result.code, 4);
});

test('a malformed line ends the run with its place, after what was sent', async (t) => {
  const up = await startUpstream(t, chat);
  const file = trace(t, `${AZURE}0,1,1\n0.1,1,1\n0.2,1,many\n0.3,1,1\n`);
  const result = await runPenstock(t, ['replay', file, '--to', up.url]);
  assert.equal(result.code, 5);
  assert.match(result.stderr, /trace\.csv:4: generated_tokens: expected a whole number/);
  assert.match(result.stdout, /2 sent .* 2 succeeded/);
  const limited = await runPenstock(t, ['replay', file, '--to', up.url, '--limit', '2']);
  assert.equal(limited.code, 0, limited.stderr);
});

test('wrong usage ends with 2 and says what was meant', async (t) => {
  const file = trace(t, `${AZURE}0,1,1\n`);
  const cases = [
    [['replay'], /FILE is missing/],
    [['replay', file], /--to is missing/],
    [['replay', file, '--to', 'http://h', '--speeed', '2'], /unknown option --speeed; did you mean --speed\?/],
    [['replay', file, '--to', 'ftp://h'], /expected http:/],
    [['replay', file, '--to', 'http://h', '--header', 'bad'], /name: value/],
    [['replay', '/no/such/file', '--to', 'http://h'], /\/no\/such\/file: No such file/],
    [['replay', trace(t, 'x\n'), '--to', 'http://h'], /not a trace that is known here/],
  ];
  for (const [args, words] of cases) {
    const result = await runPenstock(t, args);
    assert.equal(result.code, 2, args.join(' '));
    assert.match(result.stderr, words);
  }
  const help = await runPenstock(t, ['replay', '--help']);
  assert.equal(help.code, 0);
  assert.match(help.stdout, /--max-prompt-tokens/);
});

test('headers and the key of a file are sent along', async (t) => {
  const up = await startUpstream(t, chat);
  const file = trace(t, `${AZURE}0,1,1\n`);
  const key = trace(t, 'sk-secret\n', 'key');
  const result = await runPenstock(t, ['replay', file, '--to', `${up.url}/v1`, '--api-key-file', key,
    '--header', 'x-tenant: blue']);
  assert.equal(result.code, 0, result.stderr);
  assert.equal(up.requests[0].target, '/v1/chat/completions');
  assert.equal(up.requests[0].headers.authorization, 'Bearer sk-secret');
  assert.equal(up.requests[0].headers['x-tenant'], 'blue');
  assert.doesNotMatch(result.stdout + result.stderr, /sk-secret/);
});

test('Ctrl-C ends with the summary of what was done', async (t) => {
  const up = await startUpstream(t, chat);
  const out = path.join(tempDir(t), 'report.json');
  const run = new Penstock(['replay', sample, '--to', up.url, '--out', out]);
  await up.seen(2, 20000);
  run.signal('SIGINT');
  const { code } = await run.ended;
  run.assertClean();
  assert.equal(code, 5);
  assert.equal(JSON.parse(fs.readFileSync(out, 'utf8')).replay.verdict, 'aborted');
  assert.match(run.stdout, /^stopped early\nreplay of .* at its recorded speed\n/);
});
