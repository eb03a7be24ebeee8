// What the tests do beside the browser: orders by real HTTP, and trouble at the Toss sandbox.

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

/** A saga whose refund is refused: parked, its compensation failed, the money still at Toss. */
export async function unrefunded(amount: number): Promise<string> {
  const id = fresh("refund");
  await trouble({ lost: "answer", hang: true }, { operation: "confirm", order_id: id });
  await trouble({ error: "NOT_CANCELABLE_PAYMENT" }, { operation: "cancel", order_id: id });
  const saga = await place(id, "ok", amount);
  // The money is taken, and the answer is on no way back.
  await until("pay was sent", async () => (await ask<{ steps: { step: string; state: string }[] }>(`/sagas/${saga}`)).steps.some((it) => it.step === "pay" && it.state === "running"));
  const { revision } = await ask<{ revision: number }>(`/sagas/${saga}`);
  await ask(`/sagas/${saga}/actions`, "POST", { action: "compensate", why: "the customer called", who: "test", revision });
  await status(saga, "parked");
  return saga;
}
