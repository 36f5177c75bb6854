// tags: threads
// timeout: 300
//
// engines_sim - the gateway in front of the simulated servers: each is found as what it plays and shown as
// simulated, its answers pass, and the tokens in the log are those that the answer itself reports.
//
// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import test from 'node:test';

import WebSocket from 'ws';

import { after } from './lib/after.mjs';
import { call, front, metrics, open } from './lib/client.mjs';
import { startPenstock, tempDir } from './lib/penstock.mjs';
import { freePort } from './lib/ports.mjs';
import { eventsOf, startSim } from './lib/sim.mjs';
import { until } from './lib/wait.mjs';

const MODEL = 'llama';
const messages = [{ role: 'user', content: 'Tell me how a penstock holds the water back.' }];
const lastLine = (text) => JSON.parse(text.trim().split('\n').at(-1));
const openai = (usage) => [usage.prompt_tokens, usage.completion_tokens];

/// engine -> calls: { path, body, tokens(answer) -> [input, output] as the answer says; NaN: it does not say }
const chat = {
  path: '/v1/chat/completions', body: { model: MODEL, messages, max_tokens: 5 }, tokens: ({ json }) => openai(json.usage),
};
const chatStream = {
  path: '/v1/chat/completions', body: { model: MODEL, messages, max_tokens: 5, stream: true, stream_options: { include_usage: true } },
  tokens: ({ text }) => openai(eventsOf(text).at(-1).usage), stream: true,
};
const calls = {
  vllm: [chat, chatStream],
  trtllm: [chat, chatStream],
  sglang: [chat, chatStream, {
    path: '/generate', body: { text: 'Tell me', sampling_params: { max_new_tokens: 5 } }, tokens: ({ json }) => openai(json.meta_info),
  }, {
    path: '/generate', body: { text: 'Tell me', stream: true, sampling_params: { max_new_tokens: 5 } }, stream: true,
    tokens: ({ text }) => openai(eventsOf(text).at(-1).meta_info),
  }],
  ollama: [chat, chatStream, {
    path: '/api/chat', body: { model: MODEL, messages, options: { num_predict: 5 } }, stream: true,
    tokens: ({ text }) => { const last = lastLine(text); return [last.prompt_eval_count, last.eval_count]; },
  }, {
    path: '/api/generate', body: { model: MODEL, prompt: 'Tell me', stream: false, options: { num_predict: 5 } },
    tokens: ({ json }) => [json.prompt_eval_count, json.eval_count],
  }, {
    path: '/api/embed', body: { model: MODEL, input: ['one', 'two'] }, tokens: ({ json }) => [json.prompt_eval_count, 0],
  }],
  llamacpp: [chat, chatStream, {
    path: '/completion', body: { prompt: 'Tell me', n_predict: 5 }, tokens: ({ json }) => [json.tokens_evaluated, json.tokens_predicted],
  }, {
    path: '/completion', body: { prompt: 'Tell me', n_predict: 5, stream: true }, stream: true,
    tokens: ({ text }) => { const last = eventsOf(text, null).at(-1); return [last.tokens_evaluated, last.tokens_predicted]; },
  }],
  tgi: [{
    path: '/generate', body: { inputs: 'Tell me', parameters: { max_new_tokens: 5, details: true } },
    tokens: ({ headers, json }) => [Number(headers['x-prompt-tokens'] ?? NaN), json.details.generated_tokens],
  }, {
    path: '/generate_stream', body: { inputs: 'Tell me', parameters: { max_new_tokens: 5, details: true } }, stream: true,
    tokens: ({ text }) => { const { details } = eventsOf(text, null).at(-1); return [details.input_length, details.generated_tokens]; },
  }],
  tei: [{ path: '/embed', body: { inputs: ['one', 'two'] }, tokens: ({ headers }) => [Number(headers['x-compute-tokens'] ?? NaN), 0] }],
  triton: [{
    path: `/v2/models/${MODEL}/generate`, body: { text_input: 'Tell me', max_tokens: 5 }, tokens: () => [NaN, NaN],
  }, {
    path: `/v2/models/${MODEL}/generate_stream`, body: { text_input: 'Tell me', max_tokens: 5, stream: true }, tokens: () => [NaN, 5], stream: true,
  }],
  a1111: [{ path: '/sdapi/v1/txt2img', body: { prompt: 'a gate', width: 64, height: 64, steps: 2 }, tokens: () => [NaN, 0] }],
  comfyui: [],
};

async function stage(t, sims) {
  const log = path.join(tempDir(t), 'access.log');
  const gate = await startPenstock(t, { config: `access_log: ${log}
upstreams:
  - name: one
    endpoints: [${sims.map(({ url }) => `"${url}"`).join(', ')}]
    health: { interval: 200ms, unhealthy_after: 2, healthy_after: 1 }
` });
  const records = () => fs.readFileSync(log, 'utf8').split('\n').filter(Boolean).map((line) => JSON.parse(line));
  return { gate, records };
}

const shows = (gate, text) => until(`the page shows ${text}`, async () => (await front(gate.port)).includes(text), 15000, 20);

