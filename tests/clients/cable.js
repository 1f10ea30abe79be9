// Action Cable's clients behind one face, with a record of what goes over their wires.

import actioncable from "@rails/actioncable";
import { Channel, createCable } from "@anycable/core";
import net from "node:net";
import { once } from "node:events";
import WebSocket from "ws";
import { Inbox } from "./server.js";

/** All that one client sent and received, over all its sockets. */
class Wire {
  static #wires = [];

  /** How often it connected, or tried to. */
  sockets = 0;
  /** Parsed commands, and when each was sent. */
  sent = [];
  /** Parsed frames without the pings. */
  received = [];
  pings = new Inbox();
  /** The server's close codes. */
  closes = new Inbox();

  /** Adds its number to the URL: one adapter makes all sockets of `@rails/actioncable`, and a URL is all that it is told. */
  constructor(url) {
    this.url = `${url}?wire=${Wire.#wires.push(this) - 1}`;
  }

  static of(url) {
    return Wire.#wires[Number(new URL(url).searchParams.get("wire"))];
  }

  /** Frames about one subscription. */
  about(identifier) {
    return this.received.filter((frame) => frame.identifier === identifier);
  }

  /** When each `subscribe` of this identifier was sent. */
  subscribes(identifier) {
    const asks = ({ command }) => command.command === "subscribe" && command.identifier === identifier;
    return this.sent.filter(asks).map(({ at }) => at);
  }
}

class RecordedSocket extends WebSocket {
  #wire;

  constructor(url, protocols) {
    // As in a browser, each frame comes in a turn of its own.
    super(url, protocols, { allowSynchronousEvents: false });
    this.#wire = Wire.of(url);
    this.#wire.sockets += 1;
    this.on("message", (data) => {
      const frame = JSON.parse(data.toString());
      if (frame.type === "ping") this.#wire.pings.push(frame);
      else this.#wire.received.push(frame);
    });
    this.on("close", (code) => this.#wire.closes.push(code));
  }

  send(data, ...rest) {
    this.#wire.sent.push({ command: JSON.parse(data), at: performance.now() });
    super.send(data, ...rest);
  }
}

// What a browser would give it.
actioncable.adapters.WebSocket = RecordedSocket;
globalThis.addEventListener ??= () => {};
globalThis.removeEventListener ??= () => {};
globalThis.document ??= { visibilityState: "visible" };

/** What the application is told about one subscription. */
class Subscription {
  /** `confirmed`, `restored`, `rejected`, `interrupted` (its client wants to come back) or `ended`. */
  events = new Inbox();
  /** What became of its questions for what it missed: `history_received` or `history_not_found`. */
  histories = new Inbox();
  messages = new Inbox();
  /** What the extended protocol says beside each message. */
  positions = [];
}

function openRails(url) {
  const wire = new Wire(url);
  const consumer = actioncable.createConsumer(wire.url);
  return {
    wire,
    subscribe(params) {
      const told = new Subscription();
      const subscription = consumer.subscriptions.create(params, {
        connected: () => told.events.push("confirmed"),
        rejected: () => told.events.push("rejected"),
        disconnected: ({ willAttemptReconnect }) => told.events.push(willAttemptReconnect ? "interrupted" : "ended"),
        received: (message) => told.messages.push(message),
      });
      return Object.assign(told, { identifier: subscription.identifier, unsubscribe: () => subscription.unsubscribe() });
    },
    close: () => consumer.disconnect(),
  };
}

function openAnycable(url, options) {
  const wire = new Wire(url);
  const cable = createCable(wire.url, { websocketImplementation: RecordedSocket, ...options });
  return {
    wire,
    subscribe({ channel: name, ...params }) {
      const told = new Subscription();
      const channel = new (class extends Channel {
        static identifier = name;
      })(params);
      channel.on("connect", ({ restored }) => told.events.push(restored ? "restored" : "confirmed"));
      channel.on("disconnect", () => told.events.push(cable.state === "closed" ? "ended" : "interrupted"));
      channel.on("close", (error) => told.events.push(error?.name === "SubscriptionRejectedError" ? "rejected" : "ended"));
      channel.on("info", ({ type }) => told.histories.push(type));
      channel.on("message", (message, position) => {
        told.messages.push(message);
        if (position) told.positions.push(position);
      });
      cable.subscribe(channel);
      return Object.assign(told, { identifier: channel.identifier, unsubscribe: () => channel.disconnect() });
    },
    close: () => cable.disconnect(),
  };
}

/** A client that ends with the test. */
function ending(open) {
  return (test, url, options = {}) => {
    const client = open(url, options);
    test.after(() => client.close());
    return client;
  };
}

export const rails = { name: "@rails/actioncable", open: ending(openRails), passesFalsy: true };
export const anycable = {
  name: "@anycable/core",
  open: ending((url, options) => openAnycable(url, { protocol: "actioncable-v1-json", ...options })),
  passesFalsy: false,
};
export const extended = {
  name: "@anycable/core, extended protocol",
  open: ending((url, options) => openAnycable(url, { protocol: "actioncable-v1-ext-json", ...options })),
  passesFalsy: false,
};

/** Passes bytes on to a server, over connections that can be cut. */
export async function startRelay(test, port) {
  const pairs = new Set();
  const listener = net.createServer((client) => {
    const server = net.connect(port, "127.0.0.1");
    const pair = { client, server };
    pairs.add(pair);
    client.pipe(server).pipe(client);
    // A connection that breaks is the point of it.
    client.on("error", () => {});
    server.on("error", () => {});
    client.on("close", () => pairs.delete(pair));
  });
  listener.listen(0, "127.0.0.1");
  await once(listener, "listening");
  const kept = [];
  test.after(() => {
    for (const { client, server } of pairs) [client, server].forEach((socket) => socket.destroy());
    kept.forEach((socket) => socket.destroy());
    listener.close();
  });
  return {
    address: `127.0.0.1:${listener.address().port}`,
    /** Breaks every connection: with `half` only the client's side, so that the server learns nothing of it. */
    cut({ half = false } = {}) {
      for (const { client, server } of pairs) {
        client.unpipe(server);
        server.unpipe(client);
        client.resetAndDestroy();
        if (half) kept.push(server);
        else server.resetAndDestroy();
      }
      pairs.clear();
    },
  };
}
