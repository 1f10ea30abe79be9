// The npm package `ws`, as a subscriber of push_stream and as a publisher of the native ingest.

import assert from "node:assert/strict";
import { once } from "node:events";
import test from "node:test";
import WebSocket from "ws";
import { Inbox, assertForm, assertInOrder, numbers, soon, startServer } from "./server.js";

/** Connects a subscriber; messages are parsed and held to their form. */
async function subscribe(server, path) {
  const socket = new WebSocket(`${server.websocket}${path}`);
  const inbox = new Inbox();
  socket.on("message", (data, isBinary) => {
    assert.equal(isBinary, false);
    const message = JSON.parse(data.toString());
    assertForm(message);
    inbox.push(message);
  });
  const closed = once(socket, "close").then(([code, reason]) => ({ code, reason: reason.toString() }));
  await soon(once(socket, "open"), `the handshake of ${path}`);
  return { socket, inbox, closed };
}

function cursor({ tag, time }) {
  return `tag=${encodeURIComponent(tag)}&time=${encodeURIComponent(time)}`;
}

const numbersOf = (messages) => messages.map((message) => message.message.n);

test("a subscriber gets what is published to its channels, in order and in the document's form", async (t) => {
  const server = await startServer(t);
  const { socket, inbox } = await subscribe(server, "/websocket/a/b?auth_token=dev");
  for (const n of numbers(0, 50)) {
    await server.publish(n % 2 === 0 ? "a" : "b", { n, text: 'Grüße, "quoted" \u{1f600}', list: [1, 2.5, null, true] });
    await server.publish("c", { n: -n });
  }
  const messages = await inbox.take(50, "live messages");
  assertInOrder(messages);
  assert.deepEqual(numbersOf(messages), numbers(0, 50));
  for (const [n, message] of messages.entries()) {
    assert.equal(message.channel, n % 2 === 0 ? "a" : "b");
    assert.equal(message.id, Math.floor(n / 2) + 1);
    assert.deepEqual(message.message, { n, text: 'Grüße, "quoted" \u{1f600}', list: [1, 2.5, null, true] });
  }
  assert.equal(inbox.length, 0);
  socket.close();
});

test("after a cut, tag and time of the last message bring exactly what was missed, then what is new", async (t) => {
  const server = await startServer(t);
  const first = await subscribe(server, "/websocket/a/b?auth_token=dev");
  for (const n of numbers(0, 20)) await server.publish(n % 3 === 0 ? "a" : "b", { n });
  const before = await first.inbox.take(20, "messages before the cut");
  // Whatever had come by some moment: the client only remembers its last message.
  const last = before[12];
  first.socket.terminate();
  for (const n of numbers(20, 20)) await server.publish(n % 3 === 0 ? "a" : "b", { n });

  const second = await subscribe(server, `/websocket/a/b?auth_token=dev&${cursor(last)}`);
  const missed = await second.inbox.take(27, "the replay");
  assert.deepEqual(numbersOf(missed), numbers(13, 27));
  await server.publish("a/b", { n: 40 });
  const live = await second.inbox.take(2, "live messages after the replay");
  assert.deepEqual(live.map((message) => message.channel), ["a", "b"]);
  assertInOrder([...before.slice(0, 13), ...missed, ...live]);
  assert.equal(second.inbox.length, 0);
  second.socket.close();
});

test("cuts at random moments under publishing lose and double nothing", async (t) => {
  const server = await startServer(t);
  const total = 400;
  let subscriber = await subscribe(server, "/websocket/a/b?auth_token=dev&time=Thu%2C+01+Jan+1970+00%3A00%3A00+GMT");
  const publishing = (async () => {
    for (const n of numbers(0, total)) await server.publish(n % 2 === 0 ? "a" : "b", { n });
  })();
  const seen = [];
  while (seen.length < total) {
    seen.push(await subscriber.inbox.next(`message ${seen.length}`));
    if (seen.length % 23 === 0) {
      // What waits in the inbox was never seen by the application: it has to come again.
      subscriber.socket.terminate();
      subscriber = await subscribe(server, `/websocket/a/b?auth_token=dev&${cursor(seen.at(-1))}`);
    }
  }
  await publishing;
  assert.deepEqual(numbersOf(seen), numbers(0, total));
  assertInOrder(seen);
  subscriber.socket.close();
});

