// colours - those that charts need as values; all others are in page.css.
//
// Those of series differ in lightness as well as in hue, so that they can be told apart by people who don't see all
// colours, and stand out from the card (`card`, as page.css has it) with at least 4.5:1.
//
// SPDX-License-Identifier: Apache-2.0
export const COLOURS = {
  dark: {
    series: ['#62aeff', '#f5a742', '#3ecf9a', '#f283c0', '#b79bff', '#e3d350', '#5fd0e6', '#d0a68a'],
    bad: '#ff7b72', card: '#151a21', axis: '#9aa5b1', grid: '#232a33', limit: '#8a95a3',
  },
  light: {
    series: ['#0b63ce', '#a85000', '#00755a', '#b0246e', '#6a45c9', '#6f5d00', '#006b7a', '#7a4a2b'],
    bad: '#c4281f', card: '#ffffff', axis: '#56616d', grid: '#e6eaee', limit: '#6b7682',
  },
};
