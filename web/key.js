// key - the parts of a track's key: latency_p95_ms, upstream_healthy{upstream="a",endpoint="b"}, p95(name{l="v"}).
//
// SPDX-License-Identifier: Apache-2.0

const parsed = new Map();

function parse(key) {
  const wrapped = /^([a-z0-9_]+)\((.*)\)$/s.exec(key);
  const inside = wrapped ? wrapped[2] : key;
  const brace = inside.indexOf('{');
  const name = brace < 0 ? inside : inside.slice(0, brace);
  const labels = {};
  for (const [, label, value] of brace < 0 ? [] : inside.slice(brace).matchAll(/([A-Za-z_][A-Za-z0-9_]*)="((?:[^"\\]|\\.)*)"/gs)) {
    labels[label] = value.replace(/\\(.)/gs, (_, c) => (c === 'n' ? '\n' : c));
  }
  return { name, labels, of: wrapped ? wrapped[1] : '' };
}

/// {name, labels: {label: value}, of: 'rate' | 'p95' | ... | ''}. Remembered: the same few keys come every second.
export function partsOf(key) {
  let parts = parsed.get(key);
  if (parts === undefined) {
    if (parsed.size > 5000) {
      parsed.clear();
    }
    parts = parse(key);
    parsed.set(key, parts);
  }
  return parts;
}

/// As it is shown: an address without its scheme, nothing that is the same in all of `others`.
export function labelText(key, others) {
  const { labels } = partsOf(key);
  const plain = (value) => value.replace(/^https?:\/\//, '');
  const told = Object.keys(labels).filter((label) => others.some((other) => partsOf(other).labels[label] !== labels[label]));
  const shown = told.length > 0 ? told : Object.keys(labels).slice(0, 1);
  // An endpoint is known by its address; its upstream is in the title.
  const short = shown.includes('endpoint') ? shown.filter((label) => label !== 'upstream') : shown;
  return short.map((label) => (label === 'index' ? `GPU ${labels[label]}` : plain(labels[label]) || 'unknown')).join(' ');
}
