// events - what the program said: its log of the last minutes, newest first.
//
// SPDX-License-Identifier: Apache-2.0
import { el, setHidden } from './dom.js';
import { clock } from './format.js';

const MOST = 200;
const RANK = { debug: 0, info: 1, warn: 2, warning: 2, error: 3 };

export class Events {
  constructor() {
    this.list = el('ol', { class: 'events', role: 'log', 'aria-live': 'off', 'aria-labelledby': 'title-events', tabindex: '0' });
    this.none = el('p', { class: 'note static' }, 'Nothing was said.');
    this.choice = el('select', { 'aria-label': 'Show', on: { change: () => this.show() } },
      el('option', { value: '1' }, 'all'), el('option', { value: '2' }, 'warnings and errors'), el('option', { value: '3' }, 'errors'));
    this.element = el('article', { class: 'panel table-panel', id: 'panel-events', tabindex: '-1', 'aria-labelledby': 'title-events' },
      el('div', { class: 'head' }, el('h3', { id: 'title-events' }, 'Log'), this.choice), this.list, this.none);
    this.last = null;
  }

  /// All that is known; only what is new is added.
  set(events) {
    const from = this.last === null ? 0 : events.lastIndexOf(this.last) + 1;
    for (const event of events.slice(from)) {
      this.list.prepend(line(event));
    }
    while (this.list.children.length > MOST) {
      this.list.lastChild.remove();
    }
    if (events.length > from) {
      this.last = events.at(-1);
      this.show();
    }
  }

  show() {
    const least = Number(this.choice.value);
    let shown = 0;
    for (const item of this.list.children) {
      item.hidden = (RANK[item.dataset.level] ?? 1) < least;
      shown += item.hidden ? 0 : 1;
    }
    setHidden(this.none, shown > 0);
  }
}

function line({ time, level = 'info', text = '', fields = {} }) {
  const told = Object.entries(fields).filter(([, value]) => value !== '').map(([name, value]) => `${name}=${value}`).join('  ');
  return el('li', { 'data-level': level }, el('time', { datetime: new Date(time * 1000).toISOString() }, clock(Math.floor(time))),
    el('span', { class: 'level' }, level), el('span', { class: 'text' }, text), el('span', { class: 'fields' }, told));
}
