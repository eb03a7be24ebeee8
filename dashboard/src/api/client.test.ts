// What the one way to the engine makes of a proxy before it, and of a token that has run out. A real server answers.

import { once } from "node:events";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

import { afterAll, afterEach, beforeAll, expect, test } from "vitest";

import { call, reach } from "./client";
import { asProblem } from "./problem";
import { replaceToken, setToken } from "./session";

let server: Server;
let answer: (request: IncomingMessage, response: ServerResponse) => void;
let url = "";

beforeAll(async () => {
  server = createServer((request, response) => answer(request, response)).listen(0, "127.0.0.1");
  await once(server, "listening");
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/sagas`;
});
afterEach(() => setToken(null));
afterAll(() => { server.close(); server.closeAllConnections(); });

const says = (status: number, type: string, body: string) => { answer = (_, response) => response.writeHead(status, { "content-type": type }).end(body); };
const refused = () => call(url).then(() => { throw new Error("it was not refused"); }, asProblem);

test("a proxy that has no engine behind it is an engine that does not answer", async () => {
  for (const status of [502, 503, 504]) {
    says(status, "text/html", "<h1>Bad gateway</h1>");
    expect((await refused()).kind).toBe("offline");
    expect(reach.get()).toBe(false);
  }
  says(200, "application/json", "{}");
  await call(url);
  expect(reach.get()).toBe(true);
});

test("an engine that says itself that it is busy has answered", async () => {
  says(503, "application/problem+json", JSON.stringify({ title: "busy", detail: "Starts are held." }));
  const problem = await refused();
  expect([problem.kind, problem.body.detail]).toEqual(["busy", "Starts are held."]);
  expect(reach.get()).toBe(true);
});

test("a token that has run out is renewed once, and what it was refused for is sent again", async () => {
  let renewals = 0;
  setToken("old", () => {
    renewals += 1;
    replaceToken("new");
    return Promise.resolve(true);
  });
  const shown: (string | undefined)[] = [];
  answer = (request, response) => {
    shown.push(request.headers.authorization);
    response.writeHead(request.headers.authorization === "Bearer new" ? 200 : 401, { "content-type": "application/json" }).end("{}");
  };
  await Promise.all([call(url), call(url, { method: "POST", json: {} }), call(url)]);
  expect(renewals).toBe(1);
  expect(shown.filter((it) => it === "Bearer new")).toHaveLength(3);
});

test("where there is no other token, the refusal stands", async () => {
  setToken("old", () => Promise.resolve(false));
  says(401, "application/problem+json", JSON.stringify({ title: "unauthorized" }));
  expect((await refused()).kind).toBe("unauthorized");
});
