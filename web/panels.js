// panels - which chart shows which rows of the board, and in which part of the page.
//
// Units, help and labels are the board's own; rows of it that no panel names get one by themselves.
//
// SPDX-License-Identifier: Apache-2.0
const many = (name) => ({ name });

export const SECTIONS = [
  {
    id: 'traffic', title: 'Traffic', panels: [
      { id: 'requests', title: 'Requests', area: true,
        series: [{ name: 'requests', text: 'all' }, { name: 'errors', text: 'errors', bad: true }, { name: 'retries', text: 'retries', colour: 4 }] },
      { id: 'latency', title: 'Latency', weight: 2, sparse: true,
        series: [{ name: 'latency_p50_ms', text: 'p50' }, { name: 'latency_p95_ms', text: 'p95' }, { name: 'latency_p99_ms', text: 'p99', colour: 3 }] },
      { id: 'errors', title: 'Error rate', sparse: true, floor: 2, series: [{ name: 'error_percent', text: 'failed', bad: true }] },
      { id: 'ttft', title: 'Time to first token', sparse: true,
        series: [{ name: 'ttft_p50_ms', text: 'p50' }, { name: 'ttft_p95_ms', text: 'p95' }] },
      { id: 'tokens', title: 'Tokens',
        series: [{ name: 'tokens', text: 'written' }, { name: 'prompt_tokens', text: 'read', colour: 2 }] },
    ],
  },
  {
    id: 'gpu', title: 'GPU', panels: [
      { id: 'gpu-memory', title: 'Memory pressure', weight: 2, top: 100, limits: true, forecast: true,
        series: [many('gpu_server_percent')], otherwise: [{ name: 'gpu_effective_percent', text: 'fullest' }, { name: 'gpu', text: 'device' }] },
      { id: 'gpu-device', title: 'Device memory', top: 100, series: [many('gpu_memory_percent')] },
      { id: 'gpu-busy', title: 'Utilization', top: 100, series: [many('gpu_device_busy_percent')] },
      { id: 'gpu-power', title: 'Power', series: [many('gpu_device_power_watts')] },
      { id: 'gpu-temperature', title: 'Temperature', series: [many('gpu_device_temperature_celsius')] },
      { id: 'gpu-kv', title: 'Key-value cache', top: 100, series: [many('gpu_server_kv_percent')] },
    ],
  },
  {
    id: 'cache', title: 'Cache', panels: [
      { id: 'cache-rate', title: 'Hit rate', top: 100, sparse: true, area: true, series: [{ name: 'cache_hit_percent', text: 'hits', colour: 2 }] },
      { id: 'cache-answers', title: 'Where answers come from', unit: 'answers/s',
        series: [{ name: 'cache_l1_hits', text: 'memory (L1)', colour: 2 }, { name: 'cache_l2_hits', text: 'Redis (L2)', colour: 6 },
          { name: 'cache_coalesced', text: 'joined', colour: 4 }, { name: 'cache_misses', text: 'servers', colour: 1 }] },
      { id: 'cache-saved', title: 'GPU time saved', unit: 'GPU-seconds/s', area: true, series: [{ name: 'cache_gpus_saved', text: 'now' }],
        also: [{ name: 'cache_gpu_seconds_saved', text: 'in all' }] },
      { id: 'cache-nodes', title: 'Node balance', series: [many('cache_node_operations')] },
      { id: 'cache-size', title: 'Memory of the cache', series: [{ name: 'cache_mb', text: 'in use' }], also: [{ name: 'cache_entries', text: 'entries' }] },
    ],
  },
  {
    id: 'queue', title: 'Queue and admission', panels: [
      { id: 'in-flight', title: 'Requests inside', series: [{ name: 'in_flight', text: 'in flight' }, { name: 'queue', text: 'waiting' }] },
      { id: 'wait', title: 'Wait at the gate', sparse: true, series: [{ name: 'queue_wait_p95_ms', text: 'p95', colour: 1 }] },
      { id: 'refused', title: 'Refused', floor: 1, series: [{ name: 'refused', text: 'refused', bad: true }] },
    ],
  },
  {
    id: 'upstreams', title: 'Upstreams', panels: [
      { id: 'upstream-requests', title: 'Requests by endpoint', series: [many('upstream_requests')] },
      { id: 'upstream-flight', title: 'In flight by endpoint', series: [many('upstream_in_flight')] },
      { id: 'upstream-failures', title: 'Failed tries', floor: 1, series: [many('upstream_failures')] },
    ],
  },
  {
    id: 'process', title: 'This process', panels: [
      { id: 'cpu', title: 'Processor', top: 100, series: [{ name: 'cpu', text: 'machine' }, { name: 'process_cpu_percent', text: 'Penstock' }] },
      { id: 'memory', title: 'Memory', series: [{ name: 'memory_mb', text: 'resident' }, { name: 'buffered_mb', text: 'buffered', colour: 2 }] },
      { id: 'descriptors', title: 'Descriptors', series: [{ name: 'descriptors', text: 'open' }] },
    ],
  },
  { id: 'custom', title: 'Your metrics', panels: [] },
];

/// In tables, in the verdict, or better seen elsewhere.
export const ELSEWHERE = new Set(['gpu', 'gpu_effective_percent', 'gpu_level', 'gpu_seconds_to_critical', 'gpu_busy_percent',
  'gpu_power_watts', 'gpu_temperature_celsius', 'gpu_memory_used_mb', 'gpu_process_memory_mb', 'gpu_server_level',
  'gpu_server_seconds_to_critical', 'cache_hits', 'cache_node_up', 'upstream_healthy', 'upstream_running',
  'upstream_waiting', 'memory_percent']);

/// The key figures on top: what is up, with the panel that tells more.
export const TILES = [
  { name: 'requests', text: 'Requests', panel: 'requests' },
  { name: 'error_percent', text: 'Errors', panel: 'errors', bad: true },
  { name: 'latency_p95_ms', text: 'Latency p95', panel: 'latency', colour: 1 },
  { name: 'ttft_p95_ms', text: 'First token p95', panel: 'ttft', colour: 1 },
  { name: 'tokens', text: 'Tokens', panel: 'tokens' },
  { name: 'gpu_effective_percent', text: 'GPU memory', panel: 'gpu-memory', top: 100, colour: 3 },
  { name: 'cache_hit_percent', text: 'Cache hits', panel: 'cache-rate', top: 100, colour: 2 },
  { name: 'queue', text: 'Waiting', panel: 'in-flight', colour: 1 },
];

/// Custom metrics by family: percentiles of a histogram together, its rate beside them.
export function customPanels(keys, partsOf) {
  const families = new Map();
  for (const key of keys) {
    const { name, of } = partsOf(key);
    const kind = of === '' || of === 'rate' ? of : 'spread';
    const id = `custom-${name}-${kind}`;
    if (!families.has(id)) {
      families.set(id, { id, name, kind, keys: [] });
    }
    families.get(id).keys.push(key);
  }
  const has = (name) => families.has(`custom-${name}-spread`);
  return [...families.values()].map(({ id, name, kind, keys: own }) => ({
    id, title: kind === 'rate' && has(name) ? `${name}, observed` : name, custom: true, sparse: kind === 'spread',
    unit: kind === 'rate' ? '/s' : /_seconds$/.test(name) ? 's' : '', keys: own,
  }));
}
