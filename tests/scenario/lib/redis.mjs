// redis - starts the packaged redis-server for a story: nodes that stand alone, or a cluster of six.
//
//   const node = await startRedis(t);
//   await node.ask('SET', 'key', 'value');
//   node.signal('SIGSTOP');   await node.kill();   await node.start();
//
// Everything ends with the test. Where redis-server is not installed, `needsRedis` is the reason to skip.
//
// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { execFile, spawn, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { promisify } from 'node:util';

import { after } from './after.mjs';
import { tempDir } from './penstock.mjs';
import { freePort } from './ports.mjs';
import { until, within } from './wait.mjs';

const run = promisify(execFile);
const WAIT = 30000;

/// For test options: false, or why the story is not told here.
export const needsRedis = spawnSync('redis-server', ['--version']).error ? 'redis-server is not installed' : false;

/// One RESP2 value at `from`: {value, next}, or undefined while it is not all there. Errors are values of type Error.
function parse(bytes, from) {
  const eol = bytes.indexOf('\r\n', from);
  if (eol < 0) {
    return undefined;
  }
  const line = bytes.toString('latin1', from + 1, eol);
  const next = eol + 2;
  switch (String.fromCharCode(bytes[from])) {
    case '+': return { value: line, next };
    case '-': return { value: new Error(line), next };
    case ':': return { value: Number(line), next };
    case '$': {
      const length = Number(line);
      if (length < 0) {
        return { value: null, next };
      }
      return bytes.length < next + length + 2 ? undefined
        : { value: Buffer.from(bytes.subarray(next, next + length)), next: next + length + 2 };
    }
    case '*': {
      const list = [];
      let place = next;
      for (let i = 0; i < Number(line); i++) {
        const item = parse(bytes, place);
        if (item === undefined) {
          return undefined;
        }
        list.push(item.value);
        place = item.next;
      }
      return { value: list, next: place };
    }
    default: throw new Error(`not RESP: ${line}`);
  }
}

/// One command on a connection of its own; the reply. Text comes as a Buffer, an error is thrown.
export function ask(port, ...words) {
  const parts = words.map((word) => Buffer.from(word));
  const head = (part) => Buffer.from(`$${part.length}\r\n`);
  const bytes = Buffer.concat([Buffer.from(`*${parts.length}\r\n`), ...parts.flatMap((part) => [head(part), part, Buffer.from('\r\n')])]);
  const answer = new Promise((resolve, reject) => {
    const socket = net.connect(port, '127.0.0.1', () => socket.write(bytes));
    let got = Buffer.alloc(0);
    socket.on('data', (data) => {
      got = Buffer.concat([got, data]);
      const found = parse(got, 0);
      if (found) {
        socket.destroy();
        (found.value instanceof Error ? reject : resolve)(found.value);
      }
    });
    socket.on('error', reject);
    socket.on('close', () => reject(new Error('the server hung up')));
  });
  return within(WAIT, words.slice(0, 2).join(' '), answer);
}

/// A redis-server that can be stopped, killed and started again.
class Node {
  constructor(port, dir, args) {
    Object.assign(this, { port, dir, args, name: `127.0.0.1:${port}`, running: false });
  }

  /// Starts it (again) and waits until it answers.
  async start() {
    this.child = spawn('redis-server', ['--port', `${this.port}`, '--bind', '127.0.0.1', '--dir', this.dir, '--save', '',
      '--appendonly', 'no', '--logfile', path.join(this.dir, 'log'), '--shutdown-timeout', '0', ...this.args], { stdio: 'ignore' });
    this.running = true;
    this.ended = new Promise((resolve) => {
      this.child.once('exit', (code, signal) => {
        this.running = false;
        resolve({ code, signal });
      });
    });
    await until(`${this.name} answers`, async () => {
      if (!this.running) {
        assert.fail(`redis-server ended: ${fs.readFileSync(path.join(this.dir, 'log'), 'utf8').slice(-1000)}`);
      }
      return ask(this.port, 'PING').catch((error) => /^(LOADING|MASTERDOWN)/.test(error.message));
    }, WAIT, 20);
  }

