// The JavaScript of both documents (RESTED_DEV and YAWE), as they print it: only host and scheme of the URL differ. It runs in
// Node with `ws`, which has the browser's interface, and in headless Chromium.
//
// Browsers speak nothing but TLS to names below `.dev` (they come with a list for HSTS, RFC 6797, which they heed while they are
// new), so there the names end with `.test` (RFC 6761), and a proxy tells the server the real ones.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import http from "node:http";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "node:test";
import WebSocket from "ws";
import { Inbox, soon, startServer } from "./server.js";

const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";
/** A browser takes its time to start. */
const STARTING = 60_000;

const PATH = "/api/1/ce/examples/unsecure-endpoint";
const KEY = "d59eb2859c284168ac48aef65046d5dd";
const DOCUMENTS = [
  { name: "rested", host: "app.rested.dev" },
  { name: "yawe", host: "app.yawe.dev" },
];

/** A document's code with what goes by this name and port in the place of its own server. */
async function sample(document, { host = document.host, port }, key = KEY) {
  const text = await readFile(new URL(`documents/${document.name}.js`, import.meta.url), "utf8");
  const url = `wss://${document.host}${PATH}?key=${KEY}`;
  assert.equal(text.split(url).length, 2, `${document.name}.js has its URL once`);
  return text.replace(url, `ws://${host}:${port}${PATH}?key=${key}`);
}

/** Lets browsers reach the service of this host under a name that they take without TLS. */
async function startProxy(test, server, host) {
  const headersFor = (request) => ({ ...request.headers, host: `${host}:${server.port}` });
  const proxy = http.createServer((request, response) => {
    const { method, url: path } = request;
    const forwarded = http.request({ host: "127.0.0.1", port: server.port, method, path, headers: headersFor(request) });
    forwarded.on("response", (answer) => {
      response.writeHead(answer.statusCode, answer.headers);
      answer.pipe(response);
    });
    forwarded.on("error", () => response.destroy());
    request.pipe(forwarded);
  });
  const sockets = new Set();
  proxy.on("upgrade", (request, socket, begun) => {
    const upstream = net.connect(server.port, "127.0.0.1");
    const fields = Object.entries(headersFor(request)).map(([name, value]) => `${name}: ${value}\r\n`);
    upstream.write(`GET ${request.url} HTTP/1.1\r\n${fields.join("")}\r\n`);
    upstream.write(begun);
    for (const [from, to] of [[socket, upstream], [upstream, socket]]) {
      sockets.add(from);
      from.on("error", () => to.destroy());
      from.pipe(to);
    }
  });
  proxy.listen(0, "127.0.0.1");
  await once(proxy, "listening");
  test.after(() => {
    for (const socket of sockets) socket.destroy();
    proxy.closeAllConnections();
    proxy.close();
  });
  return { host: host.replace(/\.dev$/, ".test"), port: proxy.address().port };
}

const toLoopback = (_host, options, callback) =>
  options.all ? callback(null, [{ address: "127.0.0.1", family: 4 }]) : callback(null, "127.0.0.1", 4);

/** Asks the service that goes by this name. */
async function ask(server, host, method, path, body, headers = {}) {
  const request = http.request({
    port: server.port,
    host,
    lookup: toLoopback,
    method,
    path,
    headers: body === undefined ? headers : { "Content-Type": "application/json", ...headers },
  });
  request.end(body === undefined ? undefined : JSON.stringify(body));
  const [response] = await soon(once(request, "response"), `the answer to ${method} ${path}`);
  const pieces = [];
  for await (const piece of response) pieces.push(piece);
  const text = Buffer.concat(pieces).toString();
  return { status: response.statusCode, headers: response.headers, body: text === "" ? undefined : JSON.parse(text) };
}

/** What a console is told; events are told by what the documents say of them. */
function plain(value) {
  if (value && typeof value === "object" && "wasClean" in value) {
    return { code: value.code, reason: value.reason, wasClean: value.wasClean };
  }
  return value;
}

/** Runs code here; what it prints comes in `printed`. */
function runInNode(code) {
  const printed = new Inbox();
  const print = (...values) => printed.push(values.map(plain));
  class Browserlike extends WebSocket {
    constructor(url) {
      super(url, { lookup: toLoopback });
    }
  }
  new Function("WebSocket", "console", `${code}\nwebsocketExample();`)(Browserlike, { log: print, error: print });
  return printed;
}

