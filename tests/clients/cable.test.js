// Action Cable's stock clients: `@rails/actioncable`, and `@anycable/core` over the base and the extended protocol.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { anycable, extended, rails, startRelay } from "./cable.js";
import { numbers, startServer } from "./server.js";

const CLIENTS = [rails, anycable, extended];

/** AC-80: how long a client may take to come back. */
const RETURN = 30_000;

const POSTS = { channel: "ApiChannel", key: "dev", events: "posts#create" };
/** Another identifier for what `POSTS` gets, and more. */
const MORE = { channel: "ApiChannel", key: "dev", events: "posts#create;feedbacks" };

async function post(server, path, body) {
  const response = await fetch(`${server.http}${path}`, {
    method: "POST",
    headers: { Authorization: "Bearer dev" },
    body: JSON.stringify(body),
  });
  assert.equal(response.status, 201, await response.text());
}

/** An event as metasmoke publishes it; resolves to what subscribers get. */
async function created(server, id) {
  const event = { event_type: "create", event_class: "Post", object: { id, title: 'Grüße, "quoted" <b> \u{1f600}' } };
  await post(server, "/api/events", event);
  return event;
}

/** Any value, through AnyCable's way in. */
const broadcast = (server, value) => post(server, "/_broadcast", { stream: "api:posts_create", data: JSON.stringify(value) });

const disconnect = (server, reconnect) =>
  post(server, "/_broadcast", { command: "disconnect", payload: { identifier: "dev", reconnect } });

async function subscribed(client, params = POSTS) {
  const subscription = client.subscribe(params);
  assert.equal(await subscription.events.next("the confirm"), "confirmed");
  return subscription;
}

/** Most of what clients do here is to wait: they do it together. */

/** Every subscribe of the extended protocol asks for what came since the page was loaded; a younger server cannot know that. */
async function historyAnswered(subscription) {
  assert.match(await subscription.histories.next("the answer to its history"), /^history_(received|not_found)$/);
}

