// tags: threads
//
// smoke - the program starts with nothing, says what it needs, and leaves when it is asked to.
//
// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import test from 'node:test';

import { get, runPenstock, startPenstock } from './lib/penstock.mjs';

test('without a configuration it serves health and a text that says what it needs', async (t) => {
  const gate = await startPenstock(t);
  const page = await get(gate.port, '/', { accept: 'text/plain' });
  assert.equal(page.status, 200);
  assert.match(page.headers['content-type'], /^text\/plain/);
  assert.match(page.body, /upstream/i);
  await gate.stop();
});

test('SIGTERM ends it with 0 while a client keeps a connection open', async (t) => {
  const gate = await startPenstock(t);
  const { connect } = await import('./lib/raw.mjs');
  const idle = await connect(t, gate.port);
  idle.send('GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n');
  assert.equal((await idle.response()).status, 200);
  await gate.stop();
  await idle.closed();
});

test('version tells the version and the commit', async (t) => {
  const { code, stdout } = await runPenstock(t, ['version']);
  assert.equal(code, 0);
  assert.match(stdout, /^penstock \d+\.\d+\.\d+/);
});

test('an unknown command is an error that names itself', async (t) => {
  const { code, stderr } = await runPenstock(t, ['fly']);
  assert.notEqual(code, 0);
  assert.match(stderr, /fly/);
});
