// keyboard - one key, one thing; never while somebody types.
//
// SPDX-License-Identifier: Apache-2.0
import { byId, el } from './dom.js';

const isTyping = ({ target }) => target.closest?.('input, select, textarea, dialog') !== null && target.closest?.('input, select, textarea, dialog') !== undefined;

/// keys: [{keys: [..], text, run}]; the same list is the help.
export function setUpKeyboard(keys) {
  const actions = new Map(keys.flatMap(({ keys: names, run }) => names.map((name) => [name, run])));
  addEventListener('keydown', (event) => {
    const { key } = event;
    if (event.ctrlKey || event.metaKey || event.altKey || (isTyping(event) && key !== 'Escape')) {
      return;
    }
    // A space presses the button that has the focus.
    if (key === ' ' && event.target.closest?.('button, a, summary')) {
      return;
    }
    const run = actions.get(key);
    if (run) {
      if (run(event) !== false) {
        event.preventDefault();
      }
    }
  });
  buildHelp(keys);
}

const NAMES = { ' ': 'space', ArrowLeft: '←', ArrowRight: '→', Escape: 'Esc' };

function buildHelp(keys) {
  const close = el('button', { type: 'button', class: 'primary', on: { click: () => byId('keys').close() } }, 'Close');
  const rows = keys.filter(({ text }) => text).map(({ keys: names, shown = names, text }) => el('tr', {},
    el('th', { scope: 'row' }, ...shown.flatMap((name, i) => [i > 0 ? ' ' : '', el('kbd', {}, NAMES[name] ?? name)])), el('td', {}, text)));
  const mouse = [['drag over a chart', 'zoom in'], ['double click', 'the whole range again'], ['click a series', 'that one alone; again: all'],
    ['shift-click a series', 'put it away, or back']].map(([what, text]) => el('tr', {}, el('th', { scope: 'row' }, what), el('td', {}, text)));
  byId('keys').append(el('h2', { id: 'keys-title' }, 'Keys'), el('table', {}, el('tbody', {}, ...rows, ...mouse)), close);
  byId('keys').addEventListener('click', (event) => event.target === byId('keys') && byId('keys').close());
}
