// What is known and what is not: a question that failed has no answer, a run that could not read tells nothing good, and what
// somebody else does meanwhile takes nothing away.

import type { Browser } from "playwright-core";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";

import { accessible, type Page, shot, start, visit } from "./browser";
import { ask, fresh, parking, peace, place, publishCheckout, status, unrefunded, until } from "./engine";

let browser: Browser;
beforeAll(async () => { browser = await start(); });
afterEach(peace);
afterAll(() => browser.close());

const FAILED = { status: 500, contentType: "application/problem+json", body: JSON.stringify({ title: "the database failed" }) };

/** Goes to another page within the app. */
async function move(page: Page, path: string): Promise<void> {
  await page.evaluate((to) => {
    history.pushState({}, "", to);
    dispatchEvent(new PopStateEvent("popstate"));
  }, `/ui${path}`);
}

/** A page's picture, where they are asked for. */
async function picture(page: Page, name: string): Promise<void> {
  if (process.env["AMENDS_SCREENSHOTS"] !== undefined) await shot(page, name);
}

test("books that could not be read are not told as equal, and what was found can all be reached", async () => {
  const { page, context, go, close } = await visit(browser);
  const run = (id: number, findings: number, error?: string) => ({ id: `00000000-0000-0000-0000-00000000000${id}`, at: "2026-11-20T00:00:00Z", took_ms: 12, orders: 4, findings, ...(error === undefined ? {} : { error }) });
  const finding = (order: string) => ({ kind: "paid_but_cancelled", order_id: order, amount: 5_000, currency: "KRW", words: "the order is cancelled", suggested: "refund the payment at the vendor, and note the receipt on the saga", since: "2026-11-20T00:00:00Z" });
  const failed = run(2, 0, "the orders: connection refused");
  let open = 0;
  await context.route((url) => url.pathname === "/ops/reconciliation", (route) => {
    const next = new URL(route.request().url()).searchParams.get("after") !== null;
    const findings = open === 0 ? [] : [finding(next ? "the-last" : "the-first")];
    return route.fulfill({ json: { configured: true, run: failed, runs: [failed, run(1, 3)], findings, open, ...(open > 1 && !next ? { next: 1 } : {}) } });
  });
  await go("/reconciliation");
  await page.getByText("The last run that could read the books left nothing open.").waitFor();
  expect(await page.locator(".page .tone-completed").count()).toBe(0);
  expect(await page.getByText("Nothing was compared yet.").count()).toBe(0);
  await accessible(page, "books that could not be read");
  await picture(page, "reconciliation-unread");
  open = 2;
  await go("/reconciliation");
  const figure = page.locator(".figure").filter({ hasText: "Open differences" });
  expect(await figure.locator("dd").textContent()).toBe("2");
  await page.getByText("the-first").waitFor();
  await page.getByRole("button", { name: "Load more" }).click();
  await page.getByText("the-last").waitFor();
  await page.getByText("the-first").waitFor();
  await close();
});

test("a filter that the engine refuses is not answered by the rows of the one before, while it is asked again", async () => {
  await status(await place(fresh("before"), "ok", 1_200), "completed");
  const { page, context, go, close } = await visit(browser);
  await go("/sagas?status=completed");
  const rows = page.getByRole("table", { name: "Sagas" }).getByRole("row");
  await expect.poll(() => rows.count()).toBeGreaterThan(1);
  let asked = 0;
  let answer = (): void => undefined;
  const held = new Promise<void>((done) => { answer = done; });
  await context.route((url) => url.pathname === "/sagas" && url.searchParams.has("older_than_s"), async (route) => {
    asked += 1;
    if (asked > 1) await held;
    await route.continue();
  });
  await move(page, "/sagas?status=completed&older_than_s=10m");
  const refused = page.getByRole("region", { name: "Sagas" }).getByRole("alert");
  await refused.waitFor();
  await picture(page, "sagas-refused");
  // A hint, or the clock, has it asked again: there is no answer yet, and the refusal still stands.
  await place(fresh("hint"), "ok", 1_300);
  await expect.poll(() => asked).toBeGreaterThan(1);
  expect([await refused.count(), await rows.count()]).toEqual([1, 0]);
  answer();
  await move(page, "/sagas?status=completed");
  await expect.poll(() => rows.count()).toBeGreaterThan(1);
  await close();
});

