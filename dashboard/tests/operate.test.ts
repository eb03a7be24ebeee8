// An operator's night, on real sagas: an order is watched to its end, payment breaks and heals, a refund is settled by hand.

import type { Browser } from "playwright-core";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";

import { accessible, openSaga, settled, signInAs, start, visit } from "./browser";
import { ask, fresh, order, peace, place, publishCheckout, release, status, trouble, unrefunded, until } from "./engine";

let browser: Browser;
beforeAll(async () => { browser = await start(); });
afterEach(peace);
afterAll(() => browser.close());

test("the three demo orders are there: one green, two gone back", async () => {
  const { page, go, close } = await visit(browser);
  // The demo's own: of other tests' orders there are enough of each kind.
  await go("/sagas?definition=order-checkout&text=demo-");
  const state = (number: number) => page.getByRole("row").filter({ hasText: new RegExp(`demo-\\d+-${number}(?!\\d)`) }).first().locator("[data-state]").first().getAttribute("data-state");
  await expect.poll(() => Promise.all([1, 2, 3].map(state))).toEqual(["completed", "compensated", "compensated"]);
  await close();
});

test("an order is watched until it is finished", async () => {
  const { page, go, close } = await visit(browser);
  // Toss does not answer until it is told to, so that there is something to watch.
  const order_id = fresh("watched");
  await trouble({ hold: true }, { operation: "confirm", order_id });
  const id = await place(order_id);
  await go(`/sagas/${id}`);
  const graph = page.getByRole("group", { name: "Graph" });
  await graph.getByText("running").waitFor();
  await release();
  await page.getByRole("status").filter({ hasText: "Completed." }).waitFor();
  await expect.poll(() => graph.getByText("succeeded").count()).toBe(6);
  await page.getByText("commit_stock: succeeded").waitFor();
  await close();
});

test("an answer that comes when nobody waits for it any more is seen in the history, with why it did nothing", async () => {
  const { page, go, close } = await visit(browser);
  // Toss keeps the request; meanwhile somebody takes the step as done, and the saga goes on to its end.
  const order_id = fresh("late");
  await trouble({ hold: true }, { operation: "confirm", order_id });
  const id = await place(order_id, "reject_card");
  const revision = await until("pay is with Toss", async () => {
    const saga = await ask<{ revision: number; steps: { step: string; state: string }[] }>(`/sagas/${id}`);
    return saga.steps.some((it) => it.step === "pay" && it.state === "running") && saga.revision;
  });
  await ask(`/sagas/${id}/actions`, "POST", { action: "skip", step: "pay", output: {}, acknowledged: true, why: "paid in cash", who: "kim", revision });
  await status(id, "completed");
  await go(`/sagas/${id}`);
  await page.getByRole("status").filter({ hasText: "Completed." }).waitFor();
  expect(await page.locator(".history-aside").count()).toBe(0);
  await release();
  const late = page.locator(".history-aside").filter({ hasText: "pay: rejected" });
  await expect.poll(async () => {
    // A saga that has ended is asked for rarely.
    if (await late.count() === 0) await page.reload();
    await settled(page);
    return late.count();
  }, { timeout: 60_000, interval: 1_000 }).toBe(1);
  await late.getByText("the round is settled").waitFor();
  await page.getByRole("tab", { name: "Ignored" }).click();
  await page.getByRole("tabpanel").getByText("the round is settled").waitFor();
  await accessible(page, "a late answer");
  await close();
});

test("a time is copied as the instant that it is", async () => {
  const { page, go, close } = await visit(browser);
  const id = await place(fresh("copied"));
  await status(id, "completed");
  await go(`/sagas/${id}`);
  await page.getByText("Completed.").waitFor();
  const exact = await page.locator("main time").first().getAttribute("title") ?? "";
  expect(exact).toMatch(/\d{4}.*:\d{2}:\d{2}/);
  await page.getByRole("heading", { level: 1 }).click();
  await page.keyboard.press("Control+a");
  await page.keyboard.press("Control+c");
  expect(await page.evaluate(() => navigator.clipboard.readText())).toContain(exact);
  await close();
});

