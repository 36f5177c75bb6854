// timeout: 240
//
// doctor - `penstock doctor`: each planted fault is found, with the right fix; nothing else is; nothing secret is
// printed; and it ends in time whatever the servers do.
//
// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import dgram from 'node:dgram';
import fs from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';

import { after } from './lib/after.mjs';
import { Penstock, program, runPenstock, startPenstock, tempDir } from './lib/penstock.mjs';
import { freePort } from './lib/ports.mjs';
import { makeAuthority } from './lib/tls.mjs';
import { inference, startUpstream } from './lib/upstream.mjs';
import { now, slowness, until, within } from './lib/wait.mjs';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..');
const EXITS = { ok: 0, info: 0, warning: 1, error: 3 };

/// Few enough connections that every machine's limits do.
const SMALL = 'max_connections: 100\nmax_buffered: 16MiB\nworkers: 1\n';

/// Runs the doctor on a configuration: {code, stdout, report, find, dir, file, seconds}. `find(check, severity)` gives
/// the only finding of that kind.
async function examine(t, text, { args = [], env = {}, dir = tempDir(t), mode = 0o600 } = {}) {
  const file = path.join(dir, 'penstock.yaml');
  if (text !== undefined) {
    fs.writeFileSync(file, text);
    fs.chmodSync(file, mode);
    args = ['--config', file, ...args];
  }
  const begun = now();
  const answer = await runPenstock(t, ['doctor', '--json', ...args], { env });
  const seconds = (now() - begun) / 1000;
  assert.equal(answer.stderr, '');
  const report = JSON.parse(answer.stdout);
  assert.equal(answer.code, EXITS[report.worst], answer.stdout);
  const find = (check, severity) => {
    const found = report.findings.filter((one) => one.check === check && one.severity === severity);
    assert.equal(found.length, 1, `${check}/${severity}: ${JSON.stringify(found)}\n${answer.stdout}`);
    return found[0];
  };
  return { ...answer, report, find, dir, file, seconds };
}

/// A configuration with a free address and whatever else.
async function config(more = '', listen) {
  return `listen: "${listen ?? `127.0.0.1:${await freePort()}`}"\n${SMALL}${more}`;
}

function upstream(url, more = '') {
  return `upstreams:\n  - name: gpu\n    endpoints: ["${url}"]\n${more}`;
}

/// What is wrong, in short: for failing messages and for "nothing else".
function problems(report) {
  return report.findings.filter(({ severity }) => severity === 'warning' || severity === 'error');
}

async function startSim(t, ...more) {
  const port = await freePort();
  const sim = new Penstock(['sim', '--listen', `127.0.0.1:${port}`, ...more]);
  after(t, () => sim.stop());
  await until('the server listens', () => sim.stdout.includes('listening'), 10000);
  return `http://127.0.0.1:${port}`;
}

