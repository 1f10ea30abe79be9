// Node's `fetch` as a client of long and short polling: it follows `Etag` and `Last-Modified`, as browsers' clients do.

import assert from "node:assert/strict";
import test from "node:test";
import { assertForm, assertInOrder, numbers, soon, startServer } from "./server.js";

/** One request; the answer's headers are the next cursor. */
async function poll(server, path, cursor = {}) {
  const headers = { Authorization: "Bearer dev" };
  if (cursor.etag) headers["If-None-Match"] = cursor.etag;
  if (cursor.modified) headers["If-Modified-Since"] = cursor.modified;
  const response = await soon(fetch(`${server.http}${path}`, { headers }), path);
  const body = await response.text();
  const messages = body === "" ? [] : body.split("\n").map((part) => JSON.parse(part));
  messages.forEach(assertForm);
  return {
    status: response.status,
    messages,
    gap: response.headers.get("X-Fanwire-Gap"),
    cursor: { etag: response.headers.get("Etag"), modified: response.headers.get("Last-Modified") },
  };
}

const numbersOf = (messages) => messages.map((message) => message.message.n);

test("a loop of long polls gets everything once and in order while others publish in bursts", async (t) => {
  const server = await startServer(t);
  // A short poll without a cursor names the server's own: nothing that follows is missed.
  let { cursor } = await poll(server, "/shortpoll/a/b");
  const total = 300;
  const publishing = (async () => {
    for (const start of numbers(0, total / 10)) {
      for (const n of numbers(start * 10, 10)) await server.publish(n % 2 === 0 ? "a" : "b", { n });
      await new Promise((resolve) => setTimeout(resolve, start % 3));
    }
  })();
  const seen = [];
  while (seen.length < total) {
    const answer = await poll(server, "/longpoll/a/b", cursor);
    assert.equal(answer.status, 200);
    assert.equal(answer.gap, null);
    const last = answer.messages.at(-1);
    assert.deepEqual(answer.cursor, { etag: `W/${last.tag}`, modified: last.time });
    seen.push(...answer.messages);
    cursor = answer.cursor;
  }
  await publishing;
  assert.deepEqual(numbersOf(seen), numbers(0, total));
  assertInOrder(seen);
});

test("a waiting long poll is answered by the first message, and by that one alone", async (t) => {
  const server = await startServer(t);
  const { cursor } = await poll(server, "/shortpoll/a/b");
  const waiting = poll(server, "/longpoll/a/b", cursor);
  await subscribed(server, "a");
  await server.publish("a/b", { n: 1 });
  const answer = await waiting;
  assert.equal(answer.status, 200);
  assert.deepEqual(answer.messages.map((message) => message.channel), ["a"]);
  const rest = await poll(server, "/longpoll/a/b", answer.cursor);
  assert.deepEqual(rest.messages.map((message) => message.channel), ["b"]);
});

/** Returns once somebody listens to the channel. */
async function subscribed(server, channel) {
  for (;;) {
    const response = await fetch(`${server.http}/channels-stats?id=${channel}`, { headers: { Authorization: "Bearer dev" } });
    if (response.status === 200 && (await response.json()).subscribers > 0) return;
  }
}

test("a short poll never waits, brings what is new, and otherwise keeps its cursor", async (t) => {
  const server = await startServer(t);
  const first = await poll(server, "/shortpoll/a/b");
  assert.equal(first.status, 304);
  for (const n of numbers(0, 5)) await server.publish(n % 2 === 0 ? "a" : "b", { n });
  const news = await poll(server, "/shortpoll/a/b", first.cursor);
  assert.equal(news.status, 200);
  assert.deepEqual(numbersOf(news.messages), numbers(0, 5));
  const none = await poll(server, "/shortpoll/a/b", news.cursor);
  assert.equal(none.status, 304);
  assert.deepEqual(none.cursor, news.cursor);
  const last = await poll(server, "/shortpoll/a.b2");
  assert.deepEqual(numbersOf(last.messages), [2, 4]);
});

test("the cursor works as arguments too, and a message's own tag and time are one", async (t) => {
  const server = await startServer(t);
  for (const n of numbers(0, 6)) await server.publish("a", { n });
  const all = await poll(server, "/shortpoll/a?time=Thu%2C%2001%20Jan%201970%2000%3A00%3A00%20GMT&tag=0");
  assert.deepEqual(numbersOf(all.messages), numbers(0, 6));
  const { tag, time } = all.messages[3];
  const rest = await poll(server, `/longpoll/a?tag=${tag}&time=${encodeURIComponent(time)}`);
  assert.deepEqual(numbersOf(rest.messages), [4, 5]);
});

test("a cursor that this server never gave out is told as a gap", async (t) => {
  const server = await startServer(t);
  const future = new Date(Date.now() + 3_600_000).toUTCString();
  const answer = await poll(server, "/longpoll/a", { etag: "W/1", modified: future });
  assert.equal(answer.status, 304);
  assert.equal(answer.gap, "1");
  assert.ok(Date.parse(answer.cursor.modified) < Date.parse(future));
});

test("the publisher is told what it published, and refused without its key", async (t) => {
  const server = await startServer(t);
  assert.deepEqual(await server.publish("a", { n: 1 }), { channel: "a", published_messages: 1, stored_messages: 1, subscribers: 0 });
  const group = await server.publish("a/b", { n: 2 });
  assert.deepEqual(group.infos, [
    { channel: "a", published_messages: 2, stored_messages: 2, subscribers: 0 },
    { channel: "b", published_messages: 1, stored_messages: 1, subscribers: 0 },
  ]);
  const refused = await fetch(`${server.http}/pub?id=a`, { method: "POST", body: "{}" });
  assert.equal(refused.status, 401);
  const notJson = await fetch(`${server.http}/pub?id=a`, { method: "POST", headers: { Authorization: "Bearer dev" }, body: "{" });
  assert.equal(notJson.status, 400);
  assert.equal(notJson.headers.get("X-Nginx-PushStream-Explain"), "Message text is not valid JSON.");
});

test("waiting long polls get a cursor when the server stops", async (t) => {
  const server = await startServer(t);
  const { cursor } = await poll(server, "/shortpoll/a");
  const waiting = numbers(0, 5).map(() => poll(server, "/longpoll/a", cursor));
  await subscribed(server, "a");
  await server.stop();
  // One of them had begun to wait; the others may have come too late to be taken at all.
  const answers = await Promise.allSettled(waiting);
  const told = answers.filter((answer) => answer.status === "fulfilled").map((answer) => answer.value);
  assert.ok(told.length > 0);
  for (const answer of told) {
    assert.equal(answer.status, 304);
    assert.match(answer.cursor.etag, /^W\/\d+$/);
  }
});
