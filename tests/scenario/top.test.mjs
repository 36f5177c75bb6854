// top - the dashboard at a real terminal: tmux is the terminal, and says what stands on it.
//
// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import test from 'node:test';

import { after } from './lib/after.mjs';
import { chat } from './lib/client.mjs';
import { program, runPenstock, startPenstock, tempDir } from './lib/penstock.mjs';
import { freePort } from './lib/ports.mjs';
import { inference, startUpstream } from './lib/upstream.mjs';
import { slowness, until } from './lib/wait.mjs';

const missing = spawnSync('tmux', ['-V']).status === 0 ? false : 'tmux is not installed';

/// A terminal of its own server, whose shell tells the status of the command and whether it echoes again.
class Terminal {
  constructor(t, command, { columns = 80, rows = 24, env = {} } = {}) {
    this.socket = path.join(tempDir(t), 'tmux');
    const words = Object.entries({ TERM: 'screen-256color', LC_ALL: 'C.UTF-8', ...env }).map(([name, value]) => `${name}='${value}'`);
    this.tmux('-f', '/dev/null', 'new-session', '-d', '-x', String(columns), '-y', String(rows),
      `env ${words.join(' ')} ${command}; echo "left with $?"; stty -a | grep -qw -e -echo || echo 'echo is on'; sleep 1000`);
    after(t, () => this.tmux('kill-server'));
  }

  tmux(...words) {
    const done = spawnSync('tmux', ['-u', '-S', this.socket, ...words], { encoding: 'utf8' });
    assert.equal(done.status, 0, done.stderr);
    return done.stdout;
  }

  screen(...more) { return this.tmux('capture-pane', '-p', ...more); }

  press(...keys) { this.tmux('send-keys', ...keys); }

  async shows(what, ms = 8000) {
    await until(`the terminal shows ${what}`, () => what.test(this.screen()), ms, 50)
      .catch((error) => assert.fail(`${error.message}:\n${this.screen()}`));
  }

  /// Which process it is that draws.
  pid() {
    const shell = this.tmux('list-panes', '-F', '#{pane_pid}').trim();
    const children = fs.readFileSync(`/proc/${shell}/task/${shell}/children`, 'utf8').trim().split(' ');
    return Number(children[0]);
  }
}

async function startGate(t, more = {}) {
  const up = await startUpstream(t, inference());
  return startPenstock(t, {
    config: `upstreams:\n  - {name: gpu, engine: openai, endpoints: ["${up.url}"], health: {interval: 0s}}\n`, ...more });
}

const top = (gate, more = '') => `${program} top --url ${gate.url} ${more}`;

test('the sections of a live gateway, by keys', { skip: missing }, async (t) => {
  const gate = await startGate(t);
  await chat(gate.port);
  const terminal = new Terminal(t, top(gate));
  await terminal.shows(/^TRAFFIC$/m);
  await terminal.shows(/^ {2}requests +\d[\d.]* requests\/s +\S/m);
  assert.match(terminal.screen(), /^penstock top {2}http:\/\/127\.0\.0\.1:\d+ {2}\d\d:\d\d:\d\d/);
  assert.match(terminal.screen(), /\[all\] {2}t section .* \(0 rows above, \d+ below\)/);
  terminal.press('T');
  await terminal.shows(/^EVENTS\n {2}\d\d:\d\d:\d\d info {2}.*engine|^EVENTS\n {2}\d\d:\d\d:\d\d/m);
  terminal.press('?');
  await terminal.shows(/^KEYS$/m);
  terminal.press('?', '0', 'End');
  await terminal.shows(/\d+ rows above, 0 below/);
  terminal.press('Home', 'Space');
  await terminal.shows(/PAUSED/);
  const [, stopped] = /(\d\d:\d\d:\d\d)/.exec(terminal.screen());
  await new Promise((resolve) => { setTimeout(resolve, 1500); });
  assert.ok(terminal.screen().includes(stopped));
  terminal.press('Space');
  await until('time goes on', () => !terminal.screen().includes(stopped), 5000 * slowness, 50);
  terminal.press('q');
  await terminal.shows(/left with 0\necho is on/);
  assert.doesNotMatch(terminal.screen(), /TRAFFIC/);
});

