// timeout: 240
// tags: threads
//
// store - what outlives the program: cleanups and who asked for them are there again after kill -9; without a
// usable file the service runs on and says so once.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import test from 'node:test';

import { runPenstock, startPenstock, tempDir } from './lib/penstock.mjs';
import { metricOf, startSim } from './lib/sim.mjs';
import { sleep, until } from './lib/wait.mjs';

const TOKEN = { authorization: 'Bearer let-me-in' };

/// A gate with a token called "ops" in front of one simulated server.
async function startGate(t, sim, store, more = '') {
  const gate = await startPenstock(t, { config: [
    `store: ${store}`,
    'admin: {tokens: [{name: ops, token: let-me-in, role: admin}]}',
    'gpu: {drivers: no, interval: 100ms, trust_unverified: yes}',
    ...(sim === null ? [] : ['upstreams:', `  - {name: u0, endpoints: [{url: "${sim.url}"}], health: {interval: 200ms}}`]),
    more].join('\n') });
  gate.json = async (where) => (await fetch(`${gate.url}${where}`, { headers: TOKEN })).json();
  gate.report = () => gate.json('/api/gpu/report');
  gate.page = async () => (await fetch(`${gate.url}/metrics`, { headers: TOKEN })).text();
  gate.ask = async (body) => (await fetch(`${gate.url}/api/gpu/cleanup`, {
    method: 'POST', headers: { ...TOKEN, 'content-type': 'application/json' }, body: JSON.stringify(body),
  })).json();
  gate.over = (id) => until('the cleanup ends', async () => {
    const run = (await gate.report()).cleanups?.find((one) => one.id === id);
    return run?.outcome !== 'running' && run;
  }, 30_000, 50);
  if (sim !== null) {
    await until('the server is known', async () => (await gate.json('/api/gpu/profile')).engines
      ?.some(({ state }) => state === 'fresh'), 15_000, 50);
  }
  return gate;
}

/// What the page says of the store, once it says that.
function storeIs(gate, open) {
  return until(`the store is ${open === 1 ? 'open' : 'not open'}`, async () => {
    const page = await gate.page();
    return /^penstock_store_open /m.test(page) && metricOf(page, 'penstock_store_open') === open && page;
  }, 15_000, 50);
}

async function written(gate, entries) {
  await until(`${entries} entries are written`,
    async () => metricOf(await gate.page(), 'penstock_store_entries_total') >= entries, 15_000, 20);
}

test('a cleanup is in the report after kill -9 as it was before, with who asked for it', async (t) => {
  const sim = await startSim(t, 'ollama', '--model', 'm');
  await sim.json(sim.post('/api/generate', { model: 'm' }));
  const file = path.join(tempDir(t), 'ledger.db');
  const first = await startGate(t, sim, `{path: "${file}"}`);
  await storeIs(first, 1);
  const plan = (await first.ask({ level: 'unload', dry_run: true, target_percent: 5 })).cleanup;
  const { id } = (await first.ask({ level: 'unload', target_percent: 5 })).cleanup;
  const before = await first.over(id);
  assert.equal(before.outcome, 'target_met');
  assert.equal(before.asked_by, 'ops');
  assert.equal(before.steps[0].simulated, true);
  assert.equal(before.steps[0].status, 200);
  await written(first, 7); // the start's own, two runs with begin and end, a step planned, one that was done
  await until('nothing waits', async () => metricOf(await first.page(), 'penstock_store_waiting_entries') === 0, 15_000, 20);
  await first.kill();

  const second = await startGate(t, sim, `{path: "${file}"}`);
  const report = await until('the ledger is read', async () => {
    const all = await second.report();
    return all.cleanups?.length === 2 && all;
  }, 15_000, 50);
  const [run, older] = report.cleanups;
  assert.equal(older.outcome, 'planned');
  assert.equal(older.id, plan.id);
  const near = (a, b) => assert.ok(Math.abs(a - b) < 0.1, `${a} is about ${b}`);
  near(run.began, before.began);
  near(run.ended, before.ended);
  near(run.steps[0].verdict_after_seconds, before.steps[0].verdict_after_seconds);
  near(report.since, older.began);
  const constant = ({ began, ended, steps, ...rest }) => ({ ...rest,
    steps: steps.map(({ answered_after_seconds: a, verdict_after_seconds: v, ...step }) => step) });
  assert.deepEqual(constant(run), constant(before));
  // Numbers go on, and advice is about what is true now.
  const next = (await second.ask({ level: 'unload', dry_run: true, target_percent: 5 })).cleanup;
  assert.ok(next.id > run.id);
  assert.deepEqual((await second.report()).cleanups.map((one) => one.id), [next.id, run.id, older.id]);
  assert.doesNotMatch(fs.readFileSync(file, 'latin1') + second.stderr, /let-me-in/);
});

