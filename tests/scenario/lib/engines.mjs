// engines - small scripted inference servers that speak like Ollama, Triton, TGI, TEI, llama.cpp, SGLang,
// A1111 and ComfyUI, from their documentation; for stories about what a gateway makes of each.
//
// A server is a state that a story may change while it runs (version, health, ...), and a script for
// startUpstream(). Each engine has a sample call: what is sent, and which tokens the answer reports.
//
// SPDX-License-Identifier: Apache-2.0
import { startUpstream } from './upstream.mjs';
import { sleep } from './wait.mjs';

const words = ['Water ', 'under ', 'pressure.'];

async function lines(answer, values, every) {
  await answer.begin(200, { 'Content-Type': 'application/x-ndjson' });
  for (const value of values) {
    if (!answer.alive) {
      return;
    }
    await answer.chunk(`${JSON.stringify(value)}\n`);
    await sleep(every);
  }
  await answer.end();
}

/// An endless or finite stream of words by one of the writers; `state.endless` never ends it.
function stream(state, word, last) {
  const count = state.endless ? 100000 : words.length;
  return [...Array.from({ length: count }, (_, i) => word(words[i % words.length], i)), last];
}

/// name -> { version, health, unwell, identity(state), routes(state), sample }.
///   sample   { path, body, stream: more members for a stream, tokens: [input, output, cached] }
export const engines = {
  ollama: {
    version: '0.12.3',
    health: '/api/version',
    identity: { '/api/version': (s) => ({ version: s.version }), '/v1/models': () => ({ object: 'list', data: [] }) },
    calls: {
      '/api/chat': async (s, request, answer) => {
        const { model, stream: wanted } = JSON.parse(request.body);
        const last = { model, message: { role: 'assistant', content: '' }, done: true, prompt_eval_count: 26, eval_count: 3 };
        if (wanted === false) {
          await answer.json(200, { ...last, message: { role: 'assistant', content: words.join('') } });
          return;
        }
        await lines(answer, stream(s, (content) => ({ model, message: { role: 'assistant', content }, done: false }), last), s.every);
      },
      '/api/tags': (s, request, answer) => answer.json(200, { models: [] }),
    },
    sample: {
      path: '/api/chat', model: 'llama3', body: { model: 'llama3', messages: [{ role: 'user', content: 'Hello' }] },
      whole: { stream: false }, stream: {}, type: 'application/x-ndjson', tokens: [26, 3],
    },
  },
  triton: {
    version: '2.60.0',
    health: '/v2/health/ready',
    identity: { '/v2': (s) => ({ name: 'triton', version: s.version, extensions: ['generate'] }) },
    calls: {
      '/v2/models/llama/generate': (s, request, answer) => answer.json(200, { model_name: 'llama', text_output: words.join('') }),
      '/v2/models/llama/generate_stream': (s, request, answer) => answer.sse(
        stream(s, (text_output) => ({ model_name: 'llama', text_output }), { model_name: 'llama', text_output: '' }),
        { every: s.every, done: false }),
      '/v2/models/llama/infer': (s, request, answer) => answer.json(200, {
        model_name: 'llama', outputs: [{ name: 'y', shape: [2, 1], datatype: 'FP32', data: [1, 2] }],
      }),
    },
    sample: {
      path: '/v2/models/llama/generate', streamPath: '/v2/models/llama/generate_stream', body: { text_input: 'Hello', max_tokens: 5 },
      whole: {}, stream: { stream: true }, type: 'text/event-stream', estimated: true,
    },
  },
  tgi: {
    version: '3.3.6',
    health: '/health',
    identity: { '/info': (s) => ({ model_id: 'm', version: s.version, max_total_tokens: 4096 }) },
    calls: {
      '/generate': (s, request, answer) => answer.json(200, { generated_text: words.join('') },
        { 'x-prompt-tokens': 7, 'x-generated-tokens': 3 }),
      '/generate_stream': (s, request, answer) => answer.sse(
        stream(s, (text, i) => ({ index: i + 1, token: { id: i, text, logprob: -1, special: false }, generated_text: null, details: null }),
          { index: 4, token: { id: 4, text: '', logprob: -1, special: true }, generated_text: words.join(''),
            details: { finish_reason: 'length', generated_tokens: 3, input_length: 7, seed: null } }),
        { every: s.every, done: false }),
    },
    sample: {
      path: '/generate', streamPath: '/generate_stream', body: { inputs: 'Hello', parameters: { max_new_tokens: 3 } },
      whole: {}, stream: {}, type: 'text/event-stream', tokens: [7, 3],
    },
  },
  tei: {
    version: '1.8.2',
    health: '/health',
    identity: { '/info': (s) => ({ model_id: 'm', version: s.version, model_type: { embedding: { pooling: 'cls' } } }) },
    calls: {
      '/embed': (s, request, answer) => answer.json(200, JSON.parse(request.body).inputs.map(() => [0.25, 0.5]),
        { 'x-compute-tokens': 9 }),
    },
    sample: { path: '/embed', body: { inputs: ['one', 'two'] }, whole: {}, tokens: [9, 0] },
  },
  llamacpp: {
    version: 'b6500-abc',
    health: '/health',
    identity: {
      '/v1/models': () => ({ object: 'list', data: [{ id: 'm', owned_by: 'llamacpp' }] }),
      '/props': (s) => ({ default_generation_settings: {}, build_info: s.version }),
    },
    calls: {
      '/completion': async (s, request, answer) => {
        const last = { content: '', stop: true, tokens_predicted: 3, tokens_evaluated: 12, timings: { cache_n: 8, prompt_n: 4, predicted_n: 3 } };
        if (!JSON.parse(request.body).stream) {
          await answer.json(200, { ...last, content: words.join('') });
          return;
        }
        await answer.sse(stream(s, (content) => ({ content, stop: false }), last), { every: s.every, done: false });
      },
    },
    sample: {
      path: '/completion', body: { prompt: 'Hello', n_predict: 3 }, whole: {}, stream: { stream: true },
      type: 'text/event-stream', tokens: [12, 3, 8],
    },
  },
  sglang: {
    version: '0.5.3',
    health: '/health',
    identity: {
      '/v1/models': () => ({ object: 'list', data: [{ id: 'm', owned_by: 'sglang' }] }),
      '/get_server_info': (s) => ({ version: s.version, model_path: 'm' }),
    },
    calls: {
      '/generate': async (s, request, answer) => {
        const meta = (n) => ({ meta_info: { prompt_tokens: 6, completion_tokens: n, cached_tokens: 2 } });
        if (!JSON.parse(request.body).stream) {
          await answer.json(200, { text: words.join(''), ...meta(3) });
          return;
        }
        await answer.sse(stream(s, (word, i) => ({ text: words.slice(0, i + 1).join(''), ...meta(i + 1) }), { text: words.join(''), ...meta(3) }),
          { every: s.every });
      },
    },
    sample: {
      path: '/generate', body: { text: 'Hello', sampling_params: { max_new_tokens: 3 } }, whole: {}, stream: { stream: true },
      type: 'text/event-stream', tokens: [6, 3, 2],
    },
  },
  trtllm: {
    version: '1.1.0',
    health: '/health',
    identity: {
      '/v1/models': () => ({ object: 'list', data: [{ id: 'm', owned_by: 'tensorrt_llm' }] }),
      '/version': (s) => ({ version: s.version }),
    },
    calls: {
      '/v1/chat/completions': async (s, request, answer) => {
        const usage = { prompt_tokens: 5, completion_tokens: 3, total_tokens: 8 };
        if (!JSON.parse(request.body).stream) {
          await answer.json(200, { choices: [{ index: 0, message: { content: words.join('') } }], usage });
          return;
        }
        const choice = (content) => ({ choices: [{ index: 0, delta: { content } }] });
        await answer.sse(stream(s, choice, { choices: [], usage }), { every: s.every });
      },
    },
    sample: {
      path: '/v1/chat/completions', model: 'm', body: { model: 'm', messages: [] }, whole: {}, stream: { stream: true },
      type: 'text/event-stream', tokens: [5, 3], hidden: true,
    },
  },
  a1111: {
    version: '',
    health: '/internal/ping',
    identity: { '/sdapi/v1/memory': (s) => (s.version === '' ? { ram: {}, cuda: {} } : { hello: s.version }) },
    calls: { '/sdapi/v1/txt2img': (s, request, answer) => answer.json(200, { images: ['aGVsbG8='], parameters: {} }) },
    sample: { path: '/sdapi/v1/txt2img', body: { prompt: 'a gate', width: 64, height: 64, steps: 2 }, whole: {}, estimated: true },
  },
  comfyui: {
    version: '0.3.60',
    health: '/system_stats',
    identity: { '/system_stats': (s) => ({ system: { comfyui_version: s.version }, devices: [] }) },
    calls: {},
    sample: null,
  },
};

/// Starts a scripted server of that kind. The upstream has `state`: version, healthy, simulated, every, endless,
/// and `override`: (request, answer) => true when it has answered itself.
export async function startEngine(t, name, more = {}) {
  const engine = engines[name];
  const state = { version: engine.version, healthy: true, simulated: false, every: 2, endless: false, override: null, ...more };
  const up = await startUpstream(t, async (request, answer) => {
    const path = request.target.split('?')[0];
    const json = answer.json.bind(answer);
    const mark = () => (state.simulated ? { 'X-Simulated': 'true' } : {});
    answer.json = (status, value, headers = {}) => json(status, value, { ...mark(), ...headers });
    if (state.override && (await state.override(request, answer, path))) {
      return;
    }
    if (path === engine.health && !state.healthy) {
      await answer.json(503, { error: 'not now' });
      return;
    }
    if (path in engine.identity && request.method === 'GET') {
      await answer.json(200, engine.identity[path](state));
    } else if (path === engine.health) {
      await answer.text(200, '', mark());
    } else if (path in engine.calls) {
      await engine.calls[path](state, request, answer);
    } else {
      await answer.json(404, { error: `no ${path}` });
    }
  });
  up.state = state;
  return up;
}
