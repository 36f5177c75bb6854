// tiles - the key figures on top, each with the line of its last five minutes.
//
// SPDX-License-Identifier: Apache-2.0
import { el, setAttribute, setText } from './dom.js';
import { parts } from './format.js';
import { COLUMNS } from './store.js';

const WIDTH = 120;
const HEIGHT = 28;

export class Tile {
  constructor(tile, go) {
    this.tile = tile;
    this.value = el('span', { class: 'tile-value' });
    this.unit = el('span', { class: 'tile-unit' });
    this.canvas = el('canvas', { width: WIDTH * 2, height: HEIGHT * 2, 'aria-hidden': 'true' });
    this.link = el('a', { href: `#panel-${tile.panel}`, on: { click: (event) => { event.preventDefault(); go(tile.panel); } } },
      el('span', { class: 'tile-name' }, tile.text), el('span', { class: 'tile-figure' }, this.value, this.unit), this.canvas);
    this.element = el('li', { class: 'tile' }, this.link);
  }

  refresh(source, colours) {
    const { name } = this.tile;
    const row = source.rows.get(name) ?? {};
    const { value, age } = source.latest(name, 10);
    const [text, unit] = parts(value, row.unit);
    setText(this.value, text);
    setText(this.unit, value === null ? 'unknown' : unit);
    this.value.classList.toggle('old', age > 0);
    setAttribute(this.link, 'title', row.help ?? '');
    this.draw(source.series.get(name) ?? [], this.tile.bad ? colours.bad : colours.series[this.tile.colour ?? 0]);
  }

  draw(values, colour) {
    const context = this.canvas.getContext('2d');
    const { width, height } = this.canvas;
    const most = this.tile.top ?? Math.max(...values.filter((value) => value !== null), 1e-9) * 1.05;
    context.clearRect(0, 0, width, height);
    context.strokeStyle = colour;
    context.lineWidth = 3;
    context.lineJoin = 'round';
    context.beginPath();
    let before = null;
    for (let i = 0; i < values.length; i++) {
      if (values[i] === null) {
        continue;
      }
      const x = (i / (COLUMNS - 1)) * (width - 4) + 2;
      const y = height - 3 - (Math.min(values[i], most) / most) * (height - 6);
      before !== null && i - before <= 10 ? context.lineTo(x, y) : context.moveTo(x, y);
      before = i;
    }
    context.stroke();
  }
}
