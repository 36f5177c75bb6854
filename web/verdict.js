// verdict - healthy or not, and where to look: one sentence made of rules over the last seconds.
//
// A rule looks at some seconds, not at one, and what it found stays for a few more, so that the sentence can be read. What
// is not known is no reason to worry, but without any figures the state is unknown.
//
// SPDX-License-Identifier: Apache-2.0
import { format, plural } from './format.js';
import { labelText, partsOf } from './key.js';

const HOLD_SECONDS = 5;
const ORDER = ['ok', 'watch', 'bad'];
const WORDS = { ok: 'Healthy', watch: 'Watch', bad: 'Trouble' };

const endpointOf = (key, keys) => labelText(key, keys.length > 1 ? keys : [key, 'x{endpoint=""}']);

/// Each returns [level, text, panel] or null.
const RULES = {
  endpoints(store) {
    const keys = store.keysOf('upstream_healthy');
    const down = keys.filter((key) => store.latest(key, 2).value === 0);
    if (down.length === 0) {
      return null;
    }
    const all = down.length === keys.length;
    const text = down.length === 1 ? `${partsOf(down[0]).labels.upstream} ${endpointOf(down[0], keys)} is down` : `${down.length} of ${keys.length} endpoints are down`;
    return [all ? 'bad' : 'watch', all ? `No endpoint is up (${keys.length} down)` : text, 'endpoints'];
  },
  errors(store) {
    const all = store.mean('requests', 10);
    const failed = store.mean('errors', 10);
    if (!all || !failed) {
      return null;
    }
    const percent = (100 * failed) / all;
    return percent >= 1 ? [percent >= 5 ? 'bad' : 'watch', `${format(percent, '%')} of requests fail`, 'requests'] : null;
  },
  memory(store) {
    const keys = store.keysOf('gpu_server_level');
    const worst = (keys.length > 0 ? keys : store.keysOf('gpu_level')).map((key) => ({ key, level: store.latest(key, 3).value ?? 0 }))
      .sort((a, b) => b.level - a.level)[0];
    if (worst === undefined || worst.level < 2) {
      return null;
    }
    const isServer = worst.key.includes('{');
    const suffix = isServer ? worst.key.slice(worst.key.indexOf('{')) : '';
    const left = store.latest(isServer ? `gpu_server_seconds_to_critical${suffix}` : 'gpu_seconds_to_critical', 3).value;
    const { value } = store.latest(isServer ? `gpu_server_percent${suffix}` : 'gpu_effective_percent', 3);
    const who = isServer ? `${partsOf(worst.key).labels.upstream} ${endpointOf(worst.key, keys)}` : 'a GPU';
    const soon = left !== null && left > 0 && left < 600 ? `, critical in about ${format(left < 120 ? Math.ceil(left / 5) * 5 : left, 's')}` : '';
    const full = value === null ? '' : ` at ${Math.round(value)}\u00a0%`;
    return worst.level >= 3 ? ['bad', `Memory of ${who} is critical${full}`, 'gpu-memory'] : ['watch', `Memory of ${who} is filling up${full}${soon}`, 'gpu-memory'];
  },
  refusals(store) {
    const rate = store.mean('refused', 10);
    return rate > 0 ? ['bad', `${format(rate, 'requests/s')} are refused at the gate`, 'refused'] : null;
  },
  queue(store) {
    const waiting = store.mean('queue', 10);
    return waiting >= 1 ? ['watch', `${plural(Math.round(waiting), 'request')} ${Math.round(waiting) === 1 ? 'waits' : 'wait'} for room`, 'in-flight'] : null;
  },
  latency(store) {
    const p95 = store.mean('latency_p95_ms', 10);
    return p95 > 5000 ? ['watch', `Latency p95 is ${format(p95, 'ms')}`, 'latency'] : null;
  },
  cacheNodes(store) {
    const keys = store.keysOf('cache_node_up');
    const down = keys.filter((key) => store.latest(key, 2).value === 0);
    return down.length > 0 ? ['watch', `${down.length} of ${keys.length} cache servers ${down.length === 1 ? 'is' : 'are'} left alone`, 'cache-nodes'] : null;
  },
  processor(store) {
    const busy = store.mean('cpu', 10);
    return busy > 90 ? ['watch', `The processors are ${format(busy, '%')} busy`, 'cpu'] : null;
  },
};

function ofAlerts(alerts) {
  return alerts.filter((alert) => alert.state === undefined || alert.state === 'firing').map((alert, i) => {
    const severity = String(alert.severity ?? alert.labels?.severity ?? 'warning').toLowerCase();
    const text = alert.summary ?? alert.text ?? alert.annotations?.summary ?? alert.name ?? alert.labels?.alertname ?? 'an alert fires';
    return { id: `alert-${alert.name ?? i}`, level: severity === 'critical' ? 'bad' : severity === 'info' ? 'ok' : 'watch', text, panel: 'events' };
  });
}

export class Verdict {
  constructor() {
    this.held = new Map(); // name of the rule -> {reason, until}
  }

  /// {level: 'ok' | 'watch' | 'bad' | 'idle' | 'unknown', word, text, reasons: [{level, text, panel}]}
  judge(store) {
    for (const [name, rule] of Object.entries(RULES)) {
      const found = rule(store);
      if (found) {
        const [level, text, panel] = found;
        this.held.set(name, { reason: { id: name, level, text, panel }, until: store.end + HOLD_SECONDS });
      } else if ((this.held.get(name)?.until ?? 0) < store.end) {
        this.held.delete(name);
      }
    }
    const reasons = [...this.held.values()].map(({ reason }) => reason).concat(ofAlerts(store.alerts))
      .sort((a, b) => ORDER.indexOf(b.level) - ORDER.indexOf(a.level));
    const level = reasons.length > 0 ? reasons[0].level : 'ok';
    return { level, reasons, ...sentence(level, reasons, store) };
  }
}

function sentence(level, reasons, store) {
  const endpoints = store.keysOf('upstream_healthy').length;
  const idle = 'No inference server is configured, so there is nothing to pass requests on to. Start with --upstream URL.';
  if (endpoints === 0) {
    return level === 'ok' ? { level: 'idle', word: 'Idle', text: idle } : { word: WORDS[level], text: `${idle} Where to look:` };
  }
  const requests = store.mean('requests', 10);
  const traffic = requests === null ? 'The request rate is unknown' : requests < 0.05 ? 'No requests at present' : format(requests, 'requests/s');
  if (level !== 'ok') {
    return { word: WORDS[level], text: `${traffic}. Where to look:` };
  }
  const p95 = store.mean('latency_p95_ms', 10);
  const failed = store.mean('errors', 10);
  const told = [failed ? `${format(failed, 'requests/s')} fail` : requests >= 0.05 ? 'no errors' : '', p95 === null ? '' : `p95 ${format(p95, 'ms')}`,
    `${plural(endpoints, 'endpoint')} up`].filter(Boolean);
  return { word: WORDS.ok, text: `${traffic}, ${told.join(', ')}.` };
}
