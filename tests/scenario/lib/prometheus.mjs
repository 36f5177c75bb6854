// prometheus - starts the packaged Prometheus for a story, on loopback, on a port that is free.
//
//   const prom = await startPrometheus(t, [{ job: 'text', port }]);
//   await prom.query('up');
//
// It ends with the test. Where it is not installed, `needsPrometheus` is the reason to skip. Prometheus takes the
// format that it likes best; startTeller() stands between and asks for the one that a story is about.
//
// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';

import { after } from './after.mjs';
import { tempDir } from './penstock.mjs';
import { freePort } from './ports.mjs';
import { until } from './wait.mjs';

const WAIT = 60000;

/// For test options: false, or why the story is not told here.
export const needsPrometheus = spawnSync('prometheus', ['--version']).error
  ? 'prometheus is not installed (Debian: prometheus)' : false;

/// Passes /metrics on with another Accept header. Resolves to its port.
export async function startTeller(t, port, accept) {
  const server = http.createServer((request, response) => {
    const up = http.get({ host: '127.0.0.1', port, path: request.url, headers: { accept } }, (answer) => {
      response.writeHead(answer.statusCode, { 'content-type': answer.headers['content-type'] });
      answer.pipe(response);
    });
    up.on('error', () => response.destroy());
  });
  await new Promise((resolve) => { server.listen(0, '127.0.0.1', resolve); });
  after(t, () => { server.close(); server.closeAllConnections(); });
  return server.address().port;
}

function configOf(jobs) {
  const lines = ['global: {scrape_interval: 1s}', 'scrape_configs:'];
  for (const { job, port } of jobs) {
    lines.push(`  - {job_name: ${job}, static_configs: [{targets: ["127.0.0.1:${port}"]}]}`);
  }
  return `${lines.join('\n')}\n`;
}

class Prometheus {
  constructor(port, child) {
    this.url = `http://127.0.0.1:${port}`;
    this.child = child;
  }

  /// The data of an answer of its API.
  async ask(target, parameters) {
    const response = await fetch(`${this.url}/api/v1/${target}?${new URLSearchParams(parameters)}`);
    const answer = await response.json();
    assert.equal(answer.status, 'success', JSON.stringify(answer));
    return answer.data;
  }

  /// The series of an instant query.
  async query(text) {
    return (await this.ask('query', { query: text })).result;
  }

  async exemplars(text) {
    const now = Date.now() / 1000;
    return this.ask('query_exemplars', { query: text, start: now - 3600, end: now + 60 });
  }

  /// Waits until every job was scraped after this moment; fails with what a scrape complained of.
  async scraped(jobs) {
    const since = Date.now();
    await until(`a scrape of ${jobs.join(', ')}`, async () => {
      const { activeTargets } = await this.ask('targets', { state: 'active' });
      const done = activeTargets.filter(({ labels, lastScrape, lastScrapeDuration }) => jobs.includes(labels.job)
        && Date.parse(lastScrape) + lastScrapeDuration * 1000 > since);
      const bad = done.find(({ lastError }) => lastError !== '');
      assert.equal(bad, undefined, bad?.lastError);
      return done.length === jobs.length;
    }, WAIT, 100);
  }
}

/// A Prometheus that scrapes these jobs ({job, port}) each second and knows exemplars and native histograms.
export async function startPrometheus(t, jobs) {
  const folder = tempDir(t);
  const port = await freePort();
  fs.writeFileSync(path.join(folder, 'prometheus.yml'), configOf(jobs));
  const child = spawn('prometheus', [
    `--config.file=${path.join(folder, 'prometheus.yml')}`, `--storage.tsdb.path=${path.join(folder, 'data')}`,
    `--web.listen-address=127.0.0.1:${port}`, '--enable-feature=native-histograms,exemplar-storage',
    '--log.level=warn',
  ], { stdio: ['ignore', 'ignore', 'pipe'] });
  let said = '';
  child.stderr.on('data', (piece) => { said = (said + piece).slice(-20000); });
  const ended = new Promise((resolve) => { child.once('close', resolve); });
  after(t, async () => { child.kill('SIGKILL'); await ended; });
  const prometheus = new Prometheus(port, child);
  await until('prometheus is ready', async () => {
    assert.equal(child.exitCode, null, said);
    return (await fetch(`${prometheus.url}/-/ready`).catch(() => ({ ok: false }))).ok;
  }, WAIT, 50);
  return prometheus;
}
