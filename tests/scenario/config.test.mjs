// config - `penstock config`: every mistake at once, secrets kept, the manual fresh.
//
// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';

import { runPenstock, tempDir } from './lib/penstock.mjs';
import { makeAuthority } from './lib/tls.mjs';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..');

/// Writes a configuration and checks it: the answer of the program and the lines without the file's name.
async function check(t, text, env = {}) {
  const dir = tempDir(t);
  const file = path.join(dir, 'penstock.yaml');
  fs.writeFileSync(file, text);
  const answer = await runPenstock(t, ['config', '--check', file], { env });
  const lines = answer.stdout.trimEnd().split('\n').map((line) => line.replace(`${file}:`, ''));
  return { ...answer, lines, dir, file };
}

test('an empty file is a valid configuration', async (t) => {
  const { code, lines, stderr } = await check(t, '');
  assert.deepEqual([code, lines, stderr], [0, [' ok'], '']);
});

test('every mistake is named with line, column and field', async (t) => {
  const { code, lines } = await check(t, `lisen: ["127.0.0.1:1"]
workers: 200
upstreams:
  - name: a
    endpoints: ["http://127.0.0.1:1", "ftp://b"]
    admission: {max_queu: 1}
routes:
  - {path: /v1/*, upstream: b}
  - {upstream: a}
`);
  assert.equal(code, 1);
  assert.deepEqual(lines, [
    "1:1: lisen: unknown key 'lisen'; did you mean 'listen'?",
    '2:10: workers: must be at most 64',
    '5:39: upstreams[0].endpoints[1].url: expected a URL such as http://127.0.0.1:8000',
    "6:17: upstreams[0].admission.max_queu: unknown key 'max_queu' in upstreams[0].admission; did you mean 'max_queue'?",
    "8:29: routes[0].upstream: there is no upstream 'b'; did you mean 'a'?",
    '9:5: routes[1].path: is required (exact path, or a prefix with a trailing *)',
    '6 errors',
  ]);
});

test('beyond loopback a token and tenants are asked for', async (t) => {
  const { code, lines } = await check(t, 'listen: ":5000"\n');
  assert.equal(code, 1);
  assert.match(lines[0], /^1:9: listen: beyond loopback the reserved paths .* need a token/);
  assert.match(lines[1], /^1:9: listen: beyond loopback the gateway needs tenants/);
  const open = await check(t, 'listen: ":5000"\ntenants: open\nadmin: {listen: "127.0.0.1:9000"}\n');
  assert.equal(open.code, 0);
});

test('a shadowed route is a warning that names it', async (t) => {
  const { code, lines } = await check(t, `upstreams: [{name: a, endpoints: ["http://127.0.0.1:1"]}]
routes: [{path: /metrics}, {path: /api/tags}]
`);
  assert.equal(code, 0);
  assert.deepEqual(lines, [
    '2:17: warning: routes[0].path: Penstock answers /metrics itself, so this route is never taken', ' ok']);
});

test('secrets come from the environment or a file and are never shown', async (t) => {
  const dir = tempDir(t);
  const file = path.join(dir, 'penstock.yaml');
  fs.writeFileSync(path.join(dir, 'feed.token'), 'hidden-in-a-file-0123456789\n', { mode: 0o600 });
  fs.writeFileSync(file, `admin:
  tokens:
    - {name: ops, role: admin, token: "\${OPS_TOKEN}"}
    - {name: feed, role: ingest, token_file: feed.token}
`);
  const missing = await runPenstock(t, ['config', '--check', file], { env: { OPS_TOKEN: undefined } });
  assert.equal(missing.code, 1);
  assert.match(missing.stdout, /:3:39: admin\.tokens\[0\]\.token: the environment variable OPS_TOKEN is not set/);
  const env = { OPS_TOKEN: 'hidden-in-the-environment' };
  const good = await runPenstock(t, ['config', '--check', file], { env });
  assert.deepEqual([good.code, good.stdout], [0, `${file}: ok\n`]);
  const shown = await runPenstock(t, ['config', '--print', file], { env });
  assert.equal(shown.code, 0);
  assert.doesNotMatch(shown.stdout + shown.stderr, /hidden/);
  assert.match(shown.stdout, /- name: ops\n +role: admin\n +token: "\*\*\*"\n/);
  fs.chmodSync(path.join(dir, 'feed.token'), 0o644);
  const open = await runPenstock(t, ['config', '--check', file], { env });
  assert.equal(open.code, 0);
  assert.match(open.stdout, /:4:46: warning: admin\.tokens\[1\]\.token_file: .*feed\.token may be read by every user/);
});

test('what --print shows is a valid configuration that shows the same', async (t) => {
  const first = await runPenstock(t, ['config', '--print']);
  const file = path.join(tempDir(t), 'printed.yaml');
  fs.writeFileSync(file, first.stdout);
  const second = await runPenstock(t, ['config', '--print', file]);
  assert.deepEqual([second.code, second.stdout, second.stderr], [0, first.stdout, '']);
});

test('certificates are loaded by the check', async (t) => {
  const authority = makeAuthority(t);
  const { cert, key } = authority.issue();
  const good = await check(t, `tls: {certificate: ${cert}, key_file: ${key}}\n`);
  assert.equal(good.code, 0);
  const bad = await check(t, `tls: {certificate: ${cert}, key_file: ${cert}}\n`);
  assert.equal(bad.code, 1);
  assert.match(bad.lines[0], /^1:6: tls: /);
});

test('a file that is missing is said so, and wrong arguments are usage', async (t) => {
  const none = await runPenstock(t, ['config', '--check', '/nonexistent.yaml']);
  assert.equal(none.code, 1);
  assert.match(none.stdout, /^\/nonexistent\.yaml: cannot be read: not found\n1 error\n$/);
  const usage = await runPenstock(t, ['config', '--check']);
  assert.equal(usage.code, 2);
  assert.match(usage.stderr, /^penstock config: .*\n\(penstock config --help lists the options\)\n$/);
});

test('docs/configuration.md is what --reference prints', async (t) => {
  const { code, stdout } = await runPenstock(t, ['config', '--reference']);
  assert.equal(code, 0);
  assert.equal(fs.readFileSync(path.join(root, 'docs/configuration.md'), 'utf8'), stdout,
    'run: build/penstock config --reference > docs/configuration.md');
});
