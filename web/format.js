// format - numbers as a person reads them, with their units. Unknown is a dash, never 0.
//
// SPDX-License-Identifier: Apache-2.0

export const DASH = '–';
const LEVELS = ['low', 'medium', 'high', 'critical'];

const isKnown = (value) => typeof value === 'number' && Number.isFinite(value);

/// Three figures that count: 0.042, 4.2, 42.1, 421, 4,210; from `kilo` on with k, M, G.
function figures(value, kilo = 1e4) {
  const size = Math.abs(value);
  if (size >= kilo) {
    const power = Math.min(Math.floor(Math.log10(size) / 3), 4);
    return `${trim(value / 1000 ** power, 3)}${['', 'k', 'M', 'G', 'T'][power]}`;
  }
  return trim(value, 3);
}

function trim(value, digits) {
  const size = Math.abs(value);
  if (size === 0) {
    return '0';
  }
  const places = Math.min(Math.max(digits - 1 - Math.floor(Math.log10(size)), 0), size < 0.01 ? 4 : 2);
  const text = value.toFixed(places);
  return Number(text) >= 1000 ? Number(text).toLocaleString('en-US') : places > 0 ? text.replace(/\.?0+$/, '') : text;
}

/// A length of time in seconds.
function span(seconds) {
  const size = Math.abs(seconds);
  if (size < 1e-3) {
    return [figures(seconds * 1e6), 'µs'];
  }
  if (size < 1) {
    return [figures(seconds * 1e3), 'ms'];
  }
  if (size < 120) {
    return [trim(seconds, 3), 's'];
  }
  if (size < 7200) {
    return [`${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)}`, 's'];
  }
  return [`${Math.floor(seconds / 3600)} h ${Math.round((seconds % 3600) / 60)}`, 'min'];
}

const SPECIAL = {
  ms: (value) => (Math.abs(value) >= 1000 ? span(value / 1000) : [figures(value), 'ms']),
  s: (value) => (value === 0 ? ['0', 's'] : span(value)),
  '%': (value) => [Math.abs(value) < 10 ? trim(value, 2) : value.toFixed(Math.abs(value) < 99.95 ? 1 : 0), '%'],
  W: (value) => [figures(value, 1e5), 'W'],
  '°C': (value) => [value.toFixed(0), '°C'],
  MiB: (value) => [figures(value, 1e7), 'MiB'],
  level: (value) => [LEVELS[Math.round(value)] ?? DASH, ''],
  '0 or 1': (value) => [value >= 0.5 ? 'up' : 'down', ''],
};

/// [text, unit]; the unit is empty where the text says it all.
export function parts(value, unit = '') {
  if (!isKnown(value)) {
    return [DASH, ''];
  }
  const special = SPECIAL[unit];
  return special ? special(value) : [figures(value), unit];
}

/// "requests/s" and the like, not "ms" or "%".
export const isWord = (unit) => !(unit in SPECIAL) && unit !== '';

/// "12.3 requests/s", "1.24 s", "high", "–"
export function format(value, unit) {
  const [text, after] = parts(value, unit);
  return after ? `${text}\u00a0${after}` : text;
}

/// The same in a few characters, for an axis. `step` between two marks decides on the places.
export function short(value, unit, step) {
  if (unit === 'ms' && Math.abs(value) >= 1000) {
    return `${trim(value / 1000, 3)}s`;
  }
  if (unit === 's' && value !== 0) {
    const [text, after] = span(value);
    return `${text.replace(' min 0', ' min')}${after}`;
  }
  if (unit === '%') {
    return `${step < 1 ? trim(value, 2) : value.toFixed(0)}%`;
  }
  return Math.abs(value) >= 1000 ? figures(value, 1000) : trim(value, step < 1 ? 3 : 4);
}

const two = (value) => String(value).padStart(2, '0');

/// Time of day, local; with the date where the range is long.
export function clock(seconds, withSeconds = true) {
  const time = new Date(seconds * 1000);
  return `${two(time.getHours())}:${two(time.getMinutes())}${withSeconds ? `:${two(time.getSeconds())}` : ''}`;
}

export function day(seconds) {
  const time = new Date(seconds * 1000);
  return `${time.getFullYear()}-${two(time.getMonth() + 1)}-${two(time.getDate())}`;
}

/// The mark of an axis for a step of that many seconds.
export function mark(seconds, step) {
  if (step < 60) {
    return clock(seconds);
  }
  const isMidnight = clock(seconds, false) === '00:00';
  return step >= 86400 || isMidnight ? day(seconds).slice(5) : clock(seconds, false);
}

export function plural(count, one, many = `${one}s`) {
  return `${count} ${count === 1 ? one : many}`;
}
