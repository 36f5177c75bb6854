// store - the last five minutes of every number, one column a second.
//
//              now-299 ... now
//     requests [12.1, null, 11.8, ...]        null: nobody knows, or nothing was heard in that second
//
// Seconds in which no frame came are columns of nulls, so that a lost connection is a gap in every chart. What
// was there before is kept when the program starts anew and knows less.
//
// SPDX-License-Identifier: Apache-2.0
import { partsOf } from './key.js';

export const COLUMNS = 300;
const MOST_KEYS = 2000;
const MOST_EVENTS = 300;

const empty = () => new Array(COLUMNS).fill(null);

export class Store {
  constructor() {
    this.rows = new Map(); // the board: name -> {name, unit, group, help, labels}
    this.series = new Map(); // key -> values
    this.seen = new Map(); // key -> the last second it had a value
    this.heard = empty(); // 1 where a frame came
    this.times = empty();
    this.end = 0; // the second of the last column
    this.metrics = {};
    this.alerts = [];
    this.events = [];
    this.version = 0; // grows when a key comes or goes
  }

  /// A frame as it came, the first of a connection or another one.
  take(frame) {
    const second = Math.floor(frame.time);
    this.advance(second);
    if (frame.board) {
      this.rows = new Map(frame.board.map((row) => [row.name, row]));
    }
    if (frame.history) {
      this.takeHistory(frame.history);
    }
    this.metrics = frame.metrics ?? {};
    for (const [key, value] of Object.entries(this.metrics)) {
      this.put(key, second, value);
    }
    this.heard[this.column(second)] = 1;
    this.alerts = frame.alerts ?? [];
    this.takeEvents(frame.events ?? [], Boolean(frame.history));
  }

  column(second) {
    return COLUMNS - 1 - (this.end - second);
  }

  /// Moves the window so that it ends with `second`.
  advance(second) {
    const by = second - this.end;
    if (by < -5 || by >= COLUMNS) { // a clock that was set, or the first frame
      for (const values of this.series.values()) {
        values.fill(null);
      }
      this.heard.fill(null);
    } else if (by > 0) {
      for (const values of [this.heard, ...this.series.values()]) {
        values.copyWithin(0, by);
        values.fill(null, COLUMNS - by);
      }
    } else {
      return;
    }
    this.end = second;
    for (let i = 0; i < COLUMNS; i++) {
      this.times[i] = second - COLUMNS + 1 + i;
    }
    this.forget();
  }

  /// Keys without a value in the whole window.
  forget() {
    for (const [key, second] of this.seen) {
      if (second <= this.end - COLUMNS) {
        this.series.delete(key);
        this.seen.delete(key);
        this.version++;
      }
    }
  }

  put(key, second, value) {
    const column = this.column(second);
    if (column < 0 || column >= COLUMNS || typeof value !== 'number') {
      return;
    }
    let values = this.series.get(key);
    if (values === undefined) {
      if (this.series.size >= MOST_KEYS) {
        return;
      }
      values = empty();
      this.series.set(key, values);
      this.version++;
    }
    values[column] = value;
    if (second > (this.seen.get(key) ?? 0)) {
      this.seen.set(key, second);
    }
  }

  takeHistory({ time = [], series = {} }) {
    for (const [key, values] of Object.entries(series)) {
      time.forEach((second, i) => this.put(key, Math.floor(second), values[i]));
    }
    const known = Object.values(series);
    time.forEach((second, i) => {
      const column = this.column(Math.floor(second));
      if (column >= 0 && column < COLUMNS && known.some((values) => values[i] !== null)) {
        this.heard[column] = 1;
      }
    });
  }

  /// The first frame repeats what is known already.
  takeEvents(events, isFirst) {
    const last = this.events.at(-1)?.time ?? 0;
    const fresh = isFirst ? events.filter((event) => event.time > last) : events;
    this.events.push(...fresh);
    this.events.splice(0, Math.max(0, this.events.length - MOST_EVENTS));
  }

  /// The tracks of a row of the board: its name, or one for each value of its labels.
  keysOf(name) {
    if (this.series.has(name)) {
      return [name];
    }
    return [...this.series.keys()].filter((key) => partsOf(key).name === name && key.startsWith(`${name}{`)).sort();
  }

  customKeys() {
    return [...this.series.keys()].filter((key) => !this.rows.has(key) && !this.rows.has(partsOf(key).name)).sort();
  }

  /// What a key is worth now: {value, age in seconds}; older than `most` seconds is unknown.
  latest(key, most = 10) {
    const values = this.series.get(key);
    for (let age = 0; values !== undefined && age <= most; age++) {
      if (values[COLUMNS - 1 - age] !== null) {
        return { value: values[COLUMNS - 1 - age], age };
      }
    }
    return { value: null, age: 0 };
  }

  /// Mean of the values of the last seconds; null without any.
  mean(key, seconds) {
    const known = (this.series.get(key) ?? []).slice(-seconds).filter((value) => value !== null);
    return known.length === 0 ? null : known.reduce((sum, value) => sum + value, 0) / known.length;
  }

  /// As it is now, for a page that is paused.
  copy() {
    const copied = new Map([...this.series].map(([key, values]) => [key, values.slice()]));
    return Object.assign(new Store(), this, { series: copied, heard: this.heard.slice(), times: this.times.slice() });
  }

  /// Was every second between the two heard?
  isHeard(from, to) {
    for (let second = Math.ceil(from); second <= to; second++) {
      if (this.heard[this.column(second)] !== 1) {
        return false;
      }
    }
    return true;
  }
}
