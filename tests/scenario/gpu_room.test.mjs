// timeout: 300
// tags: threads
//
// gpu_room - the GPU room: what servers and exporters say in one profile, and cleanups that believe only what
// was measured, also of servers that lie.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import test from 'node:test';

import { after } from './lib/after.mjs';
import { runPenstock, startPenstock, tempDir } from './lib/penstock.mjs';
import { startSim, startSimWith } from './lib/sim.mjs';
import { sleep, until } from './lib/wait.mjs';

const MIB = 2 ** 20;

/// A gate in front of simulated servers; `gpu` is the text of the section.
async function startRoom(t, sims, gpu = [], env = {}, admission = []) {
  const config = ['gpu:', '  drivers: no', '  interval: 100ms', ...gpu.map((line) => `  ${line}`)];
  if (sims.length > 0) {
    config.push('upstreams:');
    sims.forEach((sim, i) => config.push(`  - name: u${i}`, `    endpoints: [{url: "${sim.url}"}]`,
      '    health: {interval: 200ms}', ...(admission[i] === undefined ? [] : [`    admission: ${admission[i]}`])));
  }
  const gate = await startPenstock(t, { config: config.join('\n'), env });
  gate.api = async (path) => (await fetch(`${gate.url}${path}`)).json();
  gate.ask = async (body) => {
    const answer = await fetch(`${gate.url}/api/gpu/cleanup`, {
      method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body),
    });
    return { status: answer.status, json: await answer.json() };
  };
  gate.server = async (i) => ((await gate.api('/api/gpu/profile')).engines ?? []).find((one) => one.upstream === `u${i}`);
  /// Begins a cleanup and waits for its end.
  gate.clean = async (body) => {
    const { status, json } = await gate.ask(body);
    assert.ok(status === 200 || status === 202, JSON.stringify(json));
    return until('the cleanup ends', async () => {
      const run = (await gate.api('/api/gpu/report')).cleanups.find(({ id }) => id === json.cleanup.id);
      return run.outcome !== 'running' && run;
    }, 30_000, 50);
  };
  for (let i = 0; i < sims.length; i++) {
    await until(`server ${i} is known`, async () => (await gate.server(i))?.state === 'fresh', 15_000, 50);
  }
  return gate;
}

/// A server that answers what a table says and remembers what it was asked.
async function startTable(t, table) {
  const asked = [];
  const server = http.createServer((request, response) => {
    let body = '';
    request.on('data', (piece) => { body += piece; });
    request.on('end', () => {
      asked.push({ method: request.method, path: request.url, body, headers: request.headers });
      const value = table[`${request.method} ${request.url}`];
      response.statusCode = value === undefined ? 404 : 200;
      response.end(value === undefined ? '' : typeof value === 'function' ? value() : value);
    });
  });
  await new Promise((resolve) => { server.listen(0, '127.0.0.1', resolve); });
  after(t, () => { server.closeAllConnections(); server.close(); });
  return { url: `http://127.0.0.1:${server.address().port}`, asked };
}

// --- the profile --------------------------------------------------------------------------------------

