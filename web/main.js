// main - the page: what comes over the WebSocket is put into the store, and once a second everything that shows it is
// brought up to date.
//
//     feed --> store --> verdict, tiles, charts, tables, events        every second
//     view --> past  --> charts                                         when another stretch of time is chosen
//     /api/gpu/profile, /api/cache/stats --> tables                     every other second, while somebody looks
//
// SPDX-License-Identifier: Apache-2.0
import { setUpAccess } from './access.js';
import { byId, el, setAttribute, setHidden, setText } from './dom.js';
import { Events } from './events.js';
import { Feed } from './feed.js';
import { clock, day } from './format.js';
import { setUpKeyboard } from './keyboard.js';
import { SECTIONS, TILES } from './panels.js';
import { Past } from './past.js';
import { Rarely } from './rarely.js';
import { Section } from './sections.js';
import { Store } from './store.js';
import { deviceRows, deviceTable, endpointRows, endpointTable, nodeRows, nodeTable, processRows, processTable } from './tables.js';
import { Theme } from './theme.js';
import { Tile } from './tiles.js';
import { Verdict } from './verdict.js';
import { RANGES, View } from './view.js';

const ASK_MS = 2000;
const MARKS = { ok: '✓', watch: '▲', bad: '✕', idle: '○', unknown: '?' };

// First of all: figures come while the rest is built.
const feed = new Feed({ frame: onFrame, state: onState });
feed.open();

const store = new Store();
let frozen = null; // the store as it was when the page was paused
let connection = { state: 'new' };
let profile = {};
let lastFrameAt = 0;
let hovered = null; // the time under the cursor

const view = new View(() => onView());
const past = new Past(view, () => names(), () => refreshCharts());
const verdict = new Verdict();
const events = new Events();
const charts = new Set();
const places = new Map(); // colours: among whom -> who -> place

const theme = new Theme(() => charts && [...charts].forEach((chart) => chart.retheme()));
const context = {
  source: () => frozen ?? store, view, past, theme,
  onHover: (time) => { hovered = time; tellClock(); },
  onLayout: () => layout(),
  places: (among) => places.get(among) ?? places.set(among, new Map()).get(among),
  draw: (chart) => drawSoon(chart),
  watch: (chart) => { charts.add(chart); watcher.observe(chart.element); sizes.observe(chart.plot); },
};
const byElement = (element) => [...charts].find((chart) => chart.element === element || chart.plot === element);

// ---- drawing: as many plots a frame as leave time for the mouse

const FRAME_MS = 7;
const FIRST_MS = 30; // when panels come to be: better soon than smooth
const waiting = new Set();
let isDrawing = false;

function drawSoon(chart) {
  waiting.add(chart);
  if (!isDrawing) {
    isDrawing = true;
    requestAnimationFrame(drawSome);
  }
}

function drawSome() {
  drawFor(FRAME_MS);
  isDrawing = waiting.size > 0;
  if (isDrawing) {
    requestAnimationFrame(drawSome);
  }
}

function drawFor(ms) {
  const until = performance.now() + ms;
  for (const chart of waiting) {
    waiting.delete(chart);
    chart.draw();
    if (performance.now() > until) {
      return;
    }
  }
}

// ---- the parts

const tiles = TILES.map((tile) => new Tile(tile, go));
byId('tiles').append(...tiles.map(({ element }) => element));

const watcher = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    const chart = byElement(target);
    chart.isVisible = isIntersecting;
    if (isIntersecting) {
      chart.refresh();
    }
  }
}, { rootMargin: '150px' });

const sizes = new ResizeObserver((entries) => entries.forEach(({ target }) => byElement(target).resize()));

const sections = SECTIONS.map((section) => new Section(section, context));
const sectionOf = (id) => sections.find(({ section }) => section.id === id);
const endpoints = endpointTable();
const devices = deviceTable();
const processes = processTable();
const nodes = nodeTable();
const log = new Section({ id: 'log', title: 'Events', panels: [] }, context);
byId('rows').append(...sections.map(({ element }) => element), log.element);
log.append(events.element);
sectionOf('upstreams').append(endpoints.element);
for (const [table, share] of [[devices, 7], [processes, 5]]) {
  table.element.hidden = true;
  sectionOf('gpu').append(table.element, share);
}
nodes.element.hidden = true;
sectionOf('cache').append(nodes.element);
sections.forEach(({ element }) => { element.hidden = true; });

