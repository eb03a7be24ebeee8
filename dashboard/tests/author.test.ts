// An author's afternoon: a definition with a mistake is corrected, proved, tested by a scenario, played by hand, published and run.

import { readFile } from "node:fs/promises";
import { resolve } from "node:path";

import type { Browser } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";

import { accessible, type Page, settled, start, visit } from "./browser";
import { ask, fresh, order, status } from "./engine";

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
  await page.getByRole("button", { name: "Publish" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Publish" }).click();
  await page.waitForURL(new RegExp(`/ui/definitions/${NAME}`));
  await settled(page);
  const started = await ask<{ saga: string }>(`/${NAME}`, "POST", order(fresh("published")));
  await status(started.saga, "completed");
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
  const scenarios = await readFile(await (await download).path(), "utf8");
  const source = (await ask<{ versions: { active: boolean; source: string }[] }>("/definitions/order-checkout")).versions.find((it) => it.active)?.source;
  const came = await ask<{ scenarios: { passed: boolean }[] }>("/authoring/scenarios", "POST", { source, scenarios });
  expect(came.scenarios.map((it) => it.passed)).toEqual([true]);
  await close();
});