test("new sagas wait behind a number and do not move the rows", async () => {
  const { page, go, close } = await visit(browser);
  await go("/sagas");
  const first = page.getByRole("row").nth(1);
  const before = await first.innerText();
  await status(await place(fresh("new")), "completed");
  const more = page.getByRole("button", { name: /^\d+ new$/ });
  await more.waitFor();
  expect((await first.innerText()).split("\n")[1]).toBe(before.split("\n")[1]);
  await more.click();
  await page.getByRole("row").filter({ hasText: "new-" }).first().waitFor();
  await close();
});

test("the list is in the order that is clicked, and is filtered by the number of tries", async () => {
  const { page, go, close } = await visit(browser);
  const key = fresh("tries");
  await trouble({ error: "FAILED_INTERNAL_SYSTEM_PROCESSING" }, { operation: "confirm", order_id: key });
  await place(key, "ok", 71_000);
  await place(fresh("cheap"), "ok", 11);
  await go("/sagas?definition=order-checkout");
  await page.getByRole("button", { name: "Amount" }).click();
  await page.waitForURL(/sort=-amount/);
  expect(await page.getByRole("columnheader", { name: "Amount" }).getAttribute("aria-sort")).toBe("descending");
  const amounts = async () => (await page.getByRole("row").locator("[role=cell]:nth-last-child(2)").allInnerTexts()).map((it) => Number(it.replace(/\D/g, "")));
  const largest = await amounts();
  expect(largest).toEqual([...largest].sort((a, b) => b - a));
  await page.getByRole("button", { name: "Amount" }).click();
  await page.waitForURL(/sort=amount/);
  const smallest = await amounts();
  expect(smallest).toEqual([...smallest].sort((a, b) => a - b));
  await go("/sagas?attempts_min=2");
  await page.getByRole("row").filter({ hasText: key }).waitFor();
  await go("/sagas?attempts_min=100");
  await page.getByText("No saga is like that.").waitFor();
  await close();
});

test("sagas are found by the labels that their definition gives them", async () => {
  const name = "dashboard-labels";
  await publishCheckout(name, (yaml) => yaml.replace(/^saga: .*$/m, "$&\nlabels: { customer: \"${input.customer_id}\" }"));
  const key = fresh("label");
  const id = await place(key, "ok", 12_000, `/${name}`);
  await status(id, "completed");
  const { page, go, close } = await visit(browser);
  await go(`/sagas/${id}`);
  await page.getByRole("link", { name: /^customer:\s*kim$/ }).click();
  await page.waitForURL(/label=customer/);
  await page.getByRole("row").filter({ hasText: key }).waitFor();
  // Typed, it completes itself from what there is, name first, also where no row on the page has it.
  await go("/sagas?status=abandoned");
  await page.getByRole("combobox", { name: "Filter" }).fill("label:cus");
  await page.getByRole("option", { name: "label:customer:", exact: true }).click();
  await page.getByRole("option", { name: "label:customer:kim", exact: true }).click();
  await page.keyboard.press("Enter");
  await page.waitForURL(/label=customer/);
  await page.getByRole("button", { name: "Take the filter status away" }).click();
  await page.getByRole("row").filter({ hasText: key }).waitFor();
  await close();
});

test("payment breaks: the group is found, and after the fix a saga is run now and completes", async () => {
  // The next try is hours away: who does not run it now waits.
  const name = "dashboard-patient";
  await publishCheckout(name, (yaml) => yaml.replace("deadline: 10m", "deadline: 100h").replace("retry: { attempts: 8, initial: 500ms, max: 15s }", "retry: { attempts: 8, initial: 24h, max: 24h }"));
  const { page, go, close } = await visit(browser);
  const keys = [fresh("broken"), fresh("broken"), fresh("broken")];
  for (const key of keys) await trouble({ error: "FAILED_INTERNAL_SYSTEM_PROCESSING" }, { operation: "confirm", order_id: key });
  const [first] = await Promise.all(keys.map((key) => place(key, "ok", 10_000, `/${name}`)));
  await go("/failures");
  const group = page.getByRole("listitem").filter({ hasText: name }).getByRole("link", { name: /pay · FAILED_INTERNAL_SYSTEM_PROCESSING/ });

  await group.waitFor();
  await group.click();
  await page.getByText("Failures counted").or(page.getByRole("heading", { name: /^pay: / })).first().waitFor();
  await accessible(page, "a failure group");
  await peace();
  await go(`/sagas/${first}`);
  await page.getByRole("status").filter({ hasText: "try 2 of 8 is next" }).waitFor();
  await page.getByRole("button", { name: "Run now" }).click();
  await page.getByLabel("Who you are").fill("kim");
  await page.getByLabel("Why").fill("Toss is back");
  await accessible(page, "the dialog of an action");
  await page.getByRole("dialog").getByRole("button", { name: "Send pay again" }).click();
  await expect.poll(() => page.getByRole("dialog").count()).toBe(0);
  await page.getByRole("status").filter({ hasText: "Completed." }).waitFor({ timeout: 60_000 });
  await close();
});

