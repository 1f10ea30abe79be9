// Eventsource and stream, read from the body of Node's `fetch` and resumed as a browser's EventSource would.

import assert from "node:assert/strict";
import test from "node:test";
import { Inbox, assertForm, assertInOrder, numbers, soon, startServer } from "./server.js";

/** Begins an endless answer and gives its pieces, cut at `border`, to an inbox. */
async function open(server, path, border, headers = {}) {
  const control = new AbortController();
  const response = await soon(
    fetch(`${server.http}${path}`, { headers: { Authorization: "Bearer dev", ...headers }, signal: control.signal }),
    path,
  );
  assert.equal(response.status, 200);
  const pieces = new Inbox();
  const ended = (async () => {
    let text = "";
    for await (const part of response.body.pipeThrough(new TextDecoderStream())) {
      text += part;
      const complete = text.split(border);
      text = complete.pop();
      complete.forEach((piece) => pieces.push(piece));
    }
    return text;
  })();
  // A body that was cut on purpose is no failure; one that nobody awaits must not end the process either.
  ended.catch(() => {});
  return { response, pieces, ended, cut: () => control.abort() };
}

/** The fields of one event, by the rules of the HTML standard. */
function parseEvent(piece) {
  const event = { id: null, type: "message", data: [] };
  for (const line of piece.split("\n")) {
    if (line.startsWith(":")) continue;
    const [, field, value] = /^([a-z]+): ?(.*)$/.exec(line);
    if (field === "id") event.id = value;
    else if (field === "event") event.type = value;
    else if (field === "data") event.data.push(value);
    else assert.fail(`unknown field in ${JSON.stringify(piece)}`);
  }
  const message = JSON.parse(event.data.join("\n"));
  assertForm(message);
  return { id: event.id, type: event.type, message };
}

const numbersOf = (events) => events.map((event) => event.message.message.n);

test("an eventsource gets messages in order, and Last-Event-ID resumes over several channels", async (t) => {
  const server = await startServer(t);
  const first = await open(server, "/ev/a/b", "\n\n");
  assert.match(first.response.headers.get("Content-Type"), /^text\/event-stream/);
  for (const n of numbers(0, 20)) await server.publish(n % 3 === 0 ? "a" : "b", { n });
  const events = (await first.pieces.take(20, "events")).map(parseEvent);
  assert.deepEqual(numbersOf(events), numbers(0, 20));
  for (const { id, message } of events) assert.equal(id, `${Date.parse(message.time) / 1000}:${message.tag}`);
  first.cut();
  for (const n of numbers(20, 10)) await server.publish(n % 3 === 0 ? "a" : "b", { n });

  const second = await open(server, "/ev/a/b", "\n\n", { "Last-Event-ID": events[7].id });
  assert.equal(second.response.headers.get("X-Fanwire-Gap"), null);
  const missed = (await second.pieces.take(22, "the replay")).map(parseEvent);
  assert.deepEqual(numbersOf(missed), numbers(8, 22));
  await server.publish("a", { n: 30 });
  const live = (await second.pieces.take(1, "the live event")).map(parseEvent);
  assert.deepEqual(numbersOf(live), [30]);
  assertInOrder([...missed, ...live].map((event) => event.message));
  second.cut();
});

test("an eventsource carries the publisher's event id and type, and resumes by that id", async (t) => {
  const server = await startServer(t);
  const first = await open(server, "/ev/a", "\n\n");
  for (const n of numbers(0, 4)) await server.publish("a", { n }, { "Event-Id": `order-${n}`, "Event-Type": "order" });
  const events = (await first.pieces.take(4, "events")).map(parseEvent);
  assert.deepEqual(events.map(({ id, type }) => [id, type]), numbers(0, 4).map((n) => [`order-${n}`, "order"]));
  first.cut();
  const second = await open(server, "/ev/a", "\n\n", { "Last-Event-ID": "order-1" });
  assert.deepEqual(numbersOf((await second.pieces.take(2, "the replay")).map(parseEvent)), [2, 3]);
  second.cut();
});

test("a stream is one message per line", async (t) => {
  const server = await startServer(t);
  const { pieces, cut } = await open(server, "/stream/a", "\n");
  for (const n of numbers(0, 10)) await server.publish("a", { n });
  const messages = (await pieces.take(10, "messages")).map((piece) => JSON.parse(piece));
  messages.forEach(assertForm);
  assert.deepEqual(messages.map((message) => message.message.n), numbers(0, 10));
  cut();
});

test("endless answers end cleanly when the server stops", async (t) => {
  const server = await startServer(t);
  const event = await open(server, "/ev/a", "\n\n");
  const stream = await open(server, "/stream/a", "\n");
  await server.publish("a", { n: 1 });
  assert.deepEqual(numbersOf((await event.pieces.take(1, "the event")).map(parseEvent)), [1]);
  await stream.pieces.take(1, "the message");
  await server.stop();
  // A body without its last chunk would reject here.
  await soon(event.ended, "the end of the eventsource");
  await soon(stream.ended, "the end of the stream");
});
