// page_parts - what the live page computes, without a browser.
//
// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import test from 'node:test';

import { format, mark, short } from '../../web/format.js';
import { labelText, partsOf } from '../../web/key.js';
import { lines } from '../../web/lines.js';
import { SECTIONS, TILES, customPanels } from '../../web/panels.js';
import { Rarely } from '../../web/rarely.js';
import { COLUMNS, Store } from '../../web/store.js';
import { Verdict } from '../../web/verdict.js';
import { View } from '../../web/view.js';

const plain = (text) => text.replaceAll('\u00a0', ' ');

test('what is not there is asked for ever more rarely, and at once when it came', () => {
  const tries = new Rarely();
  const asked = [];
  for (let minute = 0; minute < 300; minute++) {
    if (tries.isDue(minute * 60_000 + 1)) {
      asked.push(minute);
      tries.failed(minute * 60_000 + 1);
    }
  }
  assert.deepEqual(asked, [0, 1, 3, 7, 15, 31, 63, 123, 183, 243]);
  tries.reset();
  assert.ok(tries.isDue(300 * 60_000));
});

test('numbers come with their units, and unknown is a dash', () => {
  const rows = [
    [null, 'ms', '–'], [undefined, '%', '–'], [NaN, 'W', '–'],
    [0, 'requests/s', '0 requests/s'], [12.345, 'requests/s', '12.3 requests/s'], [4210, 'tokens/s', '4,210 tokens/s'], [12345, 'tokens/s', '12.3k tokens/s'],
    [0.4213, 'ms', '0.42 ms'], [240.4, 'ms', '240 ms'], [1236, 'ms', '1.24 s'], [86_000_000, 'ms', '23 h 53 min'],
    [57.2, 's', '57.2 s'], [200, 's', '3 min 20 s'], [0.0021, 's', '2.1 ms'],
    [5.25, '%', '5.3 %'], [60.87, '%', '60.9 %'], [100, '%', '100 %'], [0.004, '%', '0.004 %'],
    [14960, 'MiB', '14,960 MiB'], [310.4, 'W', '310 W'], [62.4, '°C', '62 °C'],
    [2, 'level', 'high'], [1, '0 or 1', 'up'], [0, '0 or 1', 'down'],
  ];
  for (const [value, unit, text] of rows) {
    assert.equal(plain(format(value, unit)), text);
  }
  assert.deepEqual([short(2000, 'ms', 500), short(25, '%', 25), short(0.5, '%', 0.5), short(2500, 'tokens/s', 500)], ['2s', '25%', '0.5%', '2.5k']);
  assert.match(mark(1700000000, 30), /^\d\d:\d\d:\d\d$/);
  assert.match(mark(1700000000, 86400), /^\d\d-\d\d$/);
});

test('keys are taken apart, whatever is in their labels', () => {
  assert.deepEqual(partsOf('p95(render_seconds{a="x, \\"y\\"",b="{}"})'), { name: 'render_seconds', labels: { a: 'x, "y"', b: '{}' }, of: 'p95' });
  const keys = ['up{upstream="a",endpoint="http://h:1"}', 'up{upstream="a",endpoint="http://h:2"}'];
  assert.equal(labelText(keys[0], keys), 'h:1');
  assert.equal(labelText('mem{source="nvml",index="3"}', ['mem{source="nvml",index="3"}', 'mem{source="nvml",index="4"}']), 'GPU 3');
});

const frame = (time, metrics, more = {}) => ({ type: 'metrics_update', time, metrics, ...more });

test('a column a second: what was not heard is a gap, and a program that starts anew takes nothing away', () => {
  const store = new Store();
  const history = { time: [98, 99, 100], series: { requests: [1, null, 3] } };
  store.take(frame(100, { requests: 3 }, { history, board: [{ name: 'requests', unit: 'requests/s', group: 'traffic', help: '', labels: [] }] }));
  store.take(frame(101, { requests: 4 }));
  store.take(frame(110, { requests: 5 }, { history: { time: [109, 110], series: { requests: [4.5, 5] } } }));
  const values = store.series.get('requests');
  assert.deepEqual(values.slice(-13), [1, null, 3, 4, null, null, null, null, null, null, null, 4.5, 5]);
  assert.ok(store.isHeard(100, 101) && !store.isHeard(101, 110) && store.isHeard(109, 110));
  for (let second = 111; second <= 430; second++) {
    store.take(frame(second, { queue: 1 }));
  }
  assert.equal(store.series.size, 1, 'what nobody told for five minutes is forgotten');
  assert.equal(store.series.get('queue').length, COLUMNS);
  store.take(frame(50, { queue: 2 }));
  assert.deepEqual(store.series.get('queue').filter((value) => value !== null), [2], 'a clock that was set back');
});

test('numbers without end are bounded', () => {
  const store = new Store();
  store.take(frame(100, Object.fromEntries(Array.from({ length: 3000 }, (_, i) => [`m${i}`, i]))));
  assert.equal(store.series.size, 2000);
  for (let i = 0; i < 50; i++) {
    store.take(frame(101 + i, {}, { events: Array.from({ length: 20 }, (_, j) => ({ time: 101 + i, text: String(j) })) }));
  }
  assert.equal(store.events.length, 300);
});

/// What is said of some seconds of these values.
function judge(metrics, count = 12, alerts = []) {
  const store = new Store();
  const verdict = new Verdict();
  let said;
  for (let i = 0; i < count; i++) {
    store.take(frame(1000 + i, typeof metrics === 'function' ? metrics(i) : metrics, { alerts }));
    said = verdict.judge(store);
  }
  return said;
}

const up = { 'upstream_healthy{upstream="a",endpoint="h:1"}': 1, 'upstream_healthy{upstream="a",endpoint="h:2"}': 1, requests: 10, errors: 0 };

test('the state is one sentence, with all that is to be looked at', () => {
  assert.deepEqual([judge(up).level, plain(judge(up).text)], ['ok', '10 requests/s, no errors, 2 endpoints up.']);
  assert.equal(judge({ requests: 0 }).level, 'idle');
  const rows = [
    [{ 'upstream_healthy{upstream="a",endpoint="h:1"}': 0 }, 'watch', 'a h:1 is down', 'endpoints'],
    [{ 'upstream_healthy{upstream="a",endpoint="h:1"}': 0, 'upstream_healthy{upstream="a",endpoint="h:2"}': 0 }, 'bad', 'No endpoint is up (2 down)', 'endpoints'],
    [{ errors: 0.2 }, 'watch', '2 % of requests fail', 'requests'],
    [{ errors: 1 }, 'bad', '10.0 % of requests fail', 'requests'],
    [{ 'gpu_server_level{upstream="a",endpoint="h:1"}': 2, 'gpu_server_percent{upstream="a",endpoint="h:1"}': 81.4, 'gpu_server_seconds_to_critical{upstream="a",endpoint="h:1"}': 57 },
      'watch', 'Memory of a h:1 is filling up at 81 %, critical in about 60 s', 'gpu-memory'],
    [{ refused: 2 }, 'bad', '2 requests/s are refused at the gate', 'refused'],
    [{ queue: 3 }, 'watch', '3 requests wait for room', 'in-flight'],
    [{ latency_p95_ms: 6000 }, 'watch', 'Latency p95 is 6 s', 'latency'],
    [{ cpu: 95 }, 'watch', 'The processors are 95.0 % busy', 'cpu'],
    [{ 'cache_node_up{node="n"}': 0 }, 'watch', '1 of 1 cache servers is left alone', 'cache-nodes'],
  ];
  for (const [more, level, text, panel] of rows) {
    const said = judge({ ...up, ...more });
    const [reason] = said.reasons;
    assert.deepEqual([said.level, plain(reason?.text ?? ''), reason?.panel], [level, text, panel]);
  }
  const all = judge(Object.assign({}, up, ...rows.map(([more]) => more)));
  assert.equal(all.reasons.length, 8, 'one for each rule');
  assert.deepEqual(all.reasons.map(({ level }) => level), [...all.reasons.map(({ level }) => level)].sort(), 'the worst first');
  assert.equal(judge(up, 3, [{ name: 'x', severity: 'critical', summary: 'it burns' }]).reasons[0].text, 'it burns');
});

test('one bad second among good ones is no alarm, and what was said stays readable', () => {
  assert.equal(judge((i) => ({ ...up, errors: i === 11 ? 0.9 : 0 })).level, 'ok');
  const said = (seconds) => judge((i) => ({ ...up, refused: i === 0 ? 20 : undefined }), seconds).reasons.length;
  assert.deepEqual([said(1), said(12), said(14), said(20)], [1, 1, 1, 0]);
});

test('every panel leads somewhere, and every line of panels is filled', () => {
  const ids = SECTIONS.flatMap(({ panels }) => panels.map(({ id }) => id));
  assert.equal(new Set(ids).size, ids.length);
  TILES.forEach(({ panel }) => assert.ok(ids.includes(panel), panel));
  for (let count = 1; count <= 12; count++) {
    for (let most = 1; most <= 4; most++) {
      for (const heavy of [-1, 0, count - 1, count >> 1]) {
        const weights = Array.from({ length: count }, (_, i) => (i === heavy ? Math.min(2, most) : 1));
        const all = lines(weights, most);
        assert.deepEqual(all.flat(), weights.map((_, i) => i));
        for (const line of all) {
          const sum = line.reduce((total, i) => total + weights[i], 0);
          assert.ok(sum <= most && sum > 0 && 12 % sum === 0, `${count} panels, ${most} a line: ${JSON.stringify(all)}`);
        }
      }
    }
  }
});

test('custom metrics are panels by family, percentiles apart from rates', () => {
  const panels = customPanels(['rate(jobs_total)', 'p50(t_seconds{a="1"})', 'p95(t_seconds{a="1"})', 'rate(t_seconds{a="1"})', 'depth{q="x"}', 'depth{q="y"}'], partsOf);
  assert.deepEqual(panels.map(({ title, unit, keys }) => [title, unit, keys.length]),
    [['jobs_total', '/s', 1], ['t_seconds', 's', 2], ['t_seconds, observed', '/s', 1], ['depth', '', 2]]);
});

test('zooming and panning stay inside the range', () => {
  const view = new View(() => {});
  view.tick(1000);
  assert.deepEqual(view.extent(), { min: 700, max: 1000 });
  view.zoom(800, 850);
  assert.deepEqual(view.extent(), { min: 800, max: 850 });
  view.pan(-10);
  assert.deepEqual(view.extent(), { min: 700, max: 750 });
  view.scale(0.0001);
  assert.equal(view.extent().max - view.extent().min, 5);
  view.scale(1000);
  assert.equal(view.zoomed, null);
  view.pause(true);
  view.tick(1010);
  assert.deepEqual(view.extent(), { min: 700, max: 1000 });
  view.pause(false);
  assert.equal(view.extent().max, 1010);
  view.last(3600);
  assert.ok(!view.isLive);
});