test('it fits every size, also one that changes', { skip: missing }, async (t) => {
  const gate = await startGate(t);
  const terminal = new Terminal(t, top(gate), { columns: 200, rows: 50 });
  await terminal.shows(/^PROCESS$/m);
  for (const [columns, rows] of [[80, 24], [40, 10], [20, 4], [120, 30]]) {
    terminal.tmux('resize-window', '-x', String(columns), '-y', String(rows));
    await until(`the last of ${rows} rows is the foot`, () => terminal.screen().trimEnd().split('\n')[rows - 1]?.startsWith('[all]'), 5000 * slowness, 50);
    for (const line of terminal.screen().split('\n')) assert.ok([...line].length <= columns);
  }
});

test('a server that is gone is said, and found again', { skip: missing }, async (t) => {
  const port = await freePort();
  const gate = await startGate(t, { port });
  const terminal = new Terminal(t, top(gate));
  await terminal.shows(/^TRAFFIC$/m);
  await gate.kill();
  await terminal.shows(/no answer for \d+ s, trying again/);
  await terminal.shows(/^TRAFFIC$/m); // what was known stays
  await startGate(t, { port });
  await until('it is found again', () => !/trying again/.test(terminal.screen()), 10000 * slowness, 50);
});

test('a signal gives the terminal back', { skip: missing }, async (t) => {
  const gate = await startGate(t);
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP']) {
    const terminal = new Terminal(t, top(gate));
    await terminal.shows(/^TRAFFIC$/m);
    process.kill(terminal.pid(), signal);
    await terminal.shows(/left with 0\necho is on/);
  }
});

test('without colours, without UTF-8, without a terminal', { skip: missing }, async (t) => {
  const gate = await startGate(t);
  await chat(gate.port);
  const plain = new Terminal(t, top(gate), { env: { NO_COLOR: '1', LC_ALL: 'C' } });
  await plain.shows(/requests\/s +[-_.~=+*#]+$/m);
  assert.doesNotMatch(plain.screen('-e'), /\x1b\[3[1-7]m/);
  const dumb = new Terminal(t, top(gate), { env: { TERM: 'dumb' } });
  await dumb.shows(/left with 0/);
  assert.match(dumb.screen('-J', '-S', '-200'), /this terminal can't be drawn on \(TERM says so\): what is known now, as lines/);
  const once = await runPenstock(t, ['top', '--once', '--url', gate.url]);
  assert.equal(once.code, 0);
  assert.match(once.stdout, /^traffic {3}requests +\d\S* requests\/s$/m);
  assert.match(once.stdout, /^event {5}\d\d:\d\d:\d\d info {2}listening/m);
});

test('a token opens it, and what is wrong is said', async (t) => {
  const dir = tempDir(t);
  fs.writeFileSync(path.join(dir, 'token'), 'look-look\n');
  const gate = await startPenstock(t, { config: 'admin: {tokens: [{name: ops, role: read, token: look-look}]}\n' });
  const say = (...more) => runPenstock(t, ['top', '--once', ...more]);
  const without = await say('--url', gate.url);
  assert.equal(without.code, 1);
  assert.match(without.stderr, /wants a token with the role read \(status 401\)/);
  await until('a second is there', async () => (await say('--url', gate.url, '--token-file', path.join(dir, 'token'))).code === 0);
  const absent = await say('--url', `http://127.0.0.1:${await freePort()}`);
  assert.equal(absent.code, 1);
  assert.match(absent.stderr, /: no answer: the connection was refused\n$/);
  assert.equal((await say('--url', 'nonsense://')).code, 2);
  assert.equal((await say('--url', gate.url, '--token-file', path.join(dir, 'none'))).code, 2);
  const up = await startUpstream(t, (request, answer) => answer.json?.({}) ?? answer.end?.('{}'));
  const other = await say('--url', up.url);
  assert.equal(other.code, 1);
});
