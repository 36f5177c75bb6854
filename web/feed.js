// feed - the WebSocket: opens it, opens it again when it is lost, and tells of both.
//
// Lost means closed, or silent for longer than a frame can be late. Tries come after 0.5, 1, 2, 4, 8 and then every 10
// seconds, a little earlier or later so that many browsers don't come at once, and at once when the browser is back.
//
// SPDX-License-Identifier: Apache-2.0
const SILENCE_MS = 5000;
const FIRST_MS = 500;
const LAST_MS = 10000;

export class Feed {
  /// on: {frame(frame), state({state: 'open' | 'lost' | 'denied', retryAt})}
  constructor(on) {
    this.on = on;
    this.tries = 0;
    this.lastFrame = 0;
    addEventListener('online', () => this.now());
    document.addEventListener('visibilitychange', () => document.visibilityState === 'visible' && this.now());
    addEventListener('pageshow', (event) => event.persisted && this.now());
  }

  open() {
    clearTimeout(this.timer);
    this.socket?.close();
    const socket = new WebSocket(`${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}/ws/metrics`);
    this.socket = socket;
    this.isOpen = false;
    socket.onmessage = ({ data }) => socket === this.socket && this.take(data);
    socket.onclose = () => socket === this.socket && this.lose();
    this.watch(SILENCE_MS * 2);
  }

  /// At once, when there is no connection.
  now() {
    if (this.socket === undefined || this.socket.readyState > WebSocket.OPEN) {
      this.open();
    }
  }

  take(data) {
    let frame;
    try {
      frame = JSON.parse(data);
    } catch {
      return;
    }
    if (frame.type !== 'metrics_update' || typeof frame.time !== 'number') {
      return;
    }
    this.watch(SILENCE_MS);
    this.tries = 0;
    if (!this.isOpen) {
      this.isOpen = true;
      this.on.state({ state: 'open' });
    }
    this.on.frame(frame);
  }

  watch(ms) {
    clearTimeout(this.silence);
    this.silence = setTimeout(() => this.lose(), ms);
  }

  async lose() {
    clearTimeout(this.silence);
    const { socket } = this;
    socket.onclose = null;
    socket.close();
    this.isOpen = false;
    if (await this.isDenied()) {
      this.on.state({ state: 'denied' });
      return;
    }
    if (socket !== this.socket) {
      return; // opened again meanwhile
    }
    const wait = Math.min(FIRST_MS * 2 ** this.tries++, LAST_MS) * (0.8 + 0.4 * Math.random());
    this.on.state({ state: 'lost', retryAt: Date.now() + wait });
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.open(), wait);
  }

  /// A browser doesn't say why a WebSocket was refused; a plain request does.
  async isDenied() {
    try {
      return (await fetch('/api/cache/stats', { method: 'HEAD', cache: 'no-store' })).status === 401;
    } catch {
      return false;
    }
  }
}