for (const [engine, list] of Object.entries(calls)) {
  test(`${engine}: the simulated one is found as what it plays, and said to be simulated`, async (t) => {
    const port = await freePort();
    const args = ['--model', MODEL, '--listen', `127.0.0.1:${port}`];
    const first = await startSim(t, engine, ...args);
    const { gate } = await stage(t, [first]);
    await shows(gate, '(simulated)');
    const [found] = (await metrics(gate.port)).filter(({ name }) => name === 'penstock_endpoint_engine');
    assert.deepEqual([found.labels.engine, found.labels.simulated], [engine, 'true']);
    assert.ok(engine === 'a1111' || found.labels.version);
    const line = new RegExp(`engine detected .*engine=${engine} .*simulated=yes`);
    await until('the log tells', () => line.test(gate.stderr)); // it comes by a pipe

    await first.stop();
    if (engine === 'a1111') {
      return; // it has no path that says a version
    }
    await startSim(t, engine, ...args, '--engine-version', '99.1');
    await shows(gate, `${engine} 99.1 (simulated)`);
    await until('the log tells', () => /another engine answers now/.test(gate.stderr)); // it comes by a pipe
  });

  for (const { path: target, body, tokens, stream } of list) {
    test(`${engine}: ${target}${stream ? ' as a stream' : ''} passes and its tokens are those of the answer`, async (t) => {
      const sim = await startSim(t, engine, '--model', MODEL);
      const { gate, records } = await stage(t, [sim]);
      await shows(gate, engine);
      const answer = await call(gate.port, { method: 'POST', path: target, body });
      assert.equal(answer.status, 200, answer.text);
      const record = await until('a line in the log', () => records().filter((r) => r.path === target).at(-1), 5000, 20);
      const [input, output] = tokens(answer);
      assert.equal(record.tokens.input, input || record.tokens.input);
      assert.equal(record.tokens.output, Number.isNaN(output) ? record.tokens.output : output);
      assert.equal(record.tokens.estimated ?? false, Number.isNaN(input) || Number.isNaN(output));
    });
  }

  const streamed = list.find(({ stream, path: target }) => stream && target !== '/v1/chat/completions') ?? list.find(({ stream }) => stream);
  if (streamed) {
    test(`${engine}: a client that leaves its stream is noticed`, async (t) => {
      const sim = await startSim(t, engine, '--model', MODEL, '--speed', '1');
      const { gate } = await stage(t, [sim]);
      await shows(gate, engine);
      const text = JSON.stringify(streamed.body).replace(/("max_tokens"|"num_predict"|"n_predict"|"max_new_tokens"):5/, '$1:1500');
      const { incoming, request } = await open(gate.port, {
        method: 'POST', path: streamed.path, body: text, headers: { 'content-type': 'application/json' },
      });
      incoming.on('error', () => {});
      request.on('error', () => {});
      await new Promise((resolve) => { incoming.once('data', resolve); });
      request.destroy();
      await until('nothing is in flight', async () => (await front(gate.port)).includes('0 in flight'), 5000, 20);
      await until('the simulated server is idle', async () => {
        const page = JSON.stringify(await sim.state());
        return !/"running":[1-9]/.test(page);
      }, 5000, 20);
    });
  }
}

test('comfyui: two simulated ones behind one address: prompts, pictures and messages of a client meet', async (t) => {
  const sims = [await startSim(t, 'comfyui', '--model', MODEL), await startSim(t, 'comfyui', '--model', MODEL)];
  const { gate } = await stage(t, sims);
  await until('both are found', async () => (await front(gate.port)).split('(simulated)').length === 3, 10000, 20);
  const graph = {
    3: { class_type: 'KSampler', inputs: { seed: 7, steps: 2, cfg: 7, sampler_name: 'euler', scheduler: 'normal', denoise: 1,
      model: ['4', 0], positive: ['6', 0], negative: ['7', 0], latent_image: ['5', 0] } },
    4: { class_type: 'CheckpointLoaderSimple', inputs: { ckpt_name: `${MODEL}.safetensors` } },
    5: { class_type: 'EmptyLatentImage', inputs: { width: 64, height: 64, batch_size: 1 } },
    6: { class_type: 'CLIPTextEncode', inputs: { text: 'a gate', clip: ['4', 1] } },
    7: { class_type: 'CLIPTextEncode', inputs: { text: '', clip: ['4', 1] } },
    8: { class_type: 'VAEDecode', inputs: { samples: ['3', 0], vae: ['4', 2] } },
    9: { class_type: 'SaveImage', inputs: { filename_prefix: 'ComfyUI', images: ['8', 0] } },
  };
  for (let i = 0; i < 6; i++) {
    const client = `page-${i}`;
    const socket = new WebSocket(`ws://127.0.0.1:${gate.port}/ws?clientId=${client}`);
    after(t, () => socket.terminate());
    const heard = [];
    socket.on('message', (data, binary) => { if (!binary) { heard.push(JSON.parse(data)); } });
    await new Promise((resolve, reject) => { socket.once('open', resolve); socket.once('error', reject); });
    const accepted = await call(gate.port, { method: 'POST', path: '/prompt', body: { prompt: graph, client_id: client } });
    assert.equal(accepted.status, 200, accepted.text);
    const id = accepted.json.prompt_id;
    const entry = await until('it is in the history', async () => (await call(gate.port, { path: `/history/${id}` })).json[id], 10000, 50);
    const image = Object.values(entry.outputs).flatMap(({ images }) => images)[0];
    const view = await call(gate.port, { path: `/view?filename=${image.filename}&subfolder=${image.subfolder}&type=${image.type}` });
    assert.equal(view.status, 200);
    await until('its WebSocket heard of it', () => heard.some(({ data }) => data?.prompt_id === id), 5000, 20);
    socket.close();
  }
});