/** Serves a page that runs code, and opens it in Chromium under this host; what it prints comes in `printed`. */
async function runInChromium(test, host, code) {
  const printed = new Inbox();
  const page = `<!doctype html><meta charset="utf-8"><script>
    const plain = ${plain};
    let told = Promise.resolve();
    const print = (...values) => {
      const body = JSON.stringify(values.map(plain));
      told = told.then(() => fetch("/printed", { method: "POST", body }));
    };
    console.log = print;
    console.error = print;
    window.onerror = (message) => print("uncaught", message);
  </script><script>${code}</script>`;
  const pages = http.createServer(async (request, response) => {
    if (request.method === "POST") {
      let body = "";
      for await (const piece of request) body += piece;
      printed.push(JSON.parse(body));
    }
    response.writeHead(200, { "Content-Type": "text/html; charset=utf-8" }).end(request.method === "GET" ? page : "");
  });
  pages.listen(0, "127.0.0.1");
  await once(pages, "listening");
  const profile = await mkdtemp(join(tmpdir(), "fanwire-chromium-"));
  const quiet = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"];
  const browser = spawn(
    CHROMIUM,
    [
      "--headless",
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      ...quiet,
      `--user-data-dir=${profile}`,
      `--host-resolver-rules=MAP ${host} 127.0.0.1`,
      "--remote-debugging-port=0",
      `http://${host}:${pages.address().port}/`,
    ],
    { stdio: "ignore", detached: true },
  );
  const failed = once(browser, "error").then(([error]) => {
    throw new Error(`${CHROMIUM} can't be started: ${error.message}`);
  });
  const exited = once(browser, "exit");
  test.after(async () => {
    if (browser.exitCode === null && browser.pid !== undefined) {
      // It and the processes that it has started.
      process.kill(-browser.pid, "SIGKILL");
      await exited;
    }
    pages.closeAllConnections();
    pages.close();
    await rm(profile, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
  });
  failed.catch(() => {});
  const started = printed.next("the page in Chromium", STARTING);
  const first = await Promise.race([started, failed]);
  return { first, printed };
}

/** What the documents say that their code prints. */
async function assertDocumented(document, server, first, printed) {
  assert.deepEqual(first, ["Creating socket"]);
  assert.deepEqual(await printed.next("the open event"), ["Socket open."]);
  const created = await ask(server, document.host, "POST", `${PATH}?key=${KEY}`, { someNewData: "test" });
  assert.equal(created.status, 201);
  const [label, message] = await printed.next("the message of the new record");
  assert.equal(label, "Socket server message");
  assert.deepEqual(Object.keys(message), ["type", "record"]);
  assert.deepEqual(Object.keys(message.record), ["data", "uniqueId", "updatedAt", "createdAt"]);
  assert.equal(message.type, "POST");
  assert.deepEqual(message.record, created.body);
  assert.deepEqual(message.record.data, { someNewData: "test" });
  assert.match(message.record.uniqueId, /^[0-9a-f]{32}$/);
  assert.match(message.record.createdAt, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
  assert.equal(message.record.updatedAt, message.record.createdAt);
  assert.equal(printed.length, 0);
  await server.stop();
  const close = await printed.next("the close event");
  assert.deepEqual(close, ["Close ", { code: 1001, reason: "Server is draining.", wasClean: true }]);
}

for (const document of DOCUMENTS) {
  test(`ep_28_the_javascript_of_${document.name} runs in Node as its document says`, async (t) => {
    const server = await startServer(t);
    const printed = runInNode(await sample(document, server));
    await assertDocumented(document, server, await printed.next("the first line"), printed);
  });

  test(`ep_28_the_javascript_of_${document.name} runs in Chromium as its document says`, async (t) => {
    const server = await startServer(t);
    const proxy = await startProxy(t, server, document.host);
    const code = `${await sample(document, proxy)}\nwebsocketExample();`;
    const { first, printed } = await runInChromium(t, proxy.host, code);
    await assertDocumented(document, server, first, printed);
  });

  test(`ep_28_the_javascript_of_${document.name} prints a key that is not valid as the reason of the close`, async (t) => {
    const server = await startServer(t);
    const expected = ["Close ", { code: 4000, reason: "Endpoint or API Key not valid.", wasClean: true }];
    const wrong = "0".repeat(32);
    const here = runInNode(await sample(document, server, wrong));
    assert.deepEqual(await here.take(3, "lines"), [["Creating socket"], ["Socket open."], expected]);
    const proxy = await startProxy(t, server, document.host);
    const code = `${await sample(document, proxy, wrong)}\nwebsocketExample();`;
    const { first, printed } = await runInChromium(t, proxy.host, code);
    assert.deepEqual([first, ...(await printed.take(2, "lines in Chromium"))], [["Creating socket"], ["Socket open."], expected]);
  });
}

test("a browser that has logged in brings its cookie to the socket of a secure endpoint", async (t) => {
  const server = await startServer(t);
  const { host, port } = await startProxy(t, server, "app.yawe.dev");
  const base = `//${host}:${port}/api/1/ce`;
  const { first, printed } = await runInChromium(
    t,
    host,
    `(async () => {
      const credentials = "include";
      const call = async (path, method, body) => {
        const headers = { "Content-Type": "application/json" };
        const answer = await fetch("http:${base}/" + path, { method, headers, credentials, body: JSON.stringify(body) });
        return [answer.status, await answer.json()];
      };
      const anna = { username: "anna-" + Date.now(), password: "correct horse" };
      const listen = () => {
        const socket = new WebSocket("ws:${base}/examples/notes?key=${KEY}");
        socket.onmessage = (message) => console.log("message", JSON.parse(message.data).record.data);
        socket.onclose = (event) => console.log("close", event);
        return new Promise((resolve) => { socket.onopen = () => resolve(socket); });
      };
      await listen();
      console.log("register", (await call("examples/users?key=${KEY}", "POST", anna))[0]);
      console.log("login", (await call("examples/users?key=${KEY}&login=true", "POST", anna))[0], document.cookie);
      await listen();
      console.log("note", (await call("examples/notes?key=${KEY}", "POST", { text: "mine" }))[0]);
    })();`,
  );
  const lines = [first, ...(await printed.take(4, "lines"))].map((line) => JSON.stringify(line));
  // The close of the first socket comes when it likes, and so does the message.
  const expected = [
    ["close", { code: 4000, reason: "No Access token or invalid.", wasClean: true }],
    ["register", 201],
    // No script sees the cookie.
    ["login", 200, ""],
    ["message", { text: "mine" }],
    ["note", 201],
  ];
  assert.deepEqual(lines.sort(), expected.map((line) => JSON.stringify(line)).sort());
});
