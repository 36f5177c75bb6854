// statsd_peer - what a StatsD server in Node does with a datagram, and nothing else: the peer of tests/bench/statsd.py.
//
//     statsd_peer.mjs PORT       prints its figures on SIGTERM
//
// node:dgram, lines split, a regular expression, and a Map from name and tags to a number or a list.
//
// SPDX-License-Identifier: Apache-2.0
import dgram from 'node:dgram';

const LINE = /^([^:|]+):([^|]+)\|(c|g|ms|h|d|s)(?:\|@([0-9.]+))?(?:\|#(.*))?$/;
const counters = new Map();
const gauges = new Map();
const timers = new Map();
let lines = 0;

function take(line) {
  const found = LINE.exec(line);
  if (found === null) return;
  const [, name, text, type, rate, tags] = found;
  const key = tags === undefined ? name : `${name}#${tags}`;
  const value = Number(text);
  lines += 1;
  if (type === 'c') counters.set(key, (counters.get(key) ?? 0) + value / (rate ?? 1));
  else if (type === 'g') gauges.set(key, value);
  else if (timers.has(key)) timers.get(key).push(value);
  else timers.set(key, [value]);
}

const socket = dgram.createSocket({ type: 'udp4', recvBufferSize: 8 * 1024 * 1024 });
socket.on('message', (message) => {
  for (const line of message.toString().split('\n')) if (line !== '') take(line);
});
setInterval(() => timers.clear(), 1000);
process.on('SIGTERM', () => { process.stdout.write(`${lines}\n`, () => process.exit(0)); });
socket.bind(Number(process.argv[2]), '127.0.0.1', () => process.stdout.write('ready\n'));
