// timeout: 120
//
// docs - what the pages say is so: configurations are valid, commands work, generated pages are fresh, links lead
// somewhere, and the tests that are named exist.
//
// A yaml block is checked as a whole configuration unless the line before it is `<!-- a part -->`. An sh block
// whose first line is `# run` is run against a gateway with two simulated servers; the addresses of
// the pages (gateway 5000, servers 8000 and 8001) are replaced by those of the story.
//
// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

import { after } from './lib/after.mjs';
import { Penstock, program, runPenstock, startPenstock, tempDir } from './lib/penstock.mjs';
import { freePort } from './lib/ports.mjs';
import { makeAuthority } from './lib/tls.mjs';
import { slowness, until } from './lib/wait.mjs';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..');
const helpers = path.join(path.dirname(program), 'tests', 'helpers');

/// Every page of the tree: {name, text}.
function pages() {
  const list = (dir) => fs.readdirSync(path.join(root, dir), { withFileTypes: true })
    .flatMap((entry) => entry.isDirectory() ? list(path.join(dir, entry.name)) : [path.join(dir, entry.name)]);
  const top = fs.readdirSync(root).filter((name) => name.endsWith('.md'));
  return [...top, ...['docs', 'src', 'data'].flatMap(list).filter((name) => name.endsWith('.md'))]
    .map((name) => ({ name, text: fs.readFileSync(path.join(root, name), 'utf8') }));
}

/// The fenced blocks of one language: {name, line, before, text}.
function blocks(language) {
  return pages().flatMap(({ name, text }) => {
    const fence = new RegExp('(^|\\n)([^\\n]*)\\n```' + language + '\\n(.*?)\\n```', 'gs');
    return [...text.matchAll(fence)].map((found) => ({
      name, before: found[2], text: `${found[3]}\n`, line: text.slice(0, found.index).split('\n').length + 1,
    }));
  });
}

/// Puts files where a configuration names some, and gives values to the variables that it reads.
function furnish(t, text) {
  const dir = tempDir(t);
  const { cert, key } = makeAuthority(t).issue();
  let count = 0;
  const moved = text.replace(/\b(certificate|ca_file|[a-z_]*file):\s*"?([^\s,"}]+)"?/g, (whole, field, file) => {
    if (field === 'certificate' || field === 'ca_file') {
      return `${field}: ${cert}`;
    }
    if (/\.pem$/.test(file)) {
      return `${field}: ${key}`;
    }
    const secret = path.join(dir, `secret-${count++}`);
    fs.writeFileSync(secret, `secret-in-a-file-0123456789-${count}\n`, { mode: 0o600 });
    return `${field}: ${secret}`;
  });
  const names = [...text.matchAll(/(?<!\$)\$\{([A-Z_0-9]+)\}/g)].map((found) => found[1]);
  const env = Object.fromEntries(names.map((name, n) => [name, `secret-in-the-environment-0123456789-${n}`]));
  const file = path.join(dir, 'penstock.yaml');
  fs.writeFileSync(file, moved);
  return { file, env };
}

test('every configuration in the pages is valid', async (t) => {
  const found = blocks('yaml').filter(({ before }) => before !== '<!-- a part -->');
  assert.ok(found.length > 0);
  for (const { name, line, text } of found) {
    const { file, env } = furnish(t, text);
    const { code, stdout } = await runPenstock(t, ['config', '--check', file], { env });
    assert.equal(code, 0, `${name}:${line}: ${stdout}`);
  }
});

/// A simulated server on a free port.
async function startSim(t) {
  const port = await freePort();
  const sim = new Penstock(['sim', '--listen', `127.0.0.1:${port}`, '--speed', '20']);
  after(t, () => sim.stop());
  await until('the server listens', () => sim.stdout.includes('listening'), 10000);
  return port;
}

/// A gateway in front of two simulated servers, and how the addresses of the pages are really called.
async function startAll(t) {
  const sims = [await startSim(t), await startSim(t)];
  const args = sims.flatMap((port) => ['--upstream', `http://127.0.0.1:${port}`]);
  const gate = await startPenstock(t, { args });
  const real = { 5000: gate.port, 8000: sims[0], 8001: sims[1] };
  const rename = (text) => text.replace(/127\.0\.0\.1:(5000|8000|8001)\b/g, (whole, port) => `127.0.0.1:${real[port]}`);
  return { gate, rename };
}

