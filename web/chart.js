// chart - one panel: a plot, and a legend that says the values of its series as text.
//
// The legend has the present values, or those under the cursor, which is at the same time in all charts. Its buttons show
// one series alone, or put one away. The plot itself is a picture to a screen reader, described by its values.
//
// From the rollups the line is the mean, and the band around it reaches from the smallest value to the largest.
//
// SPDX-License-Identifier: Apache-2.0
import uPlot from 'uplot';

import { el, setAttribute, setHidden, setText } from './dom.js';
import { DASH, clock, day, format, isWord, mark, parts, short } from './format.js';
import { drawForecast, drawLimits } from './forecast.js';
import { labelText, partsOf } from './key.js';

const HEIGHT = 132;
const LARGE_HEIGHT = 340;
const MOST_SERIES = 12;
const BRIDGE_SECONDS = 10; // a second without answers has no percentile, and is not a gap
const FONT = '11px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif';
const MOUSE = ['mousemove', 'mouseleave'];

/// The next of 1, 2, 2.5, 5, 10, ... that holds the value.
function nice(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return power * [1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10].find((step) => step * power >= value * 0.9999);
}

const alpha = (colour, share) => colour + Math.round(share * 255).toString(16).padStart(2, '0');

export class Chart {
  /// context: {source(), view, past, theme, onHover(time or null)}
  constructor(panel, context) {
    this.panel = panel;
    this.context = context;
    this.hidden = new Set();
    this.items = new Map(); // key -> parts of its button
    this.isVisible = false;
    this.top = 0;
    this.build();
  }

  build() {
    const { panel } = this;
    this.unit = el('span', { class: 'unit' });
    this.expand = el('button', { type: 'button', class: 'expand', 'aria-pressed': 'false', title: 'Larger, with a table', on: { click: () => this.enlarge() } });
    this.expand.append(el('span', { class: 'unseen' }, `Larger: ${panel.title}`));
    this.legend = el('ul', { class: 'legend', 'aria-label': `${panel.title}: values` });
    this.plot = el('div', { class: 'plot', role: 'img' });
    this.note = el('p', { class: 'note', hidden: true });
    this.table = el('table', { class: 'stats', hidden: true });
    this.element = el('article', { class: 'panel', id: `panel-${panel.id}`, tabindex: '-1', 'aria-labelledby': `title-${panel.id}` },
      el('div', { class: 'head' }, el('h3', { id: `title-${panel.id}` }, panel.title), this.unit, this.expand),
      this.legend, el('div', { class: 'frame' }, this.plot, this.note), this.table);
  }

  get isLarge() {
    return this.element.classList.contains('large');
  }

  enlarge() {
    this.element.classList.toggle('large');
    setAttribute(this.expand, 'aria-pressed', String(this.isLarge));
    this.table.hidden = !this.isLarge;
    this.context.onLayout();
    this.resize();
    this.refresh();
  }

  // ---- what is shown

  wanted() {
    const { panel } = this;
    if (panel.keys) {
      return panel.keys.map((key) => ({ key, name: key }));
    }
    const found = this.expandRows(panel.series);
    return found.length > 0 || !panel.otherwise ? found : this.expandRows(panel.otherwise);
  }

  expandRows(rows) {
    const { view, past } = this.context;
    const source = this.context.source();
    return rows.flatMap((row) => {
      const live = source.keysOf(row.name);
      const keys = view.isLive ? live : [...new Set([...past.keysOf(row.name), ...live])];
      return keys.map((key) => ({ ...row, key }));
    });
  }

  /// The tracks with all that drawing needs.
  tracks() {
    const source = this.context.source();
    let wanted = this.wanted();
    this.left = Math.max(0, wanted.length - MOST_SERIES);
    wanted = wanted.slice(0, MOST_SERIES);
    const keys = wanted.map(({ key }) => key);
    return wanted.map((one) => {
      const row = source.rows.get(one.name) ?? {};
      const { of, labels } = partsOf(one.key);
      const label = one.text ?? [of === 'rate' && this.panel.custom && !this.panel.sparse ? '' : of, Object.keys(labels).length > 0 ? labelText(one.key, keys) : '']
        .filter(Boolean).join(' ');
      return { ...one, text: label || 'value', unit: this.panel.unit ?? row.unit ?? '', help: row.help ?? '', place: one.colour ?? this.placeOf(one, labels) };
    });
  }

