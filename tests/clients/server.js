// A real `fanwire dev` on a port of its own, and the few words that every client test needs.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync, readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";

export const BINARY = process.env.FANWIRE ?? fileURLToPath(new URL("../../target/release/fanwire", import.meta.url));

/** How long anything may take that happens at once; on a busy machine, too. */
export const PATIENCE = 10_000;

/** Rejects with `what` when the promise takes longer than `patience`. */
export async function soon(promise, what, patience = PATIENCE) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`waited too long for ${what}`)), patience);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/**
 * Starts a server that ends with the test; its exit must be clean. `prefix` are the words of a command that becomes it; with
 * the `port` of one that has stopped it takes that one's place.
 */
export async function startServer(test, { port = 0, prefix = [], options = [] } = {}) {
  const [command, ...words] = [...prefix, BINARY, "dev", "--listen", `127.0.0.1:${port}`, "--log-level", "warn", ...options];
  const child = spawn(command, words, { stdio: ["ignore", "pipe", "inherit"] });
  const exited = once(child, "exit");
  const address = await soon(printedAddress(child), "the URLs that dev prints");
  const server = {
    pid: child.pid,
    address,
    port: Number(address.split(":")[1]),
    http: `http://${address}`,
    websocket: `ws://${address}`,
    /** Sends SIGTERM and holds the server to exit code 0. */
    async stop() {
      child.kill("SIGTERM");
      const [code, signal] = await soon(exited, "the end of the server");
      assert.deepEqual({ code, signal }, { code: 0, signal: null });
    },
    /** Publishes by POST, as any backend would. */
    async publish(channels, message, headers = {}) {
      const response = await fetch(`${server.http}/pub?id=${channels}`, {
        method: "POST",
        headers: { Authorization: "Bearer dev", ...headers },
        body: JSON.stringify(message),
      });
      assert.equal(response.status, 200);
      return response.json();
    },
  };
  test.after(() => (child.exitCode === null && child.signalCode === null ? server.stop() : undefined));
  return server;
}

function printedAddress(child) {
  return new Promise((resolve, reject) => {
    let printed = "";
    // The handler stays, so that whatever is printed later does not fill the pipe.
    child.stdout.on("data", (bytes) => {
      printed += bytes;
      const found = /http:\/\/([0-9.]+:[0-9]+)\/metrics\n/.exec(printed);
      if (found) resolve(found[1]);
    });
    child.once("error", reject);
    child.once("exit", () => reject(new Error(`the server ended early:\n${printed}`)));
  });
}

/** A queue between events and a test that awaits them. */
export class Inbox {
  #items = [];
  #waiting = [];

  push(item) {
    const waiting = this.#waiting.shift();
    if (waiting) waiting(item);
    else this.#items.push(item);
  }

  get length() {
    return this.#items.length;
  }

  next(what, patience = PATIENCE) {
    if (this.#items.length > 0) return Promise.resolve(this.#items.shift());
    return soon(new Promise((resolve) => this.#waiting.push(resolve)), what, patience);
  }

  async take(count, what) {
    const taken = [];
    while (taken.length < count) taken.push(await this.next(`${what} (${taken.length} of ${count} came)`));
    return taken;
  }
}

const FIXDATE = /^(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d (Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) \d{4} \d\d:\d\d:\d\d GMT$/;

/** Holds one message to the document's form: types, key order, and a date that says what it means. */
export function assertForm(message) {
  assert.deepEqual(Object.keys(message), ["id", "channel", "message", "tag", "time"]);
  assert.equal(typeof message.id, "number");
  assert.equal(typeof message.tag, "string");
  assert.match(message.time, FIXDATE);
  assert.equal(new Date(message.time).toUTCString(), message.time);
}

/** Whether the server ordered the first before the second: seconds first, then tags. */
function isBefore(first, second) {
  const [earlier, later] = [Date.parse(first.time), Date.parse(second.time)];
  return earlier < later || (earlier === later && Number(first.tag) < Number(second.tag));
}

export function assertInOrder(messages) {
  for (let place = 1; place < messages.length; place += 1) {
    const [before, after] = [messages[place - 1], messages[place]];
    assert.ok(isBefore(before, after), `${JSON.stringify(before)} came before ${JSON.stringify(after)}`);
  }
}

/** `from`, `from + 1`, … */
export function numbers(from, count) {
  return Array.from({ length: count }, (_, place) => from + place);
}

/** Milliseconds on CPU of all threads so far. */
export function cpu(pid) {
  const threads = readdirSync(`/proc/${pid}/task`);
  return threads.reduce((sum, thread) => sum + Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, "utf8").split(" ")[0]), 0) / 1e6;
}
