// A server with storage in a directory of its own, and what is said to it.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { BINARY, Inbox, soon } from "../clients/server.js";

const KEY = "publisher-key-0123456789";
const TOKEN = "listener-token-0123456789";
const PROJECT_KEY = "d59eb2859c284168ac48aef65046d5dd";
const FIELDS = { Authorization: `Bearer ${KEY}`, "Content-Type": "application/json" };

/** What is answered while commits fail. */
export const UNAVAILABLE = { status: 503, body: { error: "Storage unavailable" } };

/**
 * A directory with a configuration, and `disk` in it for the data: `prepare` and `release` may put something there. Servers that
 * it started end with the test.
 */
export function house(t, { deliver = "after_commit", prepare = () => {}, release = () => {} } = {}) {
  const directory = mkdtempSync(join(tmpdir(), "fanwire-storage-"));
  const disk = join(directory, "disk");
  const servers = [];
  mkdirSync(disk);
  prepare(disk);
  t.after(async () => {
    for (const server of servers) await server.end("SIGKILL");
    release(disk);
    rmSync(directory, { recursive: true });
  });
  const file = join(directory, "fanwire.toml");
  writeFileSync(
    file,
    `[server]
listen = "127.0.0.1:0"
[admin]
listen = "127.0.0.1:0"
[log]
format = "json"
[storage]
path = "disk/data"
deliver = "${deliver}"
[push_stream]
poll_max_bytes = "64MiB"
[[access.keys]]
name = "backend"
key = "${KEY}"
may = ["publish"]
topics = ["*"]
[[access.tokens]]
name = "listener"
token = "${TOKEN}"
topics = ["*"]
[[endpoints.rested.projects]]
name = "p"
key = "${PROJECT_KEY}"
cookie_from_any_origin = true
[[endpoints.rested.projects.endpoints]]
name = "p/open"
[[endpoints.rested.projects.endpoints]]
name = "p/notes"
secure = true
[[endpoints.rested.projects.endpoints]]
name = "p/users"
auth = true
`,
  );
  return {
    async start() {
      const child = spawn(BINARY, ["serve", "-c", file], { stdio: ["ignore", "ignore", "pipe"] });
      const exited = once(child, "exit");
      const log = new Inbox();
      createInterface({ input: child.stderr }).on("line", (line) => log.push(JSON.parse(line)));
      const server = {
        pid: child.pid,
        async record(message) {
          for (;;) {
            const next = await log.next(`the record "${message}"`);
            if (next.fields.message.startsWith(message)) return next.fields;
          }
        },
        async end(signal) {
          child.kill(signal);
          return (await soon(exited, "the end of the server"))[0];
        },
      };
      servers.push(server);
      const runs = await server.record("fanwire runs");
      server.address = runs.address;
      server.http = `http://${runs.address}`;
      server.admin = `http://${runs.admin}`;
      return server;
    },
    disk,
    database: join(disk, "data", "fanwire.redb"),
  };
}

export async function publish(server, message) {
  const response = await fetch(`${server.http}/publish`, { method: "POST", headers: FIELDS, body: JSON.stringify(message) });
  return { status: response.status, body: await response.json() };
}

/** The path of an endpoint, with the key of its project and more parameters. */
export const endpoint = (name, query = "") => `/api/1/ce/${name}?key=${PROJECT_KEY}&${query}`;

/** A request to an endpoint. */
export async function call(server, method, path, { body, token } = {}) {
  const headers = { "Content-Type": "application/json", ...(token && { Authorization: `Bearer ${token}` }) };
  const response = await fetch(server.http + path, { method, headers, body: body && JSON.stringify(body) });
  const text = await response.text();
  const given = response.headers.get("Authorization")?.replace("Bearer ", "");
  return { status: response.status, body: text && JSON.parse(text), ...(given && { token: given }) };
}

/** The numbers of what is stored of `a`, in order. */
export async function replay(server) {
  const cursor = "tag=0&time=Thu,%2001%20Jan%201970%2000:00:00%20GMT";
  const response = await fetch(`${server.http}/shortpoll/a?auth_token=${TOKEN}&${cursor}`);
  const text = response.status === 304 ? "" : await response.text();
  return text.split("\n").filter(Boolean).map((line) => JSON.parse(line).message.number);
}

export async function metric(server, name) {
  const metrics = await (await fetch(`${server.admin}/metrics`)).text();
  return Number(new RegExp(`^fanwire_storage_${name} (\\d+)$`, "m").exec(metrics)[1]);
}

/** Somebody who listens to a channel. */
export async function listen(t, server, channel) {
  const answer = await fetch(`${server.http}/stream/${channel}?auth_token=${TOKEN}`);
  assert.equal(answer.status, 200);
  const reader = answer.body.getReader();
  const leave = () => reader.cancel().catch(() => {});
  t.after(leave);
  return {
    leave,
    /** Resolves once this was sent to it. */
    async sees(text) {
      let seen = "";
      while (!seen.includes(text)) seen += Buffer.from((await soon(reader.read(), text)).value).toString();
    },
  };
}
