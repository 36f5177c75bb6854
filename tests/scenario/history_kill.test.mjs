// timeout: 300
// tags: slow
//
// history_kill - a minute that has ended is there after kill -9, and the time without a program is a gap. (That it is so
// at fifty random moments is told by unit/rollup, where a minute takes 20 ms.)
//
// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import path from 'node:path';
import test from 'node:test';

import { call } from './lib/client.mjs';
import { get, startPenstock, tempDir } from './lib/penstock.mjs';
import { sleep, until } from './lib/wait.mjs';

test('the minute before a kill -9 is there, the one of it is a gap', async (t) => {
  const config = `store: {path: "${path.join(tempDir(t), 'ledger.db')}"}`;
  const first = await startPenstock(t, { config });
  const put = (gate, value) => call(gate.port, { method: 'POST', path: '/api/metrics',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ name: 'app_depth', type: 'gauge', help: 'Depth', value }) });
  await put(first, 3);
  const minute = Math.floor(Date.now() / 60000) * 60;
  await sleep((minute + 62) * 1000 - Date.now());
  const held = JSON.parse((await get(first.port, '/api/history?name=app_depth&range=1h')).body).series[0];
  await sleep(5000);
  await first.kill();
  await sleep((minute + 121) * 1000 - Date.now());

  const second = await startPenstock(t, { config });
  await put(second, 5);
  const found = await until('both are there', async () => {
    const answer = await get(second.port, '/api/history?name=app_depth&range=1h');
    const [one] = answer.status === 200 ? JSON.parse(answer.body).series : [];
    return one?.last.at(-1) === 5 && one;
  }, 15_000, 200);
  const at = (time) => found.time.indexOf(time);
  assert.ok(found.count[at(minute)] > 0);
  assert.equal(found.count[at(minute)], held.count[held.time.indexOf(minute)]);
  assert.deepEqual([found.min, found.max, found.mean, found.last, found.p95].map((column) => column[at(minute)]), [3, 3, 3, 3, 3]);
  assert.equal(found.mean[at(minute + 60)], null);
  assert.equal(found.count[at(minute + 60)], 0);
});
