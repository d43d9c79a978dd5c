// Socket.IO: a room a space, one event for all frames.
import { createServer } from 'node:http';
import { Server } from 'socket.io';
import * as room from './room.js';

const http = createServer();
const io = new Server(http, {
  transports: ['websocket'],
  serveClient: false,
  // Its own framing comes on top of the message.
  maxHttpBufferSize: room.MESSAGE_BYTES_MAX + 64,
});

io.on('connection', (socket) => {
  const { space, user_id: user } = socket.handshake.query;
  const seat = { space: Number(space), user: Number(user), username: `m${user}` };
  const name = String(seat.space);
  const size = () => io.sockets.adapter.rooms.get(name)?.size ?? 0;
  socket.join(name);
  if (size() <= room.ANNOUNCE_MEMBERS_MAX) io.to(name).emit('chat', room.joinFrame(seat));
  else socket.emit('chat', room.joinFrame(seat));
  socket.on('chat', (message) => {
    const frame = room.chatFrame(seat, message);
    if (frame) io.to(name).emit('chat', frame);
  });
  socket.on('disconnect', () => {
    if (size() <= room.ANNOUNCE_MEMBERS_MAX) io.to(name).emit('chat', room.leaveFrame(seat));
  });
});

http.listen({ host: room.HOST, port: room.PORT, backlog: 4096 });