test('ten engines come to one schema, and what they do not say is absent', async (t) => {
  const sims = [];
  for (const [engine, ...args] of [['vllm'], ['sglang', '--enable-metrics'], ['trtllm'], ['triton', '--model', 'resnet'],
    ['ollama', '--model', 'm'], ['llamacpp', '--enable-metrics'], ['comfyui'], ['a1111'], ['tgi'], ['tei']]) {
    sims.push(await startSim(t, engine, ...args));
  }
  await sims[4].json(sims[4].post('/api/generate', { model: 'm' }));
  const gate = await startRoom(t, sims);
  await until('Ollama says what it has loaded', async () => (await gate.server(4)).models.length === 1);
  const { profile, engines, devices } = await gate.api('/api/gpu/profile');
  const byName = Object.fromEntries(engines.map((one) => [one.engine, one]));
  assert.deepEqual(Object.keys(byName).sort(),
    ['a1111', 'comfyui', 'llamacpp', 'ollama', 'sglang', 'tei', 'tgi', 'triton', 'trtllm', 'vllm']);
  assert.ok(engines.every(({ simulated }) => simulated));
  assert.equal(byName.vllm.basis, 'kv_cache');
  assert.equal(byName.vllm.effective_percent, 0); // it took the whole device, and is in no trouble
  assert.ok(byName.vllm.device_used_mb > 20_000);
  const low = await until('levels are known', async () => {
    const vllm = await gate.server(0);
    return vllm.pressure_level !== undefined && vllm;
  }, 10_000, 100);
  assert.equal(low.pressure_level, 'low');
  const { prediction } = await gate.api('/api/gpu/profile');
  assert.equal(prediction.cleanup_needed, false);
  assert.match(prediction.basis, /^(forecast|level)$/);
  assert.equal(prediction.probability, undefined); // nothing has happened yet that it could be judged by
  assert.equal(byName.ollama.basis, 'device');
  assert.equal(byName.ollama.running, undefined);
  assert.equal(byName.ollama.models[0].name, 'm:latest');
  assert.equal(byName.triton.models[0].memory_mb > 0, true);
  assert.equal(byName.tei.running, undefined);
  assert.equal(byName.tei.waiting, 0);
  assert.equal(byName.comfyui.kv_use, undefined);
  assert.equal(devices.length, 10);
  assert.ok(profile.effective_percent > 0 && profile.basis === 'device' && profile.simulated);
  for (const [i, sim] of sims.entries()) {
    const used = (await sim.used()) / MIB;
    assert.ok(Math.abs((await gate.server(i)).device_used_mb - used) < 1, `${i}`);
  }
  const page = await until('the figures are published', async () => {
    const text = await (await fetch(`${gate.url}/metrics`)).text();
    return /penstock_gpu_server_fresh\{[^}]*engine="tei"\} 1/.test(text) && text;
  }, 10_000, 100);
  assert.match(page, /penstock_gpu_memory_used_bytes\{[^}]*source="http[^}]*\} \d/);
  assert.match(page, /penstock_gpu_server_kv_ratio\{[^}]*engine="vllm"\} 0/);
  assert.doesNotMatch(page, /penstock_gpu_server_kv_ratio\{[^}]*engine="ollama"\}/);
});

test('exporters and other Penstocks tell of devices elsewhere; one that is away is said to be', async (t) => {
  const dcgm = await startTable(t, { 'GET /metrics':
    'DCGM_FI_DEV_FB_USED{gpu="0",UUID="GPU-a",modelName="H100"} 60000\n'
    + 'DCGM_FI_DEV_FB_FREE{gpu="0",UUID="GPU-a"} 20000\nDCGM_FI_DEV_MEMORY_TEMP{gpu="0",UUID="GPU-a"} 9223372036854775794\n' });
  const far = await startSim(t, 'vllm');
  const other = await startPenstock(t, { config:
    `gpu: {drivers: no, interval: 100ms}\nadmin: {tokens: [{name: r, token: let-me-look}]}\nupstreams: [{name: far, endpoints: [{url: "${far.url}"}]}]` });
  const broken = await startTable(t, { 'GET /metrics': 'DCGM_FI_DEV_FB_USED{gpu="0" 1\n' });
  const gate = await startRoom(t, [], ['sources:',
    `  - {name: rack, kind: dcgm, url: "${dcgm.url}"}`,
    `  - {name: other, kind: remote, url: "${other.url}", token: let-me-look}`,
    `  - {name: broken, kind: dcgm, url: "${broken.url}"}`,
    '  - {name: gone, kind: dcgm, url: "http://127.0.0.1:1"}']);
  const seen = await until('both are known', async () => {
    const all = await gate.api('/api/gpu/profile');
    const failed = (all.engines ?? []).filter(({ state }) => state === 'failed');
    return all.devices?.length === 2 && failed.length === 2 && all;
  }, 15_000, 50);
  const rack = seen.devices.find(({ source }) => source === 'dcgm');
  assert.equal(rack.uuid, 'GPU-a');
  assert.equal(rack.used_mb, 60000);
  assert.equal(rack.total_mb, 80000);
  assert.equal(rack.memory_temperature_celsius, undefined);
  const remote = seen.devices.find(({ source }) => source === 'remote');
  assert.equal(remote.simulated, true);
  assert.ok(Math.abs(remote.used_mb - (await far.used()) / MIB) < 1);
  const failed = Object.fromEntries(seen.engines.map(({ name, state, why }) => [name, [state, why]]));
  assert.deepEqual(failed.broken, ['failed', "/metrics: dcgm-exporter's metrics: line 1: not a sample"]);
  assert.equal(failed.gone[0], 'failed');
  assert.doesNotMatch(gate.stderr + JSON.stringify(seen), /let-me-look/);
});

