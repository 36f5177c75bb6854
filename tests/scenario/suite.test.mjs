// timeout: 300
// tags: plain
//
// suite - penstock stress, spike, endurance and suite: tests that end with an answer, and with a report whatever happens.
//
// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { after } from './lib/after.mjs';
import { LAX, limited, read, run, serve } from './lib/loadtest.mjs';
import { Penstock, runPenstock, tempDir } from './lib/penstock.mjs';
import { freePort } from './lib/ports.mjs';
import { until } from './lib/wait.mjs';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..');

function start(t, args) {
  const command = new Penstock(args);
  after(t, () => command.kill());
  return command;
}

test('a search ends with a breaking point, its interval, a reason and at least five levels', async (t) => {
  const url = await serve(t, limited(60));
  const result = await run(t, ['stress', url, '--quick', '--from', '20', '--min-rate', '40']);
  assert.equal(result.code, 0, result.stdout + result.stderr);
  const stress = result.report.stress_test;
  assert.ok(stress.breaking_point_rps > 45 && stress.breaking_point_rps < 80, JSON.stringify(stress.breaking_point_rps));
  assert.equal(stress.limiting_signal, 'errors');
  assert.ok(stress.stress_points.length >= 5);
  for (const point of stress.stress_points) {
    for (const member of ['rps', 'achieved_rps', 'error_rate_percent', 'verdict']) {
      assert.ok(member in point, `${member} of ${JSON.stringify(point)}`);
    }
  }
  assert.ok(stress.stress_points.some(({ p95_ms: p95 }) => p95 > 0));
  assert.match(result.report.summary.reason, /breaks at|stress passed/);
  assert.match(stress.reason, /^it breaks at \d+\.\d requests\/s \(between .*\): more requests fail than may/);
});

test('a staircase is literal, and too low a breaking point fails', async (t) => {
  const url = await serve(t, limited(35));
  const result = await run(t, ['stress', url, '--step', '10', '--every', '3s', '--max-rate', '50']);
  assert.equal(result.code, 1, result.stdout + result.stderr);
  const stress = result.report.stress_test;
  assert.deepEqual(stress.stress_points.map(({ rps }) => rps), [10, 20, 30, 40, 50]);
  assert.deepEqual(stress.stress_points.map(({ verdict }) => verdict), ['holds', 'holds', 'holds', 'breaks', 'breaks']);
  assert.equal(stress.verdict, 'fail');
});

test('a spike that leaves nothing behind is recovered from in under 10 s', async (t) => {
  const url = await serve(t);
  const result = await run(t, ['spike', url, '--baseline-for', '10s', '--spike-for', '2s', '--recovery-for', '10s']);
  assert.equal(result.code, 0, result.stdout + result.stderr);
  const spike = result.report.spike_test;
  assert.equal(spike.baseline_rps, 20);
  assert.equal(spike.spike_rps, 100);
  assert.ok(spike.recovery_time_seconds < 10, `${spike.recovery_time_seconds}`);
  assert.equal(spike.verdict, 'pass');
});

test('who does not recover fails, and it is told', async (t) => {
  let served = 0;
  const url = await serve(t, (request, response) => {
    served += 1;
    response.statusCode = served > 260 ? 500 : 200; // it breaks in the spike and stays broken
    response.end('ok');
  });
  const result = await run(t, ['spike', url, '--baseline-for', '10s', '--spike-for', '2s', '--recovery-for', '5s',
    '--max-recovery', '5s']);
  assert.equal(result.code, 1, result.stdout + result.stderr);
  assert.ok(!('recovery_time_seconds' in result.report.spike_test) || result.report.spike_test.recovery_time_seconds === null);
  assert.match(result.report.spike_test.reason, /did not recover within 5 s/);
});

test('endurance watches the process, and a killed one is gone on with', async (t) => {
  const url = await serve(t);
  const out = path.join(tempDir(t), 'report.json');
  const first = start(t, ['endurance', url, '--rate', '40', '--duration', '16s', '--target-pid', `${process.pid}`,
    ...LAX, '--out', out]);
  const journal = `${out}.endurance.journal`;
  await until('seven seconds are in the journal',
    () => fs.existsSync(journal) && fs.readFileSync(journal, 'utf8').split('\n').length > 8, 60_000);
  first.signal('SIGKILL');
  await first.ended;
  const result = await run(t, ['endurance', url, '--rate', '40', '--duration', '16s', '--target-pid', `${process.pid}`,
    '--allow-drift', '--resume'], { out });
  assert.equal(result.code, 0, result.stdout + result.stderr);
  const endurance = result.report.endurance_test;
  assert.equal(endurance.resumed, 1);
  assert.ok(endurance.total_requests >= 600 && endurance.total_requests <= 645, `${endurance.total_requests}`);
  assert.ok(endurance.interrupted_seconds >= 0);
  const signals = endurance.drift.map(({ signal }) => signal);
  for (const signal of ['p95', 'error_rate', 'memory', 'descriptors']) {
    assert.ok(signals.includes(signal), `${signal} of ${signals}`);
  }
});

