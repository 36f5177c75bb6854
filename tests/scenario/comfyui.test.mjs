// tags: threads
// timeout: 180
//
// comfyui - several servers that keep their jobs, files and clients to themselves stand behind one address.
//
// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import test from 'node:test';

import { call, front, metric } from './lib/client.mjs';
import { startEngine } from './lib/engines.mjs';
import { startPenstock } from './lib/penstock.mjs';
import { connect } from './lib/raw.mjs';
import { until } from './lib/wait.mjs';

/// A scripted ComfyUI: every server counts its files from 1 anew, so that names collide.
async function startComfy(t, name) {
  const jobs = new Map();
  const uploads = new Set();
  const sockets = [];
  let file = 0;
  const up = await startEngine(t, 'comfyui', {
    override: async (request, answer, path) => {
      const bare = path.replace(/^\/api/, '');
      const query = new URL(request.target, 'http://x').searchParams;
      if (bare === '/prompt' && request.method === 'POST') {
        const { client_id: client, prompt } = JSON.parse(request.body);
        const wanted = Object.values(prompt).map((node) => node.inputs?.image).find(Boolean);
        if (wanted && !uploads.has(wanted)) {
          await answer.json(400, { error: { type: 'prompt_outputs_failed_validation', message: 'Invalid image file' } });
          return true;
        }
        file += 1;
        const id = `${name}-${jobs.size + 1}`;
        jobs.set(id, { client, filename: `ComfyUI_0000${file}_.png` });
        await answer.json(200, { prompt_id: id, number: file, node_errors: {} });
      } else if (bare.startsWith('/history/')) {
        const id = bare.slice('/history/'.length);
        const job = jobs.get(id);
        await answer.json(200, job ? {
          [id]: { outputs: { 9: { images: [{ filename: job.filename, subfolder: '', type: 'output' }] } }, status: { completed: true } },
        } : {});
      } else if (bare === '/view') {
        const known = [...jobs.values()].some(({ filename }) => filename === query.get('filename'));
        await (known ? answer.text(200, `${name} made ${query.get('filename')}`) : answer.text(404, 'not found'));
      } else if (bare === '/ws') {
        sockets.push(query.get('clientId'));
        answer.upgrade({ 'X-Server': name });
      } else if (bare === '/upload/image') {
        const found = /filename="([^"]+)"/.exec(request.body.toString('latin1'))[1];
        uploads.add(found);
        await answer.json(200, { name: found, subfolder: '', type: 'input' });
      } else if (['/queue', '/interrupt', '/object_info'].includes(bare)) {
        await answer.json(200, { server: name });
      } else {
        return false;
      }
      return true;
    },
  });
  return Object.assign(up, { jobs, sockets, comfy: name });
}

function configOf(servers) {
  return `upstreams:
  - name: images
    endpoints: [${servers.map(({ url }) => `"${url}"`).join(', ')}]
    health: { interval: 200ms, unhealthy_after: 2, healthy_after: 1 }
`;
}

async function stage(t, { count = 3, gates = 1 } = {}) {
  const servers = [];
  for (let i = 0; i < count; i++) {
    servers.push(await startComfy(t, 'ABC'[i]));
  }
  const list = [];
  for (let i = 0; i < gates; i++) {
    const gate = await startPenstock(t, { config: configOf(servers) });
    await until('all are found', async () => (await front(gate.port)).split('comfyui 0.3.60').length === count + 1, 10000, 20);
    list.push(gate);
  }
  return { servers, gates: list, gate: list[0] };
}

const submit = (gate, body, path = '/prompt') => call(gate.port, { method: 'POST', path, body: { prompt: {}, ...body } });
const serverOf = (id) => id.split('-')[0];