function layout() {
  const width = byId('rows').clientWidth;
  [...sections, log].forEach((section) => section.layout(width));
}
new ResizeObserver(layout).observe(byId('rows'));

function go(panel) {
  const target = byId(`panel-${panel}`);
  if (target !== null && !target.hidden) {
    target.scrollIntoView({ block: 'center', behavior: matchMedia('(prefers-reduced-motion: reduce)').matches ? 'auto' : 'smooth' });
    target.focus({ preventScroll: true });
  }
}

// ---- every second

function names() {
  const listed = SECTIONS.flatMap(({ panels }) => panels.flatMap((panel) => [...panel.series, ...(panel.otherwise ?? []), ...(panel.also ?? [])].map(({ name }) => name)));
  return [...new Set([...listed.filter((name) => store.rows.has(name)), ...store.customKeys().slice(0, 100)])];
}

function onFrame(frame) {
  store.take(frame);
  lastFrameAt = Date.now();
  view.tick(store.end);
  const grown = sections.map((section) => section.grow()).some(Boolean);
  if (grown) {
    layout();
    find();
    showAtOnce();
  }
  refresh();
  if (grown) {
    drawFor(FIRST_MS);
  }
}

/// New panels that are in sight needn't wait to be told so.
function showAtOnce() {
  for (const chart of charts) {
    const { top, bottom } = chart.element.getBoundingClientRect();
    chart.isVisible ||= bottom > 0 && top < innerHeight;
  }
}

function refresh() {
  const source = context.source();
  tellVerdict();
  tiles.forEach((tile) => tile.refresh(source, theme.colours));
  if (view.isLive) {
    refreshCharts();
  } else {
    past.tick();
  }
  if (frozen === null) {
    endpoints.set(endpointRows(store, profile.engines ?? []));
    events.set(store.events);
  }
  tellClock();
}

function refreshCharts() {
  setHidden(byId('kept'), view.isLive || past.isKept);
  for (const chart of charts) {
    chart.refresh();
  }
}

/// The second that the values are of: the newest, or the one under the cursor.
function tellClock() {
  const shown = hovered ?? context.source().end;
  const date = hovered !== null && !view.isLive ? `${day(shown)} ` : '';
  setText(byId('clock'), shown === 0 ? '' : `${date}${clock(shown)}`);
  byId('clock').classList.toggle('hovered', hovered !== null);
}

function tellVerdict() {
  const lost = connection.state !== 'open';
  const said = lost ? { level: 'unknown', word: 'Unknown', text: store.end === 0 ? 'No figures have come yet.' : `No figures since ${clock(store.end)}. What is shown is old.`, reasons: [] }
    : verdict.judge(store);
  setAttribute(byId('verdict'), 'data-level', said.level);
  setText(byId('verdict-mark'), MARKS[said.level]);
  tellReasons(said.reasons);
  // The sentence has figures in it: read aloud is only what is new about the state.
  const place = byId('verdict-text');
  place.setAttribute('aria-live', said.level === tellVerdict.level ? 'off' : 'polite');
  tellVerdict.level = said.level;
  if (place.children.length !== 2) {
    place.replaceChildren(el('strong', {}), el('span', {}));
  }
  setText(place.firstChild, said.word);
  setText(place.lastChild, ` ${said.text}`);
  tellTab(said);
}

function tellReasons(reasons) {
  const list = byId('reasons');
  const id = (reason) => `reason-${reason.id}`;
  const wanted = new Set(reasons.map(id));
  [...list.children].filter((item) => !wanted.has(item.id)).forEach((item) => item.remove());
  reasons.forEach((reason, at) => {
    let item = byId(id(reason));
    if (item === null) {
      item = el('li', { id: id(reason) }, el('a', { href: `#panel-${reason.panel}`, on: { click: (event) => { event.preventDefault(); go(reason.panel); } } }));
    }
    if (list.children[at] !== item) {
      list.insertBefore(item, list.children[at] ?? null);
    }
    setAttribute(item, 'data-level', reason.level);
    setText(item.firstChild, reason.text);
  });
}