  ask(...words) { return ask(this.port, ...words); }

  /// All keys of values: those of invalidations are left out.
  async keys() {
    return (await this.ask('KEYS', 'penstock:1:*')).map((key) => key.toString());
  }

  signal(name) {
    if (this.running) {
      process.kill(this.child.pid, name);
    }
  }

  /// Ends it at once, as a crash does.
  async kill() {
    this.signal('SIGKILL');
    await this.ended;
  }
}

async function makeNode(t, args) {
  const node = new Node(await freePort(), tempDir(t), args);
  after(t, () => node.kill());
  return node;
}

/// A node that stands alone.
export async function startRedis(t, ...args) {
  const node = await makeNode(t, args);
  await node.start();
  return node;
}

const well = (node) => node.ask('CLUSTER', 'INFO').then((info) => /cluster_state:ok/.test(info.toString())
  && /cluster_known_nodes:6/.test(info.toString()), () => false);

/// A cluster of six nodes: {nodes, masters(), isWell(), cli(...)}; the first three are masters. A master that is silent
/// for nodeTimeout ms is replaced by its replica.
export async function startCluster(t, { nodeTimeout = 1500 } = {}) {
  const nodes = [];
  for (let i = 0; i < 6; i++) {
    nodes.push(await makeNode(t, ['--cluster-enabled', 'yes', '--cluster-config-file', 'nodes.conf', '--cluster-node-timeout',
      `${nodeTimeout}`, '--cluster-port', `${await freePort()}`]));
  }
  await Promise.all(nodes.map((node) => node.start()));
  const cli = (...words) => run('redis-cli', words, { timeout: 2 * WAIT });
  await cli('--cluster', 'create', ...nodes.map(({ name }) => name), '--cluster-replicas', '1', '--cluster-yes');
  const isWell = async () => (await Promise.all(nodes.filter(({ running }) => running).map(well))).every(Boolean);
  await until('the cluster is well', isWell, WAIT, 50);
  const role = async (node) => (await node.ask('ROLE'))[0].toString();
  await until('replicas are in step', async () => {
    for (const node of nodes.slice(3)) {
      if ((await role(node)) !== 'slave' || (await node.ask('ROLE'))[3].toString() !== 'connected') {
        return false;
      }
    }
    return true;
  }, WAIT, 50);
  return {
    nodes,
    cli,
    isWell,
    async masters() {
      const found = [];
      for (const node of nodes.filter(({ running }) => running)) {
        if ((await role(node)) === 'master') {
          found.push(node);
        }
      }
      return found;
    },
  };
}

/// A way to a node that may spoil what comes back: spoil(bytes, socket) gives the bytes that go on; undefined = as they
/// are. {port, name, spoil, open}.
export async function startSpoiler(t, node) {
  const spoiler = { port: await freePort(), spoil: undefined, sockets: new Set() };
  spoiler.name = `127.0.0.1:${spoiler.port}`;
  const join = (from, to) => {
    spoiler.sockets.add(from);
    from.on('error', () => {});
    from.on('close', () => {
      spoiler.sockets.delete(from);
      to.destroy();
    });
  };
  const server = net.createServer((client) => {
    const upstream = net.connect(node.port, '127.0.0.1');
    join(client, upstream);
    join(upstream, client);
    client.on('data', (bytes) => upstream.write(bytes));
    upstream.on('data', (bytes) => {
      const spoilt = spoiler.spoil === undefined ? bytes : spoiler.spoil(bytes, client);
      if (spoilt.length > 0 && !client.destroyed) {
        client.write(spoilt);
      }
    });
  });
  await new Promise((resolve) => { server.listen(spoiler.port, '127.0.0.1', resolve); });
  after(t, async () => {
    spoiler.sockets.forEach((socket) => socket.destroy());
    await new Promise((resolve) => { server.close(resolve); });
  });
  return spoiler;
}
