// tables - rows of text that change every second without being made anew.
//
// SPDX-License-Identifier: Apache-2.0
import { el, setAttribute, setHidden, setText } from './dom.js';
import { DASH, format } from './format.js';
import { partsOf } from './key.js';

const LEVELS = ['low', 'medium', 'high', 'critical'];

/// Columns: {title, class, help}. A cell is a text, or {text, level, share, title}.
export class Table {
  constructor(id, title, columns, none = '') {
    this.columns = columns;
    this.body = el('tbody');
    this.rows = new Map();
    this.none = el('p', { class: 'note static', hidden: true }, none);
    this.table = el('table', { class: 'data', 'aria-labelledby': `title-${id}` },
      el('thead', {}, el('tr', {}, ...columns.map(({ title: text, class: kind, help }) => el('th', { scope: 'col', class: kind, title: help }, text)))), this.body);
    this.count = el('span', { class: 'unit' });
    this.element = el('article', { class: 'panel table-panel', id: `panel-${id}`, tabindex: '-1', 'aria-labelledby': `title-${id}` },
      el('div', { class: 'head' }, el('h3', { id: `title-${id}` }, title), this.count),
      el('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-labelledby': `title-${id}` }, this.table), this.none);
  }

  /// rows: [{id, cells}], in order.
  set(rows) {
    const gone = new Set(this.rows.keys());
    rows.forEach(({ id, cells }, at) => {
      gone.delete(id);
      const row = this.rows.get(id) ?? this.add(id);
      if (this.body.children[at] !== row.element) {
        this.body.insertBefore(row.element, this.body.children[at] ?? null);
      }
      cells.forEach((cell, i) => fill(row.cells[i], cell));
    });
    for (const id of gone) {
      this.rows.get(id).element.remove();
      this.rows.delete(id);
    }
    setHidden(this.table, rows.length === 0);
    setHidden(this.none, rows.length > 0);
  }

  add(id) {
    const cells = this.columns.map(({ class: kind }, i) => el(i === 0 ? 'th' : 'td', i === 0 ? { scope: 'row', class: kind } : { class: kind }));
    const row = { element: el('tr', {}, ...cells), cells };
    this.rows.set(id, row);
    return row;
  }
}

function fill(place, cell) {
  const { text, level, share, title } = typeof cell === 'object' && cell !== null ? cell : { text: cell };
  setText(place, text ?? DASH);
  setAttribute(place, 'data-level', level ?? '');
  setAttribute(place, 'title', title ?? '');
  const bar = Number.isFinite(share) ? `${Math.min(Math.max(share, 0), 100).toFixed(1)}%` : '';
  if (place.style.getPropertyValue('--share') !== bar) {
    place.classList.toggle('share', bar !== '');
    place.style.setProperty('--share', bar);
  }
}

