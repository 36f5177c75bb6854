// cache_suite - the tests for HTTP caches of others (cache-tests.fyi), run against any base URL.
//
//   const origin = await startOrigin(t);         // what the cache under test asks
//   const { required, optimal } = await runSuite(base);
//   required.passed.length, required.failed: [{ id, why }]
//
// Origin and client are the suite's own parts, in this process. A test counts as passed when its
// result is exactly true, as published tables have it; "check" tests, which only tell what a cache
// does, are counted apart.
//
// SPDX-License-Identifier: Apache-2.0
import http from 'node:http';

import { runTests, getResults } from 'http-cache-tests/client/runner.mjs';
import handleConfig from 'http-cache-tests/server/handle-config.mjs';
import handleState from 'http-cache-tests/server/handle-state.mjs';
import handleTest from 'http-cache-tests/server/handle-test.mjs';
import surrogate from 'http-cache-tests/tests/surrogate-control.mjs';
import suites from 'http-cache-tests/tests/index.mjs';
import fetch from 'node-fetch';

import { after } from './after.mjs';

const handlers = { config: handleConfig, state: handleState, test: handleTest };

/// The server that plays each test's part, on a port of its own.
export async function startOrigin(t) {
  const server = http.createServer((request, answer) => {
    const [, dispatch, ...rest] = new URL(request.url, 'http://localhost').pathname.split('/');
    const handle = handlers[dispatch];
    if (handle === undefined) {
      answer.writeHead(404).end();
    } else {
      handle(rest, request, answer);
    }
  });
  await new Promise((resolve) => { server.listen(0, '127.0.0.1', resolve); });
  after(t, () => new Promise((resolve) => {
    server.close(resolve);
    server.closeAllConnections();
  }));
  return { port: server.address().port, url: `http://127.0.0.1:${server.address().port}` };
}

/// Runs all tests (or those whose id is in `ids`) and sorts the results by kind. Once per process.
export async function runSuite(base, ids) {
  const all = [...suites, surrogate]
    .map((suite) => ({ ...suite, tests: suite.tests.filter((one) => ids === undefined || ids.includes(one.id)) }));
  const log = console.log;
  console.log = () => {}; // the suite's own chatter
  try {
    await runTests(all, fetch, false, base);
  } finally {
    console.log = log;
  }
  const results = getResults();
  const kinds = {};
  for (const one of all.flatMap((suite) => suite.tests).filter(({ id }) => id in results)) {
    const kind = kinds[one.kind ?? 'required'] ??= { passed: [], failed: [] };
    if (results[one.id] === true) {
      kind.passed.push(one.id);
    } else {
      kind.failed.push({ id: one.id, why: results[one.id].join(': ') });
    }
  }
  return kinds;
}
