// rarely - what was not there is asked for again, but ever more rarely: after one minute, two, four, ... an hour.
//
// Each try that fails is an error on the browser's console, which is for those that matter.
//
// SPDX-License-Identifier: Apache-2.0

const FIRST_MS = 60_000;
const MOST_MS = 3_600_000;

export class Rarely {
  constructor() {
    this.reset();
  }

  /// As if it had never failed.
  reset() {
    this.wait = 0;
    this.since = 0;
  }

  isDue(now) {
    return now - this.since >= this.wait;
  }

  failed(now) {
    this.since = now;
    this.wait = Math.min(Math.max(2 * this.wait, FIRST_MS), MOST_MS);
  }
}
