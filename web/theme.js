// theme - dark or light, and the colours that charts need as values.
//
// Series colours differ in lightness as well as in hue, so that they can be told apart by people who don't see all
// colours, and stand out from the card with at least 4.5:1 in both themes.
//
// SPDX-License-Identifier: Apache-2.0
const COLOURS = {
  dark: {
    series: ['#62aeff', '#f5a742', '#3ecf9a', '#f283c0', '#b79bff', '#e3d350', '#5fd0e6', '#d0a68a'],
    bad: '#ff7b72', axis: '#9aa5b1', grid: '#232a33', limit: '#8a95a3',
  },
  light: {
    series: ['#0b63ce', '#a85000', '#00755a', '#b0246e', '#6a45c9', '#6f5d00', '#006b7a', '#7a4a2b'],
    bad: '#c4281f', axis: '#56616d', grid: '#e6eaee', limit: '#6b7682',
  },
};
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