test("ticks end with the filter under which they were made, also by a link", async () => {
  await status(await place(fresh("ticked"), "ok", 1_250), "completed");
  const { page, go, close } = await visit(browser);
  await go("/sagas?status=completed");
  await page.getByRole("table", { name: "Sagas" }).getByRole("row").nth(1).waitFor();
  await page.keyboard.press("j");
  await page.keyboard.press("x");
  await page.getByText("1 selected").waitFor();
  await page.getByRole("navigation").getByRole("link", { name: "Sagas" }).click();
  await page.waitForURL((url) => !url.searchParams.has("status"));
  await expect.poll(() => page.getByText("1 selected").count()).toBe(0);
  await close();
});

test("a retry that fails again is told as such", async () => {
  const name = fresh("dashboard-again");
  await publishCheckout(name, parking);
  const saga = await place(fresh("again"), "reject_card", 8_400, `/${name}`);
  await status(saga, "parked");
  for (const [language, retry, who, why, words] of [["en", "Retry", "Who you are", "Why", "taken in, and it is parked. parked: pay: "], ["ko", "재시도", "작업자", "사유", "조치가 필요합니다. 조치 필요: pay: "]] as const) {
    const { page, go, close } = await visit(browser, { language });
    await go(`/sagas/${saga}?act=retry&step=pay`);
    const dialog = page.getByRole("dialog");
    if (await dialog.count() === 0) await page.getByRole("button", { name: retry, exact: true }).first().click();
    await dialog.getByLabel(why, { exact: true }).fill("the bank says that it works again");
    const nameless = dialog.getByLabel(who);
    if (await nameless.count() > 0) await nameless.fill("kim");
    await dialog.locator("button[type=submit]").click();
    const told = page.locator(".toast.tone-parked").filter({ hasText: words });
    await told.waitFor();
    expect(await page.locator(".toast.tone-completed").count()).toBe(0);
    await picture(page, `retry-again-${language}`);
    await close();
  }
});

test("what is played goes on as it was begun when somebody publishes a newer version", async () => {
  const name = fresh("dashboard-played");
  await publishCheckout(name);
  const { page, go, close } = await visit(browser);
  await page.clock.install();
  await go(`/simulator?definition=${name}`);
  const command = (step: string) => page.getByRole("group", { name: new RegExp(`^${step} `) });
  await command("create_order").getByRole("button", { name: "Succeeds" }).click();
  await command("reserve_stock").waitFor();
  await publishCheckout(name, (it) => it.replace("attempts: 8", "attempts: 9"));
  // As when one comes back to the page after a while.
  await page.clock.fastForward(40_000);
  await page.evaluate(() => { dispatchEvent(new Event("visibilitychange")); document.dispatchEvent(new Event("visibilitychange")); });
  const newer = page.getByRole("status").filter({ hasText: "A newer version was published meanwhile" });
  await newer.waitFor();
  await command("reserve_stock").waitFor();
  await accessible(page, "a play of an older version");
  await picture(page, "simulator-newer");
  await newer.getByRole("button", { name: "Play the new one" }).click();
  await command("create_order").waitFor();
  expect(await newer.count()).toBe(0);
  await close();
});

