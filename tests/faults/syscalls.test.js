// A server under strace, which injects what a kernel says only on bad days: see syscalls.sh.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "node:test";
import { PATIENCE, Inbox, cpu, numbers, soon, startServer } from "../clients/server.js";
import { Client, publication } from "./client.js";
import { UNAVAILABLE, call, endpoint, house, listen, metric, publish, replay } from "./house.js";

const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** Attaches strace to all threads of a server. `end` takes it off again, and gives the lines that it wrote. */
async function trace(t, server, options) {
  const directory = mkdtempSync(join(tmpdir(), "fanwire-trace-"));
  const file = join(directory, "lines");
  const child = spawn("strace", ["-f", "-o", file, ...options, "-p", String(server.pid)], { stdio: ["ignore", "ignore", "pipe"] });
  const exited = once(child, "exit");
  const said = new Inbox();
  child.stderr.on("data", (bytes) => said.push(bytes.toString()));
  const end = async () => {
    child.kill("SIGINT");
    await soon(exited, "the end of strace");
  };
  t.after(async () => {
    if (child.exitCode === null && child.signalCode === null) await end();
    rmSync(directory, { recursive: true });
  });
  for (let text = ""; !/ attached/.test(text); ) {
    text += await said.next("strace to be attached");
    assert.doesNotMatch(text, /not permitted|invalid|illegal/i);
  }
  return {
    async end() {
      await end();
      return readFileSync(file, "utf8").split("\n");
    },
  };
}

/** Opens a websocket at an endpoint. */
const upgrade = `GET ${endpoint("p/open")} HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n`;

/** Holds a server that does nothing to doing nothing: at most half of one core. */
async function assertNoSpin(server, milliseconds) {
  const before = cpu(server.pid);
  await pause(milliseconds);
  const share = (cpu(server.pid) - before) / milliseconds;
  assert.ok(share < 0.5, `${share} of a core while nothing happens`);
}

