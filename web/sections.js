// sections - the rows of the page: which panels there are now, and how they fill the width.
//
// A panel appears when one of its numbers is known for the first time, and stays. What a section could show but
// nobody tells is named in one line. Panels of a row always fill it: as many lines as are needed, equally filled.
//
// SPDX-License-Identifier: Apache-2.0
import { Chart } from './chart.js';
import { el, setHidden, setText } from './dom.js';
import { partsOf } from './key.js';
import { lines } from './lines.js';
import { ELSEWHERE, SECTIONS, customPanels } from './panels.js';

const COLUMNS = 12;
const WIDTHS = [[1180, 4], [820, 3], [520, 2], [0, 1]];
const MOST_CUSTOM = 24;

export class Section {
  constructor(section, context) {
    this.section = section;
    this.context = context;
    this.charts = new Map(); // panel id -> Chart
    this.extras = []; // elements below the charts: tables
    this.tag = el('span', { class: 'tag', hidden: true });
    this.grid = el('div', { class: 'grid' });
    this.missing = el('p', { class: 'missing', hidden: true });
    this.element = el('section', { class: 'row', id: section.id, 'aria-labelledby': `title-${section.id}`, hidden: true },
      el('h2', { id: `title-${section.id}` }, section.title, this.tag), this.grid, this.missing);
  }

  /// A table, over the whole width or a part of it.
  append(element, share = COLUMNS) {
    element.dataset.share = share;
    this.extras.push(element);
    this.grid.append(element);
    setHidden(this.element, false);
  }

  /// Panels that came to be; true when there are any.
  grow() {
    const source = this.context.source();
    const isCustom = this.section.id === 'custom';
    const panels = isCustom ? this.customPanels(source) : [...this.section.panels, ...this.unnamed(source)];
    const waiting = [];
    let grown = false;
    for (const panel of panels) {
      const chart = this.charts.get(panel.id);
      if (chart === undefined && !this.isKnown(panel, source)) {
        waiting.push(panel.title);
      } else if (chart === undefined) {
        this.add(panel);
        grown = true;
      } else if (isCustom) {
        chart.panel = panel;
      }
    }
    setHidden(this.element, this.charts.size + this.extras.length === 0 && !this.explained);
    setHidden(this.missing, waiting.length === 0 && !this.explained);
    setText(this.missing, this.explained ?? (waiting.length > 0 ? `No figures yet: ${waiting.join(', ')}.` : ''));
    return grown;
  }

  /// Instead of what is missing: why.
  explain(text) {
    this.explained = text;
  }

  isKnown(panel, source) {
    return (panel.keys ?? [...panel.series, ...(panel.otherwise ?? [])].flatMap(({ name }) => source.keysOf(name))).length > 0;
  }

  /// Rows of the board in this group that no panel names.
  unnamed(source) {
    this.named ??= new Set(SECTIONS.flatMap(({ panels }) => panels.flatMap((panel) => [...panel.series, ...(panel.also ?? []), ...(panel.otherwise ?? [])].map(({ name }) => name))));
    return [...source.rows.values()].filter(({ name, group }) => group === this.section.id && !this.named.has(name) && !ELSEWHERE.has(name))
      .map(({ name }) => ({ id: `row-${name}`, title: name.replaceAll('_', ' '), series: [{ name, text: undefined }] }));
  }

  customPanels(source) {
    const all = customPanels(source.customKeys(), partsOf);
    this.explain(all.length > MOST_CUSTOM ? `${all.length - MOST_CUSTOM} more are on /api/metrics.` : undefined);
    return all.slice(0, MOST_CUSTOM);
  }

  add(panel) {
    const chart = new Chart(panel, this.context);
    this.charts.set(panel.id, chart);
    const order = this.section.panels.findIndex(({ id }) => id === panel.id);
    const behind = order < 0 ? undefined : this.section.panels.slice(order + 1).map(({ id }) => this.charts.get(id)).find(Boolean);
    this.grid.insertBefore(chart.element, behind?.element ?? this.extras[0] ?? null);
    this.context.watch(chart);
  }

  /// Spans of all that is there, in lines that are filled.
  layout(width) {
    const most = WIDTHS.find(([least]) => width >= least)[1];
    const shown = [...this.grid.children].filter((element) => !element.hidden);
    const charts = shown.filter((element) => element.dataset.share === undefined);
    const weights = charts.map((element) => (element.classList.contains('large') ? most : Math.min(this.weightOf(element), most)));
    for (const line of lines(weights, most)) {
      const total = line.reduce((sum, i) => sum + weights[i], 0);
      for (const i of line) {
        charts[i].style.gridColumn = `span ${(COLUMNS * weights[i]) / total}`;
      }
    }
    for (const element of shown.filter(({ dataset }) => dataset.share !== undefined)) {
      element.style.gridColumn = `span ${most >= 3 ? element.dataset.share : COLUMNS}`;
    }
  }

  weightOf(element) {
    return [...this.charts.values()].find((chart) => chart.element === element)?.panel.weight ?? 1;
  }
}