describe("cable clients", { concurrency: 32 }, () => {
  for (const stock of CLIENTS) {
    it(`${stock.name} receives events, and values of every kind that it passes on`, async (t) => {
      const server = await startServer(t);
      const client = stock.open(t, `${server.websocket}/cable`);
      const posts = await subscribed(client);
      assert.deepEqual(await created(server, 1), await posts.messages.next("an event"));
      const values = [{ a: [1, null] }, [1, "two", { three: 3 }], "text", 42.5, true];
      const falsy = [false, null, 0, ""];
      for (const value of [...values, ...falsy, "the last"]) await broadcast(server, value);
      const expected = [...values, ...(stock.passesFalsy ? falsy : []), "the last"];
      assert.deepEqual(await posts.messages.take(expected.length, "values"), expected);
      assert.equal(posts.messages.length, 0);

      const [welcome] = client.wire.received;
      const data = client.wire.about(posts.identifier).filter((frame) => "message" in frame);
      assert.equal(data.length, 1 + values.length + falsy.length + 1);
      if (stock === extended) {
        assert.deepEqual(Object.keys(welcome), ["type", "sid"]);
        assert.deepEqual(data.map((frame) => frame.offset), numbers(1, data.length));
        assert.deepEqual(new Set(data.map((frame) => frame.stream_id)), new Set(["api:posts_create"]));
      } else {
        assert.deepEqual(welcome, { type: "welcome" });
        for (const frame of data) assert.deepEqual(Object.keys(frame), ["identifier", "message"]);
      }
    });

    it(`${stock.name} is told of a wrong key, and its connection stays usable`, async (t) => {
      const server = await startServer(t);
      const client = stock.open(t, `${server.websocket}/cable`);
      const before = await subscribed(client);
      const wrong = client.subscribe({ ...POSTS, key: "wrong" });
      assert.equal(await wrong.events.next("the rejection"), "rejected");
      const after = await subscribed(client, MORE);
      const event = await created(server, 1);
      assert.deepEqual(await before.messages.next("an event of the subscription before"), event);
      assert.deepEqual(await after.messages.next("an event of the subscription after"), event);
      assert.equal(wrong.messages.length, 0);
      assert.equal(client.wire.sockets, 1);
    });

    it(`${stock.name} gets nothing more after it has unsubscribed`, async (t) => {
      const server = await startServer(t);
      const client = stock.open(t, `${server.websocket}/cable`);
      const [leaving, staying] = [await subscribed(client), await subscribed(client, MORE)];
      const first = await created(server, 1);
      assert.deepEqual(await leaving.messages.next("an event"), first);
      assert.deepEqual(await staying.messages.next("an event"), first);
      leaving.unsubscribe();
      // Commands take effect in their order: once this is confirmed, the other has ended.
      const fence = await subscribed(client, { ...POSTS, events: "posts" });
      const place = (name, { identifier }) =>
        client.wire.sent.findIndex(({ command }) => command.command === name && command.identifier === identifier);
      assert.ok(place("unsubscribe", leaving) >= 0 && place("unsubscribe", leaving) < place("subscribe", fence));
      const known = client.wire.about(leaving.identifier).length;
      assert.deepEqual(await created(server, 2), await staying.messages.next("an event"));
      assert.equal(client.wire.about(leaving.identifier).length, known);
    });

    it(`${stock.name} comes back by itself when the server is restarted`, async (t) => {
      const server = await startServer(t);
      const client = stock.open(t, `${server.websocket}/cable`);
      const posts = await subscribed(client);
      assert.deepEqual(await created(server, 1), await posts.messages.next("an event"));
      await server.stop();
      assert.deepEqual(client.wire.received.at(-1), { type: "disconnect", reason: "server_restart", reconnect: true });
      assert.equal(await client.wire.closes.next("the close"), 1000);
      assert.equal(await posts.events.next("the interruption"), "interrupted");
      const again = await startServer(t, { port: server.port });
      assert.equal(await posts.events.next("its return", RETURN), "confirmed");
      assert.deepEqual(await created(again, 2), await posts.messages.next("an event after the restart"));
      // Had the first come twice, this would be the second time.
      assert.deepEqual(await created(again, 3), await posts.messages.next("one more event"));
      assert.equal(posts.messages.length, 0);
    });

    it(`${stock.name} stays away or comes back as a remote disconnect tells it to`, async (t) => {
      const server = await startServer(t);
      const banned = stock.open(t, `${server.websocket}/cable`);
      const away = await subscribed(banned);
      await disconnect(server, false);
      assert.equal(await away.events.next("the end"), "ended");
      assert.deepEqual(banned.wire.received.at(-1), { type: "disconnect", reason: "remote", reconnect: false });
      assert.equal(await banned.wire.closes.next("the close"), 1000);

      const client = stock.open(t, `${server.websocket}/cable`);
      const posts = await subscribed(client);
      await disconnect(server, true);
      assert.equal(await posts.events.next("the interruption"), "interrupted");
      assert.deepEqual(client.wire.received.at(-1), { type: "disconnect", reason: "remote", reconnect: true });
      assert.equal(await posts.events.next("its return", RETURN), "confirmed");
      assert.deepEqual(await created(server, 1), await posts.messages.next("an event"));
      // It was told earlier, so by now it would be back.
      assert.equal(banned.wire.sockets, 1);
      assert.equal(away.messages.length, 0);
    });

    it(`${stock.name} stays connected for 20 s by pings alone`, async (t) => {
      const server = await startServer(t);
      const client = stock.open(t, `${server.websocket}/cable`);
      const posts = await subscribed(client);
      const [first, ...others] = await client.wire.pings.take(8, "pings");
      assert.ok(others.at(-1).message - first.message >= 20, "seven intervals of 3 s");
      assert.equal(client.wire.sockets, 1);
      assert.equal(posts.events.length, 0);
    });
  }

  it("two objects of @rails/actioncable with one identifier both receive, and stop asking within a second", async (t) => {
    const server = await startServer(t);
    const client = rails.open(t, `${server.websocket}/cable`);
    const first = await subscribed(client);
    const began = performance.now();
    const second = client.subscribe(POSTS);
    assert.equal(second.identifier, first.identifier);
    assert.equal(await second.events.next("the second confirm"), "confirmed");
    // Three seconds in which it would ask six times.
    await client.wire.pings.take(2, "pings");
    const subscribes = client.wire.subscribes(first.identifier);
    assert.ok(subscribes.length >= 2 && subscribes.at(-1) - began < 1000, `asked ${subscribes.map((at) => at - began)} ms after`);
    const event = await created(server, 1);
    assert.deepEqual(await first.messages.next("an event"), event);
    assert.deepEqual(await second.messages.next("an event"), event);
    // One frame for both.
    assert.equal(client.wire.about(first.identifier).filter((frame) => "message" in frame).length, 1);
  });

  it("two channels of @anycable/core with one identifier keep their subscription", async (t) => {
    const server = await startServer(t);
    const client = anycable.open(t, `${server.websocket}/cable`);
    const [first, second] = [await subscribed(client), await subscribed(client)];
    const event = await created(server, 1);
    assert.deepEqual(await first.messages.next("an event"), event);
    assert.deepEqual(await second.messages.next("an event"), event);
    assert.deepEqual(client.wire.sent.map(({ command }) => command.command), ["subscribe"]);
  });

  for (const half of [false, true]) {
    const how = half ? "of which the server knows nothing" : "on both sides";
    it(`${extended.name}: what was missed comes once and in order after a cut ${how}`, async (t) => {
      const server = await startServer(t);
      const relay = await startRelay(t, server.port);
      const client = extended.open(t, `ws://${relay.address}/cable`);
      const posts = await subscribed(client);
      await historyAnswered(posts);
      const before = [];
      for (const n of numbers(0, 5)) before.push(await created(server, n));
      assert.deepEqual(await posts.messages.take(5, "live events"), before);
      const [{ sid }] = client.wire.received;

      relay.cut({ half });
      const missed = [];
      for (const n of numbers(5, 20)) missed.push(await created(server, n));
      assert.equal(await posts.events.next("its return", RETURN), "restored");
      const welcome = client.wire.received.findLast((frame) => frame.type === "welcome");
      assert.deepEqual(Object.keys(welcome), ["type", "sid", "restored", "restored_ids"]);
      assert.notEqual(welcome.sid, sid);
      assert.deepEqual(welcome.restored_ids, [posts.identifier]);
      assert.equal(await posts.histories.next("the end of the history"), "history_received");
      assert.deepEqual(await posts.messages.take(20, "missed events"), missed);

      assert.deepEqual(await created(server, 25), await posts.messages.next("a live event"));
      assert.equal(posts.messages.length, 0);
      assert.deepEqual(posts.positions.map(({ offset }) => offset), numbers(1, 26));
      assert.equal(new Set(posts.positions.map(({ epoch }) => epoch)).size, 1);
      // Resumed, not subscribed again.
      assert.deepEqual(client.wire.sent.map(({ command }) => command.command), ["subscribe", "history"]);
    });
  }

  it(`${extended.name} loses and doubles nothing when it is cut off while events are published`, async (t) => {
    const server = await startServer(t);
    const relay = await startRelay(t, server.port);
    const client = extended.open(t, `ws://${relay.address}/cable`, { reconnectStrategy: () => 20 });
    const posts = await subscribed(client);
    const seen = [];
    for (const round of numbers(0, 8)) {
      // Half of what a history keeps.
      const publishing = (async () => {
        for (const n of numbers(50 * round, 50)) await created(server, n);
      })();
      const before = 1 + 6 * round;
      seen.push(...(await posts.messages.take(before, "events before the cut")));
      relay.cut({ half: round % 2 === 1 });
      seen.push(...(await posts.messages.take(50 - before, "events after the cut")));
      await publishing;
    }
    assert.deepEqual(await created(server, 400), await posts.messages.next("a last event"));
    assert.deepEqual(seen.map((event) => event.object.id), numbers(0, 400));
    assert.deepEqual(posts.positions.map(({ offset }) => offset), numbers(1, 401));
    assert.equal(posts.messages.length, 0);
    const welcomes = client.wire.received.filter((frame) => frame.type === "welcome");
    assert.deepEqual(welcomes.map((frame) => frame.restored ?? false), [false, ...Array(8).fill(true)]);
  });

  it(`${extended.name}: what was published since its page was loaded comes when it subscribes`, async (t) => {
    const server = await startServer(t);
    // A second that the server has seen from its beginning on.
    const clock = rails.open(t, `${server.websocket}/cable`);
    await subscribed(clock);
    const [, { message: loaded }] = await clock.wire.pings.take(2, "pings");
    const published = [];
    for (const n of numbers(0, 10)) published.push(await created(server, n));
    const client = extended.open(t, `${server.websocket}/cable`, { historyTimestamp: loaded });
    const posts = await subscribed(client);
    assert.equal(await posts.histories.next("the end of the history"), "history_received");
    assert.deepEqual(await posts.messages.take(10, "the history"), published);
    assert.deepEqual(await created(server, 10), await posts.messages.next("a live event"));
    assert.deepEqual(posts.positions.map(({ offset }) => offset), numbers(1, 11));
    const types = client.wire.about(posts.identifier).map((frame) => frame.type ?? "data");
    assert.deepEqual(types, ["confirm_subscription", ...Array(10).fill("data"), "confirm_history", "data"]);
  });

  it(`${extended.name} is told that the server has forgotten what it missed`, async (t) => {
    const server = await startServer(t);
    const client = extended.open(t, `${server.websocket}/cable`);
    const posts = await subscribed(client);
    await historyAnswered(posts);
    await created(server, 0);
    await posts.messages.next("a live event");
    await server.stop();
    assert.equal(await posts.events.next("the interruption"), "interrupted");
    const again = await startServer(t, { port: server.port });
    await created(again, 1);
    assert.equal(await posts.events.next("its return", RETURN), "confirmed");
    assert.equal(await posts.histories.next("the refusal"), "history_not_found");
    assert.deepEqual(await created(again, 2), await posts.messages.next("a live event"));
    assert.notEqual(posts.positions[0].epoch, posts.positions[1].epoch);
  });
});