const plain = (address) => (address ?? '').replace(/^https?:\/\//, '');
const levelCell = (value) => (value === null || value === undefined ? DASH : { text: LEVELS[Math.round(value)], level: LEVELS[Math.round(value)] });
const percentCell = (value) => ({ text: format(value, '%'), share: value ?? NaN });

// ---- the tables of the page

export function endpointTable() {
  return new Table('endpoints', 'Endpoints', [{ title: 'Upstream' }, { title: 'Endpoint' }, { title: 'Engine' }, { title: 'State' },
    { title: 'In flight', class: 'number' }, { title: 'Requests', class: 'number' }, { title: 'Running', class: 'number', help: 'as the server says' },
    { title: 'Waiting', class: 'number', help: 'inside the server' }, { title: 'Memory', class: 'number wide', help: 'how full it is for requests' },
    { title: 'Level' }, { title: 'Critical in', class: 'number' }],
  'No upstream is configured. Start with --upstream URL, or name one in the configuration (upstreams).');
}

export function endpointRows(store, engines) {
  return store.keysOf('upstream_healthy').map((key) => {
    const { labels } = partsOf(key);
    const suffix = key.slice(key.indexOf('{'));
    const at = (name) => store.latest(`${name}${suffix}`, 2).value;
    const engine = engines.find((one) => one.upstream === labels.upstream && plain(one.endpoint) === plain(labels.endpoint));
    const up = store.latest(key, 2).value;
    return { id: key, cells: [labels.upstream, { text: plain(labels.endpoint), title: labels.endpoint },
      engine ? `${engine.engine}${engine.simulated ? ' (simulated)' : ''}` : DASH,
      up === null ? 'unknown' : { text: up >= 0.5 ? 'up' : 'down', level: up >= 0.5 ? 'low' : 'critical' },
      format(at('upstream_in_flight'), ''), format(at('upstream_requests'), '/s'), format(at('upstream_running'), ''), format(at('upstream_waiting'), ''),
      percentCell(at('gpu_server_percent')), levelCell(at('gpu_server_level')), format(at('gpu_server_seconds_to_critical'), 's')] };
  });
}

export function deviceTable() {
  return new Table('devices', 'Devices', [{ title: 'GPU' }, { title: 'Told by' }, { title: 'Memory', class: 'number wide' }, { title: 'Used', class: 'number' },
    { title: 'Of', class: 'number' }, { title: 'Busy', class: 'number' }, { title: 'Power', class: 'number' }, { title: 'Temperature', class: 'number' }, { title: '' }]);
}

const first = (object, ...names) => names.map((name) => object[name]).find((value) => typeof value === 'number') ?? null;

export function deviceRows({ devices = [] }) {
  return devices.map((device, i) => ({ id: device.uuid || `${device.source}-${device.endpoint ?? ''}-${device.index}-${i}`, cells: [
    { text: device.name || (device.endpoint ? plain(device.endpoint) : `GPU ${device.index}`), title: device.uuid ?? '' },
    device.source, percentCell(first(device, 'utilization_percent')), format(first(device, 'used_mb'), 'MiB'), format(first(device, 'total_mb'), 'MiB'),
    format(first(device, 'busy_percent', 'gpu_busy_percent', 'gpu_percent'), '%'), format(first(device, 'power_watts', 'power_w'), 'W'),
    format(first(device, 'temperature_celsius', 'temperature_c'), '°C'),
    device.lost ? { text: 'lost', level: 'critical' } : device.simulated ? { text: 'simulated' } : '' ] }));
}

export function processTable() {
  return new Table('processes', 'Processes on GPUs', [{ title: 'Process' }, { title: 'PID', class: 'number' }, { title: 'GPU', class: 'number' },
    { title: 'Memory', class: 'number' }, { title: 'Works for' }, { title: 'Models' }]);
}

export function processRows({ processes = [] }) {
  return [...processes].sort((a, b) => (b.used_mb ?? 0) - (a.used_mb ?? 0)).slice(0, 30).map((one) => ({ id: `${one.device}-${one.pid}`, cells: [
    one.name ?? 'unseen', String(one.pid), String(one.device), format(one.used_mb ?? null, 'MiB'),
    one.upstream ? `${one.upstream} ${plain(one.endpoint)}` : { text: 'unknown', title: one.unattributed ?? one.unseen ?? '' }, (one.models ?? []).join(', ') || DASH] }));
}

export function nodeTable() {
  return new Table('nodes', 'Cache servers', [{ title: 'Node' }, { title: 'State' }, { title: 'Share of slots', class: 'number wide' }, { title: 'Keys', class: 'number' },
    { title: 'Operations', class: 'number' }]);
}

export function nodeRows({ node_distribution: nodes = [] }) {
  return nodes.map((node) => ({ id: node.node, cells: [node.node, { text: node.state ?? 'unknown', level: node.state === 'up' ? 'low' : 'high' },
    percentCell(node.share_percent ?? null), format(node.keys ?? null, ''), format(node.operations ?? null, '')] }));
}
