// tags: threads
//
// otlp - what the reference exporters of OpenTelemetry send comes out right on /metrics.
//
// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import test from 'node:test';
import zlib from 'node:zlib';

import { OTLPMetricExporter as JsonExporter } from '@opentelemetry/exporter-metrics-otlp-http';
import { OTLPMetricExporter as ProtoExporter } from '@opentelemetry/exporter-metrics-otlp-proto';
import { Resource } from '@opentelemetry/resources';
import {
  AggregationTemporality, ExponentialHistogramAggregation, MeterProvider, PeriodicExportingMetricReader, View,
} from '@opentelemetry/sdk-metrics';

import { call, metric, metrics } from './lib/client.mjs';
import { startPenstock } from './lib/penstock.mjs';

const PATH = '/api/otlp/v1/metrics';
const WHO = { service_name: 'shop', service_instance_id: 'shop-1', otel_scope_name: 'till' };

const start = (t, more = '') => startPenstock(t, { config: `metrics: {max_custom: 20}\n${more}` });

/// A meter whose reader sends when told to.
function meterOf(t, gate, Exporter, { temporality = AggregationTemporality.CUMULATIVE, headers, compression } = {}) {
  const exporter = new Exporter({ url: `${gate.url}${PATH}`, temporalityPreference: temporality, headers, compression });
  const reader = new PeriodicExportingMetricReader({ exporter, exportIntervalMillis: 3600000 });
  const provider = new MeterProvider({
    resource: new Resource({ 'service.name': 'shop', 'service.instance.id': 'shop-1', 'host.name': 'h' }),
    readers: [reader],
    views: [new View({ instrumentName: 'spread', aggregation: new ExponentialHistogramAggregation(160) })],
  });
  t.after(() => provider.shutdown().catch(() => {}));
  return { meter: provider.getMeter('till', '1.0'), flush: () => reader.forceFlush() };
}

async function post(gate, body, headers = {}) {
  const answer = await call(gate.port, {
    method: 'POST', path: PATH, headers: { 'content-type': 'application/json', ...headers },
    body: typeof body === 'string' || Buffer.isBuffer(body) ? body : JSON.stringify(body),
  });
  return { status: answer.status, type: answer.headers['content-type'], text: answer.text };
}

const one = (data, name = 'jobs') => ({ resourceMetrics: [{ scopeMetrics: [{ metrics: [{ name, ...data }] }] }] });

