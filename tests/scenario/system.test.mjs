// tags: slow
// timeout: 2400
//
// system - a Debian of its own: apt installs the package, systemd runs the service, reloads, restarts and stops it.
//
// The root comes from debootstrap and this machine's own mirror (or is copied from PENSTOCK_TEST_ROOT, one that was
// made so before), and is started with systemd-nspawn, with no network but its loopback.
//
// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

import { after } from './lib/after.mjs';
import { program, tempDir } from './lib/penstock.mjs';
import { until } from './lib/wait.mjs';

const run = promisify(execFile);
const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..');
const env = { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin`, LC_ALL: 'C', DEBIAN_FRONTEND: 'noninteractive' };
const quiet = { env, maxBuffer: 1 << 26 };

function whyNot() {
  const has = (tool) => env.PATH.split(':').some((dir) => fs.existsSync(path.join(dir, tool)));
  const missing = ['debootstrap', 'systemd-nspawn', 'nsenter', 'dpkg-shlibdeps'].find((tool) => !has(tool));
  return missing !== undefined ? `there is no ${missing} here`
    : process.getuid() !== 0 ? 'a system of its own takes root' : false;
}

/// The mirror and the release that this machine's apt knows.
async function findMirror() {
  const release = /^VERSION_CODENAME=(\w+)$/m.exec(fs.readFileSync('/etc/os-release', 'utf8'))[1];
  const { stdout } = await run('apt-get', ['indextargets', '--format', '$(REPO_URI) $(CODENAME) $(COMPONENT)',
    'Created-By: Packages'], quiet);
  const mirror = stdout.split('\n').map((line) => line.split(' '))
    .find(([, name, component]) => name === release && component === 'main');
  assert.ok(mirror, `apt knows no mirror of ${release}`);
  return { release, mirror: mirror[0] };
}

async function makeRoot(t) {
  const dir = path.join(tempDir(t), 'root');
  if (process.env.PENSTOCK_TEST_ROOT) {
    await run('cp', ['-a', process.env.PENSTOCK_TEST_ROOT, dir], quiet);
  } else {
    const { release, mirror } = await findMirror();
    await run('debootstrap', ['--variant=minbase', '--include=systemd,systemd-sysv,dbus,logrotate', release, dir, mirror], quiet);
  }
  fs.copyFileSync('/etc/resolv.conf', path.join(dir, 'etc/resolv.conf'));
  return dir;
}

async function buildPackage(dir, version) {
  const { stdout } = await run('tools/package.sh', [path.join(path.dirname(program), 'package')], {
    ...quiet, cwd: root, env: { ...env, PACKAGE_VERSION: version } });
  const deb = stdout.trim().split('\n').at(-1);
  fs.copyFileSync(deb, path.join(dir, 'root', path.basename(deb)));
  return `/root/${path.basename(deb)}`;
}

/// Starts the system: {sh}, which runs a script inside and gives its output, whatever its status.
async function boot(t, dir) {
  const nspawn = spawn('systemd-nspawn', ['-q', '-D', dir, '--private-network', '--register=no', '--keep-unit',
    '--console=pipe', '-b'], { env, stdio: 'ignore' });
  const ended = new Promise((resolve) => { nspawn.once('exit', resolve); });
  after(t, async () => {
    nspawn.kill('SIGKILL');
    await ended;
  });
  const leader = await until('the system has a first process', () => { // nspawn forks a helper before it
    const file = `/proc/${nspawn.pid}/task/${nspawn.pid}/children`;
    const children = fs.existsSync(file) ? fs.readFileSync(file, 'utf8').trim().split(' ') : [];
    return children.find((pid) => pid !== '' && fs.existsSync(`/proc/${pid}/comm`) &&
      fs.readFileSync(`/proc/${pid}/comm`, 'utf8') === 'systemd\n');
  }, 60000, 100);
  const sh = async (script) => {
    const answer = await run('nsenter', ['-t', leader, '-a', 'bash', '-c', `${script}\n`], quiet).catch((error) => error);
    return `${answer.stdout}${answer.stderr}`.trim();
  };
  await until('the system is up', async () => /^(running|degraded)$/m.test(await sh('systemctl is-system-running')), 120000, 500);
  return { sh, ended };
}

/// bash asks for a path and prints the first line of the answer: a small system has no client.
const get = (path) =>
  `exec 3<>/dev/tcp/127.0.0.1/5000; printf 'GET ${path} HTTP/1.0\\r\\nHost: localhost\\r\\n\\r\\n' >&3; head -n 1 <&3; exec 3<&-`;

test('apt installs it and systemd runs it', { skip: whyNot() }, async (t) => {
  const dir = await makeRoot(t);
  const first = await buildPackage(dir, undefined);
  const second = await buildPackage(dir, '99.0');
  await run('chroot', [dir, 'apt-get', 'install', '-q', '-y', '--no-install-recommends', first], quiet);
  const { sh, ended } = await boot(t, dir);
  const pid = () => sh('systemctl show penstock -p MainPID --value');
  const healthy = () => until('the service answers', async () => (await sh(get('/healthz'))).includes(' 200 '), 30000, 200);

  assert.equal(await sh('systemctl is-active penstock; systemctl is-enabled penstock'), 'active\nenabled');
  await healthy();
  const status = await sh(`cat /proc/${await pid()}/status`);
  assert.match(status, /^Uid:\s+[1-9]/m);
  assert.match(status, /^CapEff:\s+0000000000000400$/m);
  assert.match(status, /^NoNewPrivs:\s+1$/m);
  assert.match(status, /^Seccomp:\s+2$/m);

  const before = await pid();
  assert.equal(await sh('systemctl reload penstock && echo ok'), 'ok');
  await until('the configuration is read again', async () => /configuration reloaded/.test(await sh('journalctl -u penstock -o cat')));
  await sh('cp -p /etc/penstock/penstock.yaml /root/good; echo "listem: 1" >>/etc/penstock/penstock.yaml');
  assert.match(await sh('systemctl reload penstock || echo refused'), /refused/);
  assert.match(await sh('journalctl -u penstock -o cat'), /did you mean 'listen'\?/);
  assert.equal(await pid(), before);

  await sh(`cat /root/good >/etc/penstock/penstock.yaml
    printf 'access_log: /var/log/penstock/access.log\\ndrain_timeout: 5s\\n' >>/etc/penstock/penstock.yaml
    sed -i 's/^listen:.*/listen: ["127.0.0.1:5000", "127.0.0.1:443"]/' /etc/penstock/penstock.yaml
    systemctl restart penstock`);
  await healthy();
  await sh(get('/v1/models')); // health is not logged
  await until('the log is written', async () => (await sh('find /var/log/penstock -size +0')) !== '', 10000, 200);
  await sh('logrotate -f /etc/logrotate.d/penstock; sleep 1');
  await sh(get('/v1/models'));
  await until('both logs are written', async () =>
    /access.log\n.*access.log.1$/m.test(await sh('find /var/log/penstock -size +0 | sort')), 10000, 200);
  assert.match(await sh('exec 3<>/dev/tcp/127.0.0.1/443 && echo open'), /^open$/);

  await sh('systemctl kill -s KILL penstock');
  await healthy();
  const old = await pid();
  assert.match(await sh(`dpkg -i ${second}`), /Setting up penstock \(99.0\)/);
  await healthy();
  assert.notEqual(await pid(), old);
  assert.match(await sh('cat /etc/penstock/penstock.yaml'), /^access_log:/m);

  assert.equal(await sh('systemctl stop penstock; systemctl show penstock -p Result --value'), 'success');
  assert.match(await sh('journalctl -u penstock -o cat'), /stopped/);
  await sh('systemctl start penstock');
  await sh('dpkg -r penstock');
  assert.match(await sh('systemctl is-active penstock'), /^inactive/);
  await sh('dpkg -P penstock');
  assert.equal(await sh(`find / -xdev -name '*penstock*' -not -path '/root/*' -not -path '/var/cache/*'; getent passwd penstock`), '');
  assert.equal(await sh('systemctl --failed --quiet'), '');
  await sh('systemctl poweroff');
  await ended;
});
