// cache_load - clients that ask gateways the same and new questions without a pause, and know the right answers.
//
//   const load = startLoad(t, [gate, other]);
//   ...
//   await load.stop();
//   load.assertServed();   load.p99(from, to);   load.detail('L2');
//
// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import http from 'node:http';

import { after } from './after.mjs';
import { now, sleep } from './wait.mjs';

const KEPT = 400; // questions that may be asked again

/// A script for lib/upstream.mjs whose answer says the question, `bytes` long or longer.
export function parrot({ bytes = 300 } = {}) {
  return async (request, answer) => {
    if (!request.target.startsWith('/v1/chat/completions')) {
      await answer.json(200, { object: 'list', data: [{ id: 'test-model', object: 'model', created: 1, owned_by: 'vllm' }] });
      return;
    }
    const question = request.json.messages[0].content;
    await answer.json(200, {
      id: 'chatcmpl-1', object: 'chat.completion', created: 1, model: 'test-model',
      choices: [{ index: 0, message: { role: 'assistant', content: answerTo(question).padEnd(bytes, '.') }, finish_reason: 'stop' }],
      usage: { prompt_tokens: 4, completion_tokens: 4, total_tokens: 8 },
    });
  };
}

const answerTo = (question) => `You asked: ${question}.`;

/// Asks one question: {ms, detail ('L1', 'L2', 'miss'), error} where error says what was wrong with the answer.
export function askQuestion(port, question, { agent, headers = {} } = {}) {
  const body = JSON.stringify({ model: 'test-model', temperature: 0, messages: [{ role: 'user', content: question }] });
  const began = now();
  return new Promise((resolve) => {
    const end = (error, detail) => resolve({ at: began, ms: now() - began, question, detail, error });
    const request = http.request({
      host: '127.0.0.1', port, method: 'POST', path: '/v1/chat/completions', agent,
      headers: { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body), ...headers },
    }, (answer) => {
      let text = '';
      answer.setEncoding('utf8').on('data', (piece) => { text += piece; });
      answer.on('error', (error) => end(`broken off: ${error.message}`));
      answer.on('end', () => {
        const status = answer.headers['cache-status'] ?? '';
        const detail = /; ?hit/.test(status) ? (/detail=([A-Z0-9a-z]+)/.exec(status)?.[1] ?? 'hit') : 'miss';
        end(whatIsWrong(answer.statusCode, text, question), detail);
      });
    });
    request.on('error', (error) => end(`no answer: ${error.message}`));
    request.end(body);
  });
}

function whatIsWrong(status, text, question) {
  if (status !== 200) {
    return `status ${status}: ${text.slice(0, 200)}`;
  }
  try {
    const { content } = JSON.parse(text).choices[0].message;
    return content.startsWith(answerTo(question)) ? undefined : `the answer to another question: ${content.slice(0, 80)}`;
  } catch {
    return `not an answer: ${text.slice(0, 200)}`;
  }
}

class Load {
  constructor(gates, { clients = 8, pause = 4, again = 0.6 } = {}) {
    Object.assign(this, { gates, pause, again, results: [], asked: [], count: 0, running: true });
    this.agent = new http.Agent({ keepAlive: true, maxSockets: clients });
    this.clients = Array.from({ length: clients }, (_, i) => this.client(i));
  }

  /// A new question, or one that was asked at any of the gateways.
  next() {
    const kept = Math.min(this.asked.length, KEPT);
    if (kept > 20 && Math.random() < this.again) {
      return this.asked[this.asked.length - 1 - Math.floor(Math.random() * kept)];
    }
    return `number ${this.count++}`;
  }

  async client(i) {
    for (let n = i; this.running; n++) {
      const result = await askQuestion(this.gates[n % this.gates.length].port, this.next(), { agent: this.agent });
      this.results.push(result);
      this.asked.push(result.question);
      await sleep(this.pause);
    }
  }

  /// No more questions; waits for the answers.
  async stop() {
    this.running = false;
    await Promise.all(this.clients);
    this.agent.destroy();
  }

  /// How many answers came from there: 'L1', 'L2', 'miss'.
  detail(name, from = 0) {
    return this.results.filter(({ detail, at }) => detail === name && at >= from).length;
  }

  /// The 99th percentile of latency between two times of now(), in ms.
  p99(from = 0, to = Infinity) {
    const all = this.results.filter(({ at }) => at >= from && at < to).map(({ ms }) => ms).sort((a, b) => a - b);
    return all[Math.floor(all.length * 0.99)] ?? NaN;
  }

  /// Every request was answered, and rightly.
  assertServed() {
    const bad = this.results.filter(({ error }) => error);
    assert.ok(this.results.length > 20, `${this.results.length} requests are a load`);
    assert.equal(bad.length, 0, `${bad.length} of ${this.results.length} failed, first: ${bad[0]?.error}`);
  }
}

/// Begins at once; ends with the test.
export function startLoad(t, gates, options) {
  const load = new Load(gates, options);
  after(t, () => load.stop());
  return load;
}
