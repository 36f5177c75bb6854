// tags: threads
//
// statsd - lines over UDP and a Unix socket, and what becomes of those that are wrong.
//
// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import dgram from 'node:dgram';
import fs from 'node:fs';
import path from 'node:path';
import test from 'node:test';

import { call, metric } from './lib/client.mjs';
import { get, runPenstock, startPenstock, tempDir } from './lib/penstock.mjs';
import { freePort } from './lib/ports.mjs';
import { until } from './lib/wait.mjs';

const config = (listen) => `metrics: {statsd: {listen: [${listen.map((one) => `"${one}"`).join(', ')}], interval: 1s}}\n`;

function sender(t, port) {
  const socket = dgram.createSocket('udp4');
  t.after(() => socket.close());
  return (text) => new Promise((resolve, reject) => {
    socket.send(text, port, '127.0.0.1', (error) => (error ? reject(error) : resolve()));
  });
}

/// Node has no Unix datagrams.
function sendLocal(file, text) {
  const script = 'import socket,sys\ns=socket.socket(socket.AF_UNIX,socket.SOCK_DGRAM)\ns.connect(sys.argv[1])\ns.send(sys.argv[2].encode())';
  const done = spawnSync('python3', ['-c', script, file, text], { encoding: 'utf8' });
  assert.equal(done.status, 0, done.stderr);
}

const comes = (gate, name, labels, value) => until(`${name} ${JSON.stringify(labels)} is ${value}`,
  async () => await metric(gate.port, name, labels) === value);

test('lines of every kind arrive by UDP and by a Unix socket', async (t) => {
  const port = await freePort();
  const file = path.join(tempDir(t), 'statsd.sock');
  const gate = await startPenstock(t, { config: config([`127.0.0.1:${port}`, `unix:${file}`]) });
  const send = sender(t, port);
  await send('page.views:1|c|#page:home\npage.views:2|c|@0.5|#page:home\nqueue:7|g\nwait:320:80|ms\n');
  await comes(gate, 'page_views_total', { page: 'home' }, 5);
  sendLocal(file, 'queue:+2|g\npage.views:1|c|#page:home\nusers:ann|s\nusers:bob|s');
  await comes(gate, 'page_views_total', { page: 'home' }, 6);
  assert.equal(await metric(gate.port, 'queue'), 9);
  assert.equal(await metric(gate.port, 'wait_seconds_count'), 2);
  assert.equal(await metric(gate.port, 'wait_seconds_sum'), 0.4);
  await comes(gate, 'users', {}, 2);
  await comes(gate, 'users', {}, 0);
  assert.equal(await metric(gate.port, 'penstock_statsd_datagrams_total', { listen: `unix:${file}` }), 1);
  const page = (await get(gate.port, '/metrics')).body;
  assert.match(page, /^penstock_statsd_dropped_datagrams_total\{listen="127\.0\.0\.1:\d+"\} 0$/m);
  assert.equal((fs.statSync(file).mode & 0o777), 0o666);
  await gate.stop();
  assert.ok(!fs.existsSync(file));
});

test('bad lines are counted, said once each, and cost the good ones nothing', async (t) => {
  const port = await freePort();
  const gate = await startPenstock(t, { config: config([`127.0.0.1:${port}`]) });
  const send = sender(t, port);
  await send(`${'rubbish\n'.repeat(50)}a:1|c\na:1|q\n_e{1,1}:a|b\npenstock_x:1|g\na:nan|g\na:1|g`);
  await comes(gate, 'penstock_statsd_lines_total', { result: 'form' }, 50);
  for (const result of ['accepted', 'type', 'unsupported', 'name', 'value', 'conflict']) {
    assert.equal(await metric(gate.port, 'penstock_statsd_lines_total', { result }), 1, result);
  }
  assert.equal(gate.stderr.match(/a line of statsd is not taken/g).length, 6);
  await send(Buffer.from([0x61, 0, 0x1b, 0x5b, 0x3a, 0xff]));
  await comes(gate, 'penstock_statsd_lines_total', { result: 'form' }, 51);
});

test('a flood costs neither a line nor the API its answers', async (t) => {
  const port = await freePort();
  const gate = await startPenstock(t, { config: config([`127.0.0.1:${port}`]) });
  const send = sender(t, port);
  const datagram = Array.from({ length: 40 }, (_, i) => `flood.m${i % 8}:1|c|#node:n${i}`).join('\n');
  for (let i = 0; i < 500; i++) {
    await send(datagram);
    if (i % 100 === 0) assert.equal((await call(gate.port, { path: '/healthz' })).status, 200);
  }
  await comes(gate, 'penstock_statsd_lines_total', { result: 'accepted' }, 20000);
});

test('a socket that was left behind is taken over, one in use or another file is not', async (t) => {
  const file = path.join(tempDir(t), 'statsd.sock');
  const first = await startPenstock(t, { config: config([`unix:${file}`]) });
  const refused = await startPenstock(t, { config: config([`unix:${file}`]), ready: false });
  assert.equal((await refused.ended).code, 1);
  assert.match(refused.stderr, /can't listen for statsd address=unix:/);
  await refused.kill();
  sendLocal(file, 'still:1|c');
  await comes(first, 'still_total', {}, 1);
  await first.kill();
  assert.ok(fs.existsSync(file));
  const second = await startPenstock(t, { config: config([`unix:${file}`]) });
  sendLocal(file, 'again:1|c');
  await comes(second, 'again_total', {}, 1);
  await second.stop();
  fs.writeFileSync(file, 'not ours');
  const other = await startPenstock(t, { config: config([`unix:${file}`]), ready: false });
  assert.equal((await other.ended).code, 1);
  await other.kill();
  assert.equal(fs.readFileSync(file, 'utf8'), 'not ours');
});

test('what is configured is judged before it is used', async (t) => {
  const file = path.join(tempDir(t), 'c.yaml');
  const check = async (listen) => {
    fs.writeFileSync(file, config([listen]));
    return runPenstock(t, ['config', '--check', file]);
  };
  const said = ({ stdout, stderr }) => stdout + stderr;
  assert.match(said(await check('localhost')), /not an address like 127\.0\.0\.1:8125/);
  assert.equal((await check('unix:relative')).code, 1);
  assert.equal((await check('127.0.0.1:8125')).code, 0);
  const open = await check('0.0.0.0:8125');
  assert.equal(open.code, 0);
  assert.match(said(open), /StatsD knows no tokens/);
});
