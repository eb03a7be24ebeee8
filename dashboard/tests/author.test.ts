// An author's afternoon: a definition with a mistake is corrected, proved, tested by a scenario, played by hand, published and run.

import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { promisify } from "node:util";

import type { Browser } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";

import { accessible, type Page, settled, start, tabTo, visit } from "./browser";
import { ask, fresh, order, publishCheckout, status, until } from "./engine";
import { engineBinary } from "./stack";

let browser: Browser;
beforeAll(async () => { browser = await start(); });
afterAll(() => browser.close());

const NAME = "dashboard-test";
const checkout = async () => (await readFile(resolve(import.meta.dirname, "../../saga-defs/order-checkout.yaml"), "utf8"))
  .replace(/^saga: .*$/m, `saga: ${NAME}`).replace("path: /orders", `path: /${NAME}`);

/** Replaces what is in an editor, as a person's paste does. */
async function paste(page: Page, editor: string, text: string): Promise<void> {
  await page.getByRole("textbox", { name: editor }).click();
  await page.keyboard.press("Control+a");
  await page.evaluate((it) => navigator.clipboard.writeText(it), text);
  await page.keyboard.press("Control+v");
}

test("a mistake is shown where it is; the corrected text is proved, tested, played, published and run", async () => {
  const { page, go, close } = await visit(browser);
  const right = await checkout();
  await go("/editor");
  await paste(page, "The definition's text", right.replace("pivot: true", "pivot: maybe"));
  const problems = page.getByRole("region", { name: "Mistakes" });
  await problems.getByRole("button").first().waitFor();
  await accessible(page, "the editor with a mistake");
  expect(await page.getByRole("button", { name: "Publish" }).isDisabled()).toBe(true);
  await problems.getByRole("button").first().click();
  await paste(page, "The definition's text", right);
  await page.getByRole("status").filter({ hasText: "No mistakes" }).waitFor();
  await page.getByRole("status").filter({ hasText: /^proved/ }).waitFor({ timeout: 90_000 });
  const input = JSON.stringify(order("order-123456"));
  await paste(page, "Scenarios (YAML)", `definition: ${NAME}\ninput: ${input}\nscenarios:\n  - scenario: It works\n    expect: { ends: completed }\n  - scenario: It does not\n    workers: { pay: { execute: rejected } }\n    expect: { ends: completed }\n`);
  await page.getByRole("button", { name: "Run", exact: true }).click();
  await page.getByText("1 of 2 passed").waitFor();
  await page.getByText("ends: expected completed, found compensated").waitFor();
  await accessible(page, "the editor with scenarios");
  // What came of other scenarios than those that are there now is no verdict on these.
  expect(await page.getByText("Of an earlier text").count()).toBe(0);
  await paste(page, "Scenarios (YAML)", `# some more\ndefinition: ${NAME}\ninput: ${input}\nscenarios: []\n`);
  await page.getByText("Of an earlier text").waitFor();
  await page.getByText("1 of 2 passed").waitFor();
  await accessible(page, "what came of earlier scenarios");
  // A text that is not published yet can be played, too.
  await page.getByRole("button", { name: "Simulate" }).click();
  await page.getByText("This plays the text in the editor").waitFor();
  await page.getByRole("group", { name: "Graph" }).waitFor();
  await accessible(page, "the simulator of a new text");
  await page.getByRole("link", { name: "Back to the editor" }).click();
  await page.getByRole("status").filter({ hasText: "No mistakes" }).waitFor();
  await page.getByRole("button", { name: "Publish" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Publish" }).click();
  await page.waitForURL(new RegExp(`/ui/definitions/${NAME}`));
  await settled(page);
  // The scenarios went with it, and the next new definition begins with none.
  await go(`/editor?definition=${NAME}`);
  await page.getByText("# some more").waitFor();
  await go("/editor");
  await page.getByRole("status").filter({ hasText: "No mistakes" }).waitFor();
  await page.getByRole("textbox", { name: "Scenarios (YAML)" }).waitFor();
  expect(await page.getByText("# some more").count()).toBe(0);
  const started = await ask<{ saga: string }>(`/${NAME}`, "POST", order(fresh("published")));
  await status(started.saga, "completed");
  await close();
});

/** It is right as far as each step goes; but what it has begun cannot be undone when the last step fails. */
const SELLS_FIRST = `
saga: dashboard-wrong
description: Sells before it is known whether it may.
trigger: { http: { method: POST, path: /dashboard-wrong } }
key: \${input.order_id}
deadline: 10m
input:
  type: object
  required: [order_id, customer_id, items, payment]
  properties: { order_id: { type: string }, customer_id: { type: string }, items: { type: array, items: { type: object } }, payment: { type: object } }
steps:
  sell: { saga: order-checkout, input: "\${input}" }
  tell: { after: [sell], worker: notify, action: order_completed, compensation: untell, input: { order_id: "\${input.order_id}", customer_id: "\${input.customer_id}", amount: 1 } }
`;

test("what refutes a definition is played on its graph, beat by beat", async () => {
  const { page, go, close } = await visit(browser);
  await go("/editor");
  await paste(page, "The definition's text", SELLS_FIRST);
  await page.getByRole("status").filter({ hasText: /^refuted/ }).waitFor({ timeout: 90_000 });
  await page.getByText("What took effect, or may have, is undone when the saga is").waitFor();
  const graph = page.getByRole("group", { name: "Graph" });
  const node = (step: string) => graph.locator(".graph-step").filter({ hasText: step });
  // Beat by beat, by hand: it starts, sells, and cannot tell.
  const beats = page.locator(".history").getByRole("button");
  await beats.nth(0).click();
  await node("sell").getByText("waiting").waitFor();
  await beats.nth(1).click();
  await node("sell").getByText("succeeded").waitFor();
  await node("tell").getByText("running").waitFor();
  await accessible(page, "a counter-example on the graph");
  // By itself, to its end.
  await page.getByRole("button", { name: "Play it on the graph" }).click();
  await node("sell").getByText("waiting").waitFor();
  await node("tell").getByText("rejected").waitFor();
  await node("sell").getByText("compensating").waitFor();
  await page.getByRole("button", { name: "Stop", exact: true }).click();
  await expect.poll(() => node("sell").getByText(/waiting|succeeded|compensating/).count()).toBe(0);
  await close();
});

test("what if: sagas of the past under a version that is not published", async () => {
  const { page, go, close } = await visit(browser);
  const refused = await ask<{ saga: string }>("/orders", "POST", order(fresh("refused"), "reject_card", 28_000));
  await status(refused.saga, "compensated");
  await go("/editor?definition=order-checkout");
  await page.getByRole("status").filter({ hasText: "No mistakes" }).waitFor();
  await page.getByRole("textbox", { name: "The definition's text" }).waitFor();
  const source = (await ask<{ versions: { active: boolean; source: string }[] }>("/definitions/order-checkout")).versions.find((it) => it.active)?.source ?? "";
  // A refused card is looked at by a human instead.
  await paste(page, "The definition's text", source.replace("retry: { attempts: 8, initial: 500ms, max: 15s }", "on_rejected: park\n    retry: { attempts: 8, initial: 500ms, max: 15s }"));
  await page.getByRole("status").filter({ hasText: "No mistakes" }).waitFor();
  await page.getByLabel("Which sagas").fill("definition:order-checkout error_code:REJECT_CARD_COMPANY");
  await page.getByRole("button", { name: "Ask", exact: true }).click();
  const line = page.getByRole("row").filter({ has: page.locator(`a[href$="${refused.saga}"]`) });
  await line.locator("[data-state=compensated]").waitFor();
  await line.locator("[data-state=parked]").waitFor();
  await accessible(page, "what if");
  expect(await page.getByText("Of an earlier question").count()).toBe(0);
  await page.getByLabel("Which sagas").fill("definition:order-checkout");
  await page.getByText("Of an earlier question").waitFor();
  await accessible(page, "what came of an earlier question");
  await close();
});

test("what is written stays when one looks at the simulator, and is given up only when one says so", async () => {
  const { page, go, close } = await visit(browser);
  await go("/editor?definition=order-checkout");
  await page.getByRole("status").filter({ hasText: "No mistakes" }).waitFor();
  const source = (await ask<{ versions: { active: boolean; source: string }[] }>("/definitions/order-checkout")).versions.find((it) => it.active)?.source ?? "";
  await paste(page, "The definition's text", `# a draft\n${source}`);
  await page.getByRole("status").filter({ hasText: "No mistakes" }).waitFor();
  await page.getByRole("button", { name: "Simulate" }).click();
  await page.getByText("This plays the text in the editor").waitFor();
  await page.getByRole("link", { name: "Back to the editor" }).click();
  await page.getByText("# a draft").waitFor();
  await page.getByText("This is your text, not what is published.").waitFor();
  await page.getByRole("button", { name: "Publish" }).click();
  await page.getByRole("dialog").getByText(/These go on|under way/).waitFor();
  await accessible(page, "publishing");
  await page.keyboard.press("Escape");
  await page.getByRole("button", { name: "Give up the changes" }).click();
  await page.getByRole("alertdialog").getByRole("button", { name: "Give up the changes" }).click();
  await expect.poll(() => page.getByText("# a draft").count()).toBe(0);
  await close();
});

test("a saga is played by hand, back and forth, and saved as a scenario that passes", async () => {
  const { page, go, close } = await visit(browser);
  await go("/simulator?definition=order-checkout");
  const answer = async (step: string, what: string) => {
    const command = page.getByRole("group", { name: new RegExp(`^${step} `) });
    await command.getByRole("button", { name: what }).click();
  };
  const graph = page.getByRole("group", { name: "Graph" });
  await answer("create_order", "Succeeds");
  await page.getByRole("group", { name: /^reserve_stock / }).waitFor();
  // Silence, then a late answer.
  await page.getByRole("button", { name: "Let it pass" }).click();
  await graph.getByText("unknown").waitFor();
  await page.getByRole("button", { name: "Take back" }).click();
  await answer("reserve_stock", "Succeeds");
  await page.getByRole("group", { name: /^pay / }).waitFor();
  await answer("pay", "Is rejected");
  await page.getByRole("group", { name: /^reserve_stock stock.release/ }).waitFor();
  await graph.getByText("compensating").waitFor();
  await accessible(page, "the simulator");
  await answer("reserve_stock", "Succeeds");
  await answer("create_order", "Succeeds");
  await answer("notify_cancelled", "Succeeds");
  await page.getByText("It has ended.").waitFor();
  const download = page.waitForEvent("download");
  await page.getByRole("button", { name: "Save as a scenario" }).click();
  expect(await tested(await (await download).path())).toEqual(["passed"]);
  await close();
});

/** What comes of each scenario of a file by `amends test`, with the definition as it is published. */
async function tested(file: string): Promise<string[]> {
  const folder = await mkdtemp(join(tmpdir(), "amends-scenario-"));
  try {
    const source = (await ask<{ versions: { active: boolean; source: string }[] }>("/definitions/order-checkout")).versions.find((it) => it.active)?.source ?? "";
    await writeFile(join(folder, "order-checkout.yaml"), source);
    const { stdout } = await promisify(execFile)(engineBinary(), ["test", file, "--defs", folder, "--json"]);
    return stdout.trim().split("\n").flatMap((line) => (JSON.parse(line) as { outcome?: string }).outcome ?? []);
  } finally {
    await rm(folder, { recursive: true });
  }
}

test("the engine crashes, a command is answered late and once more, and the play is saved as it was", async () => {
  const { page, go, close } = await visit(browser);
  await go("/simulator?definition=order-checkout");
  const happened = page.getByRole("list").filter({ hasText: "Started" }).first();
  const command = (step: string) => page.getByRole("group", { name: new RegExp(`^${step} `) });
  await command("create_order").getByRole("button", { name: "Succeeds" }).click();
  await command("reserve_stock").waitFor();
  // The log is lost: what was in flight is sent again.
  await page.getByRole("button", { name: "Crash" }).click();
  await happened.getByText("The engine crashes and its log is lost").waitFor();
  await expect.poll(() => happened.getByText("sends reserve_stock", { exact: true }).count()).toBe(2);
  // Nobody answers in time, so it is tried again; then the first try's answer comes after all, and counts.
  const moves = () => happened.getByText("Time passed").count();
  await expect.poll(async () => {
    const again = await happened.getByText("sends reserve_stock (try 2)").count();
    if (again > 0) return again;
    const before = await moves();
    await page.getByRole("button", { name: "Let it pass" }).click();
    await expect.poll(moves).toBe(before + 1);
    return 0;
  }, { timeout: 60_000 }).toBe(1);
  await page.getByText("A late answer…").click();
  const late = page.getByRole("group").filter({ has: page.getByRole("combobox", { name: "A late answer…" }) }).last();
  await late.getByRole("combobox").selectOption({ label: "reserve_stock · attempt 1, round 1" });
  await late.getByRole("button", { name: "succeeded" }).click();
  await command("pay").waitFor();
  // The second try's answer is one too many.
  await late.getByRole("combobox").selectOption({ label: "reserve_stock · attempt 2, round 1" });
  await late.getByRole("button", { name: "succeeded" }).click();
  await happened.getByText("ignored: a duplicate").waitFor();
  await accessible(page, "the simulator with a late answer");
  await command("pay").getByRole("button", { name: "Is rejected" }).click();
  for (const step of ["reserve_stock", "create_order", "notify_cancelled"]) await command(step).getByRole("button", { name: "Succeeds" }).click();
  await page.getByText("It has ended.").waitFor();
  const download = page.waitForEvent("download");
  await page.getByRole("button", { name: "Save as a scenario" }).click();
  expect(await tested(await (await download).path())).toEqual(["passed"]);
  await close();
});

test("a version is published for a share of new sagas, looked at beside the current one, and promoted; another is withdrawn", async () => {
  const name = "dashboard-canary";
  await publishCheckout(name);
  const { version: before } = await ask<{ version: string }>(`/definitions/${name}`);
  const { page, go, close } = await visit(browser);
  const bolder = async (description: string, share: number) => {
    await go(`/editor?definition=${name}`);
    await page.getByRole("status").filter({ hasText: "No mistakes" }).waitFor();
    const source = (await ask<{ versions: { version: string; active: boolean; source: string }[] }>(`/definitions/${name}`)).versions.find((it) => it.active)?.source ?? "";
    await paste(page, "The definition's text", source.replace(/^description: .*$/m, `description: ${description}`));
    await page.getByRole("status").filter({ hasText: "No mistakes" }).waitFor();
    await page.getByRole("button", { name: "Publish" }).click();
    await page.getByRole("dialog").getByLabel("Share of new sagas, in %").fill(String(share));
    await page.getByRole("dialog").getByRole("button", { name: `Publish ${name} for ${share}% of new sagas` }).click();
    await page.waitForURL(new RegExp(`/ui/definitions/${name}`));
    await page.getByRole("heading", { name: `takes ${share}% of new sagas` }).waitFor();
  };
  await bolder("A bolder one.", 99);
  const { canary, version } = await ask<{ version: string; canary: { version: string; percent: number } }>(`/definitions/${name}`);
  expect([version, canary.percent]).toEqual([before, 99]);
  // One of a hundred is the other's: with some more, one is the canary's for certain.
  const sagas = await Promise.all([1, 2, 3, 4].map(async () => ask<{ saga: string }>(`/${name}`, "POST", order(fresh("canary")))));
  for (const { saga } of sagas) await status(saga, "completed");
  const took = (await Promise.all(sagas.map(async ({ saga }) => ask<{ version: string }>(`/sagas/${saga}`)))).filter((it) => it.version === canary.version).length;
  await until("the canary's sagas are counted", async () => (await ask<{ canary: { outcomes: { completed: number } } }>(`/definitions/${name}`)).canary.outcomes.completed === took);
  const line = page.getByRole("row").filter({ hasText: canary.version.slice(0, 8) });
  await line.getByRole("link", { name: String(took), exact: true }).waitFor();
  await accessible(page, "a definition with a canary");
  await page.getByRole("button", { name: "Promote" }).click();
  await page.getByRole("dialog").getByLabel("Why").fill("nothing failed");
  await accessible(page, "the dialog of a canary");
  await page.getByRole("dialog").getByRole("button", { name: /^Let .* take all new sagas/ }).click();
  await expect.poll(() => page.getByRole("dialog").count()).toBe(0);
  await expect.poll(() => page.getByRole("button", { name: "Promote" }).count()).toBe(0);
  expect((await ask<{ version: string }>(`/definitions/${name}`)).version).toBe(canary.version);
  await bolder("Another one.", 5);
  await page.getByRole("button", { name: "Withdraw" }).click();
  await page.getByRole("dialog").getByLabel("Why").fill("not needed after all");
  await page.getByRole("dialog").getByRole("button", { name: /take no new sagas$/ }).click();
  await expect.poll(() => page.getByRole("dialog").count()).toBe(0);
  await expect.poll(() => page.getByRole("button", { name: "Withdraw" }).count()).toBe(0);
  const after = await ask<{ version: string; canary?: unknown }>(`/definitions/${name}`);
  expect([after.version, after.canary]).toEqual([canary.version, undefined]);
  // A colleague ends a third one while one writes why: it stays written, and one is told.
  await bolder("A third one.", 5);
  await page.getByRole("button", { name: "Withdraw" }).click();
  await page.getByRole("dialog").getByLabel("Why").fill("not needed, either");
  const third = await ask<{ canary: { version: string } }>(`/definitions/${name}`);
  await ask(`/definitions/${name}/withdraw`, "POST", { version: third.canary.version, why: "by a colleague" });
  await expect.poll(() => page.getByRole("main").getByRole("button", { name: "Withdraw", includeHidden: true }).count()).toBe(0);
  expect(await page.getByRole("dialog").getByLabel("Why").inputValue()).toBe("not needed, either");
  await page.getByRole("dialog").getByRole("button", { name: /take no new sagas$/ }).click();
  await page.getByRole("dialog").getByRole("alert").filter({ hasText: "canary" }).waitFor();
  await close();
});

test("the keyboard alone: a definition is edited, the editor is left, a share is published, and promoted", async () => {
  const name = "dashboard-keys";
  await publishCheckout(name);
  const { page, go, close } = await visit(browser);
  await go(`/definitions/${name}`);
  await tabTo(page, "the editor", (it) => it.name === "Edit");
  await page.keyboard.press("Enter");
  await page.getByText("Esc, then Tab, leaves the editor").first().waitFor();
  await tabTo(page, "the text", (it) => it.name.startsWith("The definition's text"));
  await page.keyboard.press("Control+End");
  await page.keyboard.press("Enter");
  // Without the indentation of the line before.
  await page.keyboard.press("Shift+Home");
  await page.keyboard.press("Delete");
  await page.keyboard.type("labels: { channel: web }");
  await page.keyboard.press("Tab");
  expect(await page.evaluate(() => document.activeElement?.getAttribute("aria-label"))).toContain("The definition's text");
  await page.keyboard.press("Control+z");
  await page.getByRole("status").filter({ hasText: "No mistakes" }).waitFor();
  // The first closes what completes, if it is open.
  await page.keyboard.press("Escape");
  await page.keyboard.press("Escape");
  await tabTo(page, "publishing", (it) => it.name === "Publish", "Shift+Tab");
  await page.keyboard.press("Enter");
  await tabTo(page, "the share", (it) => it.name.startsWith("Share of new sagas"));
  await page.keyboard.press("Control+a");
  await page.keyboard.type("10");
  await tabTo(page, "the deed", (it) => it.name === `Publish ${name} for 10% of new sagas`);
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "takes 10% of new sagas" }).waitFor();
  const { canary } = await ask<{ canary: { version: string } }>(`/definitions/${name}`);
  await tabTo(page, "promoting", (it) => it.name === "Promote");
  await page.keyboard.press("Enter");
  await tabTo(page, "the reason", (it) => it.name === "Why");
  await page.keyboard.type("It does as well");
  await tabTo(page, "the deed", (it) => it.name.endsWith("take all new sagas"));
  await page.keyboard.press("Enter");
  await expect.poll(() => page.getByRole("dialog").count()).toBe(0);
  await expect.poll(async () => (await ask<{ version: string }>(`/definitions/${name}`)).version).toBe(canary.version);
  await close();
});

test("a mistake is said in Korean, with what to do about it", async () => {
  const { page, go, close } = await visit(browser, { language: "ko" });
  await go("/editor");
  await paste(page, "정의", (await checkout()).replace("pivot: true", "pivot: maybe").replace("after: [reserve_stock]", "after: [reserve_stok]"));
  const problems = page.getByRole("region", { name: "오류" });
  await problems.getByText("`pivot`: true 또는 false여야 하는데 텍스트입니다").waitFor();
  await problems.getByText("`reserve_stok`은(는) 단계가 아닙니다").waitFor();
  await close();
});
