// timeout: 300
//
// manual - help, manual pages and completion say the same: all of them come from the tables.
//
// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { execFile, execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import test from 'node:test';
import { promisify } from 'node:util';

import { program, runPenstock, tempDir } from './lib/penstock.mjs';
import { slowness } from './lib/wait.mjs';

const run = promisify(execFile);

/// What a command prints; it must leave with 0 and say nothing else.
async function print(t, ...args) {
  const { code, stdout, stderr } = await runPenstock(t, args);
  assert.deepEqual([code, stderr], [0, ''], args.join(' '));
  return stdout;
}

/// Every command with its options, as the help lists them.
async function listCommands(t) {
  const names = [...(await print(t, 'help')).matchAll(/^ {2}(\w[\w-]*) +\S/gm)].map((found) => found[1]);
  assert.ok(names.length > 5);
  return Promise.all(names.map(async (name) => ({
    name,
    options: [...(await print(t, 'help', name)).matchAll(/^ {2}(--[\w-]+)/gm)].map((found) => found[1]),
  })));
}

/// Is there such a tool on this machine?
function has(tool) {
  return process.env.PATH.split(':').some((dir) => fs.existsSync(path.join(dir, tool)));
}

/// The manual pages as files of a folder.
async function writePages(t) {
  const dir = tempDir(t);
  const names = (await print(t, 'manual')).trim().split('\n');
  for (const name of names) {
    const word = name.replace(/\.\d$/, '').replace(/^penstock-/, '');
    fs.writeFileSync(path.join(dir, name), await print(t, 'manual', word));
  }
  return names.map((name) => path.join(dir, name));
}

test('every command has its page, and every option is in it', async (t) => {
  const names = (await print(t, 'manual')).trim().split('\n');
  for (const { name, options } of await listCommands(t)) {
    assert.ok(names.includes(`penstock-${name}.1`), name);
    const page = await print(t, 'manual', name);
    assert.ok(page.includes(`\npenstock-${name} \\- `), name);
    assert.match(page, /^\.SH EXIT STATUS$/m);
    for (const option of options) {
      assert.ok(page.includes(`.TP\n\\fB${option.replaceAll('-', '\\-')}\\fR`), `${name} ${option}`);
    }
    assert.ok((await print(t, 'manual', 'penstock')).includes(`\\fBpenstock\\-${name}\\fR(1)`), name);
  }
});

