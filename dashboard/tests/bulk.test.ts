// Many sagas at once, and a deed that needs two people: on sagas that are parked because payment was down.

import type { Browser } from "playwright-core";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";

import { accessible, settled, start, tabTo, visit } from "./browser";
import { ask, fresh, order, parking, peace, publishCheckout, status, trouble, until } from "./engine";

let browser: Browser;
const NAME = "dashboard-parking";

/** The checkout, but payment is tried once, and whatever goes wrong a human decides; undoing much money needs a second one. */
beforeAll(async () => {
  browser = await start();
  await publishCheckout(NAME, (yaml) => parking(yaml).replace(/^saga: .*$/m, "$&\napproval: { actions: [compensate], above: 60000 }"));
});
afterEach(peace);
afterAll(() => browser.close());

/** Parked because Toss does not work, or because it said no to the card: then nobody has to wait to know that nothing was taken. */
async function park(amount: number, card: "ok" | "reject_card" = "ok"): Promise<string> {
  const id = fresh("parked");
  if (card === "ok") await trouble({ error: "FAILED_INTERNAL_SYSTEM_PROCESSING" }, { operation: "confirm", order_id: id });
  const { saga } = await ask<{ saga: string }>(`/${NAME}`, "POST", order(id, card, amount));
  await status(saga, "parked");
  return saga;
}

