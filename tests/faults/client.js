// A bare TCP client of `fanwire dev`.

import assert from "node:assert/strict";
import { once } from "node:events";
import { connect } from "node:net";
import { Inbox } from "../clients/server.js";

/** A TCP client that shows what it gets piece by piece, and takes a reset for an end. */
export class Client {
  constructor(server, request) {
    const [host, port] = server.address.split(":");
    this.socket = connect(Number(port), host);
    this.text = "";
    this.grown = new Inbox();
    this.socket.on("data", (bytes) => {
      this.text += bytes.toString("latin1");
      this.grown.push("more");
    });
    this.socket.on("error", () => {});
    this.closed = once(this.socket, "close").then(() => this.grown.push("end"));
    this.socket.write(request);
  }

  /** The status of the answer, or nothing if there was none. */
  async status() {
    while (!this.text.includes("\r\n\r\n")) {
      if ((await this.grown.next("an answer")) === "end") return undefined;
    }
    return Number(this.text.split(" ")[1]);
  }

  /** Resolves once the text matches as often as that. */
  async sees(pattern, count) {
    while ((this.text.match(pattern) ?? []).length < count) {
      assert.equal(await this.grown.next(`${count} times ${pattern}`), "more");
    }
  }

  async leave() {
    this.socket.destroy();
    await this.closed;
  }
}

/** A request that publishes to the channel `a`. */
export function publication(body) {
  return `POST /pub?id=a HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer dev\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
}
