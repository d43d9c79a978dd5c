// Bun's own server: publish/subscribe of its own, one topic a space.
import * as room from './room.js';

const server = Bun.serve({
  hostname: room.HOST,
  port: room.PORT,
  fetch(request, server) {
    const url = new URL(request.url);
    const seat = room.seatOf(url.pathname, url.search);
    if (!seat) return new Response('', { status: 400 });
    const data = { seat, topic: String(seat.space) };
    return server.upgrade(request, { data }) ? undefined : new Response('', { status: 400 });
  },
  websocket: {
    perMessageDeflate: false,
    maxPayloadLength: room.MESSAGE_BYTES_MAX,
    backpressureLimit: room.BACKLOG_BYTES_MAX,
    closeOnBackpressureLimit: true,
    idleTimeout: 120,
    open(socket) {
      const { seat, topic } = socket.data;
      socket.subscribe(topic);
      const frame = JSON.stringify(room.joinFrame(seat));
      if (server.subscriberCount(topic) <= room.ANNOUNCE_MEMBERS_MAX) server.publish(topic, frame);
      else socket.send(frame);
    },
    message(socket, message) {
      const { seat, topic } = socket.data;
      const frame = room.chatOfText(seat, message);
      if (frame) server.publish(topic, frame);
    },
    close(socket) {
      const { seat, topic } = socket.data;
      if (server.subscriberCount(topic) <= room.ANNOUNCE_MEMBERS_MAX) {
        server.publish(topic, JSON.stringify(room.leaveFrame(seat)));
      }
    },
  },
});