  /// Its place among the colours: a server, a device or a node has the same in all panels of the page.
  placeOf({ key, name, text }, { endpoint, source, index, node, upstream }) {
    const who = endpoint ?? (source ? `${source} ${index}` : node ?? upstream);
    const among = who === undefined ? this.panel.id : source && !endpoint ? 'device' : node ? 'node' : endpoint ? 'endpoint' : 'upstream';
    const places = this.context.places(among);
    const what = who ?? (text ? name : key);
    if (!places.has(what)) {
      places.set(what, places.size);
    }
    return places.get(what);
  }

  colourOf(track) {
    const { colours } = this.context.theme;
    return track.bad ? colours.bad : colours.series[track.place % colours.series.length];
  }

  isShown(track) {
    return !this.hidden.has(track.key);
  }

  // ---- drawing

  /// Brings the panel up to date: the legend at once, the plot, where somebody sees it, in its turn.
  refresh() {
    const tracks = this.tracks();
    const signature = `${this.context.view.isLive}|${tracks.map(({ key }) => key).join('\n')}`;
    if (signature !== this.signature) {
      this.signature = signature;
      this.shown = tracks;
      this.buildLegend();
      this.destroy();
    }
    this.shown = tracks;
    if (this.isVisible) {
      this.context.draw(this);
    }
    this.tell();
  }

  /// A new one with the colours of the theme.
  retheme() {
    this.buildLegend();
    this.destroy();
    this.refresh();
  }

  destroy() {
    this.chart?.destroy();
    this.chart = undefined;
  }

  size() {
    return { width: Math.max(this.plot.clientWidth, 50), height: this.isLarge ? LARGE_HEIGHT : HEIGHT };
  }

  resize() {
    if (this.chart && this.plot.clientWidth > 0) {
      this.chart.setSize(this.size());
    }
  }

  draw() {
    if (this.chart === undefined) {
      this.chart = new uPlot(this.options(), this.data(), this.plot);
    }
    const { view } = this.context;
    const { min, max } = view.extent();
    const ahead = this.panel.forecast && view.isLive && view.zoomed === null ? view.seconds / 5 : 0;
    this.chart.batch(() => {
      this.chart.setData(this.data(), false);
      this.chart.setScale('x', { min, max: max + ahead });
    });
  }

  data() {
    const { view, past } = this.context;
    const source = this.context.source();
    if (view.isLive) {
      return [source.times, ...this.shown.map(({ key }) => source.series.get(key) ?? [])];
    }
    const none = { mean: [], min: [], max: [] };
    return [past.time, ...this.shown.flatMap(({ key }) => {
      const { mean, min, max } = past.get(key) ?? none;
      return [mean, min, max];
    })];
  }

  options() {
    const { theme, view } = this.context;
    const { colours } = theme;
    const isLive = view.isLive;
    const unit = this.shown[0]?.unit ?? '';
    const series = [{}];
    const bands = [];
    this.shown.forEach((track, i) => {
      const stroke = this.colourOf(track);
      const show = this.isShown(track);
      series.push({
        stroke, show, width: 1.5, dash: track.place >= colours.series.length ? [4, 3] : undefined,
        fill: this.panel.area && isLive && i === 0 ? alpha(stroke, 0.13) : undefined,
        ...(this.panel.sparse ? { gaps: (u, index, from, to, gaps) => this.bridged(u, gaps) } : {}),
        points: { show: true, size: 3, fill: stroke, width: 0, filter: (u, index) => lonely(u.data[index], u) },
      });
      if (!isLive) {
        series.push({ show, width: 0, points: { show: false } }, { show, width: 0, points: { show: false } });
        bands.push({ series: [3 * i + 3, 3 * i + 2], fill: alpha(stroke, 0.16) });
      }
    });
    const axis = { stroke: colours.axis, font: FONT, ticks: { show: false }, grid: { stroke: colours.grid, width: 1 } };
    return {
      ...this.size(), series, bands, pxAlign: 1, legend: { show: false }, padding: [8, 6, 0, 0],
      scales: { x: { time: true }, y: { range: (u, min, max) => this.rangeOf(min, max) } },
      axes: [
        { ...axis, size: 22, gap: 5, space: spaceOf, grid: { show: false }, values: marksOf },
        { ...axis, size: 46, gap: 5, space: 28, values: (u, splits, a, space, step) => splits.map((at) => short(at, unit, step)) },
      ],
      cursor: {
        x: true, y: false, points: { size: 6, width: 0 }, drag: { x: true, y: false, setScale: false, dist: 6 },
        sync: { key: 'penstock', scales: ['x', null], setSeries: false, filters: { pub: (type) => MOUSE.includes(type) } },
        bind: { dblclick: () => () => { view.reset(); return null; } },
      },
      hooks: {
        setSelect: [(u) => this.onSelect(u)],
        setCursor: [(u) => this.onCursor(u)],
        drawAxes: [(u) => this.panel.limits && drawLimits(u, colours)],
        draw: [(u) => this.panel.forecast && isLive && view.zoomed === null && this.drawForecasts(u)],
      },
    };
  }