test('a page of metrics says what the target takes', async (t) => {
  let bytes = 1e8;
  const url = await serve(t, (request, response) => {
    bytes += 1000;
    response.end(request.url === '/metrics' ? `my_memory{part="a"} ${bytes}\nmy_memory{part="b"} 1\nprocess_open_fds 7\n` : 'ok');
  });
  const result = await run(t, ['endurance', url, '--rate', '20', '--duration', '8s', '--target-metrics', `${url}metrics`,
    '--memory-series', 'my_memory']);
  assert.equal(result.code, 0, result.stdout + result.stderr);
  const drift = Object.fromEntries(result.report.endurance_test.drift.map((one) => [one.signal, one]));
  assert.ok(drift.memory !== undefined && drift.descriptors !== undefined);
  assert.match(result.report.endurance_test.reason, /too short to tell drifts/);
});

test('a journal of another target is not gone on with', async (t) => {
  const url = await serve(t);
  const out = path.join(tempDir(t), 'report.json');
  const missing = await run(t, ['endurance', url, '--resume', '--duration', '1s'], { out });
  assert.equal(missing.code, 2);
  assert.match(missing.stderr, /--resume: .*endurance\.journal/);
});

test('Ctrl-C leaves a valid report of what ran', async (t) => {
  const url = await serve(t);
  await Promise.all(['stress', 'spike', 'endurance'].map(async (command) => {
    const out = path.join(tempDir(t), 'report.json');
    const running = start(t, [command, url, ...LAX, '--out', out]);
    await until(`${command} sends`, () => fs.existsSync(`${out}.${command}.journal`) &&
      fs.readFileSync(`${out}.${command}.journal`, 'utf8').split('\n').length > 3, 60_000);
    running.signal('SIGINT');
    const { code } = await running.ended;
    assert.equal(code, 5, command);
    const section = read(out)[`${command}_test`];
    assert.equal(section.verdict, 'aborted');
    assert.ok(section.total_requests > 0);
  }));
});

test('a target that is not there ends each with 3, wrong usage with 2', async (t) => {
  const url = `http://127.0.0.1:${await freePort()}/`;
  for (const args of [['stress', url, '--quick', '--budget', '10s'], ['endurance', url, '--duration', '2s']]) {
    const result = await run(t, args);
    assert.equal(result.code, 3, `${args}: ${result.stdout}${result.stderr}`);
  }
  for (const args of [['stress'], ['stress', url, '--step', '0'], ['spike', url, '--baseline-for', '1s'],
    ['endurance', url, '--target-pid', '4194304'], ['suite', url, '--nonsense']]) {
    assert.equal((await run(t, args)).code, 2, `${args}`);
  }
});

test('what CI keeps: 50 requests a second with errors under 1 %, and a page of the report in under 30 s', async (t) => {
  const url = await serve(t);
  const result = await run(t, ['load', url, '--rate', '50', '--duration', '6s', '--threshold', 'http_req_failed: rate<0.01']);
  assert.equal(result.code, 0, result.stdout + result.stderr);
  assert.equal(result.report.load_test.total_requests, 300);
  const html = `${result.out}.html`;
  const began = performance.now();
  const report = await runPenstock(t, ['report', result.out, '--html', html], { ms: 30_000 });
  assert.equal(report.code, 0, report.stderr);
  assert.ok(performance.now() - began < 30_000); // what was promised; it takes milliseconds
  assert.match(fs.readFileSync(html, 'utf8'), /<svg/);
});

test('what the page shows is understood', async (t) => {
  const url = `http://127.0.0.1:${await freePort()}/`;
  const page = fs.readFileSync(path.join(root, 'docs', 'load-tests.md'), 'utf8');
  const lines = [...page.matchAll(/^penstock ((?:stress|spike|endurance) .*)$/gm)].map(([, line]) => line);
  assert.ok(lines.length >= 5);
  await Promise.all(lines.filter((line) => !line.includes('--resume')).map(async (line) => {
    const words = line.split(' ')
      .map((word) => (word.startsWith('http') ? url : word === '$PID' ? `${process.pid}` : word));
    const result = await run(t, words);
    assert.equal(result.code, 3, `${line}: ${result.stdout}${result.stderr}`);
  }));
});
