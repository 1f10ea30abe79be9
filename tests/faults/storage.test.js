// A server whose data directory is a tmpfs of 1 MiB that grows: see storage.sh.

import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import test from "node:test";
import { BINARY, Inbox, numbers, soon } from "../clients/server.js";

const KEY = "publisher-key-0123456789";
const TOKEN = "listener-token-0123456789";
const FIELDS = { Authorization: `Bearer ${KEY}`, "Content-Type": "application/json" };

/** A directory with a configuration, and in it a disk that holds a megabyte. Servers that it started end with the test. */
function house(t) {
  const directory = mkdtempSync(join(tmpdir(), "fanwire-storage-"));
  const disk = join(directory, "disk");
  const servers = [];
  mkdirSync(disk);
  execFileSync("mount", ["-t", "tmpfs", "-o", "size=1m", "tmpfs", disk]);
  t.after(async () => {
    for (const server of servers) await server.end("SIGKILL");
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
  return {
    async start() {
      const child = spawn(BINARY, ["serve", "-c", file], { stdio: ["ignore", "ignore", "pipe"] });
      const exited = once(child, "exit");
      const log = new Inbox();
      createInterface({ input: child.stderr }).on("line", (line) => log.push(JSON.parse(line)));
      const server = {
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
      server.http = `http://${runs.address}`;
      server.admin = `http://${runs.admin}`;
      return server;
    },
    grow: () => execFileSync("mount", ["-o", "remount,size=64m", disk]),
  };
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

async function metric(server, name) {
  const metrics = await (await fetch(`${server.admin}/metrics`)).text();
  return Number(new RegExp(`^fanwire_storage_${name} (\\d+)$`, "m").exec(metrics)[1]);
}

test("a full disk refuses what has to be kept, disturbs nobody else, and is used again when it has room", async (t) => {
  const { start, grow } = house(t);
  let server = await start();
  const listener = await fetch(`${server.http}/stream/live?auth_token=${TOKEN}`);
  const live = listener.body.getReader();
  const delivered = async (text) => {
    let seen = "";
    while (!seen.includes(text)) seen += Buffer.from((await soon(live.read(), text)).value).toString();
  };

  const acknowledged = [];
  let number = 0;
  const refused = { status: 503, body: { error: "Storage unavailable" } };
  // A small commit may fit where a greater one did not.
  const attempt = async () => {
    number += 1;
    const answer = await publish(server, stored(number));
    if (answer.status === 200) acknowledged.push(number);
    else assert.deepEqual(answer, refused);
    return answer.status;
  };
  while ((await attempt()) === 200) assert.ok(number < 1_000, "the disk is never full");
  assert.ok(acknowledged.length > 10, `${acknowledged.length} fitted`);
  await server.record("storage fails");
  assert.ok((await metric(server, "failures_total")) >= 1);

  // Everything else goes on.
  let failed = 0;
  for (const count of numbers(0, 50)) {
    const sent = await publish(server, { topic: "live", data: `live ${count}`, store: false });
    assert.ok(sent.status === 200 || (sent.status === 503 && sent.body.error === refused.body.error), JSON.stringify(sent));
    if (sent.status === 200) await delivered(`live ${count}"`);
    else failed += 1;
    await attempt();
  }
  assert.ok(failed <= 5, `${failed} that nobody keeps were behind a commit that failed`);
  assert.deepEqual(await replay(server), acknowledged);

  grow();
  const deadline = Date.now() + 10_000;
  for (let together = 0; together < 100; ) {
    together = (await attempt()) === 200 ? together + 1 : 0;
    assert.ok(Date.now() < deadline || together > 0, "it does not work again");
    if (together === 0) await new Promise((resolve) => setTimeout(resolve, 50));
  }
  assert.equal(await metric(server, "failing"), 0);
  await live.cancel();
  await server.end("SIGKILL");
  server = await start();
  assert.deepEqual(await replay(server), acknowledged);
  assert.equal(await server.end("SIGTERM"), 0);
});
