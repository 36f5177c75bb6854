// penstock demo: GPU memory fills up under rising load, that is foreseen, something is freed, and the level falls. The
// terminal says so in words, and nothing but what the gateway's API says.
// tags: threads
// timeout: 900
import assert from 'node:assert/strict';
import path from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { Penstock, runPenstock } from './lib/penstock.mjs';
import { freePort } from './lib/ports.mjs';
import { until } from './lib/wait.mjs';

const data = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../data');

/// What happened to the shared server, in the demo's words.
function story(demo) {
  return [...demo.stdout.matchAll(/^\d+:\d\d {2}GPU 3 \(simulated\) {2}(.*)$/gm)].map(([, text]) => text);
}

/// Waits for a sentence behind the first `from` ones; its place and what it caught.
async function sentence(demo, what, pattern, from) {
  return until(what, () => {
    assert.ok(demo.running(), `it ended: ${demo.stdout}${demo.stderr}`);
    const at = story(demo).findIndex((text, i) => i >= from && pattern.test(text));
    return at >= 0 && { at, found: story(demo)[at].match(pattern) };
  }, 180_000, 200);
}

test('memory climbs, it is foreseen, a cleanup frees, the level falls: in words with figures', async (t) => {
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const demo = new Penstock(['demo', '--listen', `127.0.0.1:${port}`, '--data', data]);
  t.after(async () => {
    demo.signal('SIGKILL');
    await demo.ended;
  });
  const { found: climb } = await sentence(demo, 'it is foreseen', /memory (\d+) % -> (\d+) % in \d+ s, full in \d+ s/, 0);
  assert.ok(Number(climb[2]) > Number(climb[1]));
  await sentence(demo, 'the level rises', /level low -> (medium|high|critical)$/, 0);
  const { at, found: step } = await sentence(demo, 'something is freed',
    /^unload ([\w:]+): ([\d.]+) GiB expected, ([\d.]+) GiB freed in [\d.]+ s$/, 0);
  assert.ok(Number(step[3]) > Number(step[2]) / 2);
  await sentence(demo, 'the level falls', /^level (critical|high|medium) -> (high|medium|low): memory at \d+ %$/, at);

  const report = await (await fetch(`${url}/api/gpu/report`)).json();
  const steps = report.cleanups.flatMap((cleanup) => cleanup.steps);
  assert.ok(steps.some(({ model, verdict }) => model === step[1] && verdict === 'freed'), JSON.stringify(steps));
  const { engines } = await (await fetch(`${url}/api/gpu/profile`)).json();
  assert.equal(engines.length, 3);
  assert.ok(engines.every(({ simulated, prediction }) => simulated && typeof prediction.cleanup_needed === 'boolean'));

  const shown = await runPenstock(t, ['gpu', '--url', url], { ms: 10_000 });
  assert.equal(shown.code, 0, shown.stderr);
  assert.match(shown.stdout, /^127\.0\.0\.1:\d+ +ollama \(simulated\) +\d+ % of memory +(low|medium|high|critical)/m);
  assert.match(shown.stdout, /^127\.0\.0\.1:\d+ +vllm \(simulated\) +\d+ % of cache/m);
  demo.signal('SIGTERM');
  assert.equal((await demo.ended).code, 0, demo.stderr);
  demo.assertClean();
});