/// Opens a WebSocket as far as the 101 and tells who answered.
async function openSocket(t, gate, target) {
  const line = await connect(t, gate.port);
  line.send(`GET ${target} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n`
    + 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n');
  const head = await line.head();
  assert.equal(head.status, 101);
  return head.headers['x-server'];
}

test('a job is found where it was accepted, with and without /api, whoever asks', async (t) => {
  const { gate, servers } = await stage(t);
  const ids = [];
  for (let i = 0; i < 12; i++) {
    ids.push((await submit(gate, { client_id: `client-${i}` }, i % 2 ? '/prompt' : '/api/prompt')).json.prompt_id);
  }
  assert.ok(new Set(ids.map(serverOf)).size > 1, 'clients are spread');
  for (const id of ids) {
    for (const path of [`/history/${id}`, `/api/history/${id}`]) {
      const before = servers.map((s) => s.requests.filter((r) => r.target.includes('/history/')).length);
      const answer = await call(gate.port, { path });
      assert.deepEqual(Object.keys(answer.json), [id]);
      const after = servers.map((s) => s.requests.filter((r) => r.target.includes('/history/')).length);
      assert.equal(after.reduce((a, b) => a + b) - before.reduce((a, b) => a + b), 1, 'it is known, not asked around');
    }
  }
});

test('files with the same name are told apart by who looked at which job', async (t) => {
  const { gate } = await stage(t);
  const made = {};
  for (let i = 0; Object.keys(made).length < 2; i++) {
    const { json } = await submit(gate, { client_id: `c${i}` });
    made[serverOf(json.prompt_id)] ??= json.prompt_id;
  }
  for (let round = 0; round < 3; round++) {
    for (const [server, id] of Object.entries(made)) {
      const history = await call(gate.port, { path: `/history/${id}` });
      const { filename } = history.json[id].outputs[9].images[0];
      assert.equal(filename, 'ComfyUI_00001_.png');
      const view = await call(gate.port, { path: `/view?filename=${filename}&subfolder=&type=output` });
      assert.equal(view.text, `${server} made ${filename}`);
    }
  }
});

test('a client\'s WebSocket and its prompts meet, on every gateway, also when it brings no id', async (t) => {
  const { gates, servers } = await stage(t, { gates: 2 });
  for (let i = 0; i < 8; i++) {
    const id = `page-${i}`;
    const server = await openSocket(t, gates[i % 2], `/ws?clientId=${id}`);
    const here = await submit(gates[i % 2], { client_id: id });
    const there = await submit(gates[(i + 1) % 2], { client_id: id });
    assert.deepEqual([serverOf(here.json.prompt_id), serverOf(there.json.prompt_id)], [server, server]);
  }
  const server = await openSocket(t, gates[0], '/ws');
  const given = servers.find(({ comfy }) => comfy === server).sockets.at(-1);
  assert.match(given, /^[0-9a-f]{32}$/);
  const other = await submit(gates[1], { client_id: given });
  assert.equal(serverOf(other.json.prompt_id), server);
});

test('what a gateway did not see it asks around for', async (t) => {
  const { gates } = await stage(t, { gates: 2 });
  for (let i = 0; i < 6; i++) {
    const { json } = await submit(gates[0], { client_id: `x${i}` });
    const history = await call(gates[1].port, { path: `/history/${json.prompt_id}` });
    assert.deepEqual(Object.keys(history.json), [json.prompt_id]);
  }
  assert.deepEqual((await call(gates[1].port, { path: '/history/nobody' })).json, {});
  assert.equal((await call(gates[1].port, { path: '/view?filename=nobody.png' })).status, 404);
  assert.equal(await metric(gates[1].port, 'penstock_traffic_retries_total'), 0, 'asking around is no retry');
});

test('a picture is there for the prompt that needs it', async (t) => {
  const { gate } = await stage(t);
  const upload = (name) => call(gate.port, {
    method: 'POST', path: '/upload/image', headers: { 'content-type': 'multipart/form-data; boundary=x' },
    body: `--x\r\nContent-Disposition: form-data; name="image"; filename="${name}"\r\n\r\nPNG\r\n--x--\r\n`,
  });
  for (let i = 0; i < 6; i++) {
    assert.equal((await upload(`in${i}.png`)).status, 200);
    const answer = await submit(gate, { client_id: `other-${i}`, prompt: { 1: { class_type: 'LoadImage', inputs: { image: `in${i}.png` } } } });
    assert.equal(answer.status, 200, answer.text);
  }
});

test('calls about a job reach its server, others the one that the client used last', async (t) => {
  const { gate } = await stage(t);
  for (let i = 0; i < 6; i++) {
    const { json } = await submit(gate, { client_id: `q${i}` });
    const server = serverOf(json.prompt_id);
    const post = (path, body) => call(gate.port, { method: 'POST', path, body }).then((a) => a.json.server);
    assert.equal(await post('/queue', { delete: [json.prompt_id] }), server);
    assert.equal(await post('/interrupt', { prompt_id: json.prompt_id }), server);
    assert.equal(await post('/interrupt', ''), server);
    assert.equal((await call(gate.port, { path: '/api/object_info' })).json.server, server);
    assert.equal((await call(gate.port, { path: '/queue' })).json.server, server);
  }
});

test('a server that fails gives its clients to the others, and jobs without a client spread by work', async (t) => {
  const { gate, servers } = await stage(t);
  const ids = [];
  for (let i = 0; i < 9; i++) {
    ids.push((await submit(gate, { prompt: { 1: { inputs: { width: 512, height: 512, steps: 20 } } } })).json.prompt_id);
  }
  const shares = servers.map(({ comfy }) => ids.filter((id) => serverOf(id) === comfy).length);
  assert.deepEqual(shares, [3, 3, 3]);
  assert.ok(await metric(gate.port, 'penstock_backend_tokens_in_flight') >= 9 * 80, 'accepted jobs count as load');
  for (const id of ids) {
    await call(gate.port, { path: `/history/${id}` });
  }
  assert.equal(await metric(gate.port, 'penstock_backend_tokens_in_flight'), 0, 'done jobs do not');

  const first = serverOf((await submit(gate, { client_id: 'stays' })).json.prompt_id);
  servers.find(({ comfy }) => comfy === first).state.healthy = false;
  await until('it is out', async () => (await front(gate.port)).includes('unhealthy'), 10000, 20);
  const second = await submit(gate, { client_id: 'stays' });
  assert.equal(second.status, 200);
  assert.notEqual(serverOf(second.json.prompt_id), first);
});
