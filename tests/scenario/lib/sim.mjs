// sim - starts simulated GPU servers for a story.
//
//   const sim = await startSim(t, 'ollama', '--model', 'llama');
//   await sim.post('/api/generate', { model: 'llama', prompt: 'hi' });
//
// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';

import { after } from './after.mjs';
import { Penstock } from './penstock.mjs';
import { until } from './wait.mjs';

const LISTENING = /^penstock sim: listening on 127\.0\.0\.1:(\d+) \(simulated\)$/m;

/// A simulated server of an engine on a free port, twenty times faster than life unless told otherwise:
/// a Penstock with port, url, state(), get(path), post(path, body).
export async function startSim(t, engine, ...args) {
  return startSimWith(t, engine, {}, ...args);
}

/// The same with more environment.
export async function startSimWith(t, engine, env, ...args) {
  const sim = new Penstock(['sim', '--engine', engine, '--listen', '127.0.0.1:0', '--speed', '20', ...args], { env });
  after(t, () => sim.stop());
  const line = await until('the simulated server listens', () => {
    assert.ok(sim.running(), `it ended: ${sim.stderr}`);
    return LISTENING.exec(sim.stdout);
  });
  sim.port = Number(line[1]);
  sim.url = `http://127.0.0.1:${sim.port}`;
  sim.call = (method, path, body, headers = {}) => fetch(`${sim.url}${path}`, {
    method,
    headers: body === undefined ? headers : { 'content-type': 'application/json', ...headers },
    body: body === undefined || typeof body === 'string' ? body : JSON.stringify(body),
  });
  sim.get = (path) => sim.call('GET', path);
  sim.post = (path, body, headers) => sim.call('POST', path, body, headers);
  sim.json = async (answer) => {
    const response = await answer;
    assert.equal(response.headers.get('x-simulated'), 'true');
    const text = await response.text();
    assert.ok(response.ok, `${response.status}: ${text}`);
    return JSON.parse(text);
  };
  sim.state = () => sim.json(sim.get('/sim/state'));
  sim.used = async () => (await sim.state()).device.used_bytes;
  return sim;
}

/// The events of an SSE stream as JSON; `end` is the text of the last event, or null where there is none.
export function eventsOf(text, end = '[DONE]') {
  const datas = text.split('\n\n').filter(Boolean).map((event) => {
    assert.match(event, /^data: ?/);
    return event.replace(/^data: ?/, '');
  });
  if (end !== null) {
    assert.equal(datas.pop(), end);
  }
  return datas.map((data) => JSON.parse(data));
}

/// The value of a series in a page of metrics.
export function metricOf(page, name) {
  const line = page.split('\n').find((text) => text.startsWith(`${name}{`) || text.startsWith(`${name} `));
  assert.ok(line, `${name} is in the metrics`);
  return Number(line.split(' ').at(-1));
}
