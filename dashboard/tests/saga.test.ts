// One saga's page: a step of many items, a past that is far away, what came of each attempt, and what is hidden from whom.

import type { Browser } from "playwright-core";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";

import { accessible, openSaga, settled, shot, signInAs, start, visit } from "./browser";
import { ask, fresh, peace, place, publishCheckout, status, unrefunded } from "./engine";

let browser: Browser;
beforeAll(async () => { browser = await start(); });
afterEach(peace);
afterAll(() => browser.close());

const PARTS = "dashboard-parts";
/** Each part is paid for by itself; whoever is refused waits for a human. */
const IN_PARTS = `
saga: ${PARTS}
description: Pays for each part by itself.
trigger: { http: { method: POST, path: /${PARTS} } }
key: \${input.id}
amount: \${input.amount}
currency: KRW
input:
  type: object
  required: [id, amount, parts]
  properties:
    id: { type: string }
    amount: { type: integer }
    parts: { type: array, maxItems: 20, items: { type: object, required: [order_id, payment_key, amount], properties: { order_id: { type: string }, payment_key: { type: string }, amount: { type: integer } } } }
steps:
  pay:
    foreach: \${input.parts}
    worker: payment
    action: confirm
    compensation: cancel
    on_rejected: park
    input: { order_id: "\${item.order_id}", payment_key: "\${item.payment_key}", amount: "\${item.amount}", currency: KRW }
  tell:
    after: [pay]
    optional: true
    worker: notify
    action: order_completed
    compensation: none
    input: { order_id: "\${input.id}", customer_id: kim, amount: 1 }
`;

test("a foreach is one step of the graph, says how its items stand, and a deed names its item", async () => {
  await ask(`/definitions?${new URLSearchParams({ waive: "a definition of the dashboard's tests" })}`, "POST", IN_PARTS);
  const id = fresh("parts");
  const parts = ["ok", "ok", "reject_card", "ok"].map((card, at) => ({ order_id: `${id}-${at}`, payment_key: `tviva_${card}_${id}-${at}`, amount: 1_000 + at }));
  const { saga } = await ask<{ saga: string }>(`/${PARTS}`, "POST", { id, amount: parts.reduce((sum, it) => sum + it.amount, 0), parts });
  await status(saga, "parked");
  const { page, go, close } = await visit(browser);
  await go(`/sagas/${saga}`);
  const graph = page.getByRole("group", { name: "Graph" });
  await graph.getByText("3/4").waitFor();
  // What comes after all of them is joined to it.
  await expect.poll(() => graph.locator(".react-flow__edge").count()).toBe(1);
  await page.getByRole("status").filter({ hasText: "pay[2] was rejected" }).waitFor();
  // A click selects and takes it back; so does a key.
  await graph.getByText("3/4").click();
  await page.waitForURL(/step=pay$/);
  await graph.getByText("3/4").click();
  await page.waitForURL((url) => !url.searchParams.has("step"));
  await graph.locator(".react-flow__node").first().focus();
  await page.keyboard.press("Enter");
  await page.waitForURL(/step=pay$/);
  await page.getByText("4 items: 3 done, 0 open. Failed: [2].").waitFor();
  await accessible(page, "a saga with a foreach");
  await page.getByRole("button", { name: "What can be done to pay[2]" }).click();
  await page.getByRole("menuitem", { name: /: pay\[2\]$/ }).first().click();
  await page.getByRole("dialog", { name: /: pay\[2\]$/ }).waitFor();
  await page.keyboard.press("Escape");
  await expect.poll(() => page.getByRole("dialog").count()).toBe(0);
  await page.getByRole("button", { name: "pay[2]", exact: true }).last().click();
  await page.waitForURL(/step=pay%5B2%5D/);
  await shot(page, "saga-foreach-desktop-light-en");
  await close();
});

test("the seconds that a saga ran are to be seen three days later, and what came of each attempt is said and drawn", async () => {
  const id = await unrefunded(61_000);
  const { page, go, close } = await visit(browser);
  await page.clock.setFixedTime(Date.now() + 3 * 86_400_000);
  await go(`/sagas/${id}`);
  const chart = page.getByRole("group", { name: /^Attempts in time/ });
  await chart.locator(".waterfall-break").waitFor();
  await expect.poll(() => chart.locator(".waterfall-break title").allTextContents()).toEqual([expect.stringMatching(/3\s*d/)]);
  // All of what was done is more than half of what is drawn.
  const bars = await chart.locator(".waterfall-bar rect").all();
  const boxes = (await Promise.all(bars.map((it) => it.boundingBox()))).flatMap((it) => it ?? []);
  const drawn = Math.max(...boxes.map((it) => it.x + it.width)) - Math.min(...boxes.map((it) => it.x));
  expect(drawn).toBeGreaterThan(((await chart.boundingBox())?.width ?? 0) / 2);
  // A refusal is no success in another colour.
  await chart.locator("[data-outcome=rejected] .waterfall-mark").first().waitFor();
  expect(await chart.locator("[data-outcome=succeeded] .waterfall-mark").count()).toBe(0);
  await chart.getByRole("listitem").filter({ hasText: /^pay: undo .* rejected/ }).first().waitFor({ state: "attached" });
  // By keys: in, along, out, and all of it again.
  await chart.focus();
  const first = () => chart.locator(".waterfall-bar").first().boundingBox();
  const whole = await first();
  await page.keyboard.press("+");
  await page.keyboard.press("ArrowRight");
  expect(await first()).not.toEqual(whole);
  await page.getByRole("button", { name: "Zoom out" }).click();
  await chart.focus();
  await page.keyboard.press("0");
  expect(await first()).toEqual(whole);
  await accessible(page, "an old saga's page");
  await chart.scrollIntoViewIfNeeded();
  await shot(page, "saga-old-desktop-light-en");
  await close();
});

test("what is personal is shown to whom it concerns, and hidden from a viewer", async () => {
  const name = "dashboard-personal";
  await publishCheckout(name, (yaml) => yaml.replace("customer_id:\n      type: string", "customer_id:\n      type: string\n      personal: true"));
  const id = await place(fresh("personal"), "ok", 13_000, `/${name}`);
  await status(id, "completed");
  const { key } = await ask<{ key: string }>("/ops/keys", "POST", { name: fresh("viewer"), roles: ["viewer"], why: "a test" });

  const operator = await visit(browser);
  await operator.go(`/sagas/${id}?tab=data`);
  const data = (page: typeof operator.page) => page.getByRole("tabpanel");
  await data(operator.page).getByText("kim").first().waitFor();
  expect(await operator.page.getByText("Personal data is hidden from your role.").count()).toBe(0);
  await operator.close();

  const viewer = await visit(browser);
  await signInAs(viewer, key, "viewer");
  await openSaga(viewer.page, id);
  await viewer.page.getByRole("tab", { name: "Data" }).click();
  await data(viewer.page).getByText("Personal data is hidden from your role.").waitFor();
  await data(viewer.page).getByText("customer_id").first().waitFor();
  await settled(viewer.page);
  expect(await viewer.page.getByText(/\bkim\b/).count()).toBe(0);
  await accessible(viewer.page, "masked data");
  await viewer.close();
});
