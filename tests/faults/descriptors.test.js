// A server under `ulimit -n 256`, seen by bare TCP clients: see descriptors.sh.

import assert from "node:assert/strict";
import test from "node:test";
import { cpu, numbers, soon, startServer } from "../clients/server.js";
import { Client, publication } from "./client.js";

const LIMIT = 256;
/** What fanwire keeps for listeners, wakers and files. */
const RESERVED = 64;

/** Runs the server that follows with 256 descriptors, of which it inherits `open` in use. */
function starved(open) {
  const script = `for ((fd = 100; fd < 100 + ${open}; fd++)); do eval "exec $fd</dev/null"; done; ulimit -n ${LIMIT}; exec "$@"`;
  return { prefix: ["bash", "-c", script, "starved"], options: ["--reactors", "1"] };
}

const HANDSHAKE = [
  "GET /websocket/a?auth_token=dev HTTP/1.1",
  "Host: test",
  "Connection: Upgrade",
  "Upgrade: websocket",
  "Sec-WebSocket-Version: 13",
  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
  "\r\n",
].join("\r\n");

async function surviving(t, { open, clients, inside }) {
  const server = await startServer(t, starved(open));
  const publisher = new Client(server, publication("0"));
  assert.equal(await publisher.status(), 200);

  const subscribers = [];
  let refused = 0;
  for (const _ of numbers(0, clients)) {
    const client = new Client(server, HANDSHAKE);
    const status = await client.status();
    if (status === 101) {
      subscribers.push(client);
    } else {
      assert.equal(status, 503);
      assert.match(client.text, /\r\nRetry-After: 1\r\n/);
      await soon(client.closed, "the end of a refused connection");
      refused += 1;
    }
  }
  inside(subscribers.length);
  assert.equal(refused, clients - subscribers.length);

  // A full house with one more knocking must not spin.
  const knocking = new Client(server, "");
  const before = cpu(server.pid);
  await new Promise((resolve) => setTimeout(resolve, 1000));
  const spent = cpu(server.pid) - before;
  assert.ok(spent < 300, `${spent} ms on CPU in an idle second`);
  await knocking.leave();

  // Those inside get everything in order.
  for (const n of numbers(1, 20)) publisher.socket.write(publication(String(n)));
  await publisher.sees(/HTTP\/1\.1 200 /g, 21);
  const expected = numbers(1, 20).map((n) => `"message":${n},`);
  for (const subscriber of subscribers) {
    await subscriber.sees(/"message":/g, 20);
    assert.deepEqual(subscriber.text.match(/"message":\d+,/g), expected);
  }

  // Room that comes free is used; the server notices it when it reads the end of those who left.
  for (const subscriber of subscribers.splice(0, 50)) await subscriber.leave();
  for (const _ of numbers(0, 50)) {
    let client;
    let attempts = 0;
    do {
      assert.ok((attempts += 1) <= 200, "no room although others left");
      client = new Client(server, HANDSHAKE);
    } while ((await client.status()) !== 101);
    subscribers.push(client);
  }
  for (const subscriber of subscribers) subscriber.socket.destroy();
  publisher.socket.destroy();
  await server.stop();
}

test("as many connections as the limit allows are served, and the others are told 503", (t) =>
  // The publisher is one of them.
  surviving(t, { open: 0, clients: 400, inside: (count) => assert.equal(count, LIMIT - RESERVED - 1) }));

test("when descriptors run out earlier than expected, the one kept back tells the excess 503", (t) =>
  surviving(t, {
    open: 100,
    clients: 180,
    inside: (count) => assert.ok(count > LIMIT - RESERVED - 100 && count < LIMIT - 100, `${count} were served`),
  }));
