// The live stream that all pages share: hints of what changed, by server-sent events over fetch (EventSource cannot carry
// a token). Nothing is shown from a hint; it only says what to ask again.

import type { QueryClient } from "@tanstack/react-query";
import { useSyncExternalStore } from "react";

import { call, setReachable } from "./client";
import { takeHints } from "./hints";
import { ApiProblem } from "./problem";
import { onSessionChange } from "./session";

/** `live`: the stream is open. `polling`: this server has none. `paused`: between two tries. */
export type LiveState = "connecting" | "live" | "polling" | "paused";

const QUIET_MS_MAX = 15_000; // the server writes a line each 5 s
const PAUSE_MS = 500;
const PAUSE_MS_MAX = 15_000;

let state: LiveState = "connecting";
const listeners = new Set<() => void>();

function become(next: LiveState): void {
  if (state === next) return;
  state = next;
  for (const listener of listeners) listener();
}

export function useLive(): LiveState {
  return useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    () => state,
  );
}

/** How often a page asks for what no hint tells of, in ms: heartbeats and lags, and what another process of the engine has done. */
export const UNTOLD_MS = 5_000;
const NET_MS = 30_000;

/**
 * How often a shown query asks by itself, in ms: often where nothing tells, rarely as a net below the stream; `liveMs` where the
 * stream does not tell everything. In a hidden page nothing is asked.
 */
export function useInterval(pollingMs = 2_000, liveMs = NET_MS): number {
  return useLive() === "live" ? liveMs : pollingMs;
}

export function startLive(client: QueryClient): () => void {
  let stopped = false;
  let lastId: string | null = null;
  let abort = new AbortController();
  const hints = takeHints(client, () => stopped);

  const read = async () => {
    const headers: Record<string, string> = { accept: "text/event-stream" };
    if (lastId !== null) headers["last-event-id"] = lastId;
    const response = await call("/ops/live", { headers, signal: abort.signal });
    if (!response.body) throw new ApiProblem(0, {});
    become("live");
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let buffer = "";
    for (;;) {
      const quiet = setTimeout(() => abort.abort(), QUIET_MS_MAX);
      const { value, done } = await reader.read().finally(() => clearTimeout(quiet));
      if (done) return;
      setReachable(true);
      buffer += value.replaceAll("\r", "");
      for (let end = buffer.indexOf("\n\n"); end >= 0; end = buffer.indexOf("\n\n")) {
        const record = parse(buffer.slice(0, end));
        buffer = buffer.slice(end + 2);
        if (record.id !== null) lastId = record.id;
        if (record.data !== "") hints.take(record.event, record.data);
      }
    }
  };

  let wake: () => void = () => undefined;
  const pause = (ms: number) => new Promise<void>((resolve) => {
    const timer = setTimeout(resolve, ms);
    wake = () => { clearTimeout(timer); resolve(); };
  });
  // A browser that lost or found its network knows before any silence tells. It is no proof, the engine may be on this
  // machine: so it is asked at once.
  const probe = () => { abort.abort(); wake(); };
  const PROBES = ["offline", "online"] as const;
  for (const event of PROBES) window.addEventListener(event, probe);

  const run = async () => {
    let pauseMs = PAUSE_MS;
    while (!stopped) {
      abort = new AbortController();
      try {
        await read();
        pauseMs = PAUSE_MS;
      } catch (error) {
        if (error instanceof ApiProblem && error.kind === "absent") return become("polling");
        if (stopped) return;
      }
      become("paused");
      await pause(pauseMs * (0.5 + Math.random()));
      pauseMs = Math.min(pauseMs * 2, PAUSE_MS_MAX);
    }
  };
  void run();
  const off = onSessionChange(probe);
  return () => {
    stopped = true;
    off();
    for (const event of PROBES) window.removeEventListener(event, probe);
    probe();
    hints.stop();
  };
}

/** One record of an event stream. */
export function parse(record: string): { event: string; data: string; id: string | null } {
  let event = "message";
  let id: string | null = null;
  const data: string[] = [];
  for (const line of record.split("\n")) {
    const colon = line.indexOf(":");
    if (colon <= 0) continue; // a comment, or nothing
    const [field, value] = [line.slice(0, colon), line.slice(colon + 1).replace(/^ /, "")];
    if (field === "event") event = value;
    else if (field === "data") data.push(value);
    else if (field === "id") id = value;
  }
  return { event, data: data.join("\n"), id };
}
