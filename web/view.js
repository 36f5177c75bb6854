// view - which stretch of time all charts show.
//
//     range    the last N seconds, moving; or from..to, fixed
//     zoom     a part of it, or null
//
// The last five minutes come from the store, everything else from the rollups.
//
// SPDX-License-Identifier: Apache-2.0
import { COLUMNS } from './store.js';

export const RANGES = [
  { text: '1 min', seconds: 60 },
  { text: '5 min', seconds: 300 },
  { text: '1 h', seconds: 3600 },
  { text: '6 h', seconds: 6 * 3600 },
  { text: '24 h', seconds: 86400 },
  { text: '7 d', seconds: 7 * 86400 },
  { text: '30 d', seconds: 30 * 86400 },
  { text: '90 d', seconds: 90 * 86400 },
  { text: 'From–to', seconds: null },
];
const SHORTEST = 5;

export class View {
  constructor(onChange) {
    this.onChange = onChange;
    this.seconds = 300;
    this.fixed = null;
    this.zoomed = null;
    this.pausedAt = null;
    this.end = 0;
  }

  /// Moves on with time, unless paused.
  tick(second) {
    this.latest = second;
    if (this.pausedAt === null) {
      this.end = second;
    }
  }

  get isLive() {
    return this.fixed === null && this.seconds <= COLUMNS;
  }

  get isPaused() {
    return this.pausedAt !== null;
  }

  /// The whole range.
  range() {
    return this.fixed ?? { min: this.end - this.seconds, max: this.end };
  }

  /// What is drawn.
  extent() {
    return this.zoomed ?? this.range();
  }

  last(seconds) {
    this.seconds = seconds;
    this.fixed = null;
    this.zoomed = null;
    this.onChange();
  }

  between(min, max) {
    this.fixed = { min, max };
    this.zoomed = null;
    this.onChange();
  }

  zoom(min, max) {
    const range = this.range();
    const width = Math.max(max - min, SHORTEST);
    const from = Math.min(Math.max(min, range.min), range.max - SHORTEST);
    const to = Math.min(from + width, range.max);
    this.zoomed = to - from >= (range.max - range.min) * 0.999 ? null : { min: from, max: to };
    this.onChange();
  }

  /// By a share of what is shown; right is later.
  pan(share) {
    const { min, max } = this.extent();
    const range = this.range();
    const width = max - min;
    const from = Math.min(Math.max(min + width * share, range.min), range.max - width);
    if (this.zoomed !== null) {
      this.zoom(from, from + width);
    }
  }

  /// Around the middle, or around `at`; below 1 is closer.
  scale(factor, at) {
    const { min, max } = this.extent();
    const middle = at ?? (min + max) / 2;
    const width = Math.max((max - min) * factor, SHORTEST);
    const from = middle - (middle - min) * (width / (max - min));
    this.zoom(from, from + width);
  }

  reset() {
    if (this.zoomed !== null) {
      this.zoomed = null;
      this.onChange();
    }
  }

  pause(paused) {
    this.pausedAt = paused ? this.end : null;
    this.end = paused ? this.end : this.latest;
    this.onChange();
  }
}