test('penstock.yaml(5) has every key of docs/configuration.md', async (t) => {
  const page = await print(t, 'manual', 'penstock.yaml');
  const reference = await print(t, 'config', '--reference');
  const keys = [...reference.matchAll(/^\| `(\w+)` \|/gm)].map((found) => found[1]);
  assert.ok(keys.length > 50);
  for (const key of keys) {
    assert.ok(page.includes(`.TP\n\\fB${key}\\fR\n`), key);
  }
  for (const [, section] of reference.matchAll(/^## `(\S+)`$/gm)) {
    assert.ok(page.includes(`.SS ${section}\n`), section);
  }
});

test('man reads the pages without a complaint', { skip: !has('man') && 'there is no man here' }, async (t) => {
  for (const page of await writePages(t)) {
    const { stdout, stderr } = await run('man', ['--warnings', '-E', 'UTF-8', '-l', page], {
      env: { ...process.env, MANWIDTH: '80', LC_ALL: 'C.UTF-8', MANPAGER: 'cat' } });
    assert.equal(stderr, '', page);
    assert.match(stdout, /^NAME$/m);
  }
});

test('mandoc finds nothing wrong with the pages', { skip: !has('mandoc') && 'there is no mandoc here' }, async (t) => {
  for (const page of await writePages(t)) {
    const { stdout, stderr } = await run('mandoc', ['-T', 'lint', '-W', 'all', page]).catch((error) => error);
    assert.equal(`${stdout}${stderr}`, '');
  }
});

test('a page that does not exist is an error', async (t) => {
  const { code, stderr } = await runPenstock(t, ['manual', 'sreve']);
  assert.equal(code, 2);
  assert.match(stderr, /did you mean serve\?/);
});

/// What bash offers for a command line; the last word is the one that is being written.
function bash(script, cwd, ...words) {
  const ask = `source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _penstock penstock "\${!#}" "" &&
    printf '%s\\n' "\${COMPREPLY[@]}"`;
  return execFileSync('bash', ['--norc', '-c', ask, 'bash', script, ...words], { cwd, encoding: 'utf8' })
    .split('\n').filter(Boolean).map((word) => word.trim()).sort();
}

test('bash completes commands, options and values', async (t) => {
  const dir = tempDir(t);
  const script = path.join(dir, 'penstock.bash');
  fs.writeFileSync(script, await print(t, 'completion', 'bash'));
  fs.writeFileSync(path.join(dir, 'a trace.gz'), '');
  fs.mkdirSync(path.join(dir, 'folder'));
  const offer = (...words) => bash(script, dir, 'penstock', ...words);
  const commands = await listCommands(t);
  assert.deepEqual(offer(''), commands.map(({ name }) => name).sort());
  for (const { name, options } of commands) {
    assert.deepEqual(offer(name, '--'), options.sort(), name);
  }
  assert.deepEqual(offer('se'), ['serve']);
  assert.deepEqual(offer('serve', '--con'), ['--config']);
  assert.deepEqual(offer('serve', '--config', ''), ['a trace.gz', 'folder', 'penstock.bash']);
  assert.deepEqual(offer('serve', '--config', '=', 'pen'), ['penstock.bash']);
  assert.deepEqual(offer('serve', '--config', '='), ['a trace.gz', 'folder', 'penstock.bash']);
  assert.deepEqual(offer('serve', '--upstream', ''), []);
  assert.deepEqual(offer('demo', '--data', ''), ['folder']);
  assert.deepEqual(offer('replay', 'a'), ['a trace.gz']);
  assert.deepEqual(offer('config', '--check', 'pen'), ['penstock.bash']);
  assert.deepEqual(offer('completion', ''), ['bash', 'zsh']);
  assert.deepEqual(offer('help', 'repl'), ['replay']);
});

/// What zsh makes of a line when the tabulator is pressed behind it: the screen of a shell of its own.
async function zsh(dir, line) {
  const script = `zmodload zsh/zpty
zpty shell 'cd ${dir}; PS1=; TERM=dumb COLUMNS=200 zsh -f -i'
zpty -w shell 'fpath=(${dir} $fpath); autoload -Uz compinit; compinit -u -D; unsetopt zle_bracketed_paste; LISTMAX=1000'
zpty -w shell 'echo rea''dy'
zpty -r shell answer '*ready*'
zpty -n -w shell $'${line}\\t\\C-u'
zpty -w shell 'echo do''ne'
zpty -r shell answer '*done*'
print -r -- "$answer"
zpty -d shell`;
  const { stdout } = await run('zsh', ['-f', '-c', script], { timeout: 30000 * slowness });
  return stdout;
}

test('zsh completes commands, options and values', { skip: !has('zsh') && 'there is no zsh here' }, async (t) => {
  const dir = tempDir(t);
  fs.writeFileSync(path.join(dir, '_penstock'), await print(t, 'completion', 'zsh'));
  await run('zsh', ['-n', path.join(dir, '_penstock')]);
  const commands = await listCommands(t);
  const offered = await zsh(dir, 'penstock ');
  for (const { name } of commands) {
    assert.ok(offered.includes(`${name} `), `${name}: ${offered}`);
  }
  const replay = await zsh(dir, 'penstock replay --');
  for (const option of commands.find(({ name }) => name === 'replay').options) {
    assert.ok(replay.includes(option), `${option}: ${replay}`);
  }
  assert.match(await zsh(dir, 'penstock serve --conf'), /serve --config=/);
  assert.match(await zsh(dir, 'penstock completion z'), /completion zsh /);
});

test('zsh is told every option', async (t) => {
  const script = await print(t, 'completion', 'zsh');
  for (const { name, options } of await listCommands(t)) {
    const part = new RegExp(`^ {8}${name}\\)\n(.*?)^ {8};;$`, 'ms').exec(script)[1];
    for (const option of options) {
      assert.match(part, new RegExp(`'\\*?${option}=?\\[`), `${name} ${option}`);
    }
  }
});

test('what cannot be written is an error', async (t) => {
  const { code, stderr } = await run('sh', ['-c', `exec '${program}' manual serve >/dev/full`])
    .catch((error) => error);
  assert.equal(code, 1);
  assert.match(stderr, /could not be written/);
});
