// penstock demo: everything at work in processes of its own, and nothing left behind.
// tags: threads
// timeout: 240
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { gunzipSync, gzipSync } from 'node:zlib';

import { Penstock, get, runPenstock, tempDir } from './lib/penstock.mjs';
import { freePort } from './lib/ports.mjs';
import { sleep, slowness, until } from './lib/wait.mjs';

const data = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../data');
const READY = 30000 * slowness;
const redis = spawnSync('redis-server', ['--version']).error === undefined;

function children(pid) {
  try {
    return fs.readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(/\s+/).filter(Boolean).map(Number);
  } catch {
    return [];
  }
}

// A process that has ended may still be a zombie until somebody reaps it.
function alive(pid) {
  try {
    return !/^State:\s+[ZX]/m.test(fs.readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}

/// What the demo said of the cache so far.
function cacheLines(demo) {
  const line = /^cache {6}([\d.]+) % of (\d+) answers {2}from memory (\d+)(?: {2}from Redis (\d+))? {2}coalesced (\d+) {2}GPU-seconds saved ([\d.]+)$/gm;
  return [...demo.stdout.matchAll(line)].map(([, percent, lookups, memory, fromRedis, coalesced, saved]) => ({
    percent: Number(percent), lookups: Number(lookups), memory: Number(memory), redis: Number(fromRedis), coalesced: Number(coalesced),
    saved: Number(saved),
  }));
}

const gone = (pids) => until('its processes are gone', () => !pids.some(alive), 10000 * slowness, 20);

async function startDemo(t, ...args) {
  const port = await freePort();
  const demo = new Penstock(['demo', '--listen', `127.0.0.1:${port}`, '--data', data, ...args]);
  demo.port = port;
  demo.flowing = () => until('traffic flows', () => {
    assert.ok(demo.running(), `it ended: ${demo.stdout}${demo.stderr}`);
    return /^embeddings .* ok [1-9]/m.test(demo.stdout);
  }, READY, 50);
  t.after(async () => {
    demo.signal('SIGKILL');
    await demo.ended;
  });
  return demo;
}

test('traffic flows through the gateway to its servers, in plain lines', async (t) => {
  const demo = await startDemo(t, '--speed', '10');
  await demo.flowing();
  assert.match(demo.stdout, new RegExp(`Open http://127\\.0\\.0\\.1:${demo.port} in a browser`));
  assert.equal((await get(demo.port, '/healthz')).status, 200);
  await until('chats are answered', () => /^chat .* ok [1-9]\d* /m.test(demo.stdout), READY, 50);
  assert.match(demo.stdout, /^GPU 1 \(sim\) .* given [1-9]/m);
  assert.match(demo.stdout, /^GPU 2 \(sim\) .* given [1-9]/m);
  await until('the shared server is asked', () => /^models .* ok [1-9]/m.test(demo.stdout)
    && /^GPU 3 \(sim\) .* given [1-9]/m.test(demo.stdout), READY, 50);
  assert.doesNotMatch(demo.stdout, /\x1b/);
  await until('recorded keys repeat', () => cacheLines(demo).some((line) => line.memory > 0 && line.saved > 0), READY, 50);
  const pids = children(demo.pid);
  assert.equal(pids.length, 4);
  demo.signal('SIGTERM');
  const { code } = await demo.ended;
  demo.assertClean();
  assert.equal(code, 0, demo.stderr);
  assert.match(demo.stdout, /chat of azure2023_conv_10min\.csv\.gz at 10 times its speed/);
  assert.match(demo.stdout, /\d+ succeeded, 0 failed/);
  await gone(pids);
});

for (const [engine, lane] of [['ollama', 'chat'], ['comfyui', 'pictures']]) {
  test(`with ${engine} the same traffic is played in its own API`, async (t) => {
    const demo = await startDemo(t, '--engine', engine);
    const answered = new RegExp(`^${lane} .* ok [1-9]\\d* `, 'm');
    await until('requests are answered', () => {
      assert.ok(demo.running(), `it ended: ${demo.stdout}${demo.stderr}`);
      return answered.test(demo.stdout) && /^GPU 1 \(sim\) .* given [1-9]/m.test(demo.stdout)
        && /^GPU 2 \(sim\) .* given [1-9]/m.test(demo.stdout);
    }, 2 * READY, 100);
    await until('the gateway tells how full they are', () => /^GPU 1 \(sim\) {2}memory .* low/m.test(demo.stdout)
      && /^GPU 3 \(sim\) {2}memory .* low/m.test(demo.stdout), READY, 100);
    demo.signal('SIGTERM');
    const { code } = await demo.ended;
    demo.assertClean();
    assert.equal(code, 0, demo.stderr);
    assert.match(demo.stdout, /[1-9]\d* succeeded, 0 failed/);
    if (engine === 'comfyui') {
      assert.doesNotMatch(demo.stdout, /^embeddings/m);
    }
  });
}

function isNode(pid) {
  try {
    return fs.readFileSync(`/proc/${pid}/comm`, 'utf8').startsWith('redis-server');
  } catch {
    return false;
  }
}

test('with --cluster two gateways share their answers in a real Redis Cluster', { skip: !redis && 'redis-server is not installed' }, async (t) => {
  const demo = await startDemo(t, '--cluster', '--speed', '3');
  await demo.flowing();
  await until('an answer of one gateway serves the other', () => cacheLines(demo).some((line) => line.redis > 0), 2 * READY, 50);
  assert.match(demo.stdout, /^Redis {6}3 of 3 masters up {2}keys [1-9]/m);
  assert.match(demo.stdout, new RegExp(`^gateway 1 {2}[1-9]\\d* requests .* http://127\\.0\\.0\\.1:${demo.port}$`, 'm'));
  assert.match(demo.stdout, /^gateway 2 {2}[1-9]\d* requests/m);
  const pids = children(demo.pid);
  assert.equal(pids.length, 11);
  const nodes = pids.filter(isNode);
  assert.equal(nodes.length, 6);
  const folder = path.dirname(fs.readlinkSync(`/proc/${nodes[0]}/cwd`));
  assert.match(folder, /^\/tmp\/penstock-demo-/);
  process.kill(nodes[0], 'SIGKILL');
  await until('the node is missed', () => /^Redis node 127\.0\.0\.1:\d+ was killed by signal 9: the gateways go on without it\.$/m
    .test(demo.stdout), READY, 50);
  const shown = cacheLines(demo).at(-1).lookups;
  await until('traffic goes on', () => cacheLines(demo).at(-1).lookups > shown + 20, READY, 50);
  demo.signal('SIGTERM');
  const { code } = await demo.ended;
  demo.assertClean();
  assert.equal(code, 0, demo.stderr);
  assert.match(demo.stdout, /embeddings of .*\n(.*\n)*requests .* \d+ succeeded, 0 failed/);
  await gone(pids);
  assert.ok(!fs.existsSync(folder), 'nothing is left in /tmp');
});

test('kill -9 of the demo takes its Redis Cluster along, and the next one its folder', { skip: !redis && 'redis-server is not installed' }, async (t) => {
  const demo = await startDemo(t, '--cluster');
  const nodes = () => children(demo.pid).filter(isNode);
  await until('the nodes run', () => nodes().length === 6 && nodes().every((pid) => /node-\d$/.test(fs.readlinkSync(`/proc/${pid}/cwd`))),
    READY, 20);
  const folder = path.dirname(fs.readlinkSync(`/proc/${nodes()[0]}/cwd`));
  const pids = children(demo.pid);
  demo.signal('SIGKILL');
  await demo.ended;
  await gone(pids);
  assert.ok(fs.existsSync(folder), 'nobody was left to remove it');
  const old = Date.now() / 1000 - 3600;
  fs.utimesSync(folder, old, old);
  const next = await startDemo(t, '--duration', '1s');
  assert.equal((await next.ended).code, 0, next.stderr);
  assert.ok(!fs.existsSync(folder), 'it is gone');
});

test('without redis-server --cluster says what is missing', async (t) => {
  const result = await runPenstock(t, ['demo', '--cluster', '--data', data, '--listen', `127.0.0.1:${await freePort()}`],
    { ms: READY, env: { PATH: '/nowhere' } });
  assert.equal(result.code, 1);
  assert.match(result.stderr, /needs redis-server and redis-cli, .*not installed: apt-get install redis-server redis-tools/);
});

test('an engine that it can not play is told', async (t) => {
  const result = await runPenstock(t, ['demo', '--engine', 'triton'], { ms: READY });
  assert.equal(result.code, 2);
  assert.match(result.stderr, /--engine/);
});

test('it ends by itself after --duration', async (t) => {
  const demo = await startDemo(t, '--duration', '2s');
  const { code } = await demo.ended;
  demo.assertClean();
  assert.equal(code, 0, demo.stderr);
});

/// The samples, cut short: the first bytes of each, up to the end of a line where there are any.
function shortSamples(t) {
  const dir = tempDir(t);
  for (const [file, bytes] of [['azure2023_conv_10min.csv.gz', 400], ['cache2k_web07_20k.u32be.gz', 64]]) {
    const whole = gunzipSync(fs.readFileSync(path.join(data, file))).subarray(0, bytes);
    const end = file.includes('.csv') ? whole.lastIndexOf(10) + 1 : bytes;
    fs.writeFileSync(path.join(dir, file), gzipSync(whole.subarray(0, end)));
  }
  return dir;
}

test('when the traffic is at its end it says so, serves on, and is quiet', async (t) => {
  const demo = await startDemo(t, '--speed', '10', '--data', shortSamples(t));
  await until('the end is told', () => demo.stdout.includes('is at its end and is not repeated'), READY, 50);
  const before = demo.stdout.length;
  await sleep(7000); // two pictures and more, while traffic flows
  assert.equal((await get(demo.port, '/healthz')).status, 200);
  const behind = demo.stdout.slice(before).match(/^traces .*$/gm) ?? [];
  assert.ok(behind.length <= 1, behind.join('\n'));
  assert.ok(behind.every((line) => /^traces ended; at \d+:\d\d /.test(line)), behind.join('\n'));
  await demo.stop();
});

test('kill -9 of the demo takes its processes along', async (t) => {
  const demo = await startDemo(t);
  await demo.flowing();
  const pids = children(demo.pid);
  assert.equal(pids.length, 4);
  demo.signal('SIGKILL');
  await demo.ended;
  await gone(pids);
});

test('a process that dies is named, and the demo ends with an error', async (t) => {
  const demo = await startDemo(t);
  await demo.flowing();
  const pids = children(demo.pid);
  process.kill(pids[1], 'SIGKILL');
  const { code } = await demo.ended;
  assert.equal(code, 1);
  assert.match(demo.stderr, /simulated GPU server 2: was killed by signal 9/);
  await gone(pids);
});

test('a port that is taken is told, and a free one is used', async (t) => {
  const other = net.createServer();
  await new Promise((resolve) => { other.listen(0, '127.0.0.1', resolve); });
  t.after(() => other.close());
  const taken = `127.0.0.1:${other.address().port}`;
  const demo = new Penstock(['demo', '--listen', taken, '--data', data, '--duration', '1s']);
  const { code } = await demo.ended;
  assert.equal(code, 0, demo.stderr);
  assert.match(demo.stdout, new RegExp(`^${taken.replaceAll('.', '\\.')} is taken by another program, so the gateway goes to`));
});

test('samples that are missing are told', async (t) => {
  const result = await runPenstock(t, ['demo', '--data', '/no/such/folder', '--listen', `127.0.0.1:${await freePort()}`],
    { ms: READY });
  assert.equal(result.code, 1);
  assert.match(result.stderr, /azure2023_conv_10min\.csv\.gz and .* are not in \/no\/such\/folder/);
});