test("each version says what it takes, to the last digit; a text that cannot be read here is no silence of the engine's", async () => {
  const name = fresh("dashboard-takes");
  const of = (maximum: string) => (yaml: string) => yaml.replace("maximum: 999 ", `maximum: ${maximum} `);
  await publishCheckout(name, of("9223372036854775806"));
  await publishCheckout(name, of("9223372036854775807"));
  const { versions } = await ask<{ versions: { version: string; active: boolean }[] }>(`/definitions/${name}`);
  const old = versions.find((it) => !it.active)?.version ?? "";
  const { page, context, go, close } = await visit(browser);
  // Folded deep down, it is whole in what is copied.
  const taken = async () => {
    await page.getByRole("tabpanel").getByRole("button", { name: "Copy" }).first().click();
    return page.evaluate(() => navigator.clipboard.readText());
  };
  await go(`/definitions/${name}?tab=input`);
  expect(await taken()).toContain("9223372036854775807");
  await go(`/definitions/${name}?tab=input&version=${old}`);
  const older = await taken();
  expect(older).toContain("9223372036854775806");
  expect(older).not.toContain("9223372036854775807");
  // The schema of the older one and of nothing else.
  expect(Object.keys(JSON.parse(older) as object)).toEqual(["type", "required", "additionalProperties", "properties"]);
  await context.route(`**/definitions/${name}`, async (route) => {
    const answer = await route.fetch();
    return route.fulfill({ response: answer, body: (await answer.text()).replaceAll("deadline:", "*nowhere :") });
  });
  await go(`/definitions/${name}?tab=input&version=${old}`);
  await page.getByRole("alert").filter({ hasText: "This page cannot read the text." }).first().waitFor();
  expect(await page.getByText("The engine could not answer.").count()).toBe(0);
  await close();
});

