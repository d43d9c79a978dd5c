// Node's `ws`: a set of sockets a space, and a loop over it.
import { createServer } from 'node:http';
import { WebSocketServer } from 'ws';
import * as room from './room.js';

const rooms = new Map();
const http = createServer((_request, response) => response.writeHead(404).end());
const sockets = new WebSocketServer({
  noServer: true,
  perMessageDeflate: false,
  maxPayload: room.MESSAGE_BYTES_MAX,
});

function broadcast(members, frame) {
  for (const member of members) {
    if (member.bufferedAmount > room.BACKLOG_BYTES_MAX) member.terminate();
    else member.send(frame);
  }
}

function announce(members, frame) {
  if (members.size <= room.ANNOUNCE_MEMBERS_MAX) broadcast(members, JSON.stringify(frame));
}

function serve(socket, seat) {
  let members = rooms.get(seat.space);
  if (!members) {
    members = new Set();
    rooms.set(seat.space, members);
  }
  members.add(socket);
  if (members.size > room.ANNOUNCE_MEMBERS_MAX) socket.send(JSON.stringify(room.joinFrame(seat)));
  else announce(members, room.joinFrame(seat));
  socket.on('message', (message) => {
    const frame = room.chatOfText(seat, message.toString());
    if (frame) broadcast(members, frame);
  });
  socket.on('close', () => {
    members.delete(socket);
    if (members.size === 0) rooms.delete(seat.space);
    announce(members, room.leaveFrame(seat));
  });
  socket.on('error', () => socket.terminate());
}

http.on('upgrade', (request, stream, head) => {
  const [path, query] = request.url.split('?');
  const seat = room.seatOf(path, query);
  if (!seat) {
    stream.end('HTTP/1.1 400 Bad Request\r\n\r\n');
    return;
  }
  sockets.handleUpgrade(request, stream, head, (socket) => serve(socket, seat));
});
http.listen({ host: room.HOST, port: room.PORT, backlog: 4096 });
