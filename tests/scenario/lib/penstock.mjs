// penstock - starts the real program for a story and makes sure that it ends well.
//
//   const gate = await startPenstock(t, { config: `upstreams: ...` });
//   await fetch(`${gate.url}/v1/models`);
//
// The program is stopped when the test ends: it must leave with 0 within its deadline and no
// sanitizer may have complained, otherwise the test fails with what the program said.
//
// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import http from 'node:http';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

import { after } from './after.mjs';
import { freePort } from './ports.mjs';
import { slowness, until, within } from './wait.mjs';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../..');

/// The program under test.
export const program = process.env.PENSTOCK_BIN ?? path.join(root, 'build', 'penstock');

const REPORTS = /ERROR: AddressSanitizer|ERROR: LeakSanitizer|WARNING: ThreadSanitizer|runtime error:/;
const KEPT_OUTPUT = 4 * 1024 * 1024;

/// A folder for the test's files; removed when the test ends.
export function tempDir(t) {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'penstock-test-'));
  after(t, () => fs.rmSync(dir, { recursive: true, force: true }));
  return dir;
}

/// Collects a stream as text, up to a bound.
function collect(stream) {
  const box = { text: '' };
  stream.setEncoding('utf8');
  stream.on('data', (piece) => {
    if (box.text.length < KEPT_OUTPUT) {
      box.text += piece;
    }
  });
  return box;
}

/// One GET without keep-alive: {status, headers, body}, or null while nobody answers.
export function get(port, target, headers = {}) {
  return new Promise((resolve) => {
    const request = http.get({ host: '127.0.0.1', port, path: target, headers, agent: false, timeout: 5000 * slowness },
      (response) => {
        let body = '';
        response.setEncoding('utf8');
        response.on('data', (piece) => { body += piece; });
        response.on('end', () => resolve({ status: response.statusCode, headers: response.headers, body }));
        response.on('error', () => resolve(null));
      });
    request.on('error', () => resolve(null));
    request.on('timeout', () => request.destroy());
  });
}

/// A child process of the program. start() below makes those that serve.
export class Penstock {
  constructor(args, { env = {}, cwd, descriptors } = {}) {
    const [file, all] = descriptors === undefined ? [program, args]
      : ['/bin/sh', ['-c', `ulimit -n ${descriptors}; exec "$0" "$@"`, program, ...args]];
    this.child = spawn(file, all, {
      // Nothing is kept but where a story says so: not with those who run the tests.
      cwd, env: { ...process.env, STATE_DIRECTORY: '', XDG_STATE_HOME: '', ...env }, stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.pid = this.child.pid;
    this.output = collect(this.child.stdout);
    this.errors = collect(this.child.stderr);
    this.ending = false;
    this.ended = new Promise((resolve) => {
      this.child.once('error', (error) => resolve({ code: null, signal: null, error }));
      this.child.once('close', (code, signal) => resolve({ code, signal }));
    });
    this.ended.then((result) => { this.result = result; });
  }

  /// What the program wrote so far.
  get stdout() { return this.output.text; }
  get stderr() { return this.errors.text; }

  running() { return this.result === undefined; }

  /// Sends a signal to the program alone.
  signal(name) {
    if (this.running()) {
      process.kill(this.pid, name);
    }
  }

  /// Ends it at once, as a crash would; stop() asks nothing of it afterwards.
  async kill() {
    this.ending = true;
    this.signal('SIGKILL');
    await this.ended;
  }

  /// Fails when a sanitizer complained.
  assertClean() {
    const found = REPORTS.exec(this.stderr);
    assert.ok(!found, `a sanitizer complained:\n${this.stderr.slice(Math.max(0, (found?.index ?? 0) - 200)).slice(0, 8000)}`);
  }

  /// Asks it to stop and waits: exit code 0 within the deadline, no sanitizer report.
  async stop({ deadline = 10000, code = 0 } = {}) {
    if (this.ending) {
      await this.ended;
      this.assertClean();
      return;
    }
    this.ending = true;
    this.signal('SIGTERM');
    let result;
    try {
      result = await within(deadline * slowness, 'SIGTERM', this.ended);
    } catch {
      this.signal('SIGKILL');
      await this.ended;
      assert.fail(`still running ${deadline * slowness} ms after SIGTERM; it said:\n${this.stderr.slice(-4000)}`);
    }
    this.assertClean();
    assert.deepEqual({ code: result.code, signal: result.signal }, { code, signal: null },
      `it ended otherwise${result.error ? ` (${result.error.message})` : ''}; it said:\n${this.stderr.slice(-4000)}`);
  }

  /// The resident memory of the program in bytes, or a named line of /proc/PID/status.
  memory(line = 'VmRSS') {
    const status = fs.readFileSync(`/proc/${this.pid}/status`, 'utf8');
    return Number(new RegExp(`^${line}:\\s+(\\d+) kB`, 'm').exec(status)[1]) * 1024;
  }

  /// How many descriptors it holds.
  descriptors() {
    return fs.readdirSync(`/proc/${this.pid}/fd`).length;
  }
}

/// Runs `penstock serve` for a test.
///   config   YAML text, written to a file; `listen` and `workers` are put before it unless it has them
///   args     more arguments; without config the program is started with --listen only
///   env      more environment
///   workers  2 unless told otherwise; the story's `threads` tag relies on at least two
///   ready    false: don't wait for /healthz
///   descriptors  how many files it may have open
/// Returns a Penstock with port, url, dir, file, and reload(config).
export async function startPenstock(t, { config, args = [], env = {}, workers = 2, port, ready = true, descriptors } = {}) {
  const dir = tempDir(t);
  const chosen = port ?? (await freePort());
  const file = path.join(dir, 'penstock.yaml');
  const complete = (text) => {
    const lines = [];
    if (!/^listen:/m.test(text)) {
      lines.push(`listen: ["127.0.0.1:${chosen}"]`);
    }
    if (!/^workers:/m.test(text)) {
      lines.push(`workers: ${workers}`);
    }
    return `${lines.join('\n')}\n${text}\n`;
  };
  const all = ['serve'];
  if (config !== undefined) {
    fs.writeFileSync(file, complete(config));
    all.push('--config', file);
  } else {
    all.push('--listen', `127.0.0.1:${chosen}`);
  }
  const gate = new Penstock([...all, ...args], { env, cwd: dir, descriptors });
  Object.assign(gate, { port: chosen, url: `http://127.0.0.1:${chosen}`, dir, file });
  gate.reload = (text) => {
    fs.writeFileSync(file, complete(text));
    gate.signal('SIGHUP');
  };
  after(t, () => gate.stop());
  if (ready) {
    await until('the program answers /healthz', async () => {
      if (!gate.running()) {
        throw new Error(`it ended at once (${JSON.stringify(gate.result)}):\n${gate.stderr.slice(-4000)}`);
      }
      return (await get(chosen, '/healthz'))?.status === 200;
    }, 10000, 20);
  }
  return gate;
}

/// Runs one command to its end: {code, signal, stdout, stderr}. No sanitizer may complain.
export async function runPenstock(t, args, { env = {}, cwd, ms = 20000 } = {}) {
  const command = new Penstock(args, { env, cwd });
  after(t, () => command.kill());
  const { code, signal, error } = await within(ms * slowness, `penstock ${args.join(' ')}`, command.ended);
  if (error) {
    throw error;
  }
  command.assertClean();
  return { code, signal, stdout: command.stdout, stderr: command.stderr };
}