test('a cleanup that kill -9 interrupted is told as that, with the call that was under way', async (t) => {
  const liar = await startSim(t, 'ollama', '--model', 'm', '--lie', 'keep');
  await liar.json(liar.post('/api/generate', { model: 'm' }));
  const file = path.join(tempDir(t), 'ledger.db');
  const first = await startGate(t, liar, `{path: "${file}"}`);
  await storeIs(first, 1);
  await first.ask({ level: 'unload', target_percent: 5 });
  await written(first, 3); // the start's own, the run, the call
  await first.kill();
  const second = await startGate(t, null, `{path: "${file}"}`);
  const [run] = await until('the ledger is read', async () => (await second.report()).cleanups, 15_000, 50);
  assert.equal(run.outcome, 'ended');
  assert.equal(run.reason, 'Penstock ended before the cleanup did');
  assert.equal(run.steps[0].verdict, 'stopped');
  assert.equal(run.steps[0].rung, 'unload');
  assert.equal(run.steps[0].simulated, true);
});

test('what auto does is kept under its name, and retention takes it away again', async (t) => {
  const sim = await startSim(t, 'ollama', '--model', 'm');
  await sim.json(sim.post('/api/generate', { model: 'm' }));
  const file = path.join(tempDir(t), 'ledger.db');
  const settings = (store) => [`store: ${store}`,
    'gpu: {drivers: no, interval: 100ms, trust_unverified: yes, mode: auto, target_percent: 10, rungs: [unload], hold: 200ms, cool_down: 1s}',
    'upstreams:', `  - {name: u0, endpoints: [{url: "${sim.url}"}], health: {interval: 200ms}}`].join('\n');
  const gate = await startPenstock(t, { config: settings(`{path: "${file}"}`) });
  gate.report = async () => (await fetch(`${gate.url}/api/gpu/report`)).json();
  const run = await until('a cleanup has ended', async () => (await gate.report()).cleanups
    ?.find(({ outcome }) => outcome === 'target_met'), 30_000, 50);
  assert.equal(run.asked_by, 'auto');
  assert.equal(run.mode, 'auto');
  assert.equal(run.asked, false);
  gate.reload(settings(`{path: "${file}.other", retention: 1s}`));
  await until('the reload says what needs a restart', () => /takes effect after a restart field=store.path/.test(gate.stderr));
  await gate.stop();
  assert.equal(fs.existsSync(`${file}.other`), false);
  await sleep(1500); // older than it may become
  const later = await startPenstock(t, { config: `store: {path: "${file}", retention: 1s}\ngpu: {drivers: no}` });
  const answer = await until('the old one is gone', async () => {
    const one = await fetch(`${later.url}/api/gpu/report`);
    return one.status === 503 && one; // no source, and nothing was done
  }, 15_000, 50);
  assert.equal((await answer.json()).code, 'no_gpu_source');
});

test('a file that cannot be used holds nothing up, and is said once', async (t) => {
  const sim = await startSim(t, 'ollama', '--model', 'm');
  await sim.json(sim.post('/api/generate', { model: 'm' }));
  const dir = tempDir(t);
  const damaged = path.join(dir, 'damaged.db');
  fs.writeFileSync(damaged, 'x'.repeat(10_000));
  const gate = await startGate(t, sim, `{path: "${damaged}"}`);
  await storeIs(gate, 0);
  const { id } = (await gate.ask({ level: 'unload', target_percent: 5 })).cleanup;
  assert.equal((await gate.over(id)).outcome, 'target_met');
  const page = await gate.page();
  assert.ok(metricOf(page, 'penstock_store_waiting_entries') >= 3);
  assert.equal(metricOf(page, 'penstock_store_dropped_total'), 0);
  assert.equal(gate.stderr.match(/the store can't be used/g).length, 1);
  assert.match(gate.stderr, /damaged\.db: the file is damaged; move it away/);
  // Moved away it is made anew, and what waited is written.
  fs.renameSync(damaged, `${damaged}.bad`);
  await storeIs(gate, 1);
  await until('what waited is written', async () => metricOf(await gate.page(), 'penstock_store_waiting_entries') === 0, 15_000, 50);
  assert.match(gate.stderr, /the store is open/);

  const second = await startGate(t, null, `{path: "${damaged}"}`);
  await storeIs(second, 0);
  assert.match(second.stderr, /another Penstock writes it; give each a store\.path of its own/);
  const nowhere = await startGate(t, null, `{path: "${dir}/nowhere/ledger.db"}`);
  await storeIs(nowhere, 0);
  assert.match(nowhere.stderr, /it can't be opened: No such file or directory/);
});

test('where it is: the service has its folder, a user has XDG_STATE_HOME, and who only tries it leaves no files', async (t) => {
  const home = tempDir(t);
  const list = (dir) => fs.readdirSync(dir).sort();
  const open = (gate) => until('it is open', () => /the store is open/.test(gate.stderr), 15_000, 20);
  const service = path.join(home, 'service');
  fs.mkdirSync(service);
  await open(await startPenstock(t, { env: { STATE_DIRECTORY: `${service}:/nowhere`, XDG_STATE_HOME: home } }));
  assert.ok(list(service).includes('ledger.db'));
  assert.ok(!list(home).includes('penstock'));
  await open(await startPenstock(t, { env: { XDG_STATE_HOME: path.join(home, 'state') } }));
  assert.ok(list(path.join(home, 'state', 'penstock')).includes('ledger.db'));
  assert.equal(fs.statSync(path.join(home, 'state', 'penstock')).mode & 0o077, 0);
  const empty = path.join(home, 'empty');
  fs.mkdirSync(empty);
  const none = await startPenstock(t, { env: { HOME: empty } });
  assert.match(none.stderr, /nothing is kept over a restart: store\.path names no file/);
  assert.deepEqual(list(empty), []);
  assert.deepEqual(list(none.dir), []);
  assert.doesNotMatch(await (await fetch(`${none.url}/metrics`)).text(), /penstock_store/);
  for (const off of ['off', '""']) {
    const gate = await startPenstock(t, { config: `store: {path: ${off}}`, env: { STATE_DIRECTORY: empty } });
    assert.match(gate.stderr, /nothing is kept/);
  }
  assert.deepEqual(list(empty), []);
  const relative = await startPenstock(t, { config: 'store: {path: here.db}' });
  await open(relative);
  assert.ok(list(relative.dir).includes('here.db'));
});

test('the doctor says whether the file can be written', async (t) => {
  const dir = tempDir(t);
  const look = async (store, env = {}) => {
    const file = path.join(dir, 'penstock.yaml');
    fs.writeFileSync(file, `listen: ["127.0.0.1:0"]\nstore: ${store}\n`);
    const { stdout } = await runPenstock(t, ['doctor', '--config', file, '--json'], { env });
    return JSON.parse(stdout).findings.filter(({ check }) => check === 'directories');
  };
  const text = async (...args) => JSON.stringify(await look(...args));
  assert.match(await text('{path: here.db}'), /MiB are free/);
  assert.match(await text('{path: no/here.db}'), /there is no folder .*\/no/);
  fs.mkdirSync(path.join(dir, 'folder'));
  assert.match(await text('{path: folder}'), /is a folder, not a file.*store\.path: .*folder\/ledger\.db/);
  assert.match(await text('{path: auto}'), /started by hand, nothing is kept/);
  assert.match(await text('{path: auto}', { XDG_STATE_HOME: dir }), /is made at the next start/);
  assert.deepEqual((await look('{path: off}')).map(({ severity }) => severity), ['ok']);
});
