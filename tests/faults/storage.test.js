// A server whose data directory is a tmpfs of 1 MiB that grows: see storage.sh.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import test from "node:test";
import { numbers } from "../clients/server.js";
import { UNAVAILABLE, house, listen, metric, publish, replay } from "./house.js";

const stored = (number) => ({ topic: "a", data: { number, fill: "x".repeat(8_000) } });

test("a full disk refuses what has to be kept, disturbs nobody else, and is used again when it has room", async (t) => {
  const { start, disk } = house(t, {
    prepare: (disk) => execFileSync("mount", ["-t", "tmpfs", "-o", "size=1m", "tmpfs", disk]),
    release: (disk) => execFileSync("umount", [disk]),
  });
  let server = await start();
  const live = await listen(t, server, "live");

  const acknowledged = [];
  let number = 0;
  // A small commit may fit where a greater one did not.
  const attempt = async () => {
    number += 1;
    const answer = await publish(server, stored(number));
    if (answer.status === 200) acknowledged.push(number);
    else assert.deepEqual(answer, UNAVAILABLE);
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
    assert.ok(sent.status === 200 || (sent.status === 503 && sent.body.error === UNAVAILABLE.body.error), JSON.stringify(sent));
    if (sent.status === 200) await live.sees(`live ${count}"`);
    else failed += 1;
    await attempt();
  }
  assert.ok(failed <= 5, `${failed} that nobody keeps were behind a commit that failed`);
  assert.deepEqual(await replay(server), acknowledged);

  execFileSync("mount", ["-o", "remount,size=64m", disk]);
  const deadline = Date.now() + 10_000;
  for (let together = 0; together < 100; ) {
    together = (await attempt()) === 200 ? together + 1 : 0;
    assert.ok(Date.now() < deadline || together > 0, "it does not work again");
    if (together === 0) await new Promise((resolve) => setTimeout(resolve, 50));
  }
  assert.equal(await metric(server, "failing"), 0);
  await live.leave();
  await server.end("SIGKILL");
  server = await start();
  assert.deepEqual(await replay(server), acknowledged);
  assert.equal(await server.end("SIGTERM"), 0);
});
