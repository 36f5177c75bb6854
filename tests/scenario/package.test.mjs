// timeout: 300
//
// package - the Debian package is built, installed into a root of its own, removed and purged.
//
// Nothing of this machine is touched: dpkg --root runs the package's scripts with DPKG_ROOT set, which they heed. The
// story with a real system and its systemd is system.test.mjs, a slow one.
//
// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

import { program, startPenstock, tempDir } from './lib/penstock.mjs';
import { freePort } from './lib/ports.mjs';
import { sanitizer } from './lib/wait.mjs';

const run = promisify(execFile);
const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..');
const build = path.dirname(program);
const env = { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin`, LC_ALL: 'C' };

function has(tool) {
  return env.PATH.split(':').some((dir) => fs.existsSync(path.join(dir, tool)));
}

function whyNot() {
  const missing = ['dpkg', 'dpkg-deb', 'dpkg-shlibdeps', 'meson', 'strip'].find((tool) => !has(tool));
  return sanitizer !== '' ? 'the package is made of the plain build'
    : missing !== undefined ? `there is no ${missing} here`
      : process.getuid() !== 0 ? 'dpkg gives files to root, which takes root' : false;
}

/// Makes the package of the build that is there; only the slow story makes it a build of its own.
async function makePackage(folder) {
  const { stdout } = await run('tools/package.sh', [path.join(build, folder)], {
    cwd: root, env: { ...env, PACKAGE_BUILD: build } });
  return stdout.trim().split('\n').at(-1);
}

let made;

/// The same package for all of the tests.
function getPackage() {
  made ??= makePackage('package-test');
  return made;
}

/// A root with as much in it as dpkg and the package's scripts look for.
function makeRoot(t) {
  const dir = tempDir(t);
  for (const name of ['etc', 'var/lib/dpkg/info', 'var/lib/dpkg/updates']) {
    fs.mkdirSync(path.join(dir, name), { recursive: true });
  }
  fs.writeFileSync(path.join(dir, 'var/lib/dpkg/status'), '');
  fs.writeFileSync(path.join(dir, 'etc/passwd'), 'root:x:0:0:root:/root:/bin/sh\n');
  fs.writeFileSync(path.join(dir, 'etc/group'), 'root:x:0:\n');
  return dir;
}

function dpkg(dir, ...words) {
  return run('dpkg', [`--root=${dir}`, '--force-script-chrootless', '--force-depends', '--log=/dev/null', ...words], { env });
}

/// Every file below a folder that has to do with Penstock.
function list(dir, below = '') {
  return fs.readdirSync(path.join(dir, below), { withFileTypes: true }).flatMap((entry) => {
    const name = path.join(below, entry.name);
    return entry.isDirectory() ? list(dir, name) : name.includes('penstock') ? [name] : [];
  }).sort();
}

/// What is left, without dpkg's own notes and what deb-systemd-helper remembers of the service.
function left(dir) {
  return list(dir).filter((name) => !/^(var\/lib\/dpkg|var\/lib\/systemd|etc\/systemd)\//.test(name));
}

function assertFile(dir, name, mode, group = 0) {
  const stat = fs.statSync(path.join(dir, name));
  assert.deepEqual([(stat.mode & 0o7777).toString(8), stat.uid, stat.gid], [mode, 0, group], name);
}

test('the package installs, runs, is removed and purged', { skip: whyNot() }, async (t) => {
  const deb = await getPackage();
  const dir = makeRoot(t);
  await dpkg(dir, '-i', deb);

  const passwd = fs.readFileSync(path.join(dir, 'etc/passwd'), 'utf8');
  const group = Number(/^penstock:[^:]*:(\d+):/m.exec(fs.readFileSync(path.join(dir, 'etc/group'), 'utf8'))[1]);
  assert.match(passwd, /^penstock:[^:]*:\d+:\d+:Penstock:\/var\/lib\/penstock:\S*nologin$/m);
  assertFile(dir, 'usr/bin/penstock', '755');
  assertFile(dir, 'etc/penstock', '750', group);
  assertFile(dir, 'etc/penstock/penstock.yaml', '640', group);
  for (const name of ['etc/logrotate.d/penstock', 'usr/lib/systemd/system/penstock.service',
    'usr/lib/sysusers.d/penstock.conf', 'usr/share/bash-completion/completions/penstock',
    'usr/share/zsh/vendor-completions/_penstock', 'usr/share/doc/penstock/copyright',
    'usr/share/doc/penstock/changelog.gz', 'usr/share/man/man5/penstock.yaml.5.gz',
    'usr/share/man/man1/penstock-serve.1.gz', 'usr/share/penstock/azure2023_conv_10min.csv.gz']) {
    assertFile(dir, name, '644');
  }
  const { stdout: about } = await run('dpkg-deb', ['-c', deb]);
  for (const name of ['usr/include/penstock/penstock.h', 'usr/include/penstock/err.h', 'libpenstock.a', 'libpenstock.so',
    'libpenstock.so.0', 'libpenstock.so.0.1.0', 'pkgconfig/penstock.pc']) {
    assert.match(about, new RegExp(`[./]${name.replaceAll('.', '\\.')}( |$)`, 'm'), name);
  }
  const description = list(dir).find((name) => name.endsWith('pkgconfig/penstock.pc'));
  assert.match(fs.readFileSync(path.join(dir, description), 'utf8'), /^prefix=\/usr$/m);

  const unit = fs.readFileSync(path.join(dir, 'usr/lib/systemd/system/penstock.service'), 'utf8');
  assert.match(unit, /^ExecStart=\/usr\/bin\/penstock serve --config \/etc\/penstock\/penstock.yaml$/m);
  assert.doesNotMatch(unit, /@BINDIR@/);

  const installed = path.join(dir, 'usr/bin/penstock');
  assert.match((await run(installed, ['version'])).stdout, /^penstock \d/);
  const pages = (await run(installed, ['manual'])).stdout.trim().split('\n');
  assert.deepEqual(list(dir).filter((name) => name.startsWith('usr/share/man/')),
    pages.map((page) => `usr/share/man/man${page.at(-1)}/${page}.gz`).sort());
  const check = await run(installed, ['config', '--check', path.join(dir, 'etc/penstock/penstock.yaml')]);
  assert.match(check.stdout, /: ok$/m);

  await dpkg(dir, '-r', 'penstock');
  assert.deepEqual(left(dir), ['etc/logrotate.d/penstock', 'etc/penstock/penstock.yaml']);
  await dpkg(dir, '-P', 'penstock');
  assert.deepEqual(list(dir), []);
  assert.doesNotMatch(fs.readFileSync(path.join(dir, 'etc/passwd'), 'utf8'), /penstock/);
});

test('the package says what it needs', { skip: whyNot() }, async () => {
  const deb = await getPackage();
  const { stdout } = await run('dpkg-deb', ['-f', deb]);
  for (const library of ['libc6', 'libuv1', 'libssl3', 'libyajl2', 'libyaml-0-2', 'libjansson4', 'libsqlite3-0', 'zlib1g']) {
    assert.match(stdout, new RegExp(`^Depends:.*\\b${library}`, 'm'));
  }
  const { stdout: conffiles } = await run('dpkg-deb', ['-I', deb, 'conffiles']);
  assert.deepEqual(conffiles.trim().split('\n'), ['/etc/logrotate.d/penstock', '/etc/penstock/penstock.yaml']);
});

test('the same sources give the same bytes', { skip: whyNot() }, async () => {
  const first = fs.readFileSync(await getPackage());
  assert.ok(first.equals(fs.readFileSync(await makePackage('package-test-again'))));
});

test('make install puts pages, completion and unit below the prefix', { skip: whyNot() }, async (t) => {
  const dir = tempDir(t);
  await run('meson', ['install', '-C', build, '--no-rebuild', '--destdir', dir], { cwd: root, env });
  const { stdout } = await run('meson', ['introspect', '--buildoptions', build], { env, maxBuffer: 1 << 24 });
  const prefix = JSON.parse(stdout).find(({ name }) => name === 'prefix').value;
  for (const name of ['bin/penstock', 'share/man/man1/penstock-serve.1', 'share/man/man5/penstock.yaml.5',
    'share/bash-completion/completions/penstock', 'share/zsh/site-functions/_penstock',
    'share/doc/penstock/examples/penstock.yaml', 'lib/systemd/system/penstock.service', 'lib/sysusers.d/penstock.conf']) {
    assert.ok(fs.statSync(path.join(dir, prefix, name)).size > 0, name);
  }
  const unit = fs.readFileSync(path.join(dir, prefix, 'lib/systemd/system/penstock.service'), 'utf8');
  assert.ok(unit.includes(`\nExecStart=${prefix}/bin/penstock serve `));
});

/// The instructions of deploy/Containerfile, continued lines joined: [word, rest].
function readContainerfile() {
  return fs.readFileSync(path.join(root, 'deploy/Containerfile'), 'utf8').replaceAll('\\\n', ' ')
    .split('\n').filter((line) => line !== '' && !line.startsWith('#'))
    .map((line) => /^([A-Z]+)\s+(.*)$/.exec(line).slice(1));
}

test('the Containerfile is of known instructions, and what it copies and runs is there', () => {
  const known = ['FROM', 'COPY', 'RUN', 'USER', 'EXPOSE', 'STOPSIGNAL', 'HEALTHCHECK', 'ENTRYPOINT', 'CMD'];
  const lines = readContainerfile();
  assert.equal(lines[0][0], 'FROM');
  for (const [word, rest] of lines) {
    assert.ok(known.includes(word), word);
    for (const [, file] of rest.matchAll(/\/src\/(\S+)/g)) {
      assert.ok(fs.existsSync(path.join(root, file)), file);
    }
    if (word === 'ENTRYPOINT' || word === 'CMD') {
      assert.ok(Array.isArray(JSON.parse(rest)), rest);
    }
  }
  assert.deepEqual(lines.filter(([word]) => word === 'USER'), [['USER', 'penstock']]);
});

test('its health check tells a gateway that serves from one that does not', async (t) => {
  const [, rest] = readContainerfile().find(([word]) => word === 'HEALTHCHECK');
  const [command, ...words] = JSON.parse(/CMD (.*)$/.exec(rest)[1]);
  const check = (port) => run(command, words.map((word) => word.replace('5000', port)), { env, timeout: 20000 })
    .then(() => 'healthy', () => 'not');
  const gate = await startPenstock(t);
  assert.equal(await check(gate.port), 'healthy');
  assert.equal(await check(await freePort()), 'not');
});
