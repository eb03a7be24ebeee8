// A real Chromium, and what every test asks of every page: no error in its console, nothing that axe finds.

import { readFileSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";

import type { AxeResults } from "axe-core";
import { type Browser, type BrowserContext, chromium, type Page } from "playwright-core";
import { expect, inject } from "vitest";

import { chromiumPath } from "./chromium";

export type { Page };

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const SHOTS = resolve(process.env["AMENDS_SCREENSHOTS"] ?? join(import.meta.dirname, "../screenshots"));
const QUIET_LOOKS = 3;
const SHOT_QUALITY = 60;
const PATIENCE_MS = 60_000;
const TABS_MAX = 300;

/** `at` is another server than the stack's. */
export interface Looks { language?: "en" | "ko"; dark?: boolean; narrow?: boolean; at?: string }

/** How axe looks: as the page is, or so and with light and dark the other way round. */
export type Axe = "none" | "as it is" | "light and dark";

/** How every page is photographed, and what axe looks at: each theme in each language. It says the same of the last as of the others. */
export const LOOKS: [name: string, looks: Looks, axe: Axe][] = [
  ["desktop-light-en", {}, "light and dark"],
  ["narrow-dark-ko", { dark: true, narrow: true, language: "ko" }, "light and dark"],
  ["desktop-dark-ko", { dark: true, language: "ko" }, "as it is"],
  ["narrow-light-en", { narrow: true }, "none"],
];

export async function start(): Promise<Browser> {
  // As root, and in containers with little shared memory, Chromium needs both.
  return chromium.launch({ executablePath: chromiumPath(), args: ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--font-render-hinting=none"] });
}

export interface Visit { page: Page; context: BrowserContext; go: (path: string) => Promise<void>; close: () => Promise<void> }

/** A visitor of their own: nothing is remembered from another test. */
export async function visit(browser: Browser, { language = "en", dark = false, narrow = false, at = inject("urls").ui }: Looks = {}): Promise<Visit> {
  const context = await browser.newContext({
    baseURL: at,
    viewport: narrow ? { width: 380, height: 780 } : { width: 1360, height: 860 },
    locale: language === "ko" ? "ko-KR" : "en-GB",
    timezoneId: "Asia/Seoul",
    colorScheme: dark ? "dark" : "light",
    reducedMotion: "reduce",
    permissions: ["clipboard-write", "clipboard-read"],
  });
  await context.addInitScript({ content: AXE });
  await context.addInitScript((it) => localStorage.setItem("amends.language", it), language);
  // Nothing is fetched from anywhere else, nor waited for: a test's pages are on this machine.
  await context.route((url) => url.hostname !== "127.0.0.1" && url.hostname !== "localhost", (route) => route.abort());
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE_MS);
  const errors: string[] = [];
  page.on("console", (message) => {
    // What the server refused is shown on the page; the browser's own line about it is no error of the page.
    if (message.type() === "error" && !message.text().startsWith("Failed to load resource")) errors.push(message.text());
  });
  page.on("pageerror", (error) => errors.push(String(error)));
  return {
    page, context,
    go: async (path) => {
      await page.goto(`/ui${path}`);
      await settled(page);
    },
    close: async () => {
      await context.close();
      expect(errors, "the console").toEqual([]);
    },
  };
}

/** Everything that the page waits for is there: no skeleton, the graph placed, fonts loaded. */
export async function settled(page: Page): Promise<void> {
  await page.locator("h1").first().waitFor();
  // What comes later begins when something before it has come: it is over when nothing is awaited for a while.
  let quiet = 0;
  await expect.poll(async () => {
    quiet = await page.locator(".skeleton, [aria-busy=true]").count() === 0 ? quiet + 1 : 0;
    return quiet;
  }, { timeout: PATIENCE_MS, interval: 100 }).toBeGreaterThan(QUIET_LOOKS);
  await page.evaluate(() => document.fonts.ready.then(() => undefined));
}

/** Light where it was dark, and the other way round, as when the system changes in the evening. */
export async function inTheme(page: Page, dark: boolean): Promise<void> {
  await page.emulateMedia({ colorScheme: dark ? "dark" : "light", reducedMotion: "reduce" });
  await page.waitForFunction((it) => document.documentElement.dataset["theme"] === it, dark ? "dark" : "light");
}

declare const axe: { run: (options: unknown) => Promise<AxeResults> };

export async function accessible(page: Page, what: string): Promise<void> {
  expect(await violations(page), `axe on ${what}`).toEqual([]);
}

/** All that a theme changes is colours. */
export const OF_COLOURS = ["color-contrast", "link-in-text-block"];
const ALL = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];

/** What axe finds, by these rules or all, each with where and why. */
export async function violations(page: Page, rules?: string[]): Promise<string[]> {
  const runOnly = rules === undefined ? ALL : { type: "rule", values: rules };
  const found = await page.evaluate((it) => axe.run({ runOnly: it }), runOnly);
  return found.violations.map((it) => `${it.id}: ${it.help}\n${it.nodes.slice(0, 3).map((node) => `    ${node.html.slice(0, 160)}\n    ${node.failureSummary?.replaceAll("\n", " ") ?? ""}`).join("\n")}`);
}

interface Focused { name: string; href: string }

/** Tab by Tab to what is looked for, as one goes who has no mouse. */
export async function tabTo(page: Page, what: string, is: (it: Focused) => boolean, key: "Tab" | "Shift+Tab" = "Tab"): Promise<void> {
  for (let tabs = 0; tabs < TABS_MAX; tabs += 1) {
    await page.keyboard.press(key);
    const focused = await page.evaluate(() => {
      const it = document.activeElement;
      const labels = it instanceof HTMLInputElement || it instanceof HTMLTextAreaElement ? [...(it.labels ?? [])].map((label) => label.textContent).join(" ") : "";
      return { name: (it?.getAttribute("aria-label") ?? (labels || it?.textContent) ?? "").trim(), href: it instanceof HTMLAnchorElement ? it.href : "" };
    });
    if (is(focused)) return;
  }
  throw new Error(`no Tab leads to ${what}`);
}

/** Nothing sticks out of a narrow screen. */
export async function fits(page: Page, what: string): Promise<void> {
  // What scrolls within the page hides what sticks out of it from the document.
  const wide = await page.evaluate(() => [document.documentElement, document.getElementById("main")].flatMap((it) => (it && it.scrollWidth > it.clientWidth ? [`${it.tagName}: ${it.scrollWidth} of ${it.clientWidth}`] : [])));
  expect(wide, `the width of ${what}`).toEqual([]);
}

export async function shot(page: Page, name: string): Promise<void> {
  await mkdir(SHOTS, { recursive: true });
  const session = await page.context().newCDPSession(page);
  const { data } = await session.send("Page.captureScreenshot", { format: "webp", quality: SHOT_QUALITY });
  await session.detach();
  await writeFile(join(SHOTS, `${name}.webp`), Buffer.from(data, "base64"));
}

/** Signs in by a key, as somebody else. The token is in memory only: from here on the page must not be loaded again. */
export async function signInAs({ page, go }: Visit, key: string, role: string): Promise<void> {
  await go("/settings");
  await page.getByText("Sign in as somebody else").click();
  await page.getByLabel("Token or API key").fill(key);
  await page.getByRole("button", { name: "Sign in", exact: true }).click();
  await page.getByRole("definition").filter({ hasText: new RegExp(`^${role}$`) }).waitFor();
}

/** To a saga by the palette, as one goes who may not load the page again. */
export async function openSaga(page: Page, id: string): Promise<void> {
  await page.keyboard.press("Control+k");
  await page.keyboard.type(id);
  await page.keyboard.press("Enter");
  await page.waitForURL(new RegExp(id));
}