test("a backtrack in the path brings the last messages of that channel only", async (t) => {
  const server = await startServer(t);
  for (const n of numbers(0, 6)) await server.publish("a/b", { n });
  const { socket, inbox } = await subscribe(server, "/websocket/a.b3/b?auth_token=dev");
  const messages = await inbox.take(3, "the backtrack");
  assert.deepEqual(numbersOf(messages), [3, 4, 5]);
  assert.deepEqual(messages.map((message) => message.channel), ["a", "a", "a"]);
  await server.publish("b", { n: 6 });
  assert.deepEqual(numbersOf(await inbox.take(1, "the live message")), [6]);
  socket.close();
});

test("messages of every length form arrive whole", async (t) => {
  const server = await startServer(t);
  const { socket, inbox } = await subscribe(server, "/websocket/a?auth_token=dev");
  for (const bytes of [1, 20, 125, 126, 65_300, 65_536, 300_000]) {
    const text = "ü".repeat(bytes / 2);
    await server.publish("a", text);
    assert.equal((await inbox.next(`${bytes} bytes`)).message, text);
  }
  socket.close();
});

test("each ping gets a pong with its payload, and the client's close code comes back", async (t) => {
  const server = await startServer(t);
  const { socket, closed } = await subscribe(server, "/websocket/a?auth_token=dev");
  const pongs = new Inbox();
  socket.on("pong", (payload) => pongs.push(payload.toString()));
  // All in one segment, so that none is answered before the next is there.
  socket._socket.cork();
  for (const n of numbers(0, 10)) socket.ping(`ping ${n}`);
  socket._socket.uncork();
  assert.deepEqual(await pongs.take(10, "pongs"), numbers(0, 10).map((n) => `ping ${n}`));
  socket.close(4321, "enough");
  assert.equal((await soon(closed, "the close")).code, 4321);
});

test("a wrong token is refused before the upgrade, a right that is missing too", async (t) => {
  const server = await startServer(t);
  const status = async (path) => {
    const socket = new WebSocket(`${server.websocket}${path}`);
    socket.on("error", () => {});
    const [request, response] = await soon(once(socket, "unexpected-response"), `the refusal of ${path}`);
    request.destroy();
    return response.statusCode;
  };
  assert.equal(await status("/websocket/a"), 401);
  assert.equal(await status("/websocket/a?auth_token=wrong"), 401);
  assert.equal(await status("/websocket/public.news/a?auth_token=dev-limited"), 403);
  const { socket } = await subscribe(server, "/websocket/public.news?auth_token=dev-limited");
  socket.close();
});

test("50 channels are fine and the 51st is refused with a close that says so", async (t) => {
  const server = await startServer(t);
  const path = (count) => `/websocket/${numbers(0, count).map((n) => `channel-${n}`).join("/")}?auth_token=dev`;
  const fine = await subscribe(server, path(50));
  await server.publish("channel-49", { n: 1 });
  assert.deepEqual(numbersOf(await fine.inbox.take(1, "a message of the 50th channel")), [1]);
  fine.socket.close();
  const refused = await subscribe(server, path(51));
  const { code, reason } = await soon(refused.closed, "the refusal");
  assert.equal(code, 1008);
  assert.deepEqual(JSON.parse(reason), { http_status: 403, explain: "Too many channels in one request." });
});

test("the native ingest answers a thousand pipelined messages once each and in order", async (t) => {
  const server = await startServer(t);
  const subscriber = await subscribe(server, "/websocket/a?auth_token=dev");
  const publisher = new WebSocket(`${server.websocket}/publish`, { headers: { Authorization: "Bearer dev" } });
  const answers = new Inbox();
  publisher.on("message", (data) => answers.push(JSON.parse(data.toString())));
  await soon(once(publisher, "open"), "the publisher's handshake");
  for (const n of numbers(0, 1000)) publisher.send(JSON.stringify({ topic: "a", data: { n } }));
  const answered = await answers.take(1000, "answers");
  const messages = await subscriber.inbox.take(1000, "messages");
  assert.deepEqual(numbersOf(messages), numbers(0, 1000));
  for (const [n, answer] of answered.entries()) {
    assert.equal(answer.topic, "a");
    assert.equal(String(answer.tag), messages[n].tag);
    assert.equal(answer.time, Date.parse(messages[n].time) / 1000);
  }
  publisher.close();
  subscriber.socket.close();
});

test("a stopping server says goodbye with 1001 and exits cleanly", async (t) => {
  const server = await startServer(t);
  const subscribers = await Promise.all(numbers(0, 20).map((n) => subscribe(server, `/websocket/a${n % 3}?auth_token=dev`)));
  await server.stop();
  for (const { closed } of subscribers) assert.equal((await soon(closed, "the goodbye")).code, 1001);
});