test("a replay that needs a second person is asked for by a job", async () => {
  const name = fresh("dashboard-second");
  await publishCheckout(name, (yaml) => yaml.replace(/^saga: .*$/m, "$&\napproval: { actions: [replay], above: 10000 }"));
  const saga = await place(fresh("second"), "reject_card", 60_000, `/${name}`);
  await status(saga, "compensated");
  const { page, context, go, close } = await visit(browser);
  // Of what the engine warns.
  await context.route(`**/sagas/${saga}/replay`, async (route) => {
    const answer = await route.fetch();
    return route.fulfill({ response: answer, json: { ...await answer.json() as object, warnings: ["pay is made a second time"] } });
  });
  await go(`/sagas/${saga}`);
  await page.getByRole("button", { name: "Replay" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByText("A second operator must approve this replay").waitFor();
  await accessible(page, "a replay that needs a second person");
  await picture(page, "replay-second");
  const make = dialog.getByRole("button", { name: "Make the job" });
  expect(await make.isDisabled()).toBe(true);
  await dialog.getByLabel("New /payment/payment_key").fill(`tviva_ok_${name}`);
  await make.click();
  await dialog.getByText("1 saga", { exact: true }).waitFor();
  expect(await dialog.getByText("it must be a new one").count()).toBe(0);
  await dialog.getByText("at no step 1", { exact: true }).waitFor();
  // What was written before is in this dialog too, and is not dropped by a slip.
  await page.keyboard.press("Escape");
  await page.getByRole("alertdialog").getByRole("button", { name: "Cancel" }).click();
  await dialog.getByLabel("Why").fill("the customer has another card");
  // The engine refuses it to who has not seen that.
  expect(await dialog.getByRole("button").last().isDisabled()).toBe(true);
  await dialog.getByLabel("Replay it all the same").check();
  await dialog.getByRole("button").last().click();
  await page.waitForURL(/\/jobs\//);
  const [, job] = /jobs\/([^?]+)/.exec(page.url()) ?? [];
  await until("it waits for its approval", async () => (await ask<{ counts: { awaiting_approval: number } }>(`/ops/jobs/${job}`)).counts.awaiting_approval === 1);
  // Approved, it starts the new saga with what was given.
  const { key } = await ask<{ key: string }>("/ops/keys", "POST", { name: fresh("operator"), roles: ["operator"], why: "a test" });
  await ask(`/ops/jobs/${job}/approve`, "POST", { why: "looked" }, { authorization: `Bearer ${key}` });
  await until("it is replayed", async () => (await ask<{ counts: { succeeded: number } }>(`/ops/jobs/${job}`)).counts.succeeded === 1);
  await close();
});

test("what was begun in a dialog and given up is not there at its next opening; a view's name that is taken is said so", async () => {
  const saga = await unrefunded(2_300);
  const { page, context, go, close } = await visit(browser);
  await go(`/sagas/${saga}`);
  const dialog = page.getByRole("dialog");
  const change = page.getByRole("button", { name: "change", exact: true });
  await change.click();
  await dialog.getByLabel("Why").fill("the night shift");
  await dialog.getByRole("button", { name: "Cancel" }).click();
  await change.click();
  expect(await dialog.getByLabel("Why").inputValue()).toBe("");
  await dialog.getByRole("button", { name: "Cancel" }).click();
  // Nobody has written a note yet: the first one is written here.
  await page.getByRole("textbox", { name: "Add a note" }).fill("asked the customer");
  await page.getByRole("button", { name: "Add a note" }).click();
  await page.getByRole("main").getByRole("listitem").filter({ hasText: "asked the customer" }).waitFor();
  await go("/settings");
  const make = page.getByRole("button", { name: "Make a key" });
  await make.click();
  await dialog.getByLabel("admin", { exact: true }).check();
  await dialog.getByRole("button", { name: "Cancel" }).click();
  await make.click();
  expect(await dialog.getByLabel("admin", { exact: true }).isChecked()).toBe(false);
  await dialog.getByRole("button", { name: "Cancel" }).click();

  const name = fresh("mine");
  await ask(`/ops/filters/${name}`, "PUT", { query: `text=${name}`, shared: false });
  await go(`/sagas?text=${name}-other`);
  const save = async () => {
    await page.getByRole("button", { name: "Views" }).click();
    await page.getByRole("menuitem", { name: "Save this view" }).click();
    await dialog.getByLabel("Name").fill(name);
  };
  await context.route((url) => url.pathname.startsWith("/ops/filters/"), (route) => route.fulfill(FAILED), { times: 1 });
  await save();
  await dialog.getByText("You have a view of this name").waitFor();
  await accessible(page, "a view's name that is taken");
  await picture(page, "view-replaced");
  await dialog.getByRole("button", { name: "Replace" }).click();
  await dialog.getByRole("alert").waitFor();
  await dialog.getByRole("button", { name: "Cancel" }).click();
  await save();
  expect(await dialog.getByRole("alert").count()).toBe(0);
  await dialog.getByRole("button", { name: "Replace" }).click();
  await expect.poll(() => dialog.count()).toBe(0);
  const { filters } = await ask<{ filters: { name: string; query: string }[] }>("/ops/filters");
  expect(filters.filter((it) => it.name === name).map((it) => it.query)).toEqual([`text=${name}-other`]);
  await ask(`/ops/filters/${name}`, "DELETE");
  await close();
});

test("late replies and views that could not be read are not as if there were none", async () => {
  const saga = await place(fresh("unread"), "ok", 1_500);
  await status(saga, "completed");
  const { page, context, go, close } = await visit(browser);
  let broken = true;
  for (const path of [`/sagas/${saga}/ignored`, "/ops/filters"]) await context.route((url) => url.pathname === path, (route) => (broken ? route.fulfill(FAILED) : route.continue()));
  await go(`/sagas/${saga}`);
  const unread = page.getByRole("alert").filter({ hasText: "whether there is any could not be read." });
  await unread.first().waitFor();
  await accessible(page, "a history without what came late");
  await picture(page, "saga-unread");
  await go("/sagas");
  await page.getByRole("alert").filter({ hasText: "Views: whether there is any could not be read." }).waitFor();
  await picture(page, "views-unread");
  broken = false;
  await page.getByRole("alert").getByRole("button", { name: "Try again" }).click();
  await page.getByRole("button", { name: "Views" }).waitFor();
  await close();
});
