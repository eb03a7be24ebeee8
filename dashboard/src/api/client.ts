// The one way to the engine: adds the token, reads problems, and says when nobody answers.

import { ApiProblem } from "./problem";
import { currentToken } from "./session";

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
  const headers = new Headers(sending.headers);
  headers.set("accept", headers.get("accept") ?? "application/json");
  const token = currentToken();
  if (token !== null) headers.set("authorization", `Bearer ${token}`);
  let body: string | null = null;
  if (sending.json !== undefined) {
    headers.set("content-type", "application/json");
    body = JSON.stringify(sending.json);
  } else if (sending.text !== undefined) {
    headers.set("content-type", sending.type ?? "text/plain");
    body = sending.text;
  }
  let response: Response;
  try {
    response = await fetch(path, { method: sending.method ?? "GET", headers, body, signal: sending.signal ?? null, cache: "no-store" });
  } catch (error) {
    if (sending.signal?.aborted) throw error;
    setReachable(false);
    throw new ApiProblem(0, { title: "offline" });
  }
  setReachable(true);
  if (!response.ok) throw await problem(response);
  return response;
}

async function problem(response: Response): Promise<ApiProblem> {
  const type = response.headers.get("content-type") ?? "";
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
    return (await response.json()) as T;
  } catch (error) {
    if (!late.aborted || signal?.aborted) throw error;
    setReachable(false);
    throw new ApiProblem(0, { title: "offline" });
  }
}

export async function send<T>(method: string, path: string, json?: unknown, headers?: Record<string, string>): Promise<T> {
  const response = await call(path, { method, ...(json === undefined ? {} : { json }), ...(headers ? { headers } : {}) });
  return (response.status === 204 ? undefined : await response.json()) as T;
}

/** A query string of what is set; an empty string when nothing is. */
export function query(parameters: Record<string, string | number | boolean | undefined | null>): string {
  const set = Object.entries(parameters).filter(([, value]) => value !== undefined && value !== null && value !== "");
  return set.length === 0 ? "" : `?${new URLSearchParams(set.map(([name, value]) => [name, String(value)]))}`;
}
