// timeout: 180
// tags: threads
//
// gpu_means - rungs that are no calls to the server: a program moves it off the device and back, a command starts it
// anew, kvcached's limit falls. The programs are scripts of this story; the servers are simulated.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import test from 'node:test';

import { after } from './lib/after.mjs';
import { startPenstock, tempDir } from './lib/penstock.mjs';
import { startSim } from './lib/sim.mjs';
import { until } from './lib/wait.mjs';

/// A program that posts to a simulated server, as the real one would change it, and remembers its words.
function script(dir, name, lines) {
  const file = path.join(dir, name);
  fs.writeFileSync(file, `#!/bin/sh\necho "$@" >>${dir}/said\n${lines}\n`, { mode: 0o700 });
  return file;
}

async function startGate(t, sim, lines) {
  const gate = await startPenstock(t, { config: ['gpu:', '  drivers: no', '  interval: 100ms', ...lines.map((line) => `  ${line}`),
    `upstreams: [{name: u0, endpoints: [{url: "${sim.url}"}], health: {interval: 200ms}}]`].join('\n') });
  gate.report = async () => (await fetch(`${gate.url}/api/gpu/report`)).json();
  gate.clean = async (body) => {
    const answer = await fetch(`${gate.url}/api/gpu/cleanup`, {
      method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) });
    const { cleanup } = await answer.json();
    return until('the cleanup ends', async () => {
      const run = (await gate.report()).cleanups.find(({ id }) => id === cleanup.id);
      return run.outcome !== 'running' && run;
    }, 30_000, 50);
  };
  await until('the server is known', async () => (await (await fetch(`${gate.url}/api/gpu/profile`)).json()).engines
    ?.some(({ state }) => state === 'fresh'), 15_000, 50);
  return gate;
}

test('auto checkpoints a process where that is named, measures it like all others, and it is woken again', async (t) => {
  const sim = await startSim(t, 'ollama', '--model', 'm');
  await sim.json(sim.post('/api/generate', { model: 'm' }));
  const dir = tempDir(t);
  fs.writeFileSync(path.join(dir, 'pid'), '4711\n');
  const ask = (body) => `curl -sf -X POST '${sim.url}/api/generate' -d '${JSON.stringify(body)}' >/dev/null`;
  const toggle = script(dir, 'cuda-checkpoint', `if [ -e ${dir}/stopped ]; then rm ${dir}/stopped; ${ask({ model: 'm' })}
else touch ${dir}/stopped; ${ask({ model: 'm', keep_alive: 0 })}; fi`);
  const restart = script(dir, 'restart', 'true');
  const settings = (trust, ...more) => [`trust_unverified: ${trust}`, `cuda_checkpoint: ${toggle}`, 'target_percent: 10',
    `servers: [{url: "${sim.url}", pid_file: "${dir}/pid", restart: [${restart}, "my unit"]}]`, ...more];
  const careful = await startGate(t, sim, settings('no'));
  const dry = await careful.clean({ level: 'restart' });
  assert.deepEqual(dry.steps.map(({ rung, verdict }) => [rung, verdict]),
    [['unload', 'dry_run'], ['checkpoint', 'dry_run'], ['restart', 'dry_run']]);
  assert.ok(!fs.existsSync(`${dir}/said`));
  await careful.stop();

  const gate = await startGate(t, sim, settings('yes', 'mode: auto', 'rungs: [checkpoint]', 'hold: 200ms'));
  const run = await until('a cleanup has ended', async () => (await gate.report()).cleanups
    .find(({ outcome }) => outcome !== 'running'), 20_000, 50);
  assert.equal(run.outcome, 'target_met', JSON.stringify(run));
  const [step] = run.steps;
  assert.equal(step.rung, 'checkpoint');
  assert.equal(step.call, 'cuda-checkpoint --toggle');
  assert.equal(step.verdict, 'freed');
  assert.equal(step.simulated, true);
  assert.equal(step.status, undefined); // nobody spoke HTTP
  assert.ok(step.freed_mb > 1000);
  assert.equal(fs.readFileSync(`${dir}/said`, 'utf8'), '--toggle --pid 4711\n');
  await fetch(`${gate.url}/api/gpu/cleanup`, {
    method: 'POST', headers: { 'content-type': 'application/json' }, body: '{"mode":"advise"}' });
  const wake = await gate.clean({ level: 'wake' });
  assert.equal(wake.steps[0].call, 'undo');
  assert.equal(wake.steps[0].verdict, 'done', JSON.stringify(wake));
  assert.equal(fs.readFileSync(`${dir}/said`, 'utf8'), '--toggle --pid 4711\n--toggle --pid 4711\n');
});

test('a command that fails is told in its own words, and kvcached gives what lies ahead', async (t) => {
  const sim = await startSim(t, 'tgi');
  const dir = tempDir(t);
  const name = `penstock-test-${process.pid}`;
  const memory = `/dev/shm/${name}`;
  fs.writeFileSync(memory, Buffer.from(new BigInt64Array([8_000_000_000n, 2_000_000_000n, 3_000_000_000n]).buffer));
  after(t, () => fs.rmSync(memory, { force: true }));
  const restart = script(dir, 'restart', 'echo "Unit vllm.service not found." >&2; exit 5');
  const gate = await startGate(t, sim, ['trust_unverified: yes',
    `servers: [{url: "${sim.url}/", restart: [${restart}], kvcached: ${name}}]`]);
  const run = await gate.clean({ level: 'restart', target_percent: 1 });
  const [limit, failed] = run.steps;
  assert.equal(limit.rung, 'kv_limit');
  assert.ok(Math.abs(limit.expected_mb - 3e9 / 2 ** 20) < 1);
  assert.equal(limit.verdict, 'not_freed'); // nobody is behind this memory
  assert.equal(new BigInt64Array(Uint8Array.from(fs.readFileSync(memory)).buffer)[0], 2_000_000_000n);
  assert.equal(failed.verdict, 'failed');
  assert.equal(failed.reason, 'it ended with 5: Unit vllm.service not found.');
  await gate.clean({ level: 'wake' });
  assert.equal(new BigInt64Array(Uint8Array.from(fs.readFileSync(memory)).buffer)[0], 8_000_000_000n);
});
