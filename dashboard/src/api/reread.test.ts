import { InfiniteQueryObserver, QueryClient } from "@tanstack/react-query";
import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { rereader } from "./reread";

beforeEach(() => { vi.useFakeTimers(); });
afterEach(() => { vi.useRealTimers(); });

/** Shows a list of so many pages; says how often its first page was read, and hides it. */
async function show(client: QueryClient, filter: string, pages: number): Promise<{ reads: () => number; hide: () => void }> {
  let reads = 0;
  const observer = new InfiniteQueryObserver(client, {
    queryKey: ["sagas", filter],
    queryFn: async ({ pageParam }) => {
      if (pageParam === 1) reads += 1;
      return Promise.resolve(pageParam);
    },
    initialPageParam: 1,
    getNextPageParam: (page: number) => (page < pages ? page + 1 : undefined),
  });
  const hide = observer.subscribe(() => undefined);
  await vi.advanceTimersByTimeAsync(0);
  for (let page = 1; page < pages; page += 1) {
    void observer.fetchNextPage();
    await vi.advanceTimersByTimeAsync(0);
  }
  return { reads: () => reads, hide };
}

test("a long list rests between two readings, and a hint meanwhile is not forgotten", async () => {
  const client = new QueryClient();
  const reread = rereader(client, () => false);
  const long = await show(client, "long", 50);
  reread("sagas");
  await vi.advanceTimersByTimeAsync(1_000);
  reread("sagas");
  await vi.advanceTimersByTimeAsync(1_000);
  expect(long.reads()).toBe(2);
  await vi.advanceTimersByTimeAsync(8_000);
  expect(long.reads()).toBe(3);
  long.hide();
});

test("a short list does not wait out the rest of the long one that was shown before", async () => {
  const client = new QueryClient();
  const reread = rereader(client, () => false);
  const long = await show(client, "long", 50);
  reread("sagas");
  await vi.advanceTimersByTimeAsync(1_000);
  long.hide();
  const short = await show(client, "short", 1);
  reread("sagas");
  await vi.advanceTimersByTimeAsync(1_000);
  expect(short.reads()).toBe(2);
  short.hide();
});

test("a hint does not take the next page away from who waits for it: it comes first, and then what is shown is read again", async () => {
  const client = new QueryClient();
  const reread = rereader(client, () => false);
  const read: number[] = [];
  let come: (() => void) | null = null;
  const observer = new InfiniteQueryObserver(client, {
    queryKey: ["sagas", "more"],
    queryFn: async ({ pageParam, signal }) => {
      read.push(pageParam);
      if (pageParam === 2 && come === null) await new Promise<void>((done, failed) => { come = done; signal.addEventListener("abort", () => failed(new Error("taken away"))); });
      return pageParam;
    },
    initialPageParam: 1,
    getNextPageParam: (page: number) => (page < 2 ? page + 1 : undefined),
  });
  const hide = observer.subscribe(() => undefined);
  await vi.advanceTimersByTimeAsync(0);
  const more = observer.fetchNextPage();
  await vi.advanceTimersByTimeAsync(0);
  reread("sagas");
  await vi.advanceTimersByTimeAsync(5_000);
  // It waits, however long that page takes.
  expect(read).toEqual([1, 2]);
  (come as (() => void) | null)?.();
  await vi.advanceTimersByTimeAsync(0);
  expect((await more).data?.pages).toEqual([1, 2]);
  await vi.advanceTimersByTimeAsync(0);
  expect(read).toEqual([1, 2, 1, 2]);
  hide();
});
