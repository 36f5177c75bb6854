// deploy - the compose file is one, its cluster is whole, and its nodes' options are real.
//
// There is no container engine here: the file is read by a YAML parser and held against what the Compose
// specification allows, and the packaged redis-server is started with a node's own command.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';

import YAML from 'yaml';

import { after } from './lib/after.mjs';
import { runPenstock, tempDir } from './lib/penstock.mjs';
import { freePort } from './lib/ports.mjs';
import { until } from './lib/wait.mjs';

const file = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../deploy/compose.yaml');
const compose = YAML.parse(fs.readFileSync(file, 'utf8'), { merge: true, strict: true });
const nodes = Object.entries(compose.services).filter(([name]) => /^redis-\d$/.test(name));

const SERVICE_KEYS = new Set(['image', 'restart', 'command', 'healthcheck', 'networks', 'depends_on']);
const CONDITIONS = new Set(['service_started', 'service_healthy', 'service_completed_successfully']);

test('the compose file has the shape that the Compose specification asks for', () => {
  for (const key of Object.keys(compose)) {
    assert.ok(['services', 'networks'].includes(key) || key.startsWith('x-'), key);
  }
  for (const [name, service] of Object.entries(compose.services)) {
    assert.match(name, /^[a-zA-Z0-9._-]+$/);
    assert.match(service.image, /^[a-z]+:[\d.]+$/, `${name}: an image with its version`);
    assert.ok(Object.keys(service).every((key) => SERVICE_KEYS.has(key)), name);
    assert.ok(service.command.every((word) => typeof word === 'string'), `${name}: yes and no are words here`);
    assert.ok(['no', 'always', 'on-failure', 'unless-stopped'].includes(service.restart), name);
    for (const network of Object.keys(service.networks)) {
      assert.ok(network in compose.networks, network);
    }
    for (const [other, { condition }] of Object.entries(service.depends_on ?? {})) {
      assert.ok(other in compose.services && CONDITIONS.has(condition), other);
      assert.ok(condition !== 'service_healthy' || compose.services[other].healthcheck, other);
    }
  }
});

test('its six nodes have addresses of their own, and the cluster is made of them', () => {
  const subnet = compose.networks.cache.ipam.config[0].subnet.replace(/0\/24$/, '');
  const addresses = nodes.map(([, service]) => service.networks.cache.ipv4_address);
  assert.equal(new Set(addresses).size, 6);
  assert.ok(addresses.every((address) => address.startsWith(subnet)));
  const tie = compose.services['redis-tie'];
  const script = tie.command[2];
  assert.deepEqual(script.match(/[\d.]+:6379/g), addresses.map((address) => `${address}:6379`));
  assert.match(script, /--cluster-replicas 1 --cluster-yes$/);
  assert.deepEqual(Object.keys(tie.depends_on), nodes.map(([name]) => name));
  assert.equal(spawnSync('sh', ['-n', '-c', script]).status, 0, 'a shell can read it');
});

test('what it says of the configuration is valid, and names three of its nodes', async (t) => {
  const comment = /^# {3}(cache:\n(?:# {3}.*\n)+)/m.exec(fs.readFileSync(file, 'utf8'))[1].replace(/^# {3}/gm, '');
  const config = path.join(tempDir(t), 'penstock.yaml');
  fs.writeFileSync(config, `upstreams:\n  - {name: gpu, endpoints: ["http://127.0.0.1:8000"]}\n${comment}`);
  const { code, stdout } = await runPenstock(t, ['config', '--check', config]);
  assert.equal(code, 0, stdout);
  const named = YAML.parse(comment).cache.redis.nodes;
  assert.deepEqual(named, nodes.slice(0, 3).map(([, service]) => `${service.networks.cache.ipv4_address}:6379`));
});

test('a node starts with its own command', async (t) => {
  if (spawnSync('redis-server', ['--version']).error) {
    t.skip('redis-server is not installed');
    return;
  }
  const port = await freePort();
  const [program, ...options] = nodes[0][1].command;
  const node = spawn(program, [...options, '--port', `${port}`, '--bind', '127.0.0.1', '--dir', tempDir(t),
    '--cluster-port', `${await freePort()}`], { stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = new Promise((resolve) => { node.on('exit', resolve); });
  after(t, async () => {
    node.kill();
    await ended;
  });
  let said = '';
  node.stdout.setEncoding('utf8').on('data', (text) => { said += text; });
  await until('the node is ready', () => said.includes('Ready to accept connections'), 20000);
  assert.match(said, /Running mode=cluster/);
});

test('the jobs for CI are YAML, and their commands are ours', async (t) => {
  for (const name of ['github.yml', 'gitlab.yml']) {
    const text = fs.readFileSync(path.resolve(path.dirname(file), 'ci', name), 'utf8');
    const lines = [];
    const walk = (value) => {
      if (typeof value === 'string') {
        lines.push(...value.replaceAll('\\\n', ' ').split('\n'));
      } else if (value !== null && typeof value === 'object') {
        Object.values(value).forEach(walk);
      }
    };
    walk(YAML.parse(text, { strict: true }));
    const commands = lines.flatMap((line) => [...line.matchAll(/\bpenstock ([a-z]+) ([^;&>]*)/g)])
      .filter(([, command]) => command !== 'sim' && command !== 'serve');
    assert.ok(commands.length >= 4, name);
    for (const [, command, rest] of commands) {
      const help = (await runPenstock(t, [command, '--help'])).stdout;
      assert.match(help, /^usage: penstock/, `${name}: ${command}`);
      for (const [option] of rest.matchAll(/--[a-z][a-z-]*/g)) {
        assert.ok(help.includes(`  ${option} `), `${name}: ${command} ${option}`);
      }
    }
  }
});