test('every command that is marked to run does run', async (t) => {
  const found = blocks('sh').filter(({ text }) => text.startsWith('# run\n'));
  assert.ok(found.length > 0);
  const { rename } = await startAll(t);
  const bin = tempDir(t);
  fs.symlinkSync(program, path.join(bin, 'penstock'));
  for (const { name, line, text } of found) {
    const script = `set -e -o pipefail\ncurl() { command curl --fail-with-body "$@"; }\n${rename(text)}`;
    try {
      await promisify(execFile)('bash', ['-c', script], {
        cwd: root, timeout: 60000 * slowness, env: { ...process.env, PATH: `${bin}:${process.env.PATH}` },
      });
    } catch (error) {
      assert.fail(`${name}:${line}: ${error.message}\n${error.stdout}`);
    }
  }
});

test('what serve prints is what the README shows', async (t) => {
  const readme = fs.readFileSync(path.join(root, 'README.md'), 'utf8');
  const shown = /(# The same as a configuration file:\n.*?)```/s.exec(readme)[1];
  const { gate, rename } = await startAll(t);
  await until('the configuration is printed', () => gate.stdout.includes('engine:'), 10000);
  const printed = gate.stdout.split('\n').filter((line) => !line.startsWith('listen:')).join('\n');
  assert.equal(printed, rename(shown));
  const check = await runPenstock(t, ['config', '--check', furnish(t, gate.stdout).file]);
  assert.equal(check.code, 0, check.stdout);
});

test('docs/metrics.md is what the tables say', async () => {
  const { stdout } = await promisify(execFile)(path.join(helpers, 'metric_manual'));
  assert.equal(fs.readFileSync(path.join(root, 'docs/metrics.md'), 'utf8'), stdout,
    'run: build/tests/helpers/metric_manual > docs/metrics.md');
});

test('docs/dashboard.md has the names that the table has', async () => {
  const { stdout } = await promisify(execFile)(path.join(helpers, 'board_manual'));
  const page = fs.readFileSync(path.join(root, 'docs/dashboard.md'), 'utf8');
  assert.ok(page.endsWith(stdout), 'what follows the mark in docs/dashboard.md is printed by build/tests/helpers/board_manual');
});

test('every counter of a running gateway is in docs/metrics.md', async (t) => {
  const { gate } = await startAll(t);
  const page = await (await fetch(`${gate.url}/metrics`)).text();
  const told = fs.readFileSync(path.join(root, 'docs/metrics.md'), 'utf8');
  for (const [, name] of page.matchAll(/^# TYPE (\S+)/gm)) {
    assert.ok(told.includes(`\`${name}\``), name);
  }
});

test('links between the pages lead somewhere', () => {
  for (const { name, text } of pages()) {
    for (const [, target] of text.matchAll(/\]\(([^)\s#]+)[^)]*\)/g)) {
      if (!/^[a-z]+:/.test(target)) {
        assert.ok(fs.existsSync(path.join(root, path.dirname(name), target)), `${name}: ${target}`);
      }
    }
  }
});

test('files that ARCHITECTURE.md and the specification name exist', () => {
  const folders = fs.readdirSync(path.join(root, 'src'), { withFileTypes: true })
    .filter((entry) => entry.isDirectory()).map((entry) => entry.name);
  const places = ['', 'src', ...folders.map((folder) => `src/${folder}`)];
  for (const name of ['ARCHITECTURE.md', 'docs/specification.md']) {
    const text = fs.readFileSync(path.join(root, name), 'utf8');
    for (const [, file] of text.matchAll(/`([a-z_0-9/.]+)`/g)) {
      const isFile = /\.(c|h|py|mjs|json)$/.test(file) || folders.includes(file.split('/')[0]);
      assert.ok(!isFile || places.some((place) => ['', '.c', '.h'].some((ending) =>
        fs.existsSync(path.join(root, place, file + ending)))), `${name}: ${file}`);
    }
  }
});

/// The titles of a test file, as they are written.
function titles(kind, name) {
  const file = kind === 'scenario' ? `tests/scenario/${name}.test.mjs` : `tests/unit/test_${name}.c`;
  assert.ok(fs.existsSync(path.join(root, file)), `docs/specification.md: there is no ${file}`);
  return fs.readFileSync(path.join(root, file), 'utf8').replaceAll("\\'", "'");
}

test('every test that the specification names exists', () => {
  const text = fs.readFileSync(path.join(root, 'docs/specification.md'), 'utf8');
  let count = 0;
  for (const [, kind, name, rest] of text.matchAll(/\b(scenario|unit)\/([a-z_0-9]+)((?:,? (?:and )?"[^"\n]+")*)/g)) {
    const known = titles(kind, name);
    for (const [, title] of rest.matchAll(/"([^"]+)"/g)) {
      assert.ok(kind === 'unit' ? known.includes(`${title}(void`) : known.includes(title), `${kind}/${name}: ${title}`);
      count++;
    }
  }
  assert.ok(count > 50, `only ${count} titles were found`);
});
