// ports - free ports on loopback, below the range that outgoing connections take theirs from.
//
// SPDX-License-Identifier: Apache-2.0
import net from 'node:net';

const LOWEST = 20000;
const COUNT = 12000;
const given = new Set();

function isFree(port, host) {
  return new Promise((resolve) => {
    const probe = net.createServer();
    probe.once('error', () => resolve(false));
    probe.listen({ port, host, exclusive: true }, () => probe.close(() => resolve(true)));
  });
}

/// A port that nobody listens on; the same one is not given twice in one process.
export async function freePort(host = '127.0.0.1') {
  for (let tries = 0; tries < 100; tries++) {
    const port = LOWEST + Math.floor(Math.random() * COUNT);
    if (!given.has(port) && (await isFree(port, host))) {
      given.add(port);
      return port;
    }
  }
  throw new Error('no free port');
}