/** Where in the trace a message's page was written, synced (twice), sent to a listener, and answered by a line with these texts. */
function places(lines, database, mark, answer) {
  const first = (is) => lines.findIndex(is);
  const writes = (line) => /\b(write|writev|sendto|sendmsg)\(/.test(line);
  const written = first((line) => line.includes(`pwrite64(`) && line.includes(`<${database}>`) && line.includes(mark));
  const isAnswer = (line) => answer.every((text) => line.includes(text));
  const delivered = first((line) => writes(line) && line.includes(mark) && !isAnswer(line));
  const answered = first((line) => writes(line) && isAnswer(line));
  const isSynced = (line) => /fdatasync(\(.*| resumed>)\) += 0( \(DELAYED\))?$/.test(line);
  const syncs = lines.flatMap((line, place) => (place > written && isSynced(line) ? [place] : []));
  for (const [what, place] of Object.entries({ written, delivered, answered })) assert.ok(place >= 0, `${mark} was not ${what}`);
  return { written, synced: syncs[1], delivered, answered };
}

const published = (seq) => ["HTTP/1.1 200", `\\"seq\\":${seq},`];

const EVERY_WRITE = ["-y", "-s", "100000", "-e", "trace=pwrite64,fdatasync,write,writev,sendto,sendmsg"];

test("each message is written, then synced, then delivered and answered", async (t) => {
  const { start, database } = house(t);
  const server = await start();
  const live = await listen(t, server, "a");
  const traced = await trace(t, server, EVERY_WRITE);
  const publications = [];
  const put = async (number) => {
    const answer = await publish(server, { topic: "a", data: `mark-${number}-` });
    assert.equal(answer.status, 200);
    publications.push({ mark: `mark-${number}-`, seq: answer.body.seq });
  };
  for (const number of numbers(0, 10)) await put(number);
  await live.sees("mark-9-");
  for (const group of numbers(1, 4)) await Promise.all(numbers(10 * group, 10).map(put));
  // The listener's core may come to it after the publisher's has answered: everything is sent once the newest is.
  await live.sees(publications.reduce((newest, one) => (one.seq > newest.seq ? one : newest)).mark);
  const lines = await traced.end();
  assert.equal(publications.length, 50);
  for (const { mark, seq } of publications) {
    const { written, synced, delivered, answered } = places(lines, database, mark, published(seq));
    assert.ok(written < synced && synced < delivered && synced < answered, `${mark}: ${[written, synced, delivered, answered]}`);
  }
  assert.equal(await server.end("SIGTERM"), 0);
});

test("each record is written, then synced, then told and answered", async (t) => {
  const { start, database } = house(t);
  const server = await start();
  const socket = new Client(server, upgrade);
  assert.equal(await socket.status(), 101);
  const traced = await trace(t, server, EVERY_WRITE);
  const post = async (number) => {
    const answer = await call(server, "POST", endpoint("p/open"), { body: `mark-${number}-` });
    assert.equal(answer.status, 201);
  };
  for (const number of numbers(0, 10)) await post(number);
  for (const group of numbers(1, 3)) await Promise.all(numbers(10 * group, 10).map(post));
  await socket.sees(/mark-\d+-/g, 40);
  const lines = await traced.end();
  for (const mark of numbers(0, 40).map((number) => `mark-${number}-`)) {
    const { written, synced, delivered, answered } = places(lines, database, mark, ["HTTP/1.1 201", mark]);
    assert.ok(written < synced && synced < delivered && synced < answered, `${mark}: ${[written, synced, delivered, answered]}`);
  }
  await socket.leave();
  assert.equal(await server.end("SIGTERM"), 0);
});

test("with before_commit each message is delivered while the disk is slow, and answered when it is synced", async (t) => {
  const { start, database } = house(t, { deliver: "before_commit" });
  let server = await start();
  const live = await listen(t, server, "a");
  assert.equal((await publish(server, { topic: "a", data: "the file says what is done" })).status, 200);
  await live.sees("the file says");
  const traced = await trace(t, server, [...EVERY_WRITE, "-e", "inject=fdatasync:delay_enter=500000"]);
  const publications = [];
  for (const number of numbers(0, 3)) {
    const mark = `mark-${number}-`;
    let isAnswered = false;
    const answer = publish(server, { topic: "a", data: mark }).finally(() => (isAnswered = true));
    await live.sees(mark);
    assert.ok(!isAnswered, "it was delivered first");
    const { status, body } = await answer;
    assert.equal(status, 200);
    publications.push({ mark, seq: body.seq });
  }
  const lines = await traced.end();
  for (const { mark, seq } of publications) {
    const { written, synced, delivered, answered } = places(lines, database, mark, published(seq));
    assert.ok(delivered < synced && written < synced && synced < answered, `${mark}: ${[written, synced, delivered, answered]}`);
  }
  await server.end("SIGKILL");
  server = await start();
  assert.equal((await replay(server)).length, 4);
});

/** A database file whose system calls fail while strace is attached. */
async function failing(t, deliver, injection) {
  const { start, database } = house(t, { deliver });
  let server = await start();
  const live = await listen(t, server, "live");
  let number = 0;
  const acknowledged = [];
  const attempt = async () => {
    number += 1;
    const answer = await publish(server, { topic: "a", data: { number } });
    if (answer.status === 200) acknowledged.push(number);
    else assert.deepEqual(answer, UNAVAILABLE);
    return answer.status;
  };
  assert.equal(await attempt(), 200);
  const traced = await trace(t, server, ["-P", database, "-e", `inject=${injection}`]);
  while ((await attempt()) === 200) assert.ok(number < 100, "nothing failed");
  const first = number;

  // Nothing is acknowledged after it, nobody spins, and who does not need the disk goes on.
  for (const count of numbers(0, 5)) {
    await assertNoSpin(server, 500);
    assert.equal(await attempt(), 503);
    assert.equal((await publish(server, { topic: "live", data: `live ${count}`, store: false })).status, 200);
    await live.sees(`live ${count}"`);
  }
  assert.equal(await metric(server, "failing"), 1);
  // What was delivered before its commit failed stays; what was refused was never there.
  const kept = await replay(server);
  const also = deliver === "before_commit" && kept.includes(first) ? [first] : [];
  assert.deepEqual(kept, [...acknowledged, ...also]);

  const lines = await traced.end();
  assert.ok(lines.some((line) => line.includes("(INJECTED)")));
  const deadline = Date.now() + PATIENCE;
  while ((await attempt()) !== 200) {
    assert.ok(Date.now() < deadline, "it does not work again");
    await pause(50);
  }
  assert.equal(await attempt(), 200);
  const expected = [...acknowledged, ...also].sort((one, other) => one - other);
  assert.deepEqual(await replay(server), expected);
  await server.end("SIGKILL");
  server = await start();
  assert.deepEqual(await replay(server), expected);
}

for (const deliver of ["after_commit", "before_commit"]) {
  test(`nothing is acknowledged after a sync that failed (${deliver})`, (t) => failing(t, deliver, "fdatasync:error=EIO:when=3+"));
}

test("nothing is acknowledged while there is no space", (t) => failing(t, "after_commit", "pwrite64:error=ENOSPC:when=20+"));

test("endpoints are read and listened to while nothing of them can be stored", async (t) => {
  const { start, database } = house(t);
  let server = await start();
  const anna = { username: "anna", password: "correct horse battery" };
  const login = endpoint("p/users", "login=true&noATCookie=true");
  assert.equal((await call(server, "POST", endpoint("p/users"), { body: anna })).status, 201);
  const { token } = await call(server, "POST", login, { body: anna });
  const { status, body: record } = await call(server, "POST", endpoint("p/open"), { body: { number: 0 } });
  assert.equal(status, 201);
  const sockets = [new Client(server, upgrade)];
  assert.equal(await sockets[0].status(), 101);

  const traced = await trace(t, server, ["-P", database, "-e", "inject=fdatasync:error=EIO"]);
  const of = `uniqueId=${record.uniqueId}`;
  const bert = { ...anna, username: "bert" };
  for (const [method, path, body] of [
    ["POST", endpoint("p/open"), { number: 1 }],
    ["POST", endpoint("p/notes"), { number: 2 }],
    ["PUT", endpoint("p/open", of), { number: 3 }],
    ["PUT", endpoint("p/open", `${of}&strategy=merge`), { number: 4 }],
    ["PATCH", endpoint("p/open", of), { number: 5 }],
    ["DELETE", endpoint("p/open", of)],
    ["POST", endpoint("p/users"), bert],
    ["POST", login, anna],
    ["POST", endpoint("p/users", "logout=true")],
  ]) {
    const answer = await call(server, method, path, { body, token });
    assert.deepEqual(answer, { status: 503, body: { error: "Storage unavailable." } }, `${method} ${path}`);
  }
  const reads = async (expected) => {
    assert.deepEqual(await call(server, "GET", endpoint("p/open")), { status: 200, body: expected });
    assert.deepEqual(await call(server, "GET", endpoint("p/notes"), { token }), { status: 200, body: [] });
  };
  await reads([record]);
  sockets.push(new Client(server, upgrade));
  assert.equal(await sockets[1].status(), 101);

  assert.ok((await traced.end()).some((line) => line.includes("(INJECTED)")));
  const deadline = Date.now() + PATIENCE;
  let kept;
  while ((kept = await call(server, "POST", endpoint("p/open"), { body: { number: 6 } })).status !== 201) {
    assert.ok(Date.now() < deadline, "it does not work again");
    await pause(50);
  }
  // Nobody heard of anything else.
  for (const socket of sockets) {
    await socket.sees(/"type":"POST","record":{"data":{"number":6}/g, 1);
    assert.equal(socket.text.match(/"type"/g).length, 1);
    await socket.leave();
  }
  await server.end("SIGKILL");
  server = await start();
  await reads([record, kept.body]);
  assert.equal((await call(server, "POST", login, { body: anna })).status, 200);
  assert.equal((await call(server, "POST", login, { body: bert })).status, 401);
});

test("calls that are interrupted are made again", async (t) => {
  const { start } = house(t);
  let server = await start();
  const live = await listen(t, server, "a");
  const traced = await trace(t, server, [
    ...["-e", "trace=pwrite64,?epoll_wait,?epoll_pwait", "-e", "inject=pwrite64:error=EINTR:when=1+2"],
    ...["-e", "inject=?epoll_wait,?epoll_pwait:error=EINTR:when=1+2"],
  ]);
  for (const number of numbers(0, 30)) {
    assert.equal((await publish(server, { topic: "a", data: { number } })).status, 200);
    await live.sees(`"number":${number}}`);
  }
  await assertNoSpin(server, 1_000);
  const lines = await traced.end();
  for (const call of ["pwrite64", "epoll_"]) {
    assert.ok(lines.some((line) => line.includes(call) && line.includes("EINTR")), `no ${call} was interrupted`);
  }
  assert.equal(await metric(server, "failures_total"), 0);
  await server.end("SIGKILL");
  server = await start();
  assert.deepEqual(await replay(server), numbers(0, 30));
});

for (const { error, when } of [
  { error: "EMFILE", when: "1+" },
  { error: "ENOMEM", when: "1+" },
  // A real one takes the connection out of the queue: it can't go on for ever.
  { error: "ECONNABORTED", when: "1..40" },
]) {
  test(`accepting that fails with ${error} is tried again, and disturbs nobody inside`, async (t) => {
    const server = await startServer(t, { options: ["--reactors", "2"] });
    const publisher = new Client(server, publication("0"));
    assert.equal(await publisher.status(), 200);
    const traced = await trace(t, server, ["-e", `inject=accept4:error=${error}:when=${when}`]);
    const knocking = numbers(1, 4).map((number) => new Client(server, publication(String(number))));
    await assertNoSpin(server, 1_500);
    publisher.socket.write(publication("5"));
    await publisher.sees(/HTTP\/1\.1 200 /g, 2);
    if (when === "1+") assert.ok(knocking.every((client) => client.text === ""), "nobody was let in");
    const lines = await traced.end();
    const calls = lines.filter((line) => line.includes("accept4("));
    // With two threads at it the result of a call may stand in a line of its own.
    const failed = lines.some((line) => line.includes("accept4") && line.includes(`${error} `) && line.includes("INJECTED"));
    assert.ok(failed && calls.length < 500, `${calls.length} calls`);
    for (const client of knocking) assert.equal(await client.status(), 200);
    const fresh = new Client(server, publication("6"));
    assert.equal(await fresh.status(), 200);
    for (const client of [publisher, fresh, ...knocking]) await client.leave();
  });
}