test('without any source the answer names the settings that would give one', async (t) => {
  const gate = await startRoom(t, []);
  for (const path of ['/api/gpu/profile', '/api/gpu/report']) {
    const answer = await fetch(`${gate.url}${path}`);
    assert.equal(answer.status, 503);
    assert.equal(answer.headers.get('content-type'), 'application/problem+json');
    const { code, detail } = await answer.json();
    assert.equal(code, 'no_gpu_source');
    assert.match(detail, /gpu\.sources/);
  }
});

/// Streams that go on until the test ends; the prompts have nothing in common.
function ask(t, gate, model, count, words, maxTokens) {
  const leave = new AbortController();
  after(t, () => leave.abort());
  return Array.from({ length: count }, async (_, i) => {
    const prompt = `${Math.random()} ${i} ${'word '.repeat(words)}`;
    const answer = await fetch(`${gate.url}/v1/completions`, { method: 'POST', signal: leave.signal,
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ model, prompt, max_tokens: maxTokens, stream: true, ignore_eos: true }) });
    for await (const piece of answer.body) void piece;
    return answer.status;
  });
}

test('tokens that wait at the gateway warn before the figures of the server move', async (t) => {
  const args = ['--speed', '2', '--kv-tokens', '80000', '--kv-bytes-per-token', '32KiB', '--max-num-seqs', '256'];
  const sims = [await startSim(t, 'vllm', ...args, '--model', 'wide'), await startSim(t, 'vllm', ...args, '--model', 'narrow')];
  // One gate would let in more than the cache has room for, the other two requests.
  const gate = await startRoom(t, sims, [], {}, ['{max_in_flight: 40, max_wait: 5m}', '{max_in_flight: 2, max_wait: 5m}']);
  const room = async () => {
    const { engines, prediction, profile } = await gate.api('/api/gpu/profile');
    const by = (name) => engines.find(({ upstream }) => upstream === name);
    return { wide: by('u0'), narrow: by('u1'), prediction, profile };
  };
  await Promise.all(ask(t, gate, 'wide', 4, 300, 2000)); // how long answers get, has to be seen first
  const calm = await room();
  assert.equal(calm.prediction.cleanup_needed, false);
  for (const one of [...ask(t, gate, 'wide', 240, 300, 2000), ...ask(t, gate, 'narrow', 100, 300, 2000)]) one.catch(() => {});
  const seen = await until('there is a warning', async () => {
    const now = await room();
    assert.ok(now.wide.preemptions === 0, `no warning before the trouble: ${JSON.stringify(now)}`);
    return now.prediction.cleanup_needed && now.wide.pressure_level === 'critical' && now;
  }, 60_000, 50);
  const { evidence } = seen.prediction;
  assert.match(seen.profile.server, /^u0 /);
  assert.equal(seen.prediction.basis, 'forecast');
  assert.ok(seen.wide.kv_use < 0.75 && seen.wide.waiting === 0, JSON.stringify(seen.wide)); // it looks well
  assert.equal(evidence.capacity_tokens, 80000);
  assert.ok(evidence.queued_tokens > 20_000, JSON.stringify(evidence));
  assert.ok(evidence.in_flight_tokens > 8000 && evidence.waiting_tokens === 0, JSON.stringify(evidence));
  assert.ok(evidence.in_flight_tokens + evidence.queued_tokens > evidence.capacity_tokens * 0.9);
  assert.equal(seen.prediction.probability, undefined); // nothing came true yet that it could be judged by
  const after1 = await until('it was right', async () => {
    const now = await room();
    return now.wide.preemptions > 0 && now;
  }, 90_000, 100);
  assert.equal(after1.narrow.pressure_level, 'low'); // as many wait there, and two at a time do no harm
});

