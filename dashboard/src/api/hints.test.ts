import { QueryClient, QueryObserver } from "@tanstack/react-query";
import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { takeHints } from "./hints";

beforeEach(() => { vi.useFakeTimers(); });
afterEach(() => { vi.useRealTimers(); });

const SLOW_MS = 1_500;

/** Shows what takes so long to be answered; says how many answers have come. */
async function show(client: QueryClient, queryKey: string[]): Promise<{ answers: () => number; hide: () => void }> {
  let answers = 0;
  const observer = new QueryObserver(client, {
    queryKey,
    queryFn: ({ signal }) => new Promise<number>((done, failed) => {
      const timer = setTimeout(() => { answers += 1; done(answers); }, SLOW_MS);
      signal.addEventListener("abort", () => { clearTimeout(timer); failed(new Error("aborted")); });
    }),
  });
  const hide = observer.subscribe(() => undefined);
  await vi.advanceTimersByTimeAsync(SLOW_MS);
  return { answers: () => answers, hide };
}

test("what is slower to answer than hints come is answered all the same", async () => {
  const client = new QueryClient();
  const hints = takeHints(client, () => false);
  const job = await show(client, ["jobs", "1"]);
  const saga = await show(client, ["saga", "7"]);
  expect([job.answers(), saga.answers()]).toEqual([1, 1]);
  for (let ms = 0; ms < 12_000; ms += 250) {
    hints.take("ops", JSON.stringify({ what: "jobs" }));
    hints.take("saga", JSON.stringify({ saga: "7" }));
    await vi.advanceTimersByTimeAsync(250);
  }
  expect(job.answers()).toBeGreaterThan(3);
  expect(saga.answers()).toBeGreaterThan(3);
  hints.stop();
  job.hide();
  saga.hide();
});

test("hints of other sagas do not ask for the one that is shown", async () => {
  const client = new QueryClient();
  const hints = takeHints(client, () => false);
  const saga = await show(client, ["saga", "7"]);
  hints.take("saga", JSON.stringify({ saga: "8" }));
  await vi.advanceTimersByTimeAsync(5_000);
  expect(saga.answers()).toBe(1);
  hints.take("saga", JSON.stringify({ saga: "7" }));
  await vi.advanceTimersByTimeAsync(5_000);
  expect(saga.answers()).toBe(2);
  hints.stop();
  saga.hide();
});
