// shortage - what the machine does not give: it is said, it is nobody else's fault, and it passes.
//
// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import test from 'node:test';

import { call } from './lib/client.mjs';
import { Penstock, startPenstock } from './lib/penstock.mjs';
import { freePort } from './lib/ports.mjs';
import { connect } from './lib/raw.mjs';
import { startUpstream } from './lib/upstream.mjs';
import { slowness, until, within } from './lib/wait.mjs';

test('a start that runs out of descriptors ends with a reason, wherever it happens', async () => {
  for (let descriptors = 10; descriptors < 27; descriptors += 2) {
    const port = await freePort();
    const gate = new Penstock(['serve', '--listen', `127.0.0.1:${port}`, '--workers', '2'], { descriptors });
    await until('it ended or it listens', () => !gate.running() || /listening/.test(gate.stderr), 10000);
    gate.signal('SIGTERM');
    const { code, signal } = await within(10000 * slowness, 'the end', gate.ended);
    gate.assertClean();
    assert.equal(signal, null, gate.stderr);
    assert.ok(code === 0 || /reason=/.test(gate.stderr), gate.stderr);
  }
});

test('without descriptors a request hears 503, and no upstream is blamed', async (t) => {
  const up = await startUpstream(t, (request, answer) => answer.text(200, 'well', { Connection: 'close' }));
  const gate = await startPenstock(t, {
    descriptors: 64,
    config: `upstreams:
  - { name: one, endpoints: ["${up.url}"], engine: openai, health: { path: /, interval: 100ms, unhealthy_after: 2 } }
`,
  });
  const line = await connect(t, gate.port);
  const ask = async () => {
    line.send('GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n');
    return line.response();
  };
  assert.equal((await ask()).status, 200);

  const crowd = [];
  for (let i = 0; i < 80; i++) {
    crowd.push(await connect(t, gate.port));
  }
  let refused = 0; /* in a row: a check that just ended may leave one descriptor for a moment */
  await until('no descriptor is left', async () => {
    const answer = await ask();
    refused = answer.status === 503 ? refused + 1 : 0;
    if (refused > 0) {
      assert.equal(JSON.parse(answer.text).code, 'no_capacity');
      assert.ok(Number(answer.headers['retry-after']) >= 1);
    }
    return refused === 20;
  }, 10000, 50);

  crowd.forEach((one) => one.leave());
  await until('it serves again', async () => (await call(gate.port, { path: '/x' })).status === 200);
  assert.doesNotMatch(gate.stderr, /unhealthy/);
});
