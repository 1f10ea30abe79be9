// A server whose data directory is a tmpfs of 1 MiB that grows: see storage.sh.

import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import test from "node:test";
import { BINARY, Inbox, numbers, soon } from "../clients/server.js";

const KEY = "publisher-key-0123456789";
const TOKEN = "listener-token-0123456789";
const FIELDS = { Authorization: `Bearer ${KEY}`, "Content-Type": "application/json" };

/** A directory with a configuration, and in it `disk`, which holds a megabyte. */
function house(t) {
  const directory = mkdtempSync(join(tmpdir(), "fanwire-storage-"));
  const disk = join(directory, "disk");
  execFileSync("mkdir", [disk]);
  execFileSync("mount", ["-t", "tmpfs", "-o", "size=1m", "tmpfs", disk]);
  t.after(() => {
    execFileSync("umount", [disk]);
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
`,
  );
  return { file, grow: () => execFileSync("mount", ["-o", "remount,size=64m", disk]) };
}

async function start(t, file) {
  const child = spawn(BINARY, ["serve", "-c", file], { stdio: ["ignore", "ignore", "pipe"] });
  const exited = once(child, "exit");
  const log = new Inbox();
  createInterface({ input: child.stderr }).on("line", (line) => log.push(JSON.parse(line)));
  const record = async (message) => {
    for (;;) {
      const next = await log.next(`the record "${message}"`);
      if (next.fields.message.startsWith(message)) return next.fields;
    }
  };
  const runs = await record("fanwire runs");
  const end = async (signal) => {
    child.kill(signal);
    await soon(exited, "the end of the server");
  };
  t.after(() => (child.exitCode === null && child.signalCode === null ? end("SIGKILL") : undefined));
  return { http: `http://${runs.address}`, admin: `http://${runs.admin}`, record, end };
}

async function publish(server, message) {
  const response = await fetch(`${server.http}/publish`, { method: "POST", headers: FIELDS, body: JSON.stringify(message) });
  return { status: response.status, body: await response.json() };
}

const stored = (number) => ({ topic: "a", data: { number, fill: "x".repeat(8_000) } });

/** The numbers of what is stored, in order. */
async function replay(server) {
  const cursor = "tag=0&time=Thu,%2001%20Jan%201970%2000:00:00%20GMT";
  const response = await fetch(`${server.http}/shortpoll/a?auth_token=${TOKEN}&${cursor}`);
  const text = response.status === 304 ? "" : await response.text();
  return text.split("\n").filter(Boolean).map((line) => JSON.parse(line).message.number);
}

async function failing(server) {
  const metrics = await (await fetch(`${server.admin}/metrics`)).text();
  return Number(/^fanwire_storage_failing (\d+)$/m.exec(metrics)[1]);
}

test("a full disk refuses what has to be kept, disturbs nobody else, and is used again when it has room", async (t) => {
  const { file, grow } = house(t);
  let server = await start(t, file);
  const listener = await fetch(`${server.http}/stream/live?auth_token=${TOKEN}`);
  const live = listener.body.getReader();
  const delivered = async (text) => {
    let seen = "";
    while (!seen.includes(text)) seen += Buffer.from((await soon(live.read(), text)).value).toString();
  };

  const acknowledged = [];
  let answer;
  for (const number of numbers(0, 1_000)) {
    answer = await publish(server, stored(number));
    if (answer.status !== 200) break;
    acknowledged.push(number);
  }
  assert.deepEqual(answer, { status: 503, body: { error: "Storage unavailable" } });
  assert.ok(acknowledged.length > 10, `${acknowledged.length} fitted`);
  await server.record("storage fails");
  assert.equal(await failing(server), 1);

  // Everything else goes on.
  for (const number of numbers(0, 50)) {
    const sent = await publish(server, { topic: "live", data: `live ${number}`, store: false });
    assert.equal(sent.status, 200);
    await delivered(`live ${number}"`);
    assert.equal((await publish(server, stored(1_000))).status, 503);
  }
  assert.deepEqual(await replay(server), acknowledged);

  grow();
  await server.record("storage works again");
  assert.equal(await failing(server), 0);
  for (const number of numbers(2_000, 100)) {
    assert.equal((await publish(server, stored(number))).status, 200);
    acknowledged.push(number);
  }
  await live.cancel();
  await server.end("SIGKILL");
  server = await start(t, file);
  assert.deepEqual(await replay(server), acknowledged);
  await server.end("SIGTERM");
});