// --- cleanups -----------------------------------------------------------------------------------------

test('auto unloads an idle model by itself, measures it and stops at the target', async (t) => {
  const sim = await startSim(t, 'ollama', '--model', 'a', '--model', 'b', '--unload-delay', '4s');
  await sim.json(sim.post('/api/generate', { model: 'a' }));
  const before = await sim.used();
  const gate = await startRoom(t, [sim], ['mode: auto', 'target_percent: 10', 'rungs: [unload]', 'trust_unverified: yes',
    'hold: 300ms', 'cool_down: 1s']);
  const run = await until('a cleanup has ended', async () => (await gate.api('/api/gpu/report')).cleanups
    .find(({ outcome }) => outcome !== 'running'), 20_000, 50);
  assert.equal(run.outcome, 'target_met');
  assert.equal(run.asked, false);
  assert.equal(run.steps.length, 1);
  const [step] = run.steps;
  assert.equal(step.verdict, 'freed');
  assert.equal(step.model, 'a:latest');
  assert.ok(Math.abs(step.freed_mb - (before - (await sim.used())) / MIB) < 16);
  assert.ok(Math.abs(step.freed_mb - step.expected_mb) < 16);
  assert.equal(step.shown_by_server, true);
  assert.equal(step.verified_against, 'mock only');
});

test('a server that says 200 and keeps the memory is found out within two seconds, and the ladder climbs on', async (t) => {
  const liar = await startSim(t, 'ollama', '--model', 'm', '--lie', 'keep');
  const half = await startSim(t, 'comfyui', '--model', 'sdxl', '--lie', 'half');
  const honest = await startSim(t, 'vllm', '--enable-sleep-mode');
  await liar.json(liar.post('/api/generate', { model: 'm' }));
  await half.json(half.post('/prompt', { prompt: {
    1: { class_type: 'CheckpointLoaderSimple', inputs: { ckpt_name: 'sdxl' } },
    2: { class_type: 'EmptyLatentImage', inputs: { width: 64, height: 64, batch_size: 1 } },
    3: { class_type: 'KSampler', inputs: { model: ['1', 0], latent_image: ['2', 0], seed: 1, steps: 2 } },
    4: { class_type: 'VAEDecode', inputs: { samples: ['3', 0], vae: ['1', 2] } },
    5: { class_type: 'SaveImage', inputs: { images: ['4', 0], filename_prefix: 'x' } } } }));
  const gate = await startRoom(t, [liar, half, honest], ['trust_unverified: yes']);
  await until('the picture is done', async () => {
    const comfy = await gate.server(1);
    return comfy.busy === false && comfy.allocator_reserved_bytes > 0;
  }, 15_000, 50);
  const run = await gate.clean({ level: 'sleep', target_percent: 5 });
  const verdicts = Object.fromEntries(run.steps.map(({ server, rung, verdict }) => [`${server.split(' ')[0]} ${rung}`, verdict]));
  assert.deepEqual(verdicts, { 'u2 prefix_cache': 'done', 'u0 unload': 'not_freed', 'u1 unload': 'not_freed', 'u2 sleep': 'freed' });
  assert.equal(run.outcome, 'exhausted');
  for (const step of run.steps.filter(({ verdict }) => verdict === 'not_freed')) {
    assert.ok(step.verdict_after_seconds < 2.5, `${step.verdict_after_seconds} s`);
    assert.match(step.reason, /answered with success, and .* MiB are free; its own state says it is/);
    assert.ok(step.freed_mb < step.expected_mb * 0.6);
  }
  const cache = run.steps.find(({ rung }) => rung === 'prefix_cache');
  assert.equal(cache.frees, 'kv_blocks');
  assert.equal(cache.expected_mb, undefined); // blocks are promised, never bytes
  const { recommendations } = await gate.api('/api/gpu/report');
  assert.equal(recommendations.filter(({ id }) => id === 'does_not_free').length, 2);
  assert.match(gate.stderr, /gpu cleanup.*u0.*verdict=not_freed/);
  const page = await (await fetch(`${gate.url}/metrics`)).text();
  assert.match(page, /penstock_gpu_cleanup_steps_total\{verdict="not_freed"\} 2/);
});

