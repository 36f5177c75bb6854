// past - what the rollups say of the view's stretch of time, fetched when that changes and again as time goes on.
//
// SPDX-License-Identifier: Apache-2.0
const URL_BYTES = 3000;
const KNOWN = 'requests';
const NAMES = 10; // a name may have many tracks, and an answer holds so many
const SETTLE_MS = 150;

/// Names in lots that fit into a URL. One of each is always known: a question that is about nothing known is an error.
function lots(names) {
  const all = [];
  let size = Infinity;
  for (const name of names) {
    const bytes = encodeURIComponent(name).length + 6;
    if (size + bytes > URL_BYTES || all.at(-1).length === NAMES) {
      all.push([KNOWN]);
      size = 0;
    }
    all.at(-1).push(name);
    size += bytes;
  }
  return all;
}

async function ask(names, { min, max }, signal) {
  const query = new URLSearchParams([...names.map((name) => ['name', name]),
    ['from', String(Math.floor(min))], ['to', String(Math.ceil(max))]]);
  const answer = await fetch(`/api/history?${query}`, { signal, cache: 'no-store' });
  if (!answer.ok) {
    const problem = await answer.json().catch(() => ({}));
    throw new Error(problem.detail ?? `the history answered ${answer.status}`);
  }
  const { step_seconds: step, store, series = [] } = await answer.json();
  const time = series[0]?.time ?? [];
  return { step, time, isKept: store !== false, series: series.map((one) => [one.key, valuesOf(one)]) };
}

/// Seconds have one value, rollups several.
function valuesOf({ value, mean = value, min = value, max = value }) {
  return { mean, min, max };
}

export class Past {
  /// names(): which to ask for; onData() when something came, or failed: error.
  constructor(view, names, onData) {
    this.view = view;
    this.names = names;
    this.onData = onData;
    this.forget();
  }

  forget() {
    this.abort?.abort();
    clearTimeout(this.timer);
    this.time = [];
    this.isKept = true; // are there rollups?
    this.series = new Map();
    this.step = 60;
    this.error = null;
  }

  /// Asks soon; a second call before that replaces it.
  refresh() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.fetch(), SETTLE_MS);
  }

  async fetch() {
    this.abort?.abort();
    const abort = new AbortController();
    this.abort = abort;
    const extent = this.view.extent();
    try {
      const answers = await Promise.all(lots(this.names()).map((names) => ask(names, extent, abort.signal)));
      const longest = answers.reduce((best, one) => (one.time.length > best.time.length ? one : best), answers[0] ?? { time: [] });
      this.time = longest.time;
      this.step = longest.step ?? 60;
      this.series = new Map(answers.flatMap(({ time, series }) => series.map(([key, values]) => [key, onGrid(this.time, time, values)])));
      this.fetchedAt = Date.now();
      this.error = null;
      this.isKept = answers.every(({ isKept }) => isKept);
      this.onData();
    } catch (error) {
      if (!abort.signal.aborted) {
        this.error = `The history can't be read: ${error.message}`;
        this.onData();
      }
    }
  }

  /// A moving range wants new points now and then.
  tick() {
    const age = Date.now() - (this.fetchedAt ?? 0);
    if (this.view.fixed === null && this.view.zoomed === null && age > Math.min(Math.max(this.step * 500, 5000), 60000)) {
      this.fetchedAt = Date.now();
      this.fetch();
    }
  }

  /// {mean, min, max} of a key, or undefined.
  get(key) {
    return this.series.get(key);
  }

  keysOf(name) {
    return this.series.has(name) ? [name] : [...this.series.keys()].filter((key) => key.startsWith(`${name}{`)).sort();
  }
}

/// On the times of another answer; the same object where they agree already.
function onGrid(grid, time, values) {
  if (grid.length === time.length) {
    return values;
  }
  const at = new Map(time.map((second, i) => [second, i]));
  return Object.fromEntries(Object.entries(values)
    .map(([kind, list]) => [kind, grid.map((second) => list[at.get(second)] ?? null)]));
}
