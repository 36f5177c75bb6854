// theme - dark or light: what was chosen, or what the system says.
//
// SPDX-License-Identifier: Apache-2.0
import { COLOURS } from './colours.js';

const KEY = 'penstock-theme';
const system = matchMedia('(prefers-color-scheme: light)');

function stored() {
  try {
    return localStorage.getItem(KEY);
  } catch {
    return null;
  }
}

export class Theme {
  constructor(onChange) {
    this.onChange = onChange;
    this.chosen = ['dark', 'light'].includes(stored()) ? stored() : null;
    system.addEventListener('change', () => this.apply());
    this.apply();
  }

  get name() {
    return this.chosen ?? (system.matches ? 'light' : 'dark');
  }

  get colours() {
    return COLOURS[this.name];
  }

  flip() {
    this.chosen = this.name === 'dark' ? 'light' : 'dark';
    try {
      localStorage.setItem(KEY, this.chosen);
    } catch { /* then for this time only */ }
    this.apply();
  }

  apply() {
    document.documentElement.dataset.theme = this.name;
    this.onChange?.();
  }
}