test('memory that comes back late is a finding first, and noted when it came', async (t) => {
  const sim = await startSim(t, 'ollama', '--model', 'm', '--lie', 'late', '--lie-delay', '4s');
  await sim.json(sim.post('/api/generate', { model: 'm' }));
  const gate = await startRoom(t, [sim], ['trust_unverified: yes']);
  const run = await gate.clean({ level: 'unload', target_percent: 5 });
  assert.equal(run.steps[0].verdict, 'not_freed');
  const step = await until('the late bytes are noted', async () => {
    const [first] = (await gate.api('/api/gpu/report')).cleanups.at(-1).steps;
    return first.freed_late_mb !== undefined && first;
  }, 15_000, 100);
  assert.ok(Math.abs(step.freed_late_mb - step.expected_mb) < 16);
  assert.ok(step.late_seconds > 2);
});

test('busy servers are left alone, and a refusal is told as one', async (t) => {
  const busy = await startSim(t, 'vllm', '--enable-sleep-mode', '--speed', '1');
  const refusing = await startSim(t, 'a1111', '--lie', 'busy');
  const gate = await startRoom(t, [busy, refusing], ['trust_unverified: yes']);
  const leave = new AbortController();
  const request = busy.call('POST', '/v1/completions', { model: 'sim', prompt: 'a', max_tokens: 5000 });
  request.catch(() => {});
  after(t, () => leave.abort());
  await until('it is busy', async () => (await gate.server(0)).busy, 10_000, 50);
  const run = await gate.clean({ level: 'deep_sleep', target_percent: 5 });
  assert.deepEqual(run.steps.map(({ server, verdict }) => [server.split(' ')[0], verdict]), [['u1', 'busy']]);
  assert.equal((await busy.json(busy.get('/is_sleeping'))).is_sleeping, false);
});

test('TensorRT-LLM is asked with a signature, sleeps and wakes', async (t) => {
  const sim = await startSimWith(t, 'trtllm', { TRTLLM_RUNTIME_CONTROL_API_KEY: 'a-secret' }, '--enable-sleep-mode');
  const gate = await startRoom(t, [sim], ['trust_unverified: yes', 'runtime_key: ${KEY}'], { KEY: 'a-secret' });
  await until('its state is known', async () => (await gate.server(0)).server_state === 'awake', 10_000, 50);
  const run = await gate.clean({ level: 'deep_sleep', target_percent: 20 });
  assert.equal(run.outcome, 'target_met', JSON.stringify(run));
  assert.equal(run.steps.at(-1).server_state, 'asleep');
  assert.ok(run.steps.at(-1).freed_mb > 1000);
  const wake = await gate.clean({ level: 'wake' });
  assert.equal(wake.steps[0].verdict, 'done', JSON.stringify(wake));
  assert.equal(wake.steps[0].server_state, 'awake');
  assert.doesNotMatch(gate.stderr, /a-secret/);
});

test('calls that were only tried on mocks stay dry, and rungs that are not named are not used', async (t) => {
  const sim = await startSim(t, 'ollama', '--model', 'm');
  await sim.json(sim.post('/api/generate', { model: 'm' }));
  const gate = await startRoom(t, [sim], ['mode: auto', 'target_percent: 10', 'hold: 200ms', 'cool_down: 1s']);
  const [run] = await until('it has given up', async () => {
    const { cleanups } = await gate.api('/api/gpu/report');
    return cleanups.some(({ outcome }) => outcome === 'no_rung') && cleanups.slice(-1);
  }, 15_000, 50);
  assert.match(run.reason, /has the rung unload, which is not allowed/);
  const dry = await gate.clean({ level: 'unload' });
  assert.equal(dry.outcome, 'no_rung');
  assert.equal(dry.steps[0].verdict, 'dry_run');
  assert.match(dry.reason, /gpu\.trust_unverified/);
  assert.equal((await sim.json(sim.get('/api/ps'))).models.length, 1);
});

