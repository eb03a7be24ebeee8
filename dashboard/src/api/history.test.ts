// Of a history of thousands the page reads the end, then what is new, and further back when it is asked to.

import { QueryClient } from "@tanstack/react-query";
import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { history, readEarlier, type Told } from "./history";

const ID = "01a1";
let length = 0;
let asked: string[] = [];

beforeEach(() => {
  asked = [];
  // The engine's answer, as the API documents it.
  vi.stubGlobal("fetch", (path: string) => {
    asked.push(path);
    const search = new URL(path, "http://engine").searchParams;
    const [after, limit] = [Number(search.get("after") ?? 0), Number(search.get("limit"))];
    const events = Array.from({ length: Math.max(0, Math.min(limit, length - after)) }, (_, at) => ({ revision: after + at + 1, kind: "due", at: "2026-11-21T03:00:00Z" }));
    const next = after + limit < length ? after + limit : undefined;
    return Promise.resolve(Response.json({ events, next }));
  });
});
afterEach(() => vi.unstubAllGlobals());

const span = ({ events, earlier }: Told) => [events[0]?.revision, events.at(-1)?.revision, events.length, earlier];

test("the end first, then only what is new, and earlier ones without a gap", async () => {
  const client = new QueryClient();
  length = 3_200;
  client.setQueryData(["saga", ID], { revision: length });
  expect(span(await client.fetchQuery(history(ID)))).toEqual([2_201, 3_200, 1_000, 2_200]);
  length = 3_203;
  asked = [];
  expect(span(await client.fetchQuery({ ...history(ID), staleTime: 0 }))).toEqual([2_201, 3_203, 1_003, 2_200]);
  expect(asked).toEqual([`/sagas/${ID}/history?limit=500&after=3200`]);
  await readEarlier(client, ID);
  const told = client.getQueryData<Told>(["saga", ID, "history"]);
  expect(told && span(told)).toEqual([1_201, 3_203, 2_003, 1_200]);
  expect(told?.events.every((event, at) => event.revision === 1_201 + at)).toBe(true);
});

test("a short one is whole at once", async () => {
  const client = new QueryClient();
  length = 12;
  client.setQueryData(["saga", ID], { revision: length });
  expect(span(await client.fetchQuery(history(ID)))).toEqual([1, 12, 12, 0]);
});