test("a dialog outlives what it speaks of: it says what moved, and one decides again", async () => {
  const { page, go, close } = await visit(browser);
  // A try that is due by itself comes first.
  const key = fresh("first");
  await trouble({ error: "FAILED_INTERNAL_SYSTEM_PROCESSING" }, { operation: "confirm", order_id: key });
  const id = await place(key);
  await go(`/sagas/${id}`);
  await page.getByRole("button", { name: "Run now" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByLabel("Who you are").fill("kim");
  await dialog.getByLabel("Why").fill("Toss is back, they say");
  await peace();
  await status(id, "completed");
  await dialog.getByText("The saga has moved on").waitFor();
  await dialog.getByText("This cannot be done any more.").waitFor();
  expect(await dialog.getByLabel("Why").inputValue()).toBe("Toss is back, they say");
  expect(await dialog.getByRole("button", { name: "Send pay again" }).isDisabled()).toBe(true);
  await accessible(page, "a dialog whose saga has moved on");
  await page.keyboard.press("Escape");

  // Somebody else acts while one writes; what comes of it leaves the same deed possible.
  const parked = await unrefunded(27_000);
  await go(`/sagas/${parked}`);
  await page.getByRole("button", { name: "More" }).click();
  await page.getByRole("menuitem", { name: /Mark as compensated: pay/ }).click();
  await dialog.getByLabel("Evidence").fill("receipt 18");
  await dialog.getByLabel("Who you are").fill("kim");
  await dialog.getByLabel("Why").fill("paid back by hand");
  const { revision } = await ask<{ revision: number }>(`/sagas/${parked}`);
  await ask(`/sagas/${parked}/actions`, "POST", { action: "resume_compensation", why: "tried by a colleague", who: "lee", revision });
  await until("it is parked again", async () => {
    const now = await ask<{ revision: number; status: string }>(`/sagas/${parked}`);
    return now.status === "parked" && now.revision > revision + 1;
  });
  expect(await dialog.getByLabel("Evidence").inputValue()).toBe("receipt 18");
  // The engine refuses what was decided on the state before, if the page has not heard of it yet; then one decides again.
  await expect.poll(async () => {
    for (const name of ["Decide on what is now", "pay was undone by hand"]) {
      const button = dialog.getByRole("button", { name });
      const known = dialog.getByRole("checkbox");
      if (await known.count() > 0) await known.setChecked(true);
      if (await button.count() > 0 && await button.isEnabled()) await button.click({ timeout: 5_000 }).catch(() => undefined);
    }
    return dialog.count();
  }, { interval: 1_000 }).toBe(0);
  await status(parked, "compensated");
  await close();
});

test("another filter shows its own sagas, also those that are newer than all under the filter before", async () => {
  const { page, go, close } = await visit(browser);
  await unrefunded(1_500);
  const newer = fresh("newer");
  await status(await place(newer), "completed");
  await go("/sagas?status=parked");
  await page.getByRole("row").nth(1).waitFor();
  await page.getByRole("group", { name: "States, as filters" }).getByRole("button", { name: /^Completed|completed/ }).click();
  await page.waitForURL(/status=completed/);
  await page.getByRole("row").filter({ hasText: newer }).waitFor();
  expect(await page.getByText("No saga is like that.").count()).toBe(0);
  await close();
});

test("a list that is filtered to nothing does not say that all is well", async () => {
  const { page, go, close } = await visit(browser);
  await go("/parked?definition=checkout-bare&owner=nobody");
  await page.getByText("Nothing of these is parked.").waitFor();
  await go("/dead-letters?state=discarded");
  await page.getByText("No dead letter is like that.").waitFor();
  await close();
});

test("where it cannot be found out what one may do, that is said, and found out later", async () => {
  const { page, context, go, close } = await visit(browser);
  // The engine's own words when its database is away for a moment.
  await context.route("**/auth/me", (route) => route.fulfill({ status: 500, contentType: "application/problem+json", body: JSON.stringify({ title: "internal", detail: "the database does not answer" }) }));
  await go(`/sagas/${await unrefunded(1_600)}`);
  await page.getByRole("alert").filter({ hasText: "could not be found out" }).waitFor();
  expect(await page.getByText("You may look, not act.").count()).toBe(0);
  await context.unroute("**/auth/me");
  await page.getByRole("button", { name: "More" }).waitFor();
  expect(await page.getByRole("alert").count()).toBe(0);
  await close();
});

test("the palette does what the page offers", async () => {
  const { page, go, close } = await visit(browser);
  await go(`/sagas/${await unrefunded(1_700)}`);
  await page.getByRole("button", { name: "More" }).waitFor();
  await page.keyboard.press("Control+k");
  await page.keyboard.type("mark as");
  await page.getByRole("option", { name: /Mark as compensated: pay/ }).click();
  await page.getByRole("dialog").getByLabel("Evidence").waitFor();
  await close();
});

test("a refund that Toss refuses is parked with its money, and settled with evidence", async () => {
  const { page, go, close } = await visit(browser);
  const id = await unrefunded(51_500);
  await go("/parked");
  const row = page.getByRole("listitem").filter({ hasText: "51,500" });
  await row.waitFor();
  // Whoever takes it is seen by the others.
  await row.getByRole("button", { name: "Take it" }).click();
  await expect.poll(() => row.getByRole("button", { name: "Take it" }).count()).toBe(0);
  expect((await ask<{ owner?: string }>(`/sagas/${id}`)).owner).toBe((await ask<{ principal: string }>("/auth/me")).principal);
  // What the queue suggests is one click away, with its consequences before it is done.
  await row.getByRole("link", { name: /Go on compensating|Undo by hand|Try again/ }).click();
  await page.waitForURL(new RegExp(id));
  await page.getByRole("dialog").getByLabel("Why").waitFor();
  await page.keyboard.press("Escape");
  await expect.poll(() => page.getByRole("dialog").count()).toBe(0);
  await settled(page);
  await page.getByRole("status").filter({ hasText: "Undoing pay failed for good" }).waitFor();
  await page.getByText("undo it by hand and mark it as compensated").waitFor();
  await page.getByRole("button", { name: "More" }).click();
  await page.getByRole("menuitem", { name: /Mark as compensated: pay/ }).click();
  await page.getByLabel("Evidence").fill("refund by bank transfer, receipt 17");
  await page.getByLabel("Who you are").fill("kim");
  await page.getByLabel("Why").fill("Toss had closed the account");
  // The confirm whose answer was lost may still be on its way, as far as the engine knows.
  const known = page.getByRole("dialog").getByRole("checkbox");
  if (await known.count() > 0) await known.check();
  await page.getByRole("dialog").getByRole("button", { name: "pay was undone by hand" }).click();
  await page.getByRole("status").filter({ hasText: "undone as designed" }).waitFor({ timeout: 60_000 });
  await page.getByText("receipt 17").first().waitFor();
  await close();
});

test("a hold is set, is seen everywhere, keeps new orders out, and is released", async () => {
  const { page, go, close } = await visit(browser);
  await go("/workers");
  await page.getByRole("button", { name: "Hold all starts" }).click();
  await page.getByLabel("Why").fill("Toss incident");
  await page.getByRole("dialog").getByRole("button").last().click();
  await page.getByRole("status").filter({ hasText: "held" }).first().waitFor();
  await expect(place(fresh("held"))).rejects.toThrow(/503/);
  await page.getByRole("button", { name: "Release" }).first().click();
  await page.getByLabel("Why").fill("it is over");
  await page.getByRole("dialog").getByRole("button").last().click();
  await expect.poll(() => page.getByRole("dialog").count()).toBe(0);
  await status(await place(fresh("after")), "completed");
  await close();
});

test("a viewer sees everything and no action", async () => {
  const { key } = await ask<{ key: string }>("/ops/keys", "POST", { name: fresh("viewer"), roles: ["viewer"], why: "a test" });
  const id = await unrefunded(1_000);
  const visitor = await visit(browser);
  const { page, close } = visitor;
  await signInAs(visitor, key, "viewer");
  await openSaga(page, id);
  await page.getByText("You may look, not act.").waitFor();
  expect(await page.getByRole("button", { name: /Compensat|Try again|Abandon|Skip|More/ }).count()).toBe(0);
  await page.getByRole("link", { name: "Parked" }).click();
  await page.getByRole("heading", { level: 1, name: "Parked" }).waitFor();
  expect(await page.getByRole("button", { name: /Try again|Compensat|Settle|Take it/ }).count()).toBe(0);
  // What only others can do is no name for a viewer's way there.
  const queue = page.getByRole("main");
  await queue.getByRole("link", { name: "Look", exact: true }).first().waitFor();
  expect(await queue.getByRole("link", { name: /Try again|Go on compensating|Undo by hand|Skip/ }).count()).toBe(0);
  await accessible(page, "what a viewer sees");
  const stored = await page.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }, location.href, document.cookie]));
  expect(stored).not.toContain(key);
  await close();
});

