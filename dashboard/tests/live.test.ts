// What moves a page: the engine's stream, and nothing else where it tells; questions of the page's own where it does not. And
// what becomes of a page when the engine goes away under it.

import type { Browser } from "playwright-core";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";

import { accessible, settled, start, visit, type Visit } from "./browser";
import { fresh, peace, place, release, status, trouble } from "./engine";

let browser: Browser;
beforeAll(async () => { browser = await start(); });
afterEach(peace);
afterAll(() => browser.close());

/** A page that asks for nothing again by itself: what it learns, the stream has told it. */
async function onlyTold(): Promise<Visit> {
  const visitor = await visit(browser);
  await visitor.context.addInitScript(() => { window.setInterval = (() => 0) as unknown as typeof window.setInterval; });
  return visitor;
}

/** An order whose payment Toss keeps until it is told to let it go. */
async function held(): Promise<string> {
  const order_id = fresh("told");
  await trouble({ hold: true }, { operation: "confirm", order_id });
  return place(order_id);
}

test("the stream alone tells the page what becomes of a saga", async () => {
  const { page, go, close } = await onlyTold();
  const id = await held();
  await go(`/sagas/${id}`);
  await page.getByRole("group", { name: "Graph" }).getByText("running").waitFor();
  await page.locator(".live.on").waitFor();
  await release();
  await page.getByRole("status").filter({ hasText: "Completed." }).waitFor();
  await close();
});

test("a stream that was cut goes on where it was: what happened meanwhile is not missed", async () => {
  const { page, context, go, close } = await onlyTold();
  const id = await held();
  const resumed: (string | undefined)[] = [];
  page.on("request", (request) => { if (request.url().endsWith("/ops/live")) resumed.push(request.headers()["last-event-id"]); });
  await go("/sagas");
  await page.locator(".live.on").waitFor();
  // The stream has told something, so there is a place to go on from.
  await status(await place(fresh("before")), "completed");
  await page.getByRole("button", { name: /^\d+ new$/ }).waitFor();
  await page.keyboard.press("Control+k");
  await page.keyboard.type(id);
  await page.keyboard.press("Enter");
  await page.getByRole("group", { name: "Graph" }).getByText("running").waitFor();
  await settled(page);
  // Cut, and not to be had again before the saga has ended.
  const cut = resumed.length;
  await context.route("**/ops/live", (route) => route.abort());
  await page.evaluate(() => window.dispatchEvent(new Event("offline")));
  await page.locator(".live.on").waitFor({ state: "detached" });
  await release();
  await status(id, "completed");
  expect(await page.getByRole("status").filter({ hasText: "Completed." }).count()).toBe(0);
  await context.unroute("**/ops/live");
  await page.evaluate(() => window.dispatchEvent(new Event("online")));
  await page.getByRole("status").filter({ hasText: "Completed." }).waitFor();
  expect(resumed.length).toBeGreaterThan(cut);
  expect(resumed.slice(cut).every((it) => it !== undefined), "each try says what was told last").toBe(true);
  await close();
});

test("what the stream does not tell is asked for each few seconds, though the page is live", async () => {
  const { page, go, close } = await visit(browser);
  const asked = new Map<string, number>();
  page.on("request", (request) => {
    const { pathname } = new URL(request.url());
    asked.set(pathname, (asked.get(pathname) ?? 0) + 1);
  });
  for (const [path, ...what] of [["/workers", "/ops/workers", "/ops/holds"], ["/dead-letters", "/ops/dead-letters"], ["/parked", "/ops/approvals"]] as const) {
    await go(path);
    await page.locator(".live.on").waitFor();
    asked.clear();
    // Well before the net below the stream, which is 30 s wide.
    for (const it of what) await expect.poll(() => asked.get(it) ?? 0, { timeout: 20_000, message: it }).toBeGreaterThan(1);
  }
  await close();
});

test("a page whose script cannot be fetched says so, and nothing is loaded anew: it is tried again where one is", async () => {
  const { page, context, go, close } = await visit(browser);
  await context.route(/\/assets\/AuditPage-/, (route) => route.abort());
  await go("/");
  await page.evaluate(() => { (window as { mark?: string }).mark = "the same page"; });
  await page.getByRole("link", { name: "Audit" }).click();
  const told = page.getByRole("alert").filter({ hasText: "could not be fetched" });
  await told.waitFor();
  await accessible(page, "a page that cannot be fetched");
  await context.unroute(/\/assets\/AuditPage-/);
  await told.getByRole("button", { name: "Try again" }).click();
  await page.getByRole("heading", { level: 1, name: "Audit" }).waitFor();
  expect(await page.evaluate(() => (window as { mark?: string }).mark)).toBe("the same page");
  await close();
});

test("an engine that has gone takes no page with it: what was not looked at yet is there already", async () => {
  const { page, context, go, close } = await visit(browser);
  await go("/");
  // Everything is fetched while the browser has nothing else to do.
  const fetched = () => page.evaluate(() => performance.getEntriesByType("resource").some((it) => it.name.includes("/AuditPage-")));
  await expect.poll(fetched).toBe(true);
  await context.setOffline(true);
  await page.getByRole("link", { name: "Audit" }).click();
  await page.getByRole("heading", { level: 1, name: "Audit" }).waitFor();
  await context.setOffline(false);
  await close();
});

test("a page that breaks says so within its frame, and can be tried again", async () => {
  const { page, context, go } = await visit(browser);
  await go("/");
  // Nothing that the engine would ever say.
  await context.route("**/ops/audit?*", (route) => route.fulfill({ status: 200, contentType: "application/json", body: JSON.stringify({ entries: [null] }) }));
  await page.getByRole("link", { name: "Audit" }).click();
  const told = page.getByRole("alert").filter({ hasText: "This page broke" });
  await told.waitFor();
  await page.getByRole("navigation").getByRole("link", { name: "Workers" }).waitFor();
  await context.unroute("**/ops/audit?*");
  // The mistake is in the browser's console, as it should be: the visitor is not asked for a silent one.
  await expect.poll(async () => {
    if (await told.count() > 0) await told.getByRole("button", { name: "Try again" }).click({ timeout: 5_000 }).catch(() => undefined);
    return page.getByRole("table", { name: "Audit" }).count();
  }, { interval: 1_000 }).toBe(1);
  await context.close();
});