/// The tab: a word and a sign, by its shape too.
function tellTab({ level, word, reasons }) {
  setText(document.querySelector('title'), `${level === 'ok' ? '' : `${MARKS[level]} `}${word}${reasons.length > 0 ? ` (${reasons.length})` : ''} · Penstock`);
  if (tellTab.level !== level) {
    tellTab.level = level;
    const colour = { ok: '#2ea97a', watch: '#e0a020', bad: '#e5534b' }[level] ?? '#8a95a3';
    const path = { ok: 'M4 8.5l3 3 5-6', watch: 'M8 4v5M8 11v1.2', bad: 'M5 5l6 6M11 5l-6 6', idle: 'M5 8h6', unknown: 'M6 6a2 2 0 114 0c0 1.5-2 1.5-2 3M8 11v1' }[level];
    const picture = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><rect width="16" height="16" rx="4" fill="${colour}"/><path d="${path}" fill="none" stroke="#fff" stroke-width="2" stroke-linecap="round"/></svg>`;
    document.querySelector('link[rel=icon]').href = `data:image/svg+xml,${encodeURIComponent(picture)}`;
  }
}

// ---- what is asked beside the stream

async function askJson(path) {
  const answer = await fetch(path, { cache: 'no-store' });
  return { ok: answer.ok, status: answer.status, body: await answer.json() };
}

const sentence = (text) => `${text.charAt(0).toUpperCase()}${text.slice(1)}`;
const profileTries = new Rarely(); // where no GPU is known it is a 503

async function askProfile() {
  if (!profileTries.isDue(Date.now()) && store.keysOf('gpu').length === 0 && store.keysOf('gpu_server_percent').length === 0) {
    return;
  }
  const { ok, status, body } = await askJson('/api/gpu/profile');
  profile = ok ? body : {};
  if (status === 503) {
    profileTries.failed(Date.now());
  } else {
    profileTries.reset();
  }
  const section = sectionOf('gpu');
  section.explain(!ok && status === 503 ? sentence(body.detail ?? 'no source tells of a GPU') : undefined);
  const simulated = [...(profile.engines ?? []), ...(profile.devices ?? [])].some((one) => one.simulated);
  setHidden(byId('simulated'), !simulated);
  setText(section.tag, 'simulated');
  setHidden(section.tag, !simulated);
  showTable(devices, deviceRows(profile), ok);
  const listed = processRows(profile);
  devices.element.dataset.share = listed.length > 0 ? 7 : 12;
  showTable(processes, listed, listed.length > 0);
  section.grow();
}

async function askCache() {
  const { ok, body } = await askJson('/api/cache/stats');
  if (ok) {
    showTable(nodes, nodeRows(body), (body.node_distribution ?? []).length > 0);
    setText(nodes.count, Number.isFinite(body.imbalance_percent) ? `imbalance ${body.imbalance_percent.toFixed(2)} %` : '');
  }
}

function showTable(table, rows, isThere) {
  if (table.element.hidden === isThere) {
    table.element.hidden = !isThere;
    layout();
  }
  table.set(rows);
}

async function askBeside() {
  if (connection.state === 'open' && document.visibilityState === 'visible' && frozen === null) {
    await Promise.allSettled([askProfile(), askCache()]);
  }
  setTimeout(askBeside, ASK_MS);
}

// ---- connection

const showSignIn = setUpAccess(() => feed.open());

function onState(next) {
  connection = next;
  if (next.state === 'denied') {
    showSignIn();
  }
  tellBanner();
  document.body.classList.toggle('lost', next.state === 'lost');
  if (next.state === 'open') {
    profileTries.reset();
    setTimeout(askBesideNow, 0);
    if (!view.isLive) {
      past.refresh();
    }
  } else {
    tellVerdict();
  }
}

function askBesideNow() {
  Promise.allSettled([askProfile(), askCache()]);
}

function tellBanner() {
  const lost = connection.state === 'lost';
  setHidden(byId('banner'), !lost);
  if (lost) {
    const wait = Math.max(0, Math.ceil((connection.retryAt - Date.now()) / 1000));
    const since = lastFrameAt === 0 ? 'There is no connection to Penstock.' : `The connection to Penstock was lost at ${clock(Math.floor(lastFrameAt / 1000))}.`;
    setText(byId('banner-text'), `${since} ${wait > 1 ? `Next try in ${wait} s.` : 'Trying …'}`);
  }
}
setInterval(tellBanner, 1000);
byId('retry').addEventListener('click', () => feed.open());

// ---- what the reader chooses

const rangeButtons = RANGES.map(({ text, seconds }, i) => el('button', { type: 'button', 'aria-pressed': 'false', title: `Key ${i + 1}`, on: { click: () => chooseRange(i) } }, text));
byId('ranges').append(...rangeButtons);

const local = (seconds) => `${day(seconds)}T${clock(seconds)}`;

function chooseRange(i) {
  const { seconds } = RANGES[i];
  setHidden(byId('fromto'), seconds !== null);
  if (seconds !== null) {
    view.last(seconds);
    return;
  }
  const { min, max } = view.extent();
  byId('from').value = local(Math.floor(min));
  byId('to').value = local(Math.ceil(max));
  byId('from').focus();
  tellRanges();
}

byId('fromto').addEventListener('submit', (event) => {
  event.preventDefault();
  const [min, max] = ['from', 'to'].map((id) => new Date(byId(id).value).getTime() / 1000);
  const sound = min < max;
  setText(byId('fromto-error'), sound ? '' : 'From has to be before to.');
  if (sound) {
    view.between(min, max);
  }
});

function tellRanges() {
  const isOpen = !byId('fromto').hidden;
  rangeButtons.forEach((button, i) => setAttribute(button, 'aria-pressed',
    String(RANGES[i].seconds === null ? view.fixed !== null || isOpen : !isOpen && view.fixed === null && RANGES[i].seconds === view.seconds)));
}

function onView() {
  tellRanges();
  setHidden(byId('zoomed'), view.zoomed === null);
  if (view.isLive) {
    past.forget();
  } else {
    past.refresh();
  }
  refreshCharts();
  tellClock();
}

function pause() {
  frozen = frozen === null ? store.copy() : null;
  view.pause(frozen !== null);
  setAttribute(byId('pause'), 'aria-pressed', String(frozen !== null));
  document.body.classList.toggle('paused', frozen !== null);
  byId('pause').title = frozen === null ? 'Pause (space)' : `Paused at ${clock(frozen.end)}; go on (space)`;
  if (store.end > 0) {
    refresh();
  }
}

function find() {
  const text = byId('find').value.trim().toLowerCase();
  const matches = (element) => text === '' || element.textContent.toLowerCase().includes(text);
  let shown = 0;
  for (const section of [...sections, log]) {
    const whole = text !== '' && section.section.title.toLowerCase().includes(text);
    for (const element of section.grid.children) {
      element.classList.toggle('filtered', !whole && !matches(element.querySelector('.head')) && !(element.querySelector('.legend') && matches(element.querySelector('.legend'))));
      shown += element.classList.contains('filtered') || element.hidden ? 0 : 1;
    }
    section.element.classList.toggle('filtered', text !== '' && [...section.grid.children].every((element) => element.hidden || element.classList.contains('filtered')));
  }
  document.body.classList.toggle('finding', text !== '');
  setHidden(byId('none'), shown > 0 || text === '');
}

function escape() {
  if (byId('find').value !== '') {
    byId('find').value = '';
    find();
  }
  byId('find').blur();
  if (!byId('fromto').hidden) {
    setHidden(byId('fromto'), true);
    tellRanges();
  }
  view.reset();
  return false;
}

function stepCursor(by) {
  const focused = byElement(document.activeElement?.closest?.('.panel'));
  (focused ?? [...charts].find((chart) => chart.isVisible && chart.chart))?.step(by);
}

byId('pause').addEventListener('click', pause);
byId('theme').addEventListener('click', () => theme.flip());
byId('help').addEventListener('click', () => byId('keys').showModal());
byId('reset').addEventListener('click', () => view.reset());
byId('find').addEventListener('input', find);

setUpKeyboard([
  { keys: RANGES.map((_, i) => String(i + 1)), shown: ['1', '…', '9'], text: `${RANGES.map(({ text }) => text).join(', ')}`, run: ({ key }) => chooseRange(Number(key) - 1) },
  { keys: [' '], text: 'pause, and go on', run: pause },
  { keys: ['ArrowLeft', 'ArrowRight'], text: 'earlier, later (when zoomed)', run: ({ key }) => view.pan(key === 'ArrowLeft' ? -0.2 : 0.2) },
  { keys: ['+', '=', '-'], shown: ['+', '-'], text: 'zoom in, zoom out', run: ({ key }) => view.scale(key === '-' ? 2 : 0.5) },
  { keys: [',', '.'], text: 'move the cursor of all charts', run: ({ key }) => stepCursor(key === ',' ? -1 : 1) },
  { keys: ['Escape'], text: 'the whole range again; nothing is sought', run: escape },
  { keys: ['/'], text: 'find a panel', run: () => byId('find').focus() },
  { keys: ['t'], text: 'dark or light', run: () => theme.flip() },
  { keys: ['?'], text: 'this list', run: () => byId('keys').showModal() },
]);

tellRanges();
askBeside();