test('a good set-up is healthy, with the service stopped and running', async (t) => {
  const url = await startSim(t, '--model', 'llama');
  const text = await config(`${upstream(url)}models: [{name: chat, target: llama, upstream: gpu}]\n`);
  const stopped = await examine(t, text);
  assert.deepEqual(problems(stopped.report), []);
  assert.equal(stopped.code, 0);
  assert.equal(stopped.report.healthy, true);
  assert.match(stopped.find('upstreams', 'info').text, /is simulated/);
  assert.match(stopped.find('ports', 'ok').text, /is free/);
  const port = Number(/:(\d+)"/.exec(text)[1]);
  await startPenstock(t, { config: text, port });
  const running = await examine(t, text);
  assert.deepEqual(problems(running.report), []);
  assert.equal(running.code, 0);
  assert.match(running.find('ports', 'ok').text, /^Penstock \S+ runs there and says that it is well: penstock \(process \d+\)/);
});

test('a service that was just installed has no upstream yet, and is healthy', async (t) => {
  const { report, code, find } = await examine(t, await config());
  assert.deepEqual(problems(report), []);
  assert.equal(code, 0);
  assert.match(find('upstreams', 'info').text, /none is known/);
  assert.match(find('upstreams', 'info').fix, /^upstreams:/);
});

test('mistakes of the configuration come with place, field and fix, and the rest is still looked at', async (t) => {
  const url = await startSim(t);
  const { report, code, file } = await examine(t, await config(`${upstream(url, '    admission: {max_queu: 1}\n')}`));
  assert.equal(code, 3);
  const [only, ...others] = problems(report);
  assert.deepEqual(others, []);
  assert.equal(only.subject, `${file}:8:17 upstreams[0].admission.max_queu`);
  assert.match(only.text, /^unknown key 'max_queu'/);
  assert.equal(only.fix, "write 'max_queue'");
  assert.ok(report.findings.some(({ check, text }) => check === 'upstreams' && /^engine /.test(text)));
});

test('YAML that ends in the middle, and a file that is not there', async (t) => {
  const half = await examine(t, 'listen: ["127.0.0.1:1"\n');
  assert.match(half.find('configuration', 'error').fix, /correct the YAML/);
  const none = await examine(t, undefined, { args: ['--config', '/nonexistent/penstock.yaml'] });
  assert.match(none.find('configuration', 'error').text, /not found/);
  const pipe = path.join(tempDir(t), 'pipe');
  execFileSync('mkfifo', [pipe]);
  const stuck = await examine(t, undefined, { args: ['--config', pipe] });
  assert.match(stuck.find('configuration', 'error').text, /not a file/);
});

test('an unset variable, a missing secret and a secret that everybody may read', async (t) => {
  const dir = tempDir(t);
  fs.writeFileSync(path.join(dir, 'open.token'), 'hidden-in-a-file-0123456789\n', { mode: 0o644 });
  fs.chmodSync(path.join(dir, 'open.token'), 0o644);
  const { report } = await examine(t, await config(`admin:
  tokens:
    - {name: a, role: admin, token: "\${DOCTOR_UNSET_TOKEN}"}
    - {name: b, token_file: nowhere.token}
    - {name: c, token_file: open.token}
`), { dir, env: { DOCTOR_UNSET_TOKEN: undefined } });
  const [unset, missing, open] = report.findings.filter(({ check, severity }) => check === 'configuration' && severity !== 'ok');
  assert.match(unset.text, /DOCTOR_UNSET_TOKEN is not set/);
  assert.match(unset.fix, /set it where Penstock is started/);
  assert.match(missing.text, /nowhere\.token: not found/);
  assert.equal(missing.fix, `write the secret into ${dir}/nowhere.token, or correct the path`);
  assert.deepEqual([open.severity, open.fix], ['warning', `chmod o-rwx ${dir}/open.token`]);
});

test('a configuration that holds secrets must not be readable by everybody; one without may', async (t) => {
  const url = await startSim(t);
  const secret = await config(upstream(url, '    api_key: "hidden-in-the-configuration"\n'));
  const { code, file, stdout, find } = await examine(t, secret, { mode: 0o644 });
  assert.equal(code, 1);
  assert.equal(find('configuration', 'warning').fix, `chmod o-rwx ${file}`);
  assert.doesNotMatch(stdout, /hidden/);
  const env = { DOCTOR_KEY: 'hidden-in-the-environment' };
  const plain = await examine(t, secret.replace('hidden-in-the-configuration', '${DOCTOR_KEY}'), { mode: 0o644, env });
  assert.equal(plain.code, 0, plain.stdout);
});

test('beyond loopback without keys is about access', async (t) => {
  const url = await startSim(t);
  const { report } = await examine(t, await config(upstream(url), `:${await freePort()}`));
  const found = report.findings.filter(({ check, severity }) => check === 'access' && severity === 'error');
  assert.equal(found.length, 2);
  assert.match(found[0].fix, /admin: \{tokens/);
  assert.match(found[1].fix, /tenants: \[/);
});

test('a port that another program holds is told with its name and process', async (t) => {
  const up = await startUpstream(t);
  const { find, code } = await examine(t, await config('', `127.0.0.1:${up.port}`));
  assert.equal(code, 3);
  const taken = find('ports', 'error');
  assert.match(taken.text, new RegExp(`^is taken by \\S+.* \\(process ${process.pid}\\)`));
  assert.equal(taken.fix, `end it (kill ${process.pid}), or choose another address in listen[0]`);
});

test('a port that is held by every address, and one of the admin', async (t) => {
  const server = net.createServer();
  const port = await freePort('::');
  await new Promise((resolve) => { server.listen(port, '0.0.0.0', resolve); });
  after(t, () => server.close());
  const { find } = await examine(t, await config(`admin: {listen: "127.0.0.1:${port}"}\n`));
  assert.match(find('ports', 'error').fix, /or choose another address in admin\.listen\[0\]/);
});

test('an address of another machine', async (t) => {
  const { find } = await examine(t, await config('admin: {listen: "127.0.0.1:0"}\ntenants: open\n', '192.0.2.1:5000'));
  const foreign = find('ports', 'error');
  assert.equal(foreign.text, 'is no address of this machine');
  assert.equal(foreign.fix, 'write one that `ip address` shows into listen[0], or :5000 for every address');
});

test('a privileged port without the right to it', async (t) => {
  const first = Number(fs.readFileSync('/proc/sys/net/ipv4/ip_unprivileged_port_start', 'utf8'));
  const port = 700 + (process.pid % 300);
  if (first <= port) {
    t.skip('this machine has no privileged ports');
    return;
  }
  const dir = tempDir(t);
  const file = path.join(dir, 'penstock.yaml');
  fs.writeFileSync(file, await config('', `127.0.0.1:${port}`));
  const dropped = process.getuid() === 0 ? ['setpriv', '--bounding-set=-net_bind_service', '--inh-caps=-all'] : [];
  const words = [...dropped, program, 'doctor', '--json', '--config', file];
  let out;
  try {
    out = execFileSync(words[0], words.slice(1), { encoding: 'utf8', timeout: 20000 * slowness });
  } catch (error) {
    assert.equal(error.status, 3, error.message);
    out = error.stdout;
  }
  const found = JSON.parse(out).findings.find(({ check, severity }) => check === 'ports' && severity === 'error');
  assert.equal(found.text, `this user may not listen on a port below ${first}`);
  assert.match(found.fix, /CAP_NET_BIND_SERVICE/);
});

test('too few descriptors', async (t) => {
  const url = await startSim(t);
  const file = path.join(tempDir(t), 'penstock.yaml');
  fs.writeFileSync(file, (await config(upstream(url))).replace('max_connections: 100', 'max_connections: 1000'));
  let out;
  try {
    out = execFileSync('prlimit', ['--nofile=512:512', program, 'doctor', '--json', '--config', file],
      { encoding: 'utf8', timeout: 20000 * slowness });
  } catch (error) {
    assert.equal(error.status, 1, error.message);
    out = error.stdout;
  }
  const { findings } = JSON.parse(out);
  const found = findings.find(({ subject }) => subject === 'RLIMIT_NOFILE');
  assert.equal(found.severity, 'warning');
  assert.match(found.text, /^this shell may open 512 descriptors, and 2070 are needed/);
  assert.match(found.fix, /^LimitNOFILE=2070 in the unit/);
});

test('upstreams that refuse, whose name is unknown, that speak no HTTP', async (t) => {
  const closed = `http://127.0.0.1:${await freePort()}`;
  const rubbish = await startUpstream(t, (request, answer) => answer.raw('SSH-2.0-OpenSSH_9.2\r\n\r\n'));
  const { report, code } = await examine(t, undefined,
    { args: ['--upstream', closed, '--upstream', 'http://no-such-host.invalid:8000', '--upstream', rubbish.url] });
  assert.equal(code, 3);
  const [refused, unknown, odd] = report.findings.filter(({ check, severity }) => check === 'upstreams' && severity === 'error');
  assert.deepEqual([refused.subject, refused.text], [closed, 'the connection was refused']);
  assert.match(refused.fix, /^start the server, or correct the port/);
  assert.equal(unknown.subject, 'http://no-such-host.invalid:8000');
  assert.match(unknown.text, /name (could not be|was not) resolved/);
  assert.match(unknown.fix, /name/);
  assert.equal(odd.subject, rubbish.url);
  assert.match(odd.fix, /is no HTTP\/1\.1 server/);
});

test('upstream TLS that can not be verified: authority, name, date, and none at all', async (t) => {
  const authority = makeAuthority(t);
  const pem = ({ cert, key }) => ({ cert: fs.readFileSync(cert), key: fs.readFileSync(key) });
  const good = await startUpstream(t, inference(), { secure: pem(authority.issue('good')) });
  const other = await startUpstream(t, inference(), { secure: pem(authority.issue('other', { names: ['gpu.example'] })) });
  const plain = net.createServer((socket) => {
    socket.on('error', () => {});
    socket.once('data', () => socket.end('HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n'));
  });
  const plainPort = await freePort();
  await new Promise((resolve) => { plain.listen(plainPort, '127.0.0.1', resolve); });
  after(t, () => plain.close());
  const list = (url, more) => `  - {name: u${url.slice(-5)}${more.length}, endpoints: ["${url}"], tls: {${more}}}\n`;
  const { report } = await examine(t, await config(`upstreams:
${list(good.url, '')}${list(good.url, `ca_file: ${authority.ca}`)}${list(other.url, `ca_file: ${authority.ca}`)}${
  list(other.url, `ca_file: ${authority.ca}, server_name: gpu.example`)}${
  list(`https://127.0.0.1:${plainPort}`, `ca_file: ${authority.ca}`)}`));
  const found = report.findings.filter(({ check, severity }) => check === 'upstreams' && severity === 'error');
  assert.deepEqual(found.map(({ fix }) => fix), [
    'upstreams[0].tls.ca_file: the PEM file of the authority that signed it',
    "upstreams[2].tls.server_name: the name in the server's certificate",
    'the server speaks no TLS there: write http:// instead of https://',
  ]);
  assert.equal(report.findings.filter(({ check, text }) => check === 'upstreams' && /^engine vllm/.test(text)).length, 2);
});

test('certificates: expired, of another key, in the wrong order, ending soon, with an open key', async (t) => {
  const authority = makeAuthority(t);
  const expired = authority.issue('expired', { days: -1 });
  const good = authority.issue('good', { days: 90 });
  const soon = authority.issue('soon', { days: 3 });
  const late = await examine(t, await config(`tls: {certificate: ${expired.cert}, key_file: ${expired.key}}\n`));
  assert.match(late.find('certificates', 'error').text, /^has expired \d+ days ago/);
  assert.match(late.find('certificates', 'error').fix, /^renew it/);

  const foreign = await examine(t, await config(`tls: {certificate: ${good.cert}, key_file: ${soon.key}}\n`));
  assert.equal(foreign.find('certificates', 'error').text, `does not belong to the certificate ${good.cert}`);
  assert.match(foreign.find('certificates', 'error').fix, /tls\.key_file/);

  const turned = path.join(authority.dir, 'turned.pem');
  fs.writeFileSync(turned, fs.readFileSync(authority.ca, 'utf8') + fs.readFileSync(good.cert, 'utf8'));
  const order = await examine(t, await config(`tls: {certificate: ${turned}, key_file: ${good.key}}\n`));
  assert.equal(order.find('certificates', 'error').text, 'its certificates are in the wrong order');

  fs.chmodSync(soon.key, 0o644);
  const open = await examine(t, await config(`tls: {certificate: ${soon.cert}, key_file: ${soon.key}}\n`));
  const warned = open.report.findings.filter(({ check, severity }) => check === 'certificates' && severity === 'warning');
  assert.deepEqual(warned.map(({ fix }) => fix), [`chmod o-rwx ${soon.key}`, 'renew it and send SIGHUP; running connections go on']);

  const none = await examine(t, await config(`tls: {certificate: ${good.key}, key_file: /nonexistent.key}\n`));
  assert.deepEqual(none.report.findings.filter(({ check, severity }) => check === 'certificates' && severity === 'error')
    .map(({ text }) => text), ["can't be read: not found", 'holds no certificate in PEM']);
});

test('an api key that is missing, and one that is wrong', async (t) => {
  const sound = inference();
  const up = await startUpstream(t, (request, answer) => (request.headers.authorization === 'Bearer right-key-0123'
    ? sound(request, answer) : answer.json(401, { error: 'Unauthorized' })));
  const missing = await examine(t, await config(upstream(up.url)));
  assert.match(missing.find('upstreams', 'error').text, /^wants an api key \(status 401\), and none is configured/);
  assert.match(missing.find('upstreams', 'error').fix, /^upstreams\[0\]\.api_key_file/);
  const wrong = await examine(t, await config(upstream(up.url, '    api_key: wrong-key-0123\n')));
  assert.match(wrong.find('upstreams', 'error').text, /^does not accept the api key \(status 401\)/);
  const right = await examine(t, await config(upstream(up.url, '    api_key: right-key-0123\n')));
  assert.deepEqual(problems(right.report), []);
  assert.ok(up.requests.every(({ method }) => method === 'GET'));
});

test('a model that no server has is told with those that it has', async (t) => {
  const up = await startUpstream(t, inference({ model: 'llama-3.1-8b' }));
  const { find } = await examine(t, await config(`${upstream(up.url)}models:
  - {name: llama-3.1-8b, upstream: gpu}
  - {name: chat, upstream: gpu, target: lama-3.1-8b}
`));
  const found = find('upstreams', 'error');
  assert.equal(found.text, "does not serve the model 'lama-3.1-8b' of models[1].target; it serves: llama-3.1-8b");
  assert.equal(found.fix, 'write llama-3.1-8b there, or start the server with that model');
});

test('a clock that differs, an engine that is another, a URL with /v1, a server that is not well', async (t) => {
  const sound = inference();
  const wrong = await startUpstream(t, (request, answer) => (request.target === '/v1/models'
    ? answer.json(200, { object: 'list', data: [{ id: 'm', owned_by: 'vllm' }] },
      { Date: new Date(Date.now() - 3600 * 1000).toUTCString() }) : sound(request, answer)));
  const ill = await startUpstream(t, (request, answer) => (request.target === '/health'
    ? answer.text(503, 'no') : sound(request, answer)));
  const { report } = await examine(t, await config(`upstreams:
  - {name: a, engine: sglang, endpoints: ["${wrong.url}"]}
  - {name: b, endpoints: ["${wrong.url}/v1", "${ill.url}"]}
`));
  const found = problems(report);
  assert.deepEqual(found.map(({ fix }) => fix), [
    'upstreams[0].engine: vllm',
    'leave /v1 out of the URL',
    "see the server's log: it says that it is not well",
    'have both set by a time service (timedatectl set-ntp true, or chrony)',
  ]);
  assert.match(found[3].text, /^its clock is 3(599|600|601|602) seconds behind this machine's/);
});

test('what an engine has switched off is said, and asked with harmless GETs only', async (t) => {
  const sound = inference();
  const up = await startUpstream(t, (request, answer) => (request.target === '/metrics'
    ? answer.text(200, 'vllm:num_requests_running 0\n') : sound(request, answer)));
  const { find, code } = await examine(t, undefined, { args: ['--upstream', up.url] });
  assert.ok(code < 3);
  assert.match(find('upstreams', 'info').text, /^\/is_sleeping is off \(status 404\)/);
  assert.match(find('upstreams', 'info').fix, /VLLM_SERVER_DEV_MODE=1/);
  assert.ok(up.requests.every(({ method }) => method === 'GET'));
  assert.ok(up.requests.every(({ target }) => !/flush|release|resume|reset|unload|sleep$|free/.test(target)));
});

test('an access log that can not be written', async (t) => {
  const dir = tempDir(t);
  const { find } = await examine(t, await config('access_log: logs/access.log\n'), { dir });
  assert.equal(find('directories', 'error').text, `there is no folder ${dir}/logs`);
  assert.match(find('directories', 'error').fix, new RegExp(`^mkdir -p ${dir}/logs`));
  fs.mkdirSync(path.join(dir, 'logs'));
  const good = await examine(t, await config('access_log: logs/access.log\n'), { dir });
  assert.ok(good.report.findings.some(({ check, text }) => check === 'directories' && /MiB are free$/.test(text)));
});

test('no secret is printed, not even one that a server sends back', async (t) => {
  const dir = tempDir(t);
  const up = await startUpstream(t, (request, answer) => answer.json(200, {
    object: 'list', data: [{ id: `${request.headers.authorization.slice(7)} \u001b[31m`, owned_by: 'vllm' },
      { id: request.headers.authorization.slice(7) }],
    version: request.headers.authorization.slice(7),
  }));
  fs.writeFileSync(path.join(dir, 'tenant.key'), 'hidden-in-a-file-0123456789\n', { mode: 0o644 });
  const text = await config(`${upstream(up.url, '    api_key: "hidden-in-the-configuration"\n')}
models: [{name: x, upstream: gpu}]
admin: {tokens: [{name: a, token: "\${DOCTOR_TOKEN}"}]}
tenants: [{name: b, key_file: tenant.key}]
cors: {origins: ["https://user:hidden-in-a-url@app.example"]}
`);
  const env = { DOCTOR_TOKEN: 'hidden-in-the-environment' };
  const json = await examine(t, text, { dir, env, mode: 0o644 });
  const list = await runPenstock(t, ['doctor', '--verbose', '--config', json.file], { env });
  assert.doesNotMatch(json.stdout + list.stdout + list.stderr, /hidden|\u001b/);
  assert.match(list.stdout, /it serves: \*\*\*/);
  const url = await runPenstock(t, ['doctor', '--upstream', 'http://user:hidden-in-a-url@127.0.0.1:1']);
  assert.deepEqual([url.code, url.stdout], [2, '']);
  assert.match(url.stderr, /must not hold a user or password; use api_key_file/);
  assert.doesNotMatch(url.stderr, /hidden/);
});

test('the list for people: folded, one fix for each problem, a last line that sums up', async (t) => {
  const url = await startSim(t);
  const file = path.join(tempDir(t), 'penstock.yaml');
  fs.writeFileSync(file, await config(upstream(url)));
  const good = await runPenstock(t, ['doctor', '--config', file]);
  assert.equal(good.code, 0);
  assert.match(good.stdout, /^ok {7}limits {9}\d things looked at$/m);
  assert.match(good.stdout, /\ndoctor: healthy\n$/);
  assert.doesNotMatch(good.stdout, /\u001b/);
  const full = await runPenstock(t, ['doctor', '--config', file, '--verbose']);
  assert.match(full.stdout, /^ok {7}program {8}penstock: version \S+ \(\S+\), \S+, Linux \S+, looked at as user /m);
  fs.writeFileSync(file, await config(upstream(`http://127.0.0.1:${await freePort()}`)));
  const bad = await runPenstock(t, ['doctor', '--config', file]);
  assert.equal(bad.code, 3);
  assert.match(bad.stdout, /^error {4}upstreams {6}http\S+: the connection was refused\n {9}fix: start the server/m);
  assert.match(bad.stdout, /\ndoctor: 1 error\n$/);
});

test('wrong usage is told apart from what was found', async (t) => {
  for (const args of [['--nonsense'], ['--timeout', '1h'], ['--upstream', 'ftp://x'], ['word']]) {
    const { code, stdout } = await runPenstock(t, ['doctor', ...args]);
    assert.deepEqual([code, stdout], [2, ''], args.join(' '));
  }
  const help = await runPenstock(t, ['doctor', '--help']);
  assert.equal(help.code, 0);
  assert.match(help.stdout, /0 +healthy\n +1 .*warning\n +2 .*usage\n +3 .*error/);
});

/// Servers that never come to an end, each in its own way.
const hostile = {
  'says nothing': (request, answer) => answer.stall(),
  'never ends its body': async (request, answer) => {
    await answer.begin(200, { 'Content-Type': 'application/json' });
    while (answer.alive) {
      await answer.chunk('x'.repeat(65536));
    }
    answer.finish();
  },
  'drips': async (request, answer) => {
    await answer.rawHead(200, { 'Content-Length': 1000000 });
    while (answer.alive) {
      await answer.raw('x');
      await new Promise((resolve) => { setTimeout(resolve, 20); });
    }
    answer.finish();
  },
  'sends a head without end': async (request, answer) => {
    await answer.raw('HTTP/1.1 200 OK\r\n');
    for (let i = 0; answer.alive && i < 20000; i++) {
      await answer.raw(`x-${i}: ${'y'.repeat(1000)}\r\n`);
    }
    answer.finish();
  },
  'answers only the first question': (request, answer) => (request.target === '/v1/models'
    ? answer.json(200, { object: 'list', data: [] }) : answer.stall()),
  'switches protocols': (request, answer) => answer.raw('HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n'),
};

test('hostile servers, all at once, hold nothing up', async (t) => {
  const silent = net.createServer(() => {}); // takes connections, and not a byte more
  await new Promise((resolve) => { silent.listen(0, '127.0.0.1', resolve); });
  after(t, () => silent.close());
  const urls = [];
  for (const script of Object.values(hostile)) {
    urls.push((await startUpstream(t, script)).url);
  }
  const sound = await startUpstream(t, inference());
  urls.push(`https://127.0.0.1:${silent.address().port}`, sound.url);
  const { report, seconds } = await examine(t, undefined,
    { args: ['--timeout', '1s', ...urls.flatMap((url) => ['--upstream', url])] });
  assert.ok(seconds < 1 + 5 * slowness, `it took ${seconds} s`);
  const about = (url) => report.findings.filter(({ check, subject, severity }) => check === 'upstreams' && subject === url &&
    severity !== 'ok').map(({ severity, text }) => `${severity} ${text}`);
  assert.deepEqual(about(urls[0]), ['error takes connections but does not answer GET /v1/models within 1 s']);
  assert.deepEqual(about(urls[6]), ['error no connection was made within 1 s']);
  for (const [i, url] of urls.entries()) {
    assert.ok(report.findings.some(({ subject }) => subject === url), `nothing was said about ${Object.keys(hostile)[i]}`);
  }
  assert.ok(report.findings.some(({ subject, text }) => subject === sound.url && /^engine vllm/.test(text)));
});

test('what holds our port may be hostile too, and Penstock that hangs is not called healthy', async (t) => {
  const { find, seconds } = await examine(t, await config('', `127.0.0.1:${(await startUpstream(t, hostile['says nothing'])).port}`),
    { args: ['--timeout', '1s'] });
  assert.ok(seconds < 1 + 5 * slowness, `it took ${seconds} s`);
  assert.match(find('ports', 'error').text, /^is taken by /);
  const port = await freePort();
  const gate = await startPenstock(t, { config: '', port });
  gate.signal('SIGSTOP');
  after(t, () => gate.signal('SIGCONT'));
  const hung = await examine(t, await config('', `127.0.0.1:${port}`), { args: ['--timeout', '1s'] });
  assert.match(hung.find('ports', 'error').text, /^is taken by penstock \(process \d+\), but not by a gateway that answers GET \/healthz/);
});

test('a name server that never answers holds nothing up, neither the others nor the end', async (t) => {
  const dir = tempDir(t);
  fs.writeFileSync(path.join(dir, 'resolv.conf'), 'nameserver 127.0.0.53\noptions timeout:30 attempts:3\n');
  const server = dgram.createSocket('udp4');
  const bound = await new Promise((resolve) => {
    server.once('error', () => resolve(false));
    server.bind(53, '127.0.0.53', () => resolve(true));
  });
  after(t, () => server.close());
  const inside = (script) => ['unshare', '--mount', 'sh', '-c',
    `mount --bind ${dir}/resolv.conf /etc/resolv.conf && ${script}`];
  const [word, ...rest] = inside('true');
  if (!bound || spawnSync(word, rest).status !== 0) {
    t.skip('this user may not replace the name server');
    return;
  }
  const sound = await startUpstream(t, inference());
  const begun = now();
  const [first, ...more] = inside(`exec ${program} doctor --json --timeout 1s --upstream ${sound.url} \
    --upstream http://some.where.example:80 --upstream http://else.where.example:80`);
  const child = spawn(first, more, { stdio: ['ignore', 'pipe', 'inherit'] });
  let out = '';
  child.stdout.on('data', (piece) => { out += piece; });
  const code = await within(20000 * slowness, 'doctor', new Promise((resolve) => { child.once('close', resolve); }));
  assert.equal(code, 3);
  assert.ok((now() - begun) / 1000 < 1 + 5 * slowness);
  const { findings } = JSON.parse(out);
  const found = findings.filter(({ check, severity }) => check === 'upstreams' && severity === 'error');
  assert.deepEqual(found.map(({ text }) => text), Array(2).fill('its name was not resolved within 1 s'));
  assert.match(found[0].fix, /resolv\.conf/);
  assert.ok(findings.some(({ subject, text }) => subject === sound.url && /^engine vllm/.test(text)));
});

test('Ctrl-C ends it', async (t) => {
  const up = await startUpstream(t, hostile['says nothing']);
  const doctor = new Penstock(['doctor', '--timeout', '60s', '--upstream', up.url]);
  after(t, () => doctor.kill());
  await up.seen(1, 10000);
  doctor.signal('SIGINT');
  const { signal } = await within(10000 * slowness, 'SIGINT', doctor.ended);
  assert.equal(signal, 'SIGINT');
});

/// The page's example, run: its faults are found in the words of the page.
test('what docs/doctor.md shows is what the doctor says', async (t) => {
  const page = fs.readFileSync(path.join(root, 'docs/doctor.md'), 'utf8');
  const yaml = /```yaml\n(.*?)```/s.exec(page)[1];
  const shown = /\$ penstock doctor --config penstock\.yaml\n(.*?)```/s.exec(page)[1];
  const dir = tempDir(t);
  const up = await startSim(t, '--model', 'llama-3.1-8b');
  const taken = await startUpstream(t);
  const rename = (text) => text.replaceAll('127.0.0.1:5000', `127.0.0.1:${taken.port}`)
    .replaceAll('127.0.0.1:8000', up.slice(7)).replaceAll('127.0.0.1:8001', '127.0.0.1:1');
  fs.writeFileSync(path.join(dir, 'penstock.yaml'), rename(yaml), { mode: 0o600 });
  fs.writeFileSync(path.join(dir, 'search.key'), 'secret-in-a-file-0123456789\n');
  fs.chmodSync(path.join(dir, 'search.key'), 0o644);
  const { code, stdout } = await runPenstock(t, ['doctor', '--config', 'penstock.yaml'], { cwd: dir });
  assert.equal(code, 3);
  const plain = (text) => rename(text).replace(/by .* \(process \d+\)/g, 'by X').replace(/kill \d+/g, 'kill X')
    .split('\n').filter((line) => /^(error|warning| {9}fix|doctor:)/.test(line));
  const limits = /limits|LimitNOFILE|sysctl|timedatectl/; // they depend on the machine
  assert.deepEqual(plain(stdout).filter((line) => !limits.test(line)).slice(0, -1),
    plain(shown).filter((line) => !limits.test(line)).slice(0, -1));
});
