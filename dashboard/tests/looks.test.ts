// What is asked of every page, in both languages, light and dark, wide and narrow: it shows what is there, axe finds nothing,
// nothing sticks out, the console is empty. Each is photographed.

import type { Browser } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

import { accessible, fits, inTheme, LOOKS, OF_COLOURS, settled, shot, start, violations, visit } from "./browser";
import { peace } from "./engine";
import { furnish } from "./pages";

let browser: Browser;
let pages: Record<string, string>;

beforeAll(async () => {
  browser = await start();
  pages = await furnish();
});
afterAll(async () => {
  await peace();
  await browser.close();
});

/** What a picture is about, where it is not at the top of its page. */
const SHOWN: Record<string, string> = { "saga-letter": ".history-aside", "what-if": ".form-line" };

/** What is asked for before its picture is taken. */
const ASKED: Record<string, string> = { "what-if": ".form-line button[type=submit]" };

describe.each(LOOKS)("every page, %s", (name, looks, axe) => {
  test("is there, and can be used", async () => {
    const { page, go, close } = await visit(browser, looks);
    const found: Record<string, string[]> = {};
    for (const [what, path] of Object.entries(pages)) {
      await go(path);
      expect(await page.evaluate(() => document.documentElement.lang)).toBe(looks.language ?? "en");
      await page.locator(".live.on").waitFor();
      const ask = ASKED[what];
      if (ask !== undefined) {
        await page.locator(ask).click();
        await settled(page);
      }
      const about = SHOWN[what];
      if (about !== undefined) await page.locator(about).first().scrollIntoViewIfNeeded();
      await shot(page, `${what}-${name}`);
      await fits(page, `${what}, ${name}`);
      if (axe === "none") continue;
      const told = await violations(page);
      if (told.length > 0) found[what] = told;
      if (axe === "as it is") continue;
      await inTheme(page, looks.dark !== true);
      const other = await violations(page, OF_COLOURS);
      if (other.length > 0) found[`${what}, ${looks.dark === true ? "light" : "dark"}`] = other;
      await inTheme(page, looks.dark === true);
    }
    expect(found, "axe").toEqual({});
    await close();
  });
});

test("the keyboard alone gets everywhere", async () => {
  const { page, go, close } = await visit(browser);
  await go("/sagas");
  await page.keyboard.press("j");
  await page.keyboard.press("j");
  await page.keyboard.press("x");
  await page.getByText("1 selected").waitFor();
  await page.keyboard.press("Enter");
  await page.waitForURL(/\/ui\/sagas\/[0-9a-f-]{36}/);
  await page.keyboard.press("g");
  await page.keyboard.press("w");
  await page.getByRole("heading", { level: 1, name: "Workers" }).waitFor();
  await page.keyboard.press("Control+k");
  await page.keyboard.type("definit");
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { level: 1, name: "Definitions" }).waitFor();
  await page.keyboard.press("?");
  await page.getByRole("dialog").waitFor();
  await accessible(page, "the list of keys");
  await page.keyboard.press("Escape");
  await expect.poll(() => page.getByRole("dialog").count()).toBe(0);
  await close();
});

test("an engine that does not answer is said so, and what was seen stays", async () => {
  const { page, context, go, close } = await visit(browser);
  await go("/sagas");
  // The notice above takes room: how many rows fit is another matter.
  const key = async () => (await page.getByRole("row").nth(1).innerText()).split("\n")[1];
  const before = await key();
  await context.setOffline(true);
  await page.getByRole("alert").filter({ hasText: "does not answer" }).waitFor({ timeout: 45_000 });
  expect(await key()).toBe(before);
  await context.setOffline(false);
  await expect.poll(() => page.getByRole("alert").count(), { timeout: 45_000 }).toBe(0);
  await close();
});
