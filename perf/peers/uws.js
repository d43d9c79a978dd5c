// uWebSockets.js: publish/subscribe of its own, one topic a space.
import uWS from '@btc-vision/uwebsockets.js';
import * as room from './room.js';

const app = uWS.App();

app.ws('/v1/ws/spaces/:space', {
  compression: uWS.DISABLED,
  maxPayloadLength: room.MESSAGE_BYTES_MAX,
  maxBackpressure: room.BACKLOG_BYTES_MAX,
  closeOnBackpressureLimit: true,
  idleTimeout: 120,
  upgrade: (response, request, context) => {
    const seat = room.seatOf(request.getUrl(), request.getQuery());
    if (!seat) {
      response.writeStatus('400 Bad Request').end();
      return;
    }
    response.upgrade(
      { seat, topic: String(seat.space) },
      request.getHeader('sec-websocket-key'),
      request.getHeader('sec-websocket-protocol'),
      request.getHeader('sec-websocket-extensions'),
      context,
    );
  },
  open: (socket) => {
    const { seat, topic } = socket.getUserData();
    socket.subscribe(topic);
    const frame = JSON.stringify(room.joinFrame(seat));
    if (app.numSubscribers(topic) <= room.ANNOUNCE_MEMBERS_MAX) app.publish(topic, frame);
    else socket.send(frame);
  },
  message: (socket, message) => {
    const { seat, topic } = socket.getUserData();
    const frame = room.chatOfText(seat, Buffer.from(message).toString());
    // All members, the sender too: `socket.publish` would leave it out.
    if (frame) app.publish(topic, frame);
  },
  close: (socket) => {
    const { seat, topic } = socket.getUserData();
    if (app.numSubscribers(topic) <= room.ANNOUNCE_MEMBERS_MAX) {
      app.publish(topic, JSON.stringify(room.leaveFrame(seat)));
    }
  },
});

app.listen(room.HOST, room.PORT, (socket) => {
  if (!socket) throw new Error(`port ${room.PORT} is taken`);
});