for (const [name, Exporter] of [['protobuf', ProtoExporter], ['JSON', JsonExporter]]) {
  for (const [way, temporality] of Object.entries({ cumulative: AggregationTemporality.CUMULATIVE, delta: AggregationTemporality.DELTA })) {
    test(`the reference exporter in ${name}, ${way}: every instrument has its value`, async (t) => {
      const gate = await start(t);
      const { meter, flush } = meterOf(t, gate, Exporter, { temporality, compression: way === 'delta' ? 'gzip' : 'none' });
      const jobs = meter.createCounter('app.jobs', { description: 'Jobs done', unit: '{job}' });
      const open = meter.createUpDownCounter('app.open');
      const wait = meter.createHistogram('app.wait', { unit: 's', advice: { explicitBucketBoundaries: [0.1, 1, 10] } });
      const spread = meter.createHistogram('spread', { unit: 'By' });
      const heat = meter.createObservableGauge('app.heat', { unit: 'Cel' });
      heat.addCallback((result) => result.observe(41.5, { chip: 0 }));
      for (const round of [1, 2, 3]) {
        jobs.add(2, { 'http.route': '/pay', ok: true });
        open.add(round === 3 ? -1 : 2);
        for (const value of [0.05, 0.5, 0.5, 20]) wait.record(value);
        for (const value of [100, 1000, 4096]) spread.record(value);
        await flush();
      }
      assert.equal(await metric(gate.port, 'app_jobs_total', { ...WHO, http_route: '/pay', ok: 'true' }), 6);
      assert.equal(await metric(gate.port, 'app_open', WHO), 3);
      assert.equal(await metric(gate.port, 'app_heat_celsius', { ...WHO, chip: '0' }), 41.5);
      assert.equal(await metric(gate.port, 'app_wait_seconds_bucket', { ...WHO, le: '0.1' }), 3);
      assert.equal(await metric(gate.port, 'app_wait_seconds_bucket', { ...WHO, le: '1' }), 9);
      assert.equal(await metric(gate.port, 'app_wait_seconds_count', WHO), 12);
      assert.ok(Math.abs(await metric(gate.port, 'app_wait_seconds_sum', WHO) - 63.15) < 1e-9);
      assert.equal(await metric(gate.port, 'spread_bytes_count', WHO), 9);
      assert.equal(await metric(gate.port, 'spread_bytes_sum', WHO), 15588);
      assert.equal(await metric(gate.port, 'spread_bytes_bucket', { ...WHO, le: '1024' }), 6);
      assert.equal(await metric(gate.port, 'penstock_otlp_points_total', { result: 'rejected' }), 0);
      assert.match((await call(gate.port, { path: '/metrics' })).text, /# HELP app_jobs_total Jobs done/);
    });
  }
}

test('a program that begins again goes on counting where its totals begin', async (t) => {
  const gate = await start(t);
  for (const total of [5, 3]) {
    const { meter, flush } = meterOf(t, gate, ProtoExporter);
    meter.createCounter('jobs').add(total);
    await flush();
    await flush(); // the same total again is nothing new
  }
  assert.equal(await metric(gate.port, 'jobs_total', WHO), 8);
});

test('what is refused is told in the answer, and the rest counts', async (t) => {
  const gate = await start(t);
  const point = { asInt: '3', timeUnixNano: '1700000000000000000' };
  const sum = (points, more = {}) => one({ sum: { aggregationTemporality: 1, isMonotonic: true, dataPoints: points, ...more } });
  assert.deepEqual(await post(gate, sum([point])), { status: 200, type: 'application/json', text: '{}' });
  const cases = [
    [sum([point]), 1, /jobs: not later/], // sent again, because the answer was lost
    [sum([{ ...point, asInt: -1, timeUnixNano: '1700000000000000001' }]), 1, /does not fall/],
    [sum([point, point], { aggregationTemporality: 0 }), 2, /temporality/],
    [one({ summary: { dataPoints: [{}, {}, {}] } }), 3, /summaries/],
    [one({ gauge: { dataPoints: [{ asDouble: 1 }] } }, 'penstock_x'), 1, /program's own/],
    [one({ gauge: { dataPoints: [{}] } }, 'g'), 1, /missing or not finite/],
    [one({ histogram: { aggregationTemporality: 1, dataPoints: [{ count: 1, bucketCounts: [1], explicitBounds: [] }] } }, 'h'), 1, /1 to 64 bounds/],
    [one({ histogram: { aggregationTemporality: 1, dataPoints: [{ count: 3, bucketCounts: [1, 1], explicitBounds: [1] }] } }, 'h'), 1, /add up/],
    [one({ exponentialHistogram: { aggregationTemporality: 1, dataPoints: [{ count: 1, scale: 30, positive: { offset: 0, bucketCounts: [1] } }] } }, 'e'), 1, /scales/],
    [one({ exponentialHistogram: { aggregationTemporality: 1, dataPoints: [{ count: 1, scale: 0, positive: { offset: 2000, bucketCounts: [1] } }] } }, 'e'), 1, /where numbers are/],
  ];
  for (const [body, points, why] of cases) {
    const answer = await post(gate, body);
    const { partialSuccess } = JSON.parse(answer.text);
    assert.equal(answer.status, 200);
    assert.equal(partialSuccess.rejectedDataPoints, String(points));
    assert.match(partialSuccess.errorMessage, why);
  }
  assert.equal(await metric(gate.port, 'jobs_total'), 3);
  assert.equal(await metric(gate.port, 'penstock_otlp_points_total', { result: 'accepted' }), 1);
});

test('what can not be read is refused as OTLP asks, and nobody is to try again', async (t) => {
  const gate = await start(t);
  const proto = { 'content-type': 'application/x-protobuf' };
  const gzip = { 'content-encoding': 'gzip' };
  const cases = [
    ['{', {}, 400, /JSON/], ['[]', {}, 400, /the document/],
    [{ resourceMetrics: 7 }, {}, 400, /resourceMetrics/],
    [one({ sum: { dataPoints: [{ asInt: 'x' }] } }), {}, 400, /asInt/],
    [Buffer.from([0x0a, 0xff]), proto, 400, /protobuf/],
    ['{}', gzip, 400, /gzip/], ['{}', { 'content-encoding': 'br' }, 415, /gzip/],
    [zlib.gzipSync(Buffer.alloc(64 << 20, '{"a":1},')), gzip, 413, /8 MiB/],
    [zlib.gzipSync(`[${'{},'.repeat(1 << 20)}{}]`), gzip, 413, /smaller parts/],
    [zlib.gzipSync(Buffer.alloc(7 << 20, Buffer.from([0x0a, 0x00]))), { ...proto, ...gzip }, 413, /smaller parts/],
  ];
  for (const [body, headers, status, why] of cases) {
    const answer = await post(gate, body, headers);
    assert.equal(answer.status, status, answer.text);
    assert.match(answer.text, why);
    assert.equal(answer.type, headers['content-type'] ?? 'application/json');
  }
  assert.equal((await post(gate, '{}', { 'content-type': 'text/plain' })).status, 415);
  assert.equal((await call(gate.port, { path: PATH })).status, 405);
  assert.equal(await metric(gate.port, 'penstock_otlp_failed_requests_total'), 9);
  assert.deepEqual(await post(gate, '', proto), { status: 200, type: 'application/x-protobuf', text: '' });
});

test('a token with the role ingest is enough, and one that reads is not', async (t) => {
  const gate = await start(t, `admin:
  tokens:
    - {name: app, role: ingest, token: in-in-in}
    - {name: look, role: read, token: out-out-out}
`);
  const sent = async (token) => {
    const { meter, flush } = meterOf(t, gate, ProtoExporter, { headers: { authorization: `Bearer ${token}` } });
    meter.createCounter('jobs').add(1);
    await flush().catch(() => {});
    return (await metrics(gate.port, { authorization: 'Bearer out-out-out' })).length;
  };
  const before = await sent('out-out-out');
  assert.ok(await sent('in-in-in') > before);
});

test('values of every kind, ids and exemplars by hand: what JSON of others looks like', async (t) => {
  const gate = await start(t);
  const value = (text) => ({ stringValue: text });
  const exemplar = { timeUnixNano: '1700000000000000000', asDouble: 0.5, traceId: '4BF92F3577B34DA6A3CE929D0E0E4736', spanId: '00f067aa0ba902b7' };
  const answer = await post(gate, {
    unknown: { x: [] },
    resourceMetrics: [{
      resource: { attributes: [{ key: 'service.name', value: value('a"b\\c\nd') }] },
      scopeMetrics: [{ metrics: [
        { name: 'h', unit: 's', histogram: { aggregationTemporality: 2, dataPoints: [{
          attributes: [{ key: 'n', value: { intValue: '-7' } }, { key: 'd', value: { doubleValue: 0.5 } },
            { key: 'b', value: { boolValue: false } }, { key: 'list', value: { arrayValue: { values: [] } } }],
          startTimeUnixNano: '1', timeUnixNano: '2', count: '2', sum: 0.75, bucketCounts: ['1', 1], explicitBounds: [0.25], exemplars: [exemplar],
        }] } },
        { name: 'x.count', gauge: { dataPoints: [{ asDouble: 'Infinity' }] } },
        { name: 'gone', gauge: { dataPoints: [{ asDouble: 1, timeUnixNano: 5 }, { flags: 1, timeUnixNano: 6 }] } },
      ] }],
    }],
  });
  assert.equal(answer.text, '{}');
  const who = { service_name: 'a\\"b\\\\c\\nd' }; // as it stands on the page
  const labels = { ...who, n: '-7', d: '0.5', b: 'false' };
  assert.equal(await metric(gate.port, 'h_seconds_count', labels), 2);
  assert.equal(await metric(gate.port, 'penstock_otlp_left_out_attributes_total'), 1);
  const page = (await call(gate.port, { path: '/metrics', headers: { accept: 'application/openmetrics-text' } })).text;
  assert.match(page, /trace_id="4bf92f3577b34da6a3ce929d0e0e4736",span_id="00f067aa0ba902b7"\} 0\.5 1700000000/);
  assert.match(page, /^x_count_value\{.*\} \+Inf$/m);
  assert.doesNotMatch(page, /^gone/m);
});