  /// From 0 to a round number; it is in no hurry to shrink, so that marks don't dance.
  rangeOf(min, max) {
    if (this.panel.top) {
      return [0, this.panel.top];
    }
    const most = Math.max(max ?? 0, this.panel.floor ?? 0);
    const wanted = most > 0 ? nice(most * 1.06) : 1;
    if (wanted > this.top || most < this.top * 0.4) {
      this.top = wanted;
    }
    return [min < 0 ? -nice(-min * 1.06) : 0, this.top];
  }

  /// Gaps that are none: seconds that were heard, in which there was nothing to measure.
  bridged(u, gaps) {
    const source = this.context.source();
    return gaps.filter(([from, to]) => {
      const start = u.posToVal(from, 'x', true);
      const end = u.posToVal(to, 'x', true);
      return end - start > BRIDGE_SECONDS || !this.context.view.isLive || !source.isHeard(start, end);
    });
  }

  drawForecasts(u) {
    const source = this.context.source();
    for (const track of this.shown.filter((one) => this.isShown(one))) {
      drawForecast(u, source, track.key, this.colourOf(track));
    }
  }

  // ---- the mouse

  onSelect(u) {
    const { left, width } = u.select;
    if (width > 5) {
      u.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
      this.context.view.zoom(u.posToVal(left, 'x'), u.posToVal(left + width, 'x'));
    }
  }

  onCursor(u) {
    const index = u.cursor.left >= 0 ? u.cursor.idx : null;
    if (index !== this.cursor) {
      this.cursor = index;
      this.context.onHover(index === null ? null : u.data[0][index]);
      this.tell();
    }
  }

  /// Moves the cursor of all charts by points, for the keyboard.
  step(by) {
    const u = this.chart;
    if (u === undefined) {
      return;
    }
    const last = u.data[0].length - 1;
    const index = Math.min(Math.max((this.cursor ?? last + (by > 0 ? 0 : 1)) + by, 0), last);
    u.setCursor({ left: u.valToPos(u.data[0][index], 'x'), top: 10 }, true, true);
  }

  // ---- the legend

  buildLegend() {
    this.items.clear();
    this.legend.replaceChildren(...this.shown.map((track) => this.item(track)));
    for (const extra of this.panel.also ?? []) {
      this.legend.append(this.extra(extra));
    }
    if (this.left > 0) {
      this.legend.append(el('li', { class: 'more' }, `and ${this.left} more`));
    }
    this.unitText = this.panel.unit ?? this.shown[0]?.unit ?? '';
    setText(this.unit, parts(0, this.unitText)[1] && this.unitText);
  }

  item(track) {
    const swatch = el('span', { class: 'swatch', 'aria-hidden': 'true' });
    swatch.style.background = this.colourOf(track);
    const value = el('span', { class: 'value' });
    const button = el('button', { type: 'button', class: 'series', on: {
      click: (event) => this.choose(track, event.shiftKey || event.ctrlKey || event.metaKey),
    } }, swatch, el('span', { class: 'name' }, track.text), value);
    const { labels } = partsOf(track.key);
    const told = Object.entries(labels).map(([label, text]) => `${label} ${text}`).join(', ');
    button.title = [told, track.help].filter(Boolean).join('. ') || track.key;
    this.items.set(track.key, { button, value });
    return el('li', {}, button);
  }

  extra({ name, text }) {
    const value = el('span', { class: 'value' });
    this.items.set(name, { value });
    return el('li', {}, el('span', { class: 'series plain', title: this.context.source().rows.get(name)?.help ?? '' }, el('span', { class: 'name' }, text), value));
  }

  /// Click: that one alone, and again all. With shift: it goes, or comes back.
  choose(track, toggles) {
    const keys = this.shown.map(({ key }) => key);
    const alone = keys.every((key) => this.hidden.has(key) === (key !== track.key));
    if (toggles) {
      this.hidden.has(track.key) ? this.hidden.delete(track.key) : this.hidden.add(track.key);
    } else {
      this.hidden = new Set(alone ? [] : keys.filter((key) => key !== track.key));
    }
    if (keys.every((key) => this.hidden.has(key))) {
      this.hidden.clear();
    }
    this.destroy();
    this.refresh();
  }

