// How long the page is deaf: 10,000 rows, 200 updates a second, 30 s of a trace while somebody scrolls. Reported, not judged: the
// number belongs to the machine.

import { resolve } from "node:path";

import { chromium } from "playwright-core";
import { expect, test } from "vitest";

import { PAGE } from "../src/api/queries";
import { PAGES_MAX } from "../src/sagas/settled";
import { chromiumPath } from "../tests/chromium";
import { serve } from "./many";

const ROWS = 10_000;
const TRACE_MS = Number(process.env["BENCH_TRACE_MS"] ?? 30_000);
const PATIENCE_MS = 300_000;

interface TraceEvent { name: string; ph: string; dur?: number; pid: number; tid: number; args: { name?: string } }

test("the longest task", async () => {
  const server = await serve(resolve(import.meta.dirname, "../dist"));
  const browser = await chromium.launch({ executablePath: chromiumPath(), args: ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"] });
  try {
    const page = await browser.newPage({ viewport: { width: 1360, height: 860 } });
    page.setDefaultTimeout(PATIENCE_MS);
    await page.goto(`${server.url}/ui/sagas`);
    await page.getByRole("row").nth(5).waitFor();
    expect(PAGES_MAX * PAGE, "rows that the list reads").toBeGreaterThanOrEqual(ROWS);
    // To the end of the list, until all of it is loaded.
    for (;;) {
      const rows = Number(await page.getByRole("table").getAttribute("aria-rowcount")) - 1;
      if (rows >= ROWS) break;
      await page.keyboard.press("End");
      await page.waitForFunction((before) => Number(document.querySelector("[role=table]")?.getAttribute("aria-rowcount")) - 1 > before, rows);
    }
    const session = await browser.newBrowserCDPSession();
    const events: TraceEvent[] = [];
    session.on("Tracing.dataCollected", ({ value }) => events.push(...(value as unknown as TraceEvent[])));
    await session.send("Tracing.start", { transferMode: "ReportEvents", traceConfig: { includedCategories: ["toplevel", "disabled-by-default-devtools.timeline", "devtools.timeline", "__metadata"], recordMode: "recordContinuously" } });
    const end = Date.now() + TRACE_MS;
    let presses = 0;
    while (Date.now() < end) {
      await page.keyboard.press(presses % 200 < 100 ? "k" : "j");
      presses += 1;
      await page.waitForTimeout(50);
    }
    const done = new Promise<void>((resolve) => session.on("Tracing.tracingComplete", () => resolve()));
    await session.send("Tracing.end");
    await done;
    const main = new Set(events.filter((it) => it.name === "thread_name" && it.args.name === "CrRendererMain").map((it) => `${it.pid}/${it.tid}`));
    const tasks = events.filter((it) => it.ph === "X" && it.name === "RunTask" && main.has(`${it.pid}/${it.tid}`)).map((it) => (it.dur ?? 0) / 1_000).sort((a, b) => b - a);
    expect(tasks.length, "tasks in the trace").toBeGreaterThan(100);
    const over = (ms: number) => tasks.filter((it) => it > ms).length;
    console.info(`${ROWS} rows, 200 updates a second, ${TRACE_MS / 1_000} s, ${presses} keys: the longest task took ${(tasks[0] ?? 0).toFixed(0)} ms; over 50 ms: ${over(50)}, over 100 ms: ${over(100)}, over 200 ms: ${over(200)} of ${tasks.length}`);
  } finally {
    await browser.close();
    server.close();
  }
});
