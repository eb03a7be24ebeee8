// Lists that one works in: by keys in any layout, in an order that does not move, under filters that are kept.

import type { Browser } from "playwright-core";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";

import { accessible, type Page, settled, start, visit } from "./browser";
import { ask, fresh, peace, place, status, unpaid, unrefunded } from "./engine";

let browser: Browser;
beforeAll(async () => { browser = await start(); });
afterEach(peace);
afterAll(() => browser.close());

/** A key as a browser tells of it when the Hangul layout is on. */
async function hangul(page: Page, key: string, code: string): Promise<void> {
  await page.evaluate(([it, at]) => { (document.activeElement ?? document.body).dispatchEvent(new KeyboardEvent("keydown", { key: it ?? "", code: at ?? "", bubbles: true, cancelable: true })); }, [key, code]);
}

test("the keys are the same with the Hangul layout on, and a syllable's Enter is its own", async () => {
  const { page, go, close } = await visit(browser, { language: "ko" });
  await go("/sagas");
  await hangul(page, "ㅓ", "KeyJ");
  await hangul(page, "ㅓ", "KeyJ");
  await hangul(page, "ㅌ", "KeyX");
  await page.getByText("1건 선택").waitFor();
  await hangul(page, "ㅎ", "KeyG");
  await hangul(page, "ㅈ", "KeyW");
  await page.waitForURL(/\/ui\/workers/);
  await go("/sagas");
  const filter = page.locator("[data-search]");
  await filter.fill("김");
  const enter = (isComposing: boolean) => filter.evaluate((it, composing) => { it.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", code: "Enter", isComposing: composing, bubbles: true, cancelable: true })); }, isComposing);
  await enter(true);
  expect(await filter.inputValue()).toBe("김");
  await enter(false);
  await page.waitForURL(/text=/);
  await close();
});

test("a key that is pressed as soon as the page is there is that key, and not one behind a `g`", async () => {
  const { page, go, close } = await visit(browser);
  await go("/sagas");
  await page.evaluate(() => {
    const event = new KeyboardEvent("keydown", { key: "j", code: "KeyJ", bubbles: true, cancelable: true });
    // Since the page began, in milliseconds.
    Object.defineProperty(event, "timeStamp", { value: 300 });
    document.body.dispatchEvent(event);
  });
  await expect.poll(() => page.evaluate(() => document.activeElement?.getAttribute("role"))).toBe("row");
  expect(new URL(page.url()).pathname).toBe("/ui/sagas");
  await close();
});

test("a view is saved under a name, is there for who comes later, and is deleted", async () => {
  const { page, go, close } = await visit(browser);
  const name = fresh("view");
  // A question that no view asks yet: one that is kept already is not offered again.
  await go(`/sagas?status=compensated&text=${name}`);
  await page.getByRole("button", { name: "Views" }).click();
  await page.getByRole("menuitem", { name: "Save this view" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByLabel("Name").fill(name);
  await dialog.getByLabel("For everybody").check();
  await accessible(page, "the dialog of a view");
  await dialog.getByRole("button", { name: "Save this view" }).click();
  await expect.poll(() => dialog.count()).toBe(0);
  await close();

  const later = await visit(browser);
  await later.go("/sagas");
  await later.page.getByRole("button", { name: "Views" }).click();
  await later.page.getByRole("menuitem", { name }).click();
  await later.page.waitForURL((url) => url.searchParams.get("status") === "compensated" && url.searchParams.get("text") === name);
  await later.page.getByRole("button", { name }).click();
  await later.page.getByRole("menuitem", { name: `Delete the view ${name}` }).click();
  await later.page.getByRole("button", { name: "Views" }).waitFor();
  const { filters } = await ask<{ filters: { name: string }[] }>("/ops/filters");
  expect(filters.map((it) => it.name)).not.toContain(name);
  await later.close();
});

test("a colleague's view is there for all, and is not one's own to delete", async () => {
  const { key } = await ask<{ key: string }>("/ops/keys", "POST", { name: fresh("lee"), roles: ["operator"], why: "a test" });
  const name = fresh("theirs");
  await ask(`/ops/filters/${name}`, "PUT", { query: `text=${name}`, shared: true }, { authorization: `Bearer ${key}` });
  const { page, context, go, close } = await visit(browser);
  await go(`/sagas?text=${name}`);
  await page.getByRole("button", { name }).click();
  await page.getByRole("menuitem", { name }).waitFor();
  expect(await page.getByRole("menuitem", { name: /^Delete the view/ }).count()).toBe(0);
  await page.keyboard.press("Escape");
  // One's own of that name is deleted; that it could not be is told.
  await ask(`/ops/filters/${name}`, "PUT", { query: `text=${name}-mine`, shared: false });
  await go(`/sagas?text=${name}-mine`);
  await context.route((url) => url.pathname.startsWith("/ops/filters/"), (route) => route.fulfill({ status: 500, contentType: "application/problem+json", body: JSON.stringify({ title: "the database failed" }) }), { times: 1 });
  for (const told of [true, false]) {
    await page.getByRole("button", { name }).click();
    await page.getByRole("menuitem", { name: `Delete the view ${name}` }).click();
    if (told) await page.locator(".toast.tone-parked").filter({ hasText: "The engine could not answer." }).waitFor();
  }
  await page.getByRole("button", { name: "Views" }).waitFor();
  const { filters } = await ask<{ filters: { name: string; query: string }[] }>("/ops/filters");
  expect(filters.filter((it) => it.name === name).map((it) => it.query)).toEqual([`text=${name}`]);
  await close();
});

test("what is parked while one looks waits behind a number, and moves no row under the mouse", async () => {
  await unrefunded(2_100);
  const { page, go, close } = await visit(browser);
  await go("/parked");
  // What waits for a second person stands above, in a list of its own.
  const first = page.getByRole("region", { name: "Parked", exact: true }).locator("li.parked-line").first();
  const before = await first.innerText();
  // More money than all the others: its place is at the top.
  const id = await unrefunded(9_876_543);
  await page.getByRole("button", { name: /^\d+ new$/ }).waitFor();
  expect((await first.innerText()).split("\n")[0]).toBe(before.split("\n")[0]);
  // Others may park meanwhile, too.
  await expect.poll(async () => {
    const more = page.getByRole("button", { name: /^\d+ new$/ });
    if (await more.count() > 0) await more.click();
    return (await first.innerText()).split("\n")[0];
  }).toContain("9,876,543");
  await first.locator(`a[href*="${id}"]`).first().waitFor();
  await close();
});

test("a list that is sorted says of what: of the newest ones, while there are more", async () => {
  for (let at = 0; at < 4; at += 1) await status(await place(fresh("sorted"), "ok", 1_000 + at), "completed");
  const { page, context, go, close } = await visit(browser);
  // The engine's pages, only smaller; the second one does not come before the end.
  let answer = (): void => undefined;
  const held = new Promise<void>((done) => { answer = done; });
  await context.route(/\/sagas\?.*limit=200/, async (route) => {
    if (route.request().url().includes("after=")) await held;
    await route.continue({ url: route.request().url().replace("limit=200", "limit=3") });
  });
  await go("/sagas?definition=order-checkout");
  // Nothing is claimed of an order that is the engine's own.
  expect(await page.getByText("are sorted").count()).toBe(0);
  await page.getByRole("button", { name: "Amount" }).click();
  const told = page.getByRole("status").filter({ hasText: /Only the newest \d+ are sorted/ });
  await told.waitFor();
  await settled(page);
  await accessible(page, "a sorted part of a list");
  // Of all that there is, nothing has to be said.
  answer();
  await expect.poll(() => told.count()).toBe(0);
  await close();
});

test("a difference between the books is found, and settled by a human who says why", async () => {
  const id = await unpaid(77_000);
  expect(id, "the shop's books can be reached").not.toBeNull();
  const { page, go, close } = await visit(browser);
  await go("/reconciliation");
  const row = page.getByRole("listitem").filter({ hasText: id ?? "" });
  await row.getByText("₩77,000").waitFor();
  await accessible(page, "a difference between the books");
  await row.getByRole("button", { name: "Settle" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByText(id ?? "").waitFor();
  await dialog.getByRole("textbox").fill("paid in cash at the counter, receipt 12");
  await accessible(page, "the dialog that settles a difference");
  await dialog.getByRole("button").last().click();
  await expect.poll(() => dialog.count()).toBe(0);
  await expect.poll(() => row.count()).toBe(0);
  await page.getByRole("navigation").getByRole("link", { name: "Audit" }).click();
  await page.getByRole("row").filter({ hasText: "paid in cash at the counter" }).first().waitFor();
  await close();
});

test("the audit's fields are applied together, keep the focus, and are cleared together", async () => {
  const { page, go, close } = await visit(browser);
  await go("/audit");
  const field = (name: string) => page.getByRole("textbox", { name, exact: true });
  await field("Who").fill(" nobody ");
  await field("On what").fill("of-nothing");
  await page.keyboard.press("Enter");
  await page.waitForURL(/who=nobody&target=of-nothing|target=of-nothing&who=nobody/);
  await page.getByText("No entry is like that.").waitFor();
  expect(await page.evaluate(() => document.activeElement?.getAttribute("name"))).toBe("target");
  expect([await field("Who").inputValue(), await field("On what").inputValue()]).toEqual(["nobody", "of-nothing"]);
  await page.getByLabel("From").fill("2026-01-01T00:00");
  await page.waitForURL(/after_at=/);
  // What is dimmed is the answer before.
  await expect.poll(() => page.locator("[aria-busy=true]").count()).toBe(0);
  await accessible(page, "an audit that is filtered");
  // What is written and not applied yet is cleared too.
  await field("What").fill("saga.retry");
  await page.getByRole("button", { name: "Clear" }).click();
  await page.waitForURL((url) => url.search === "");
  for (const name of ["Who", "What", "On what"]) expect(await field(name).inputValue(), name).toBe("");
  await expect.poll(() => page.getByLabel("From").inputValue()).toBe("");
  await page.getByRole("row").nth(1).waitFor();
  // A link's filter is what its fields say, also once they were cleared.
  await page.evaluate(() => { history.pushState({}, "", "/ui/audit?what=saga.retry"); dispatchEvent(new PopStateEvent("popstate")); });
  await expect.poll(() => field("What").inputValue()).toBe("saga.retry");
  await close();
});

test("the search of dead letters keeps the focus, and follows what applies", async () => {
  const { page, go, close } = await visit(browser);
  await go("/dead-letters");
  const field = page.getByRole("textbox", { name: "Search reasons" });
  await field.fill("nothing is so");
  await page.keyboard.press("Enter");
  await page.waitForURL(/text=nothing/);
  await page.getByText("Clear").waitFor();
  expect(await page.evaluate(() => document.activeElement?.getAttribute("name"))).toBe("text");
  await page.getByRole("button", { name: "Clear" }).click();
  await expect.poll(() => field.inputValue()).toBe("");
  await close();
});
