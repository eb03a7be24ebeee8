// A server of ten thousand sagas of which two hundred change each second: what no engine on the same two cores could do beside the
// browser that is measured. It has the shapes of the operators' API and nothing behind them.

import { createServer, type Server, type ServerResponse } from "node:http";
import { readFile } from "node:fs/promises";
import { join, normalize } from "node:path";

import type { SagaSummary } from "../src/api/schema";

const SAGAS = 10_000;
const UPDATES_PER_S = 200;
const BEATS_PER_S = 20;
const TYPES: Record<string, string> = { ".js": "text/javascript", ".css": "text/css", ".html": "text/html", ".woff2": "font/woff2", ".svg": "image/svg+xml" };
const STEPS = ["create_order", "reserve_stock", "pay", "complete_order"];
const HEALTH = ["on_time", "late", "retrying", "waiting"];

/** Ids in order of time, as UUIDv7s are; the newest first. */
const id = (at: number) => `01a1fde6-${at.toString(16).padStart(4, "0")}-7000-8000-${at.toString(16).padStart(12, "0")}`;

function saga(at: number): SagaSummary {
  return {
    saga: id(at), definition: "order-checkout", version: "5f3c5f3c5f3c", status: "running", key: `order-${at}`, amount: 1_000 + at, currency: "KRW",
    started_at: new Date(Date.now() - (SAGAS - at) * 50).toISOString(), health: "on_time", step: STEPS[at % STEPS.length] ?? "pay", attempt: 1, attempts_max: 8,
  };
}

export async function serve(dist: string): Promise<{ url: string; close: () => void }> {
  const sagas = Array.from({ length: SAGAS }, (_, at) => saga(SAGAS - at));
  const readers = new Set<ServerResponse>();
  let beat = 0;
  const timer = setInterval(() => {
    for (let n = 0; n < UPDATES_PER_S / BEATS_PER_S; n += 1) {
      beat += 1;
      const row = sagas[(beat * 7_919) % SAGAS];
      if (!row) continue;
      row.health = HEALTH[beat % HEALTH.length] ?? "on_time";
      row.step = STEPS[beat % STEPS.length] ?? "pay";
      row.attempt = 1 + (beat % 8);
      for (const reader of readers) reader.write(`event: saga\nid: ${beat}\ndata: ${JSON.stringify({ saga: row.saga, revision: beat, status: row.status })}\n\n`);
    }
  }, 1_000 / BEATS_PER_S);
  const answer = (url: URL): unknown => {
    switch (url.pathname) {
      case "/auth/config": return { mode: "dev" };
      case "/auth/me": return { principal: "dev", roles: ["admin"], kind: "dev", dev: true };
      case "/ops/counts": return { total: { count: SAGAS }, by_status: { running: { count: SAGAS }, parked: { count: 0 }, completed: { count: 0 }, compensated: { count: 0 }, abandoned: { count: 0 } }, by_health: { on_time: SAGAS, late: 0, queued: 0, waiting: 0, retrying: 0, parked: 0 }, lag_ms: 0 };
      case "/sagas": {
        const after = url.searchParams.get("after");
        const from = after === null ? 0 : sagas.findIndex((it) => it.saga === after) + 1;
        const page = sagas.slice(from, from + Number(url.searchParams.get("limit") ?? 50));
        const last = page.at(-1);
        return { sagas: page, ...(last && from + page.length < SAGAS ? { next: last.saga } : {}), lag_ms: 0 };
      }
      default: return null;
    }
  };
  const server: Server = createServer((request, response) => {
    const url = new URL(request.url ?? "/", "http://127.0.0.1");
    if (url.pathname === "/ops/live") {
      response.writeHead(200, { "content-type": "text/event-stream" });
      readers.add(response);
      response.on("close", () => readers.delete(response));
      return;
    }
    if (url.pathname.startsWith("/ui/")) {
      const path = url.pathname.slice(4);
      const name = /\.\w+$/.test(path) ? path : "index.html";
      readFile(join(dist, normalize(name))).then((bytes) => {
        response.writeHead(200, { "content-type": TYPES[/\.\w+$/.exec(name)?.[0] ?? ""] ?? "application/octet-stream" });
        response.end(bytes);
      }, () => response.writeHead(404).end());
      return;
    }
    const found = answer(url);
    response.writeHead(found === null ? 404 : 200, { "content-type": "application/json" });
    response.end(JSON.stringify(found ?? { title: "Not here", status: 404 }));
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  const address = server.address();
  const port = typeof address === "object" && address ? address.port : 0;
  return { url: `http://127.0.0.1:${port}`, close: () => { clearInterval(timer); for (const reader of readers) reader.end(); server.close(); server.closeAllConnections(); } };
}