  valueOf(key) {
    const { view, past } = this.context;
    if (!view.isLive) {
      const values = past.get(key)?.mean ?? [];
      const known = this.cursor ?? values.findLastIndex?.((value) => value !== null) ?? values.length - 1;
      return { value: values[known] ?? null, age: 0 };
    }
    const source = this.context.source();
    return this.cursor == null ? source.latest(key, this.panel.sparse ? BRIDGE_SECONDS : 0) : { value: source.series.get(key)?.[this.cursor] ?? null, age: 0 };
  }

  /// Writes values, states and the description of the picture.
  tell() {
    const said = [];
    for (const track of this.shown ?? []) {
      const { value, age } = this.valueOf(track.key);
      const text = format(value, track.unit);
      // A word like "requests/s" stands once, behind the title.
      const shown = isWord(track.unit) && track.unit === this.unitText ? parts(value, track.unit)[0] : text;
      const { button, value: place } = this.items.get(track.key);
      setText(place, shown);
      place.classList.toggle('old', age > 0);
      setAttribute(button, 'aria-pressed', String(this.isShown(track)));
      said.push(`${track.text} ${text === DASH ? 'unknown' : text}`);
    }
    for (const { name } of this.panel.also ?? []) {
      setText(this.items.get(name).value, format(this.valueOf(name).value, this.context.source().rows.get(name)?.unit));
    }
    setAttribute(this.plot, 'aria-label', `Chart of ${this.panel.title}. ${said.join(', ') || 'Nothing is known'}.`);
    this.tellEmpty();
    if (this.isLarge) {
      this.tellTable();
    }
  }

  tellEmpty() {
    const { view, past } = this.context;
    const has = view.isLive ? this.shown.length > 0 : this.shown.some(({ key }) => past.get(key)?.mean.some((value) => value !== null));
    setHidden(this.note, has);
    if (!has) {
      setText(this.note, past.error && !view.isLive ? past.error : view.isLive ? 'Nothing is known in these minutes' : 'Nothing was kept of this time');
    }
  }

  tellTable() {
    const { min, max } = this.context.view.extent();
    const data = this.data();
    const width = this.context.view.isLive ? 1 : 3;
    const rows = this.shown.map((track, i) => {
      const inside = (column) => (data[column] ?? []).filter((value, at) => value != null && data[0][at] >= min && data[0][at] <= max);
      const line = inside(1 + width * i);
      const low = width === 1 ? line : inside(2 + width * i);
      const high = width === 1 ? line : inside(3 + width * i);
      const figures = line.length === 0 ? [null, null, null, null]
        : [line.at(-1), low.reduce((a, b) => Math.min(a, b)), line.reduce((a, b) => a + b) / line.length, high.reduce((a, b) => Math.max(a, b))];
      return el('tr', {}, el('th', { scope: 'row' }, track.text), ...figures.map((value) => el('td', {}, format(value, track.unit))), el('td', { class: 'help' }, track.help));
    });
    this.table.replaceChildren(
      el('caption', {}, `${this.panel.title}, ${day(min)} ${clock(min)} to ${clock(max)}`),
      el('thead', {}, el('tr', {}, ...['Series', 'Last', 'Least', 'Mean', 'Most', ''].map((text) => el('th', { scope: 'col' }, text)))),
      el('tbody', {}, ...rows));
  }
}

/// Marks of time; none where it would be cut off at the edge.
function marksOf(u, splits, axis, space, step) {
  const { min, max } = u.scales.x;
  const pixel = (max - min) / (u.bbox.width / devicePixelRatio);
  const half = (step < 60 ? 24 : 15) * pixel;
  return splits.map((at) => (at > max + 6 * pixel - half ? null : mark(at, step)));
}

/// Room between two marks of time, in pixels: whole minutes may stand closer, for they lack the seconds.
function spaceOf(u, axis, min, max, width) {
  const minute = (width * 60) / (max - min);
  return minute >= 40 && minute < 64 ? 40 : 64;
}

/// Points between two gaps: no line goes through them.
function lonely(values, u) {
  const [from, to] = u.series[0].idxs;
  const all = [];
  for (let i = from; i <= to; i++) {
    if (values[i] != null && values[i - 1] == null && values[i + 1] == null) {
      all.push(i);
    }
  }
  return all;
}
