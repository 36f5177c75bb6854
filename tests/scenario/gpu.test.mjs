// tags: threads
// timeout: 180
//
// gpu - `penstock gpu` on machines with and without GPUs; the driver is the made-up one of tests/fake.
//
// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { execFile, execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';

import { after } from './lib/after.mjs';
import { Penstock, program, runPenstock, tempDir } from './lib/penstock.mjs';
import { sanitizer, until } from './lib/wait.mjs';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..');
const build = path.dirname(program);
const fake = path.join(build, 'tests', 'fake');
const check = path.join(build, 'tests', 'helpers', 'gpu_check');

/// The environment of a machine that has such a driver.
function machine(knobs, more = {}) {
  return { LD_LIBRARY_PATH: fake, FAKE_NVML: knobs, ...more };
}

/// The same without a driver, whatever is installed: what the loader finds first is no library.
function bareMachine(t) {
  const dir = tempDir(t);
  for (const name of ['libnvidia-ml.so.1', 'libnvidia-ml.so']) {
    fs.writeFileSync(path.join(dir, name), 'not a library');
  }
  return { LD_LIBRARY_PATH: dir };
}

test('without a driver it says what would give one', async (t) => {
  const { code, stdout, stderr } = await runPenstock(t, ['gpu', '--json'], { env: bareMachine(t) });
  assert.equal(code, 1);
  assert.equal(stdout, '');
  assert.match(stderr, /^penstock gpu: no source knows a GPU/);
  assert.match(stderr, /nvml .*libnvidia-ml/);
  assert.match(stderr, /amdgpu .*sys\/class\/drm/);
});

test('a driver that is not loaded is named as such', async (t) => {
  const { code, stderr } = await runPenstock(t, ['gpu'], { env: machine('init_code=9') });
  assert.equal(code, 1);
  assert.match(stderr, /nvml .*the NVIDIA driver is not loaded/);
});

test('the table shows cards, processes and the rest, and that all of it is simulated', async (t) => {
  const { code, stdout, stderr } = await runPenstock(t, ['gpu', '--calls'], { env: machine('gpus=2') });
  assert.deepEqual([code, stderr], [0, '']);
  assert.match(stdout, /^1 +Simulated GPU +8192\/24576 MiB +33 % +40 % +216\/400 W +62 C/m);
  assert.match(stdout, /^1 +- +3072 MiB +pid 1101$/m);
  assert.match(stdout, /^1 +driver, or not to be seen +2048 MiB/m);
  assert.match(stdout, /^source nvml, driver 580\.65\.06, simulated: nothing here was measured$/m);
  assert.match(stdout, /^nvmlDeviceGetMemoryInfo_v2 +2 /m);
});

test('the JSON has the names of the profile, and no level that nobody computed', async (t) => {
  const { code, stdout } = await runPenstock(t, ['gpu', '--json'], { env: machine('gpus=2 mig=1') });
  assert.equal(code, 0);
  const { profile, devices, processes, sources } = JSON.parse(stdout);
  assert.deepEqual(profile, {
    total_mb: 24576, used_mb: 8192, free_mb: 15872, reserved_mb: 512, utilization_percent: profile.utilization_percent,
    source: 'nvml', simulated: true, index: 0, uuid: 'GPU-00000000-0000-0000-0000-000000000000',
  });
  assert.ok(Math.abs(profile.utilization_percent - 100 / 3) < 1e-6);
  assert.equal(devices.length, 3);
  assert.equal(devices[2].parent_uuid, profile.uuid);
  assert.equal(devices[2].total_mb, 3072);
  assert.ok(!('busy_percent' in devices[2])); // unknown is absent
  assert.equal(devices[1].busy_percent, 40);
  assert.equal(processes.length, 4);
  assert.deepEqual(sources.map(({ name, state, driver }) => [name, state, driver]), [['nvml', 'fresh', '580.65.06']]);
});

test('a driver that hangs is waited for no longer than it takes to say so', async (t) => {
  const { code, stderr } = await runPenstock(t, ['gpu'], { env: machine('hang_memory=1') });
  assert.equal(code, 1);
  assert.match(stderr, /nvml +it does not come back from nvmlDeviceGetMemoryInfo_v2/);
});

/// The last line that was printed, as an object.
function lastOf(watch) {
  const lines = watch.stdout.split('\n');
  return lines.length < 2 ? null : JSON.parse(lines[lines.length - 2]);
}