test("the keyboard alone: from the overview to the failure's group, which is retried after the fix, to the job that says that they succeeded", async () => {
  const { page, go, close } = await visit(browser);
  const sagas = [await park(20_000), await park(21_000), await park(22_000)];
  // Lists follow a moment behind.
  const group = await until("the group has all three", async () => {
    const { failures } = await ask<{ failures: { id: string; definition: string; now: { parked: number } }[] }>("/ops/failures");
    return failures.find((it) => it.definition === NAME && it.now.parked === 3);
  });
  await peace();
  await go("/");
  const itself = `/failures?group=${group.id}`;
  // The overview has the newest few; the others are one step further.
  if (await page.locator(`a[href$="${itself}"]`).count() === 0) {
    await tabTo(page, "all groups", (it) => it.name.startsWith("All") && it.href.endsWith("/failures"));
    await page.keyboard.press("Enter");
    await page.getByRole("heading", { level: 1, name: "Failures" }).waitFor();
  }
  await tabTo(page, "the group", (it) => it.href.endsWith(itself));
  await page.keyboard.press("Enter");
  await page.waitForURL(/group=/);
  await page.getByRole("button", { name: "Retry 3 parked" }).waitFor();
  await tabTo(page, "its retry", (it) => it.name === "Retry 3 parked");
  await page.keyboard.press("Enter");
  const dialog = page.getByRole("dialog");
  await dialog.getByText("3 sagas").first().waitFor();
  await accessible(page, "the dialog of a bulk job");
  await tabTo(page, "the reason", (it) => it.name === "Why");
  await page.keyboard.type("Toss is back");
  await tabTo(page, "the deed", (it) => it.name.startsWith("Retry 3 sagas"));
  await page.keyboard.press("Enter");
  await page.waitForURL(/\/ui\/jobs\//);
  for (const saga of sagas) await status(saga, "completed");
  await page.locator(".job-badge").filter({ hasText: "done" }).first().waitFor();
  await settled(page);
  await accessible(page, "a bulk job");
  const [, job] = /jobs\/([^?]+)/.exec(page.url()) ?? [];
  const done = await until("the job is done", async () => {
    const it = await ask<{ state: string; counts: { succeeded: number } }>(`/ops/jobs/${job}`);
    return it.state === "done" && it;
  });
  expect(done.counts.succeeded).toBe(3);
  await close();
});

test("undoing much money waits for a second operator, who approves it", async () => {
  const { page, go, close } = await visit(browser);
  const { key } = await ask<{ key: string }>("/ops/keys", "POST", { name: fresh("operator"), roles: ["operator"], why: "a test" });
  const saga = await park(94_000, "reject_card");
  const { revision } = await ask<{ revision: number }>(`/sagas/${saga}`);
  const asked = await ask<{ result: string }>(`/sagas/${saga}/actions`, "POST", { action: "compensate", why: "the customer called", revision }, { authorization: `Bearer ${key}` });
  expect(asked.result).toBe("awaiting_approval");
  await go("/parked");
  await page.getByRole("listitem").filter({ hasText: "94,000" }).getByRole("button", { name: "Approve", exact: true }).click();
  // What it undoes stands before the button.
  await page.getByRole("dialog").getByRole("listitem").filter({ hasText: "reserve_stock" }).waitFor();
  await page.getByLabel("Why").fill("I have looked, too");
  await accessible(page, "the dialog of an approval");
  await page.getByRole("dialog").getByRole("button", { name: /^Approve: Compensate .*94,000/ }).click();
  await status(saga, "compensated");
  await close();
});

test("who approves what cannot be done any more is told that nothing was done", async () => {
  const { page, go, close } = await visit(browser);
  const { key } = await ask<{ key: string }>("/ops/keys", "POST", { name: fresh("operator"), roles: ["operator"], why: "a test" });
  const saga = await park(93_000, "reject_card");
  const { revision } = await ask<{ revision: number }>(`/sagas/${saga}`);
  await ask(`/sagas/${saga}/actions`, "POST", { action: "compensate", why: "the customer called", revision }, { authorization: `Bearer ${key}` });
  // A colleague tries the card again meanwhile: it is parked as before, and is another decision.
  await ask(`/sagas/${saga}/actions`, "POST", { action: "retry", step: "pay", why: "tried by a colleague", who: "lee", revision });
  await until("it is parked again", async () => {
    const now = await ask<{ revision: number; status: string }>(`/sagas/${saga}`);
    return now.status === "parked" && now.revision > revision + 1;
  });
  await go("/parked");
  await page.getByRole("listitem").filter({ hasText: "93,000" }).getByRole("button", { name: "Approve", exact: true }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByRole("alert").filter({ hasText: "The saga has moved on since this was asked for" }).waitFor();
  await accessible(page, "the dialog of an approval that comes too late");
  await dialog.getByLabel("Why").fill("I have looked, too");
  await dialog.getByRole("button", { name: /^Approve: Compensate .*93,000/ }).click();
  await page.locator(".toast.tone-parked").filter({ hasText: "nothing was done: the saga has moved on since you looked" }).waitFor();
  expect((await ask<{ status: string }>(`/sagas/${saga}`)).status).toBe("parked");
  await close();
});

test("what one writes to an approval stays when a colleague decides it meanwhile, and one is told", async () => {
  const { page, go, close } = await visit(browser);
  const { key } = await ask<{ key: string }>("/ops/keys", "POST", { name: fresh("operator"), roles: ["operator"], why: "a test" });
  const saga = await park(94_000, "reject_card");
  const { revision } = await ask<{ revision: number }>(`/sagas/${saga}`);
  const { approval } = await ask<{ approval: string }>(`/sagas/${saga}/actions`, "POST", { action: "compensate", why: "the customer called", revision }, { authorization: `Bearer ${key}` });
  await go("/parked");
  const row = page.getByRole("main").getByRole("listitem").filter({ hasText: "the customer called" }).filter({ hasText: "94,000" });
  await row.getByRole("button", { name: "Approve", exact: true }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByLabel("Why").fill("I have looked, too");
  await ask(`/ops/approvals/${approval}`, "POST", { decision: "reject", why: "by a colleague" });
  await expect.poll(() => row.count()).toBe(0);
  expect(await dialog.getByLabel("Why").inputValue()).toBe("I have looked, too");
  await dialog.getByRole("button", { name: /^Approve: Compensate .*94,000/ }).click();
  await dialog.getByRole("alert").filter({ hasText: "rejected already" }).waitFor();
  await dialog.getByRole("button", { name: "Cancel" }).click();
  await close();
});

test("a bulk job that undoes much money is approved as a whole by a second operator", async () => {
  const { page, go, close } = await visit(browser);
  const { key } = await ask<{ key: string }>("/ops/keys", "POST", { name: fresh("operator"), roles: ["operator"], why: "a test" });
  const sagas = [await park(90_000, "reject_card"), await park(91_000, "reject_card")];
  const job = { kind: "action", action: "compensate", sagas, why: "the shop closes", name: "Closing" };
  await ask("/ops/jobs", "POST", job, { authorization: `Bearer ${key}` });
  await go("/parked");
  await page.getByRole("listitem").filter({ hasText: "2 sagas wait for the approval" }).getByRole("link", { name: "Closing" }).click();
  await page.getByRole("status").filter({ hasText: "2 sagas wait for the approval of a second person" }).waitFor();
  await accessible(page, "a bulk job that waits for its approval");
  // What the second person has to know stands before the button.
  await page.getByRole("definition").filter({ hasText: "₩181,000" }).waitFor();
  await page.getByRole("definition").filter({ hasText: "Compensate · 2 sagas" }).waitFor();
  await page.getByRole("button", { name: "Approve" }).click();
  await page.getByRole("dialog").getByLabel("Why").fill("I have looked at the set");
  await page.getByRole("dialog").getByRole("button", { name: "Approve: Undo 2 sagas (₩181,000)" }).click();
  for (const saga of sagas) await status(saga, "compensated");
  await page.getByText("Approved by").waitFor();
  await close();
});

test("what one writes to a job stays when a colleague ends it meanwhile, and one is told", async () => {
  const { page, go, close } = await visit(browser);
  const { key } = await ask<{ key: string }>("/ops/keys", "POST", { name: fresh("operator"), roles: ["operator"], why: "a test" });
  const saga = await park(92_000, "reject_card");
  const dialog = page.getByRole("dialog");
  for (const [verb, done] of [["Approve", /^Approve: Undo/], ["Cancel the rest", /^Leave 1 as it is/]] as const) {
    const { id } = await ask<{ id: string }>("/ops/jobs", "POST", { kind: "action", action: "compensate", sagas: [saga], why: "the shop closes" }, { authorization: `Bearer ${key}` });
    await go(`/jobs/${id}`);
    await page.getByRole("status").filter({ hasText: "waits for the approval of a second person" }).waitFor();
    await page.getByRole("button", { name: verb, exact: true }).click();
    await dialog.getByLabel("Why").fill("I have looked at the set");
    await ask(`/ops/jobs/${id}/cancel`, "POST", { why: "by a colleague" });
    await page.locator(".job-badge").filter({ hasText: "cancelled" }).waitFor();
    expect(await dialog.getByLabel("Why").inputValue()).toBe("I have looked at the set");
    await dialog.getByRole("button", { name: done }).click();
    await dialog.getByRole("alert").filter({ hasText: "cancelled" }).waitFor();
    await dialog.getByRole("button", { name: "Cancel", exact: true }).click();
  }
  await close();
});

test("a set that grows behind the button's number is not acted on, and what is clicked is one job", async () => {
  const { page, go, close } = await visit(browser);
  const mine = fresh("grown");
  const name = "dashboard-growing";
  await publishCheckout(name, parking);
  const parkOne = async (at: number) => {
    const { saga } = await ask<{ saga: string }>(`/${name}`, "POST", order(`${mine}-${at}`, "reject_card", 30_000 + at));
    await status(saga, "parked");
    return saga;
  };
  const listed = (count: number) => until(`${count} are listed`, async () => (await ask<{ sagas: unknown[] }>(`/sagas?definition=${name}&status=parked`)).sagas.length === count);
  const asked: { key: string | undefined; body: { sagas_max?: number } }[] = [];
  page.on("request", (request) => {
    if (request.method() === "POST" && request.url().endsWith("/ops/jobs")) asked.push({ key: request.headers()["idempotency-key"], body: request.postDataJSON() as { sagas_max?: number } });
  });
  await parkOne(1);
  await listed(1);
  await go(`/sagas?definition=${name}&status=parked`);
  await page.getByRole("button", { name: /^Act on all/ }).or(page.locator(".list-end button").last()).first().click();
  const dialog = page.getByRole("dialog");
  await dialog.getByRole("button", { name: /^Retry 1 saga/ }).waitFor();
  await dialog.getByLabel("Why").fill("the cards work again");
  await parkOne(2);
  await listed(2);
  await dialog.getByRole("button", { name: /^Retry 1 saga/ }).click();
  await dialog.getByText("look at the preview again").waitFor();
  // The preview was looked at again by itself; what is clicked now is what is seen.
  await dialog.getByRole("button", { name: /^Retry 2 sagas/ }).click();
  await page.waitForURL(/\/ui\/jobs\//);
  expect(asked.map((it) => it.body.sagas_max)).toEqual([1, 2]);
  expect(asked[0]?.key).toBeTruthy();
  expect(asked[1]?.key).toBe(asked[0]?.key);
  await close();
});
