// The one way to the engine: adds the token, reads problems, and says when nobody answers.

import { parseExact, writeExact } from "./exact";
import { ApiProblem } from "./problem";
import { currentToken, renewed } from "./session";

const READ_MS_MAX = 20_000;

interface Sending { method?: string; json?: unknown; text?: string; type?: string; headers?: Record<string, string>; signal?: AbortSignal }

// Reachability is a fact of its own: a page keeps showing what it has while nobody answers.
let reachable = true;
let answeredAt = Date.now();
const listeners = new Set<() => void>();

export const reach = {
  get: () => reachable,
  answeredAt: () => answeredAt,
  subscribe(listener: () => void) {
    listeners.add(listener);
    return () => listeners.delete(listener);
  },
};

export function setReachable(now: boolean): void {
  if (now) answeredAt = Date.now();
  if (reachable === now) return;
  reachable = now;
  for (const listener of listeners) listener();
}

export async function call(path: string, sending: Sending = {}): Promise<Response> {
  const shown = currentToken();
  let response = await sent(path, sending, shown);
  // A machine that slept wakes up with a token that has run out: it is no reason to sign in again.
  if (response.status === 401 && await renewed(shown)) response = await sent(path, sending, currentToken());
  if (response.ok) {
    setReachable(true);
    return response;
  }
  const refusal = await problem(response);
  setReachable(refusal.kind !== "offline");
  throw refusal;
}

async function sent(path: string, sending: Sending, token: string | null): Promise<Response> {
  const headers = new Headers(sending.headers);
  headers.set("accept", headers.get("accept") ?? "application/json");
  if (token !== null) headers.set("authorization", `Bearer ${token}`);
  let body: string | null = null;
  if (sending.json !== undefined) {
    headers.set("content-type", "application/json");
    body = writeExact(sending.json);
  } else if (sending.text !== undefined) {
    headers.set("content-type", sending.type ?? "text/plain");
    body = sending.text;
  }
  try {
    return await fetch(path, { method: sending.method ?? "GET", headers, body, signal: sending.signal ?? null, cache: "no-store" });
  } catch (error) {
    if (sending.signal?.aborted) throw error;
    setReachable(false);
    throw new ApiProblem(0, { title: "offline" });
  }
}

/** What a proxy says when the engine does not answer it. */
const GATEWAY = [502, 503, 504];

async function problem(response: Response): Promise<ApiProblem> {
  const type = response.headers.get("content-type") ?? "";
  // The engine's own refusals are problem documents; a 503 in other words is a proxy's, in front of nobody.
  if (GATEWAY.includes(response.status) && !type.includes("problem+json")) return new ApiProblem(0, { title: "offline" });
  if (!type.includes("json")) return new ApiProblem(response.status, { title: response.statusText });
  try {
    return new ApiProblem(response.status, await response.json());
  } catch {
    return new ApiProblem(response.status, { title: response.statusText });
  }
}

/** Reads. An engine that takes longer than `READ_MS_MAX` does not answer, as far as a reader is concerned. */
export async function get<T>(path: string, signal?: AbortSignal): Promise<T> {
  const late = AbortSignal.timeout(READ_MS_MAX);
  try {
    const response = await call(path, { signal: signal ? AbortSignal.any([signal, late]) : late });
    return parseExact(await response.text()) as T;
  } catch (error) {
    if (!late.aborted || signal?.aborted) throw error;
    setReachable(false);
    throw new ApiProblem(0, { title: "offline" });
  }
}

export async function send<T>(method: string, path: string, json?: unknown, headers?: Record<string, string>): Promise<T> {
  const response = await call(path, { method, ...(json === undefined ? {} : { json }), ...(headers ? { headers } : {}) });
  return (response.status === 204 ? undefined : parseExact(await response.text())) as T;
}

/** A query string of what is set; an empty string when nothing is. */
export function query(parameters: Record<string, string | number | boolean | undefined | null>): string {
  const set = Object.entries(parameters).filter(([, value]) => value !== undefined && value !== null && value !== "");
  return set.length === 0 ? "" : `?${new URLSearchParams(set.map(([name, value]) => [name, String(value)]))}`;
}
