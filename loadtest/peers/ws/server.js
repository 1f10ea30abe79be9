// The npm package ws as the load client's peer: /sub/<topic> listens, /publish takes {"topic":…,"data":…} and answers {"seq":n}.
// node server.js PORT send|framed: "send" calls send() for each client, "framed" builds the frame once and writes the same buffer.
'use strict';
const http = require('node:http');
const { WebSocketServer, Sender } = require('ws');

const [port, form] = [Number(process.argv[2]), process.argv[3]];
if (!Number.isInteger(port) || !['send', 'framed'].includes(form)) {
  console.error('usage: node server.js PORT send|framed');
  process.exit(2);
}

const topics = new Map();
let seq = 0;

function deliver(topic, text) {
  const subscribers = topics.get(topic);
  if (subscribers === undefined) return;
  if (form === 'send') {
    for (const socket of subscribers) socket.send(text, { binary: false });
    return;
  }
  const frame = Buffer.concat(
    Sender.frame(Buffer.from(text), { fin: true, rsv1: false, opcode: 1, mask: false, readOnly: false }),
  );
  for (const socket of subscribers) socket._socket.write(frame);
}

const server = http.createServer((request, response) => response.writeHead(404).end());
const sockets = new WebSocketServer({ server, perMessageDeflate: false });
sockets.on('connection', (socket, request) => {
  socket.on('error', () => socket.terminate());
  if (request.url === '/publish') {
    socket.on('message', (bytes) => {
      const message = JSON.parse(bytes);
      deliver(message.topic, JSON.stringify(message.data));
      socket.send(`{"seq":${++seq}}`);
    });
    return;
  }
  const topic = request.url.replace(/^\/sub\//, '');
  if (!topics.has(topic)) topics.set(topic, new Set());
  topics.get(topic).add(socket);
  socket.on('close', () => topics.get(topic).delete(socket));
});
server.listen({ port, host: '127.0.0.1', backlog: 4096 });