test("what one's role may not see, what is not there yet, and what could not be read again is said so", async () => {
  const { page, context, go, close } = await visit(browser);
  await go("/workers");
  // Nothing is taken for empty before it is there.
  let answer = (): void => undefined;
  const held = new Promise<void>((done) => { answer = done; });
  await context.route("**/ops/audit?*", async (route) => { await held; await route.continue(); });
  await page.getByRole("link", { name: "Audit" }).click();
  await page.getByRole("heading", { level: 1, name: "Audit" }).waitFor();
  await page.getByRole("status", { name: "Loading…" }).waitFor();
  await accessible(page, "a page that loads");
  answer();
  await page.getByRole("table", { name: "Audit" }).waitFor();
  // What was seen stays, with its age, when it cannot be read again.
  await context.route("**/ops/workers", (route) => route.fulfill({ status: 500, contentType: "application/problem+json", body: JSON.stringify({ title: "internal", detail: "the database does not answer" }) }));
  await page.getByRole("link", { name: "Workers" }).click();
  await page.getByRole("status").filter({ hasText: "It could not be read again. What you see is from" }).waitFor();
  await page.getByRole("heading", { level: 2, name: "payment" }).waitFor();
  await accessible(page, "a page that is stale");
  await context.unroute("**/ops/workers");
  await page.getByRole("button", { name: "Try again" }).click();
  await expect.poll(() => page.getByText("It could not be read again").count()).toBe(0);

  const { key } = await ask<{ key: string }>("/ops/keys", "POST", { name: fresh("customer"), roles: ["customer"], why: "a test" });
  await page.getByRole("link", { name: "Settings" }).click();
  await page.getByText("Sign in as somebody else").click();
  await page.getByLabel("Token or API key").fill(key);
  await page.getByRole("button", { name: "Sign in", exact: true }).click();
  await page.getByRole("definition").filter({ hasText: /^customer$/ }).waitFor();
  for (const name of ["Workers", "Parked", "Audit"]) {
    await page.getByRole("link", { name, exact: true }).click();
    await page.getByRole("heading", { level: 1, name }).waitFor();
    await page.getByRole("alert").filter({ hasText: "Your role may not see this." }).first().waitFor();
    expect(await page.getByText(/Nothing is parked|Nothing was done yet|No worker/).count(), name).toBe(0);
  }
  await accessible(page, "what a role may not see");
  await close();
});

test("what the door refuses is not shown as a saga", async () => {
  await expect(ask("/orders", "POST", { ...order(fresh("bad")), items: [] })).rejects.toThrow(/422/);
});