test('servers that are no upstreams can be asked too', async (t) => {
  const loaded = new Set(['a', 'b']);
  const studio = await startTable(t, {
    'GET /api/v1/models': () => JSON.stringify({ models: [...loaded].map((id) => ({ key: id, loaded_instances: [{ id }] })) }),
    'POST /api/v1/models/unload': () => { loaded.delete('a'); return '{}'; },
  });
  const swapped = new Set(['x/y']);
  const swap = await startTable(t, {
    'GET /running': () => JSON.stringify({ running: [...swapped].map((model) => ({ model, state: 'ready' })) }),
    'POST /api/models/unload/x%2Fy': () => { swapped.clear(); return 'OK'; },
  });
  const cache = await startTable(t, { 'POST /clear': '{"event_id":"1","num_tokens":7}' });
  const gate = await startRoom(t, [], ['trust_unverified: yes', 'sources:',
    `  - {name: studio, kind: lmstudio, url: "${studio.url}"}`,
    `  - {name: swap, kind: llama-swap, url: "${swap.url}"}`,
    `  - {name: copies, kind: lmcache, url: "${cache.url}", instance: i7}`]);
  await until('all are known', async () => (await gate.api('/api/gpu/profile')).engines?.filter(({ state }) => state === 'fresh').length === 3);
  const run = await gate.clean({ level: 'unload' });
  const by = Object.fromEntries(run.steps.map((step) => [`${step.server.split(' ')[0]} ${step.model}`, step.verdict]));
  assert.deepEqual(by, { 'copies i7': 'done', 'studio a': 'unproven', 'studio b': 'not_freed', 'swap x/y': 'unproven' });
  assert.deepEqual(JSON.parse(cache.asked.at(-1).body), { instance_id: 'i7', location: 'LocalCPUBackend' });
  assert.deepEqual(studio.asked.filter(({ method }) => method === 'POST').map(({ body }) => JSON.parse(body).instance_id), ['a', 'b']);
});

// --- who may, and what is refused ---------------------------------------------------------------------

test('a plan changes nothing, off stops everything, and nonsense is refused', async (t) => {
  const sim = await startSim(t, 'ollama', '--model', 'm', '--lie', 'keep');
  await sim.json(sim.post('/api/generate', { model: 'm' }));
  const gate = await startRoom(t, [sim], ['trust_unverified: yes']);
  const plan = await gate.ask({ level: 'unload', dry_run: true, target_percent: 5 });
  assert.equal(plan.status, 200);
  assert.equal(plan.json.cleanup.outcome, 'planned');
  assert.ok(plan.json.cleanup.steps[0].expected_mb > 1000);
  assert.equal((await sim.state()).models[0].says.weights, true);
  for (const body of [{ level: 'everything' }, { level: 7 }, { target_percent: 0 }, { dry_run: 'yes' }, { what: 1 },
    { mode: 'fast' }, { mode: 'off', level: 'sleep' }, []]) {
    assert.equal((await gate.ask(body)).status, 400, JSON.stringify(body));
  }
  assert.equal((await gate.ask({ level: 'unload', target_percent: 5 })).status, 202);
  assert.equal((await gate.ask({ level: 'unload' })).json.code, 'cleanup_running');
  assert.deepEqual(await gate.ask({ mode: 'off' }), { status: 200, json: { mode: 'off' } });
  const [run] = (await gate.api('/api/gpu/report')).cleanups;
  assert.equal(run.outcome, 'ended');
  assert.equal(run.steps.at(-1).verdict, 'stopped');
  const refused = await gate.ask({ level: 'unload' });
  assert.deepEqual([refused.status, refused.json.code], [409, 'optimizer_off']);
  assert.equal((await gate.api('/api/gpu/report')).mode, 'off');
  await gate.ask({ mode: 'advise' });
  const advice = await gate.ask({ level: 'unload', dry_run: true });
  assert.equal(advice.status, 200);
});

test('a cleanup needs the role admin', async (t) => {
  const gate = await startPenstock(t, { config:
    'gpu: {drivers: no}\nadmin: {tokens: [{name: r, token: reader}, {name: a, token: boss, role: admin}]}' });
  const ask = async (token) => (await fetch(`${gate.url}/api/gpu/cleanup`, {
    method: 'POST', body: '{"mode":"off"}', headers: { 'content-type': 'application/json', authorization: `Bearer ${token}` },
  })).status;
  assert.equal(await ask('nobody'), 401);
  assert.equal(await ask('reader'), 403);
  assert.equal(await ask('boss'), 200);
});

