// tags: slow
// timeout: 600
//
// suite_all - penstock suite: the four load tests, one after the other, into one report.
//
// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { limited, run, serve } from './lib/loadtest.mjs';

test('the four run into one report', async (t) => {
  const url = await serve(t, limited(70));
  const result = await run(t, ['suite', url, '--quick', '--threshold', 'http_req_failed: rate<0.9'], { ms: 240_000 });
  assert.ok([0, 1].includes(result.code), result.stdout + result.stderr);
  assert.deepEqual(Object.keys(result.report.summary.tests).sort(), ['endurance', 'load', 'spike', 'stress']);
  assert.match(result.stdout, /\nload +[A-Z ]+ .*\nstress +[A-Z ]+ .*\nspike +[A-Z ]+ .*\nendurance +[A-Z ]+ .*\n\n[^\n]*requests,[^\n]*\n$/); // the last word
  assert.equal(result.report.load_test.target_rps, 50);
  assert.ok(result.report.load_test.error_rate_percent < 1);
  assert.ok(result.report.stress_test.breaking_point_rps > 50);
});
