// A bad network between a client and a hub: a TCP proxy that cuts, holds back, slows and refuses.
import { connect, createServer } from 'node:net';

export class Proxy {
  #server; #pairs = new Set(); #held = [];
  /** What the network does to bytes: how late they are, how many go at once and how often. */
  delayMs = 0;
  pieceBytes = Infinity;
  pieceMs = 0;
  /** Whether nothing gets through, though connections stay as they are. */
  isBlack = false;
  /** Whether who connects is cut off at once. */
  isDown = false;
  /** Bytes that have come from the hub. */
  received = 0;

  static async start(t, port) {
    const proxy = new Proxy();
    proxy.#server = createServer((socket) => proxy.#pass(socket, port)).listen(0, '127.0.0.1');
    await new Promise((resolve) => { proxy.#server.once('listening', resolve); });
    proxy.url = `http://127.0.0.1:${proxy.#server.address().port}`;
    t.after(() => {
      proxy.cut();
      proxy.#server.close();
    });
    return proxy;
  }

  /** Cuts all connections; what was on its way is lost. */
  cut() {
    for (const pair of this.#pairs) for (const socket of pair) socket.destroy();
  }

  /** A network that is as good as none. */
  heal() {
    Object.assign(this, { delayMs: 0, pieceBytes: Infinity, pieceMs: 0 });
    Object.assign(this, { isBlack: false, isDown: false });
    for (const go of this.#held.splice(0)) go();
  }

  #pass(client, port) {
    if (this.isDown) return client.destroy();
    const hub = connect({ port, host: '127.0.0.1', noDelay: true });
    client.setNoDelay(true);
    const pair = [client, hub];
    this.#pairs.add(pair);
    hub.on('data', (bytes) => { this.received += bytes.length; });
    for (const [from, to] of [[client, hub], [hub, client]]) {
      from.on('error', () => {});
      from.on('close', () => {
        this.#pairs.delete(pair);
        to.destroy();
      });
      this.#carry(from, to);
    }
    return undefined;
  }

  // One piece after the other, so that nothing overtakes; what is not read holds back its sender.
  async #carry(from, to) {
    try {
      for await (const bytes of from) {
        if (this.delayMs) await pause(this.delayMs);
        for (let at = 0; at < bytes.length;) {
          if (this.isBlack) await new Promise((resolve) => { this.#held.push(resolve); });
          const piece = bytes.subarray(at, at + Math.min(this.pieceBytes, bytes.length));
          at += piece.length;
          if (!to.write(piece)) await new Promise((resolve) => { to.once('drain', resolve); });
          if (this.pieceMs) await pause(this.pieceMs);
        }
      }
      to.end();
    } catch { /* Cut. */ }
  }
}

const pause = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });
