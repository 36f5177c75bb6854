// timeout: 600
//
// library - what `make install` brings for C programs: found by pkg-config, linked both ways, hiding what is nobody's
// business; the programs of docs/library.md and examples/ print what they should.
//
// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { execFile, spawn, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

import { after } from './lib/after.mjs';
import { program, tempDir } from './lib/penstock.mjs';
import { freePort } from './lib/ports.mjs';
import { startSim } from './lib/sim.mjs';
import { sanitizer, slowness, until } from './lib/wait.mjs';

const run = promisify(execFile);
const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..');
const build = path.dirname(program);
const example = path.join(root, 'examples/cache.c');
const dashboardExample = path.join(root, 'examples/dashboard.c');
const gpuExample = path.join(root, 'examples/gpu.c');
const fakeDriver = path.join(build, 'tests/fake/libnvidia-ml.so.1');
const header = fs.readFileSync(path.join(root, 'include/penstock/penstock.h'), 'utf8');
const strict = ['-Wall', '-Wextra', '-Wpedantic', '-Werror'];

/// Is the tool here?
function has(tool) {
  return !spawnSync(tool, ['--version']).error;
}

function whyNot(...tools) {
  const missing = ['meson', 'cc', 'pkg-config', 'nm', ...tools].find((tool) => !has(tool));
  return sanitizer !== '' ? 'what is installed is the plain build' : missing !== undefined ? `there is no ${missing} here` : false;
}

const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'penstock-library-'));
let installed;

test.after(() => fs.rmSync(dir, { recursive: true }));

/// Installs once for all of the tests and says where what is.
function install() {
  installed ??= installBelow();
  return installed;
}

async function installBelow() {
  await run('meson', ['install', '-C', build, '--no-rebuild', '--destdir', dir], { cwd: root });
  const { stdout } = await run('meson', ['introspect', '--buildoptions', build], { maxBuffer: 1 << 24 });
  const option = (wanted) => JSON.parse(stdout).find(({ name }) => name === wanted).value;
  const prefix = path.join(dir, option('prefix'));
  return { prefix, lib: path.join(prefix, option('libdir')) };
}

/// The words that pkg-config gives for the installed library.
async function flags(place, ...words) {
  const { stdout } = await run('pkg-config', [`--define-variable=prefix=${place.prefix}`, ...words, 'penstock'], {
    env: { ...process.env, PKG_CONFIG_PATH: path.join(place.lib, 'pkgconfig') } });
  return stdout.trim().split(/\s+/);
}

async function compile(t, source, words) {
  const out = path.join(tempDir(t), path.basename(source, '.c'));
  await run('cc', [...strict, source, '-o', out, ...words], { timeout: 60000 });
  return out;
}

/// What a program says, with the libraries that were installed and perhaps a configuration.
async function say(place, out, config, ...args) {
  const env = { ...process.env, LD_LIBRARY_PATH: place.lib, PENSTOCK_CONFIG: config };
  if (config === undefined) {
    delete env.PENSTOCK_CONFIG;
  }
  return (await run(out, args, { timeout: 60000 * slowness, env })).stdout;
}

/// A redis-server of the story's own.
async function startRedis(t) {
  const port = await freePort();
  const server = spawn('redis-server', ['--port', port, '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no',
    '--dir', tempDir(t)], { stdio: 'ignore' });
  after(t, () => new Promise((resolve) => {
    server.once('exit', resolve);
    server.kill('SIGKILL');
  }));
  await until('redis-server listens', () => new Promise((resolve) => {
    const probe = net.connect(port, '127.0.0.1', () => probe.end(() => resolve(true)));
    probe.once('error', () => resolve(false));
  }), 20000);
  return port;
}

/// A configuration whose servers may take their time: here it is not about two milliseconds.
function writeConfig(t, text) {
  const file = path.join(tempDir(t), 'penstock.yaml');
  fs.writeFileSync(file, text);
  return file;
}

function redisConfig(t, port) {
  return writeConfig(t, `cache:\n  redis:\n    nodes: ["127.0.0.1:${port}"]\n    timeout: 5s\n    connect_timeout: 5s\n`
    + '    breaker: {stall: 10s, backoff: 50ms}\n');
}

/// A simulated Ollama with a model in memory, and the made-up driver.
async function startBox(t, more = '') {
  const sim = await startSim(t, 'ollama', '--model', 'm');
  await sim.json(sim.post('/api/generate', { model: 'm' }));
  const config = writeConfig(t, `gpu:\n  nvml_library: ${fakeDriver}\n${more}`
    + `  timeout: 10s\n  sources:\n    - {name: box, kind: ollama, url: "${sim.url}"}\n`);
  return { sim, config };
}