test('a server that hangs holds up neither the others nor the profile', async (t) => {
  const sim = await startSim(t, 'vllm');
  const silent = http.createServer(() => {});
  await new Promise((resolve) => { silent.listen(0, '127.0.0.1', resolve); });
  after(t, () => { silent.closeAllConnections(); silent.close(); });
  const gate = await startRoom(t, [sim], ['timeout: 300ms', 'sources:',
    `  - {name: silent, kind: dcgm, url: "http://127.0.0.1:${silent.address().port}"}`]);
  const failed = await until('the silent one has failed', async () => (await gate.api('/api/gpu/profile')).engines
    .find(({ name, state }) => name === 'silent' && state === 'failed'), 10_000, 50);
  assert.equal(failed.why, '/metrics: the deadline passed');
  await sleep(300);
  assert.equal((await gate.server(0)).state, 'fresh');
});

test('penstock gpu --url shows devices and servers of a running Penstock, and says what is wrong', async (t) => {
  const sims = [await startSim(t, 'vllm'), await startSim(t, 'ollama', '--model', 'm')];
  const gate = await startRoom(t, sims);
  await until('levels are known', async () => (await gate.server(0))?.pressure_level !== undefined
    && (await gate.server(1))?.pressure_level !== undefined, 10_000, 100);
  const gpu = (args, env = {}) => runPenstock(t, ['gpu', '--url', ...args], { ms: 10_000, env });
  const table = await gpu([gate.url]);
  assert.equal(table.code, 0, table.stderr);
  assert.match(table.stdout, /^0 +127\.0\.0\.1:\d+ +22118\/24576 MiB +90 % .* simulated$/m);
  assert.match(table.stdout, /^127\.0\.0\.1:\d+ +vllm \(simulated\) +0 % of cache +low/m);
  assert.match(table.stdout, /^127\.0\.0\.1:\d+ +ollama \(simulated\) +2 % of memory +low/m);
  assert.ok(table.stdout.split('\n').every((line) => line.length <= 120), table.stdout);
  const json = await gpu([gate.url, '--json']);
  assert.equal(JSON.parse(json.stdout).engines.length, 2);
  assert.equal(json.stdout.trimEnd().split('\n').length, 1);

  const empty = await startRoom(t, []);
  const nothing = await gpu([empty.url]);
  assert.equal(nothing.code, 1);
  assert.match(nothing.stderr, /status 503/);
  assert.equal(nothing.stdout, '');
  const closed = await gpu(['http://127.0.0.1:1']);
  assert.equal(closed.code, 1);
  assert.match(closed.stderr, /127\.0\.0\.1:1: no answer\n +the connection was refused/);
  assert.equal((await gpu(['gopher://x'])).code, 2);
});

test('penstock gpu --url sends a token from the environment or a file', async (t) => {
  const token = 'a-token-that-only-reads-0123456789';
  const gate = await startPenstock(t, { config: `gpu: {drivers: no}\nadmin:\n  tokens:\n    - {name: reader, token: "${token}", role: read}\n` });
  const gpu = (args, env = {}) => runPenstock(t, ['gpu', '--url', gate.url, ...args], { ms: 10_000, env });
  const without = await gpu([]);
  assert.equal(without.code, 1);
  assert.match(without.stderr, /status 401: it wants a token with the role read: PENSTOCK_TOKEN, or --api-key-file/);
  assert.match((await gpu([], { PENSTOCK_TOKEN: token })).stderr, /status 503/);
  const file = path.join(tempDir(t), 'token');
  fs.writeFileSync(file, `${token}\n`);
  const answer = await gpu(['--api-key-file', file]);
  assert.match(answer.stderr, /status 503/);
  assert.doesNotMatch(answer.stderr, new RegExp(token));
  assert.equal((await gpu(['--api-key-file', '/no/such/file'])).code, 2);
});
