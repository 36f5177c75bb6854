// tags: slow
// timeout: 600
//
// suite_all - penstock suite: the four load tests, one after the other, into one report.
//
// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { test } from 'node:test';

import { after } from './lib/after.mjs';
import { runPenstock, tempDir } from './lib/penstock.mjs';

// The machine that runs the tests has more to do than to be punctual.
const LAX = ['--max-lag', '1h'];

// A server of this process; `handle` may be replaced.
async function serve(t, handle = (request, response) => response.end('ok')) {
  const server = http.createServer((request, response) => {
    request.resume();
    request.on('end', () => handle(request, response));
  });
  server.listen(0, '127.0.0.1');
  await new Promise((resolve) => { server.once('listening', resolve); });
  after(t, () => { server.closeAllConnections(); server.close(); });
  return `http://127.0.0.1:${server.address().port}/`;
}

// Serves `rate` requests a second and refuses the others.
function limited(rate) {
  let tokens = 0;
  let last = performance.now();
  return (request, response) => {
    const now = performance.now();
    tokens = Math.min(tokens + (now - last) / 1000 * rate, 4);
    last = now;
    response.statusCode = tokens < 1 ? 503 : 200;
    tokens -= tokens < 1 ? 0 : 1;
    response.end('ok');
  };
}

const read = (out) => JSON.parse(fs.readFileSync(out, 'utf8'));

async function run(t, args, options = {}) {
  const out = options.out ?? path.join(tempDir(t), 'report.json');
  const result = await runPenstock(t, [...args, ...LAX, '--out', out], { ms: 120_000, ...options });
  return { ...result, out, report: fs.existsSync(out) ? read(out) : undefined };
}

test('the four run into one report', async (t) => {
  const url = await serve(t, limited(70));
  const result = await run(t, ['suite', url, '--quick', '--threshold', 'http_req_failed: rate<0.9'], { ms: 240_000 });
  assert.ok([0, 1].includes(result.code), result.stdout + result.stderr);
  assert.deepEqual(Object.keys(result.report.summary.tests).sort(), ['endurance', 'load', 'spike', 'stress']);
  assert.equal(result.report.load_test.target_rps, 50);
  assert.ok(result.report.load_test.error_rate_percent < 1);
  assert.ok(result.report.stress_test.breaking_point_rps > 50);
});