/// The functions that the header declares.
const declared = [...header.matchAll(/^PS_API [^;]*?\b(ps_[a-z0-9_]+)\(/gm)].map((found) => found[1]).sort();

async function symbols(...words) {
  const { stdout } = await run('nm', words, { maxBuffer: 1 << 24 });
  return stdout.split('\n').map((line) => line.trim().split(/\s+/)).filter((words) => words.length === 3)
    .map((words) => words[2]).sort();
}

test('a program is linked with the installed library', { skip: whyNot() }, async (t) => {
  const place = await install();
  const out = await compile(t, example, await flags(place, '--cflags', '--libs'));
  assert.equal((await flags(place, '--modversion'))[0], /^ {2}version: '(.*)',$/m.exec(
    fs.readFileSync(path.join(root, 'meson.build'), 'utf8'))[1]);
  assert.deepEqual((await say(place, out)).split('\n'), [
    'miss: What is a penstock?',
    'hit:  The gate that lets water under pressure into a turbine.',
    'hash: a087508967efcfa97348a12ce37902551cd4549fddc80f62de9aa692dbd60366',
    'node: none, there is only memory',
    'rate: 50.0 % of 2 look-ups, 2.5 GPU seconds saved',
    'gone: llama*, 0 servers told, 0 later',
    'miss: What is a penstock?',
    '',
  ]);
});

test('a program may have all of it inside', { skip: whyNot('ldd') }, async (t) => {
  const place = await install();
  const words = (await flags(place, '--static', '--cflags', '--libs'))
    .map((word) => word === '-lpenstock' ? '-l:libpenstock.a' : word);
  const out = await compile(t, example, words);
  assert.match(await say(place, out), /^hit: {2}The gate/m);
  assert.doesNotMatch((await run('ldd', [out])).stdout, /penstock/);
});

test('the libraries export what the header declares and nothing else', { skip: whyNot('readelf') }, async () => {
  const place = await install();
  assert.ok(declared.length > 10);
  assert.deepEqual(await symbols('-D', '--defined-only', path.join(place.lib, 'libpenstock.so')), declared);
  assert.deepEqual(await symbols('-g', '--defined-only', path.join(place.lib, 'libpenstock.a')), declared);
  const { stdout } = await run('readelf', ['-d', path.join(place.lib, 'libpenstock.so')]);
  assert.match(stdout, /SONAME.*\[libpenstock\.so\.0\]/);
});

test('the headers are C99, C11 and C++', { skip: whyNot() }, async (t) => {
  const place = await install();
  const source = path.join(tempDir(t), 'header.c');
  fs.writeFileSync(source, '#include <penstock/penstock.h>\nint main(void) { return ps_version() == 0; }\n');
  const words = [...strict, '-fsyntax-only', ...(await flags(place, '--cflags')), source];
  await run('cc', ['-std=c99', ...words]);
  await run('cc', ['-std=c11', ...words]);
  const cxx = ['c++', 'clang++'].find(has);
  if (cxx === undefined) {
    t.diagnostic('there is no C++ compiler here');
    return;
  }
  await run(cxx, ['-std=c++11', '-x', 'c++', ...words]);
});

test('the example uses a real server', { skip: whyNot('redis-server') }, async (t) => {
  const place = await install();
  const port = await startRedis(t);
  const out = await compile(t, example, await flags(place, '--cflags', '--libs'));
  const said = await say(place, out, redisConfig(t, port));
  assert.match(said, new RegExp(`^node: 127\\.0\\.0\\.1:${port}$`, 'm'));
  assert.match(said, /^hit: {2}The gate/m);
  assert.match(said, /^rate: 50\.0 % of 2 look-ups/m);
  assert.match(said, /^gone: llama\*, 1 servers told, 0 later$/m);
  assert.match(said, /miss: What is a penstock\?\n$/);
});

test('a configuration with a mistake is told with its place', { skip: whyNot() }, async (t) => {
  const place = await install();
  const out = await compile(t, example, await flags(place, '--cflags', '--libs'));
  const file = writeConfig(t, 'listen: [":5000"]\ncache: {l1: {sice: 1MiB}}\n');
  await assert.rejects(say(place, out, file), (error) => {
    assert.equal(error.code, 1);
    assert.equal(error.stderr, `example_cache: invalid value: ${file}:2:14: cache.l1.sice: unknown key 'sice' in cache.l1; `
      + "did you mean 'size'?\n");
    return true;
  });
});

test('the GPU example shows a made-up card and frees memory of a simulated server', { skip: whyNot() }, async (t) => {
  const place = await install();
  const out = await compile(t, gpuExample, [...(await flags(place, '--cflags', '--libs')), '-lm']);
  const card = await say(place, out, writeConfig(t, `gpu: {nvml_library: ${fakeDriver}}\n`));
  assert.match(card, /^device: GPU-[-0-9a-f]+ \(simulated\)\nused: 8\.0 GiB\nof: 24\.0 GiB\ncounts: 33\.3 %\nlevel: low\n/);
  assert.match(card, /^cleanup needed: no\nseconds until it is full: not known\ncleanup: no_rung, /m);
  assert.match(card, /^recommendations: \[\{"id":"no_rung"/m);
  const box = await startBox(t, '  target_percent: 1\n  trust_unverified: yes\n');
  const planned = await say(place, out, box.config);
  assert.match(planned, new RegExp(`^server: box ${box.sim.url} \\(simulated\\)$`, 'm'));
  assert.match(planned, new RegExp(`^box ${box.sim.url} unload m:latest: dry_run$`, 'm'));
  assert.match(planned, /^freed: not known$/m);
  const before = await box.sim.used();
  const done = await say(place, out, box.config, 'unload');
  const freed = (before - (await box.sim.used())) / 2 ** 30;
  assert.ok(freed > 0.1, `${freed}`);
  assert.match(done, new RegExp(`^box ${box.sim.url} unload m:latest: freed$`, 'm'));
  assert.match(done, new RegExp(`^freed: ${freed.toFixed(1)} GiB$`, 'm'));
});

test('the metrics example counts on four threads and loses nothing', { skip: whyNot('ldd') }, async (t) => {
  const place = await install();
  const words = [...(await flags(place, '--static', '--cflags', '--libs'))
    .map((word) => word === '-lpenstock' ? '-l:libpenstock.a' : word), '-pthread'];
  for (const more of [words, [...(await flags(place, '--cflags', '--libs')), '-pthread']]) {
    const page = await say(place, await compile(t, path.join(root, 'examples/metric.c'), more));
    for (const line of ['app_jobs_total{queue="images"} 4000', 'app_wait_seconds_bucket{le="0.1"} 2000', 'app_wait_seconds_sum 1125',
      'app_failures_total{reason="timeout"} 40', 'app_info{version="1.2"} 1', 'app_state{app_state="serving"} 1']) {
      assert.ok(page.split('\n').includes(line), `${line} in ${page}`);
    }
  }
});

test('without a card and a source the GPU example names the settings', { skip: whyNot('ldd') }, async (t) => {
  const place = await install();
  const words = [...(await flags(place, '--static', '--cflags', '--libs'))
    .map((word) => word === '-lpenstock' ? '-l:libpenstock.a' : word), '-lm'];
  const out = await compile(t, gpuExample, words);
  assert.doesNotMatch((await run('ldd', [out])).stdout, /penstock/);
  await assert.rejects(say(place, out, writeConfig(t, 'gpu: {drivers: no}\n')), (error) => {
    assert.equal(error.code, 1);
    assert.equal(error.stderr, 'example_gpu: not found: nothing is known of any GPU: gpu.drivers is no, and gpu.sources names '
      + 'no server or exporter\n');
    return true;
  });
});

test('the dashboard example hears its own samples', { skip: whyNot() }, async (t) => {
  const place = await install();
  const out = await compile(t, dashboardExample, [...(await flags(place, '--cflags', '--libs')), '-lm']);
  const lines = (await say(place, out, undefined, '5')).trim().split('\n');
  assert.equal(lines.length, 7);
  lines.slice(0, 5).forEach((line, n) => assert.match(line, new RegExp(
    `^frame ${n + 1}: \\{"type":"metrics_update","seq":${n + 1},"time":\\d+\\.\\d+,"metrics":\\{"queue_length`)));
  assert.equal(lines[5], '5 frames, 5 points of queue_length{room="a"}');
  assert.equal(lines[6], 'min 20.0, mean 23.7, p95 27.2, max 27.2');
});

/// Each C program of the page with what it prints.
function programs() {
  const page = fs.readFileSync(path.join(root, 'docs/library.md'), 'utf8');
  return [...page.matchAll(/```c\n((?:(?!```).)*)```\n\nprints\n\n```text\n(.*?)```/gs)].map((found) => ({ source: found[1], prints: found[2] }));
}

test('the programs of docs/library.md print what it says', { skip: whyNot('redis-server') }, async (t) => {
  const place = await install();
  const port = await startRedis(t);
  const box = await startBox(t);
  const words = await flags(place, '--cflags', '--libs');
  const configs = [undefined, redisConfig(t, port), box.config, undefined, undefined];
  assert.equal(programs().length, configs.length);
  for (const [n, { source, prints }] of programs().entries()) {
    const file = path.join(tempDir(t), `program${n}.c`);
    fs.writeFileSync(file, source);
    const out = await compile(t, file, words);
    assert.equal(await say(place, out, configs[n]), prints.replaceAll('6379', port).replaceAll('11434', box.sim.port));
  }
});
