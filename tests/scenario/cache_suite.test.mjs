// tags: slow
// timeout: 600
//
// cache_suite - the tests for HTTP caches that others wrote (cache-tests.fyi), against the gateway.
//
// The suite waits for answers to grow old, so a machine that stands still may fail one or two: the
// bars leave room for that. docs/cache-http.md says of each test that is expected to fail why.
//
// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';

import { runSuite, startOrigin } from './lib/cache_suite.mjs';
import { startPenstock } from './lib/penstock.mjs';

const REQUIRED = 141; // the most that a published reverse proxy passes, of 163 in a later edition
const OPTIMAL = 70;

const page = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../docs/cache-http.md');

/// The ids that the page explains: `like-this` in the first column of its table.
function explained() {
  return new Set(fs.readFileSync(page, 'utf8').split('\n').filter((line) => line.startsWith('| `'))
    .flatMap((line) => [...line.split('|')[1].matchAll(/`([^`]+)`/g)].map(([, id]) => id)));
}

test('the gateway passes at least as many as the best that were published', async (t) => {
  const origin = await startOrigin(t);
  const gate = await startPenstock(t, {
    config: `upstreams:
  - {name: origin, engine: openai, endpoints: ["${origin.url}"], health: {interval: 0s, unhealthy_after: 1000}, retry: {attempts: 1}}
routes:
  - {path: /*, kind: plain}
`,
  });
  const { required, optimal, check } = await runSuite(gate.url);
  const known = explained();
  for (const [name, { passed, failed }] of Object.entries({ required, optimal, check })) {
    t.diagnostic(`${name}: ${passed.length} of ${passed.length + failed.length}`);
    for (const { id, why } of name === 'check' ? [] : failed) {
      t.diagnostic(`  ${known.has(id) ? 'explained' : 'UNEXPECTED'} ${id}: ${why}`);
    }
  }
  assert.ok(required.passed.length >= REQUIRED, `${required.passed.length} of the required pass`);
  assert.ok(optimal.passed.length >= OPTIMAL, `${optimal.passed.length} of the optimal pass`);
});
