// forecast - what is drawn beside the lines of memory: the limits, and where a line goes if things go on.
//
//      95 % ......................../
//                              / /   /
//      ~~~~~~~~~~~~~~~~~~~~~~~< /  /        the middle: the program's own forecast, which ends where memory is full
//                          now                the cone: how far the last minute's steps spread by then
//
// SPDX-License-Identifier: Apache-2.0
import { COLUMNS } from './store.js';

const FULL = 95;
const LIMITS = [75, 85, 95];
const SPREAD = 1.64; // 90 of 100, if steps are independent of each other

export function drawLimits(u, colours) {
  const { ctx, bbox } = u;
  ctx.save();
  ctx.strokeStyle = colours.limit;
  ctx.lineWidth = devicePixelRatio;
  ctx.setLineDash([2 * devicePixelRatio, 4 * devicePixelRatio]);
  for (const limit of LIMITS) {
    const y = Math.round(u.valToPos(limit, 'y', true)) + 0.5;
    ctx.globalAlpha = limit === FULL ? 0.9 : 0.45;
    ctx.beginPath();
    ctx.moveTo(bbox.left, y);
    ctx.lineTo(bbox.left + bbox.width, y);
    ctx.stroke();
  }
  ctx.restore();
}

/// The standard deviation of a second's step in the last minute.
export function spreadOf(values) {
  const steps = [];
  for (let i = COLUMNS - 60; i < COLUMNS; i++) {
    if (values[i] !== null && values[i - 1] !== null) {
      steps.push(values[i] - values[i - 1]);
    }
  }
  if (steps.length < 10) {
    return 0;
  }
  const mean = steps.reduce((a, b) => a + b) / steps.length;
  return Math.sqrt(steps.reduce((sum, step) => sum + (step - mean) ** 2, 0) / steps.length);
}

/// The key of the time that a line has left: of the server, or of the fullest device.
export function timeKey(key) {
  const brace = key.indexOf('{');
  return brace < 0 ? 'gpu_seconds_to_critical' : `gpu_server_seconds_to_critical${key.slice(brace)}`;
}

export function drawForecast(u, source, key, colour) {
  const left = source.latest(timeKey(key), 2).value;
  const { value } = source.latest(key, 2);
  if (left === null || value === null || left <= 0 || value >= FULL) {
    return;
  }
  const slope = (FULL - value) / left;
  const shown = Math.min(left, u.scales.x.max - source.end);
  if (shown <= 0) {
    return;
  }
  const spread = spreadOf(source.series.get(key));
  const edge = (sign) => Array.from({ length: 13 }, (_, i) => {
    const ahead = (shown * i) / 12;
    const y = Math.min(Math.max(value + slope * ahead + sign * SPREAD * spread * Math.sqrt(ahead), 0), 100);
    return [u.valToPos(source.end + ahead, 'x', true), u.valToPos(y, 'y', true)];
  });
  const { ctx } = u;
  ctx.save();
  ctx.fillStyle = colour;
  ctx.strokeStyle = colour;
  ctx.globalAlpha = 0.22;
  trace(ctx, [...edge(1), ...edge(-1).reverse()]);
  ctx.fill();
  ctx.globalAlpha = 1;
  ctx.lineWidth = 1.5 * devicePixelRatio;
  ctx.setLineDash([4 * devicePixelRatio, 3 * devicePixelRatio]);
  trace(ctx, edge(0));
  ctx.stroke();
  ctx.restore();
}

function trace(ctx, points) {
  ctx.beginPath();
  points.forEach(([x, y], i) => (i === 0 ? ctx.moveTo(x, y) : ctx.lineTo(x, y)));
}
