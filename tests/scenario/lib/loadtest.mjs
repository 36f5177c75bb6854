// loadtest - what stories of load tests share: a server of this process, and a test run into a report.
//
// SPDX-License-Identifier: Apache-2.0
import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';

import { after } from './after.mjs';
import { runPenstock, tempDir } from './penstock.mjs';

// The machine that runs the tests has more to do than to be punctual.
export const LAX = ['--max-lag', '1h'];

/// A server of this process; `handle` may be replaced. Its URL.
export async function serve(t, handle = (request, response) => response.end('ok')) {
  const server = http.createServer((request, response) => {
    request.resume();
    request.on('end', () => handle(request, response));
  });
  server.listen(0, '127.0.0.1');
  await new Promise((resolve) => { server.once('listening', resolve); });
  after(t, () => { server.closeAllConnections(); server.close(); });
  return `http://127.0.0.1:${server.address().port}/`;
}

/// Serves `rate` requests a second and refuses the others.
export function limited(rate) {
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

export const read = (out) => JSON.parse(fs.readFileSync(out, 'utf8'));

/// Runs a test; its result with its report.
export async function run(t, args, options = {}) {
  const out = options.out ?? path.join(tempDir(t), 'report.json');
  const result = await runPenstock(t, [...args, ...LAX, '--out', out], { ms: 120_000, ...options });
  return { ...result, out, report: fs.existsSync(out) ? read(out) : undefined };
}
