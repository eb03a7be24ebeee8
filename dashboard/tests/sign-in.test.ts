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

test("a sign-in that ends takes nothing away: one signs in over the open dialog, and goes on", async () => {
  const { page, context, go, close } = await visit(browser, { at: stack.ui });
  await go("/workers");
  await signIn(page);
  await settled(page);
  await page.getByRole("button", { name: "Hold all starts" }).click();
  const dialog = page.getByRole("dialog", { name: /Hold/ });
  await dialog.getByLabel("Why").fill("a reason that took long to write");

  // From now on the engine knows this token no more, and the provider gives no other for what the page has.
  const ended = new Set<string>();
  let over = false;
  await context.route((url) => url.origin === stack.ui && !url.pathname.startsWith("/ui"), async (route) => {
    const bearer = route.request().headers()["authorization"] ?? "";
    if (!over && bearer !== "") ended.add(bearer);
    if (!ended.has(bearer)) return route.continue();
    return route.fulfill({ status: 401, contentType: "application/problem+json", body: JSON.stringify({ title: "unauthorized" }) });
  });
  await context.route(`${stack.issuer}/token`, (route) => {
    if (!route.request().postData()?.includes("refresh_token")) return route.continue();
    return route.fulfill({ status: 400, contentType: "application/json", headers: { "access-control-allow-origin": stack.ui }, body: JSON.stringify({ error: "invalid_grant" }) });
  });
  await dialog.getByRole("button").last().click();
  const again = page.getByRole("dialog", { name: "Your sign-in has ended" });
  await again.waitFor();
  over = true;
  await accessible(page, "signing in again");
  const opened = page.waitForEvent("popup");
  await again.getByRole("button", { name: "Sign in at 127.0.0.1" }).click();
  const beside = await opened;
  // The provider may know kim still, or ask once more.
  await expect.poll(async () => {
    if (!beside.isClosed()) {
      const known = beside.getByRole("button", { name: /^(Continue|Sign-in)$/ });
      const name = beside.getByPlaceholder("Enter any login");
      if (await name.count().catch(() => 0) > 0) {
        await name.fill("kim").catch(() => undefined);
        await beside.getByPlaceholder("and password").fill("anything").catch(() => undefined);
      }
      if (await known.count().catch(() => 0) > 0) await known.click({ timeout: 5_000 }).catch(() => undefined);
    }
    return again.count();
  }, { interval: 500 }).toBe(0);
  expect(beside.isClosed()).toBe(true);
  expect(await dialog.getByLabel("Why").inputValue()).toBe("a reason that took long to write");
  await dialog.getByRole("button").last().click();
  await expect.poll(() => dialog.count()).toBe(0);
  await page.getByText("a reason that took long to write").first().waitFor();
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
