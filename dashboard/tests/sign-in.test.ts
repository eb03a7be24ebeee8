// Signing in at an OpenID provider, on an engine as it is deployed: the code flow with PKCE, and a token that is renewed unseen.

import type { Browser } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";

import { accessible, fits, LOOKS, type Page, settled, shot, start, visit } from "./browser";
import { type SignInStack, signInStack } from "./provider";

let browser: Browser;
let stack: SignInStack;
beforeAll(async () => {
  [browser, stack] = await Promise.all([start(), signInStack()]);
});
afterAll(async () => {
  await browser?.close();
  await stack?.stop();
});

async function signIn(page: Page): Promise<void> {
  await page.getByRole("button", { name: "Sign in at 127.0.0.1" }).click();
  await page.waitForURL((url) => url.origin === stack.issuer);
  await page.getByPlaceholder("Enter any login").fill("kim");
  await page.getByPlaceholder("and password").fill("anything");
  await page.getByRole("button", { name: "Sign-in" }).click();
  // What the dashboard may know of kim.
  await page.getByRole("button", { name: "Continue" }).click();
  await page.waitForURL((url) => url.origin === stack.ui && !url.pathname.endsWith("/signed-in"));
}

test("one signs in at the provider, comes back to where one was, and the token is renewed without a trace on the page", async () => {
  const { page, go, close } = await visit(browser, { at: stack.ui });
  const asked: URL[] = [];
  const tokens = new Set<string>();
  page.on("request", (request) => {
    const url = new URL(request.url());
    if (url.origin === stack.issuer && url.pathname === "/auth") asked.push(url);
    const bearer = request.headers()["authorization"];
    if (url.origin === stack.ui && bearer !== undefined) tokens.add(bearer);
  });
  await go("/workers?from=a-link");
  await signIn(page);
  expect(new URL(page.url()).pathname + new URL(page.url()).search).toBe("/ui/workers?from=a-link");
  expect(asked[0]?.searchParams.get("code_challenge_method")).toBe("S256");
  expect(asked[0]?.searchParams.get("code_challenge")).toMatch(/^[\w-]{43}$/);
  await settled(page);
  await page.getByRole("navigation").getByText("operator").waitFor();

  // A dialog that is open, with a reason half written, is what must survive.
  await page.getByRole("button", { name: "Hold all starts" }).click();
  const why = page.getByRole("dialog").getByLabel("Why");
  await why.fill("Toss says that");
  const mark = await page.evaluateHandle(() => document.querySelector("[role=dialog]"));
  const before = stack.renewals();
  await expect.poll(() => stack.renewals(), { timeout: 120_000 }).toBeGreaterThan(before);
  // The old token is of no use for long: what the page does next, it does with the next one.
  await expect.poll(() => tokens.size, { timeout: 120_000 }).toBeGreaterThan(1);
  expect(await page.evaluate((it) => it?.isConnected, mark)).toBe(true);
  expect(await why.inputValue()).toBe("Toss says that");
  await why.fill("Toss says that it is down");
  await page.getByRole("dialog").getByRole("button").last().click();
  await page.getByRole("status").filter({ hasText: "held" }).first().waitFor();

  const shown = await page.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }, location.href, document.cookie]));
  for (const token of tokens) expect(shown).not.toContain(token.replace("Bearer ", ""));
  await close();
});

test("a return that nobody asked for lets nobody in, and says so", async () => {
  const { page, close } = await visit(browser, { at: stack.ui });
  await page.goto("/ui/signed-in?code=somebody-elses&state=guessed");
  await page.getByRole("alert").filter({ hasText: "belongs to no sign-in" }).waitFor();
  expect(page.url()).not.toContain("somebody-elses");
  await close();
});

test("the door, in every look", async () => {
  for (const [name, looks] of LOOKS) {
    const { page, go, close } = await visit(browser, { ...looks, at: stack.ui });
    await go("/");
    await shot(page, `sign-in-${name}`);
    await fits(page, `the door, ${name}`);
    await accessible(page, `the door, ${name}`);
    await close();
  }
});
