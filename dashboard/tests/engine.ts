// What the tests do beside the browser: orders by real HTTP, and trouble at the Toss sandbox.

import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { promisify } from "node:util";

import { inject } from "vitest";

export interface Saga { saga: string; status: string; key?: string; ended_at?: string }

const urls = () => inject("urls");

export async function ask<T>(path: string, method = "GET", json?: unknown, headers: Record<string, string> = {}): Promise<T> {
  const body = json === undefined ? {} : typeof json === "string" ? { body: json } : { body: JSON.stringify(json) };
  const type = typeof json === "string" ? "application/yaml" : "application/json";
  const url = path.startsWith("http") ? path : urls().api + path;
  const response = await fetch(url, { method, headers: { ...(json === undefined ? {} : { "content-type": type }), ...headers }, ...body });
  const text = await response.text();
  if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
  return (text === "" ? undefined : JSON.parse(text)) as T;
}

let count = 0;
/** An order number that no test has used. */
export function fresh(what: string): string {
  count += 1;
  return `${what}-${Date.now().toString(36)}-${count}`;
}

export function order(id: string, card = "ok", amount = 39_000): Record<string, unknown> {
  return { order_id: id, customer_id: "kim", items: [{ sku: "cup-celadon", quantity: 1, unit_price: amount }], payment: { payment_key: `tviva_${card}_${id}`, amount } };
}

/** Places an order; answers the saga's id at once. */
export async function place(id: string, card?: string, amount?: number, path = "/orders"): Promise<string> {
  return (await ask<Saga>(path, "POST", order(id, card, amount))).saga;
}

export async function until<T>(what: string, look: () => Promise<T | undefined | false>, ms = 60_000): Promise<T> {
  const end = Date.now() + ms;
  for (;;) {
    const found = await look();
    if (found !== undefined && found !== false) return found;
    if (Date.now() > end) throw new Error(`not after ${ms} ms: ${what}`);
    await new Promise((done) => setTimeout(done, 100));
  }
}

export function status(id: string, ...wanted: string[]): Promise<Saga> {
  return until(`${id} is ${wanted.join(" or ")}`, async () => {
    const saga = await ask<Saga>(`/sagas/${id}`);
    return wanted.includes(saga.status) && saga;
  });
}

/** From now on this goes wrong at Toss: for one order, or for all. */
export async function trouble(fault: Record<string, unknown>, of: { operation?: "confirm" | "cancel"; order_id?: string } = {}): Promise<void> {
  await fetch(`${urls().sandbox}/sandbox/faults`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ ...of, fault }) });
}

/** What Toss held back goes on, once it has come there. */
export async function release(): Promise<void> {
  await until("Toss holds a request", async () => (await ask<{ held: number }>(`${urls().sandbox}/sandbox/held`)).held > 0);
  await fetch(`${urls().sandbox}/sandbox/release`, { method: "POST" });
}

export async function peace(): Promise<void> {
  await fetch(`${urls().sandbox}/sandbox/faults`, { method: "DELETE" });
}

/** The shop's checkout under another name, with these changes; published without a proof, as a canary where a share of a hundred is given. */
export async function publishCheckout(name: string, change: (yaml: string) => string = (it) => it, canary?: number): Promise<void> {
  const checkout = await readFile(resolve(import.meta.dirname, "../../saga-defs/order-checkout.yaml"), "utf8");
  const yaml = change(checkout.replace(/^saga: .*$/m, `saga: ${name}`).replace("path: /orders", `path: /${name}`));
  await ask(`/definitions?${new URLSearchParams({ waive: "a definition of the dashboard's tests", ...(canary === undefined ? {} : { canary: String(canary) }) })}`, "POST", yaml);
}

/** Payment is tried once, and whatever goes wrong a human decides. */
export function parking(yaml: string): string {
  return yaml.replace("retry: { attempts: 8, initial: 500ms, max: 15s }", "retry: { attempts: 1 }\n    on_exhausted: park\n    on_rejected: park");
}

/** A saga whose refund is refused: parked, its compensation failed, the money still at Toss. */
export async function unrefunded(amount: number): Promise<string> {
  const id = fresh("refund");
  await trouble({ lost: "answer", hang: true }, { operation: "confirm", order_id: id });
  await trouble({ error: "NOT_CANCELABLE_PAYMENT" }, { operation: "cancel", order_id: id });
  const saga = await place(id, "ok", amount);
  // The money is taken, and the answer is on no way back.
  await until("Toss has taken the money", async () => (await ask<{ movements: { order_id: string }[] }>(`${urls().sandbox}/sandbox/ledger`)).movements.some((it) => it.order_id === id));
  const { revision } = await ask<{ revision: number }>(`/sagas/${saga}`);
  await ask(`/sagas/${saga}/actions`, "POST", { action: "compensate", why: "the customer called", who: "test", revision });
  await status(saga, "parked");
  return saga;
}

/** Done to the shop's own books, behind everybody's back. False where the stack is somebody else's, whose books cannot be reached. */
async function forge(database: string, sql: string): Promise<boolean> {
  const { data } = urls();
  if (data === null) return false;
  const [port, password] = await Promise.all(["postgres.port", "postgres.password"].map(async (name) => (await readFile(join(data, name), "utf8")).trim()));
  await promisify(execFile)("psql", ["-q", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p", port ?? "", "-U", "postgres", "-c", sql, database], { env: { ...process.env, PGPASSWORD: password } });
  return true;
}

/** An order that is completed, of whose money nobody knows: the next comparison of the books finds it. Answers its number. */
export async function unpaid(amount: number): Promise<string | null> {
  const id = fresh("unpaid");
  const books = `insert into amends_order.orders (order_id, saga, customer_id, amount, currency, status, created_at, completed_at)
    values ('${id}', '${crypto.randomUUID()}', 'kim', ${amount}, 'KRW', 'completed', now() - interval '2 hours', now() - interval '1 hour')`;
  if (!await forge("amends_order", books)) return null;
  await compared((it) => it.order_id === id);
  return id;
}

/** Runs the comparison of the books until it finds this; the engine may be at one of its own. */
async function compared(is: (finding: { order_id: string }) => boolean): Promise<void> {
  await until("the comparison finds it", async () => {
    await ask("/ops/reconciliation", "POST").catch(() => undefined);
    return (await ask<{ findings: { order_id: string }[] }>("/ops/reconciliation")).findings.some(is);
  });
}

/** A dead letter: the worker's record of what it did is gone, so it can answer its undoing with no right. Answers its saga. */
export async function deadLetter(definition: string): Promise<string | null> {
  if (urls().data === null) return null;
  const saga = await place(fresh("lost"), "reject_card", 33_000, `/${definition}`);
  await status(saga, "parked");
  await forge("amends_stock", ["reservation_lines", "reservations"].map((table) => `delete from amends_stock.${table} where saga = '${saga}'`).join("; "));
  const { revision } = await ask<{ revision: number }>(`/sagas/${saga}`);
  await ask(`/sagas/${saga}/actions`, "POST", { action: "compensate", why: "the customer called", who: "test", revision });
  await until("the letter is kept", async () => (await ask<{ dead_letters: unknown[] }>(`/ops/dead-letters?saga=${saga}`)).dead_letters.length > 0);
  return saga;
}