test('while it watches a card is lost, another reading hangs, and all comes back', async (t) => {
  const file = path.join(tempDir(t), 'knobs');
  fs.writeFileSync(file, 'gpus=2\n');
  const watch = new Penstock(['gpu', '--watch', '--json', '--every', '0.1s'], { env: machine('', { FAKE_NVML_FILE: file }) });
  after(t, () => watch.kill());
  await until('both cards', () => lastOf(watch)?.devices.length === 2, 10000);
  fs.writeFileSync(file, 'lost=1 used_mib=12288\n');
  const lost = await until('the loss', () => {
    const last = lastOf(watch);
    return last.devices[1].lost && last.devices[0].used_mb === 12288 ? last : null;
  }, 10000);
  assert.ok(!('used_mb' in lost.devices[1]));
  fs.writeFileSync(file, 'hang_memory=1\n');
  const hung = await until('the hang', () => {
    const last = lastOf(watch);
    return last.sources[0].state === 'hung' ? last : null;
  }, 10000);
  assert.equal(hung.sources[0].call, 'nvmlDeviceGetMemoryInfo_v2');
  assert.equal(hung.devices[0].used_mb, 12288); // the last that was known, and its age beside it
  assert.ok(hung.sources[0].age_seconds > 0.9);
  fs.writeFileSync(file, 'hang_memory=0\n');
  await until('the end of it', () => lastOf(watch).sources[0].state === 'fresh', 10000);
  watch.signal('SIGINT');
  const { code } = await watch.ended;
  assert.deepEqual([code, watch.stderr], [0, '']);
});

test('docs/gpu.md lists the readings that the program has', () => {
  const page = fs.readFileSync(path.join(root, 'docs', 'gpu.md'), 'utf8');
  const table = execFileSync(path.join(build, 'tests', 'helpers', 'device_manual'), { encoding: 'utf8' });
  assert.ok(page.includes(table));
});

/// gpu-check beside a made-up driver, driver API and nvidia-smi.
function runCheck(t, { knobs = '', used = 8192, env = {} } = {}) {
  const bin = tempDir(t);
  fs.writeFileSync(path.join(bin, 'nvidia-smi'), `#!/bin/sh
case "$*" in
*compute-apps*) echo "GPU-00000000-0000-0000-0000-000000000000, 1000, 3072" ;;
*) echo "GPU-00000000-0000-0000-0000-000000000000, 24576, ${used}, 15872, 512, 400.00, 41, 214.10, 62, 1410" ;;
esac
`, { mode: 0o755 });
  return new Promise((resolve) => {
    execFile(check, { env: { ...process.env, ...machine(knobs), PATH: `${bin}:${process.env.PATH}`, ...env } },
      (error, stdout, stderr) => resolve({ code: error === null ? 0 : error.code, stdout, stderr }));
  });
}

test('gpu-check agrees with an nvidia-smi that reads the same', async (t) => {
  const { code, stdout, stderr } = await runCheck(t);
  assert.deepEqual([code, stderr], [0, ''], stdout);
  assert.match(stdout, /^driver 580\.65\.06 \(SIMULATED/m);
  assert.match(stdout, /^ok   device 0 memory\.used: nvidia-smi 8192, ours 8192/m);
  assert.match(stdout, /^ok   process 1000: nvidia-smi 3072 MiB, ours 3072/m);
  assert.match(stdout, /^ok   .*trimmed, and 0\.0 MiB/m);
  assert.match(stdout, /^nvmlDeviceGetFieldValues +\d+ /m);
  assert.match(stdout, /^9 agree, 0 do not, 0 skipped$/m);
});

test('gpu-check fails where memory differs by more than 1 %', async (t) => {
  const { code, stdout } = await runCheck(t, { used: 8192 + 300 });
  assert.equal(code, 1);
  assert.match(stdout, /^FAIL device 0 memory\.used: nvidia-smi 8492, ours 8192/m);
});

test('gpu-check fails where trimmed memory does not come back', async (t) => {
  const { code, stdout } = await runCheck(t, { env: { FAKE_CUDA_KEEPS: '1' } });
  assert.equal(code, 1);
  assert.match(stdout, /^FAIL .*trimmed, and 1024\.0 MiB more/m);
});

test('gpu-check says where there is nothing to check', async (t) => {
  const { code, stdout } = await runCheck(t, { env: bareMachine(t) });
  assert.equal(code, 77);
  assert.match(stdout, /^gpu-check: skipped, there is nothing to check on this machine: /);
});

test('make gpu-check builds with a compiler and libc alone', { skip: sanitizer !== '' && 'once is enough' }, (t) => {
  const out = tempDir(t);
  const said = execFileSync('make', ['--no-print-directory', 'gpu-check', `BUILD=${out}`],
    { cwd: root, encoding: 'utf8', env: { ...process.env, LD_LIBRARY_PATH: fake } });
  assert.match(said, /^driver 580\.65\.06 \(SIMULATED/m);
});
