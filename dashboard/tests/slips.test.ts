// What a tired hand does by a slip, and what does not answer: nothing that was written is lost, and nothing is told as if it were known.

import { readFile } from "node:fs/promises";
import { resolve } from "node:path";

import type { Browser } from "playwright-core";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";

import { accessible, type Page, settled, start, visit } from "./browser";
import { ask, fresh, peace, place, publishCheckout, status, unrefunded, until } from "./engine";

let browser: Browser;
beforeAll(async () => { browser = await start(); });
afterEach(peace);
// A hold that a failed test leaves would fail all others.
afterEach(async () => { for (const { id } of held.splice(0)) await ask(`/ops/holds/${id}?why=over`, "DELETE"); });
afterAll(() => browser.close());

const held: { id: string }[] = [];
const FAILED = { status: 500, contentType: "application/problem+json", body: JSON.stringify({ title: "the database failed" }) };

async function paste(page: Page, editor: string, text: string): Promise<void> {
  await page.getByRole("textbox", { name: editor }).click();
  await page.keyboard.press("Control+a");
  await page.evaluate((it) => navigator.clipboard.writeText(it), text);
  await page.keyboard.press("Control+v");
}

/** Goes to another page as the browser's Back does: within the app, and without asking. */
async function move(page: Page, path: string): Promise<void> {
  await page.evaluate((to) => {
    history.pushState({}, "", to);
    dispatchEvent(new PopStateEvent("popstate"));
  }, `/ui${path}`);
}

async function checkout(name: string): Promise<string> {
  return (await readFile(resolve(import.meta.dirname, "../../saga-defs/order-checkout.yaml"), "utf8")).replace(/^saga: .*$/m, `saga: ${name}`).replace("path: /orders", `path: /${name}`);
}

test("what is written in a dialog is given up only by who says so; a key that is shown once stays until it is closed", async () => {
  const { page, go, close } = await visit(browser);
  await go("/workers");
  const dialog = page.getByRole("dialog");
  const hold = page.getByRole("button", { name: "Hold all starts" });
  await hold.click();
  // Nothing is written yet: Esc leaves.
  await page.keyboard.press("Escape");
  await expect.poll(() => dialog.count()).toBe(0);
  await hold.click();
  await dialog.getByLabel("Why").fill("the bank is down");
  await page.mouse.click(5, 400);
  await page.keyboard.press("Escape");
  const sure = page.getByRole("alertdialog");
  await sure.getByText("It is not kept anywhere.").waitFor();
  await accessible(page, "giving up what was written");
  await sure.getByRole("button", { name: "Cancel" }).click();
  expect(await dialog.getByLabel("Why").inputValue()).toBe("the bank is down");
  // No other page is gone to from within it, nor anything else begun.
  await page.keyboard.press("Control+k");
  expect(await page.getByRole("combobox").count()).toBe(0);
  expect(await dialog.count()).toBe(1);
  expect(await dialog.getByLabel("Why").inputValue()).toBe("the bank is down");
  await page.keyboard.press("Escape");
  await page.keyboard.press("Control+k");
  expect(await page.getByRole("combobox").count()).toBe(0);
  await sure.getByRole("button", { name: "Give it up" }).click();
  await expect.poll(() => dialog.count()).toBe(0);
  await go("/settings");
  await page.getByRole("button", { name: "Make a key" }).click();
  await dialog.getByLabel("Name").fill(fresh("shown-once"));
  await dialog.getByLabel("Why").fill("a test");
  await dialog.getByRole("button", { name: "Make a key" }).click();
  await dialog.getByText("This is the only time the key is shown.").waitFor();
  await page.keyboard.press("Escape");
  await page.mouse.click(5, 400);
  await page.keyboard.press("Control+k");
  expect(await page.getByRole("combobox").count()).toBe(0);
  await dialog.getByText("This is the only time the key is shown.").waitFor();
  await dialog.getByRole("button", { name: "Close" }).last().click();
  await expect.poll(() => dialog.count()).toBe(0);
  await close();
});

test("the reason that was begun for one hold is not the next one's", async () => {
  const { page, go, close } = await visit(browser);
  await publishCheckout("dashboard-held");
  for (const definition of ["dashboard-held", "order-checkout"]) held.push(await ask<{ id: string }>("/ops/holds", "POST", { kind: "definition", definition, why: `of ${definition}` }));
  await go("/workers");
  const dialog = page.getByRole("dialog");
  const line = (why: string) => page.getByRole("listitem").filter({ hasText: `of ${why}` });
  await line("dashboard-held").getByRole("button", { name: "Release" }).click();
  await dialog.getByLabel("Why").fill("it is mended");
  await dialog.getByRole("button", { name: "Cancel" }).click();
  await line("order-checkout").getByRole("button", { name: "Release" }).click();
  expect(await dialog.getByLabel("Why").inputValue()).toBe("");
  await dialog.getByLabel("Why").fill("it is mended");
  // A colleague releases both meanwhile: what is written stays, and one is told.
  for (const { id } of held.splice(0)) await ask(`/ops/holds/${id}?why=mended`, "DELETE");
  await expect.poll(() => page.getByRole("main").getByRole("button", { name: "Release", includeHidden: true }).count()).toBe(0);
  expect(await dialog.getByLabel("Why").inputValue()).toBe("it is mended");
  await dialog.getByRole("button", { name: /go on$/ }).click();
  await dialog.getByRole("alert").filter({ hasText: "no hold with this id in force" }).waitFor();
  await dialog.getByRole("button", { name: "Cancel" }).click();
  // Another hold does not bring back the dialog of the one before.
  held.push(await ask<{ id: string }>("/ops/holds", "POST", { kind: "definition", definition: "dashboard-held", why: "of another" }));
  await line("another").waitFor();
  expect(await dialog.count()).toBe(0);
  await close();
});

test("a hold whose answer was lost is not set a second time by who clicks again", async () => {
  const { page, go, close } = await visit(browser);
  await publishCheckout("dashboard-held");
  await go("/definitions/dashboard-held");
  const dialog = page.getByRole("dialog");
  await page.getByRole("button", { name: "Hold", exact: true }).click();
  await dialog.getByLabel("Why").fill("the bank is down");
  await page.route("**/ops/holds", async (route) => {
    held.push(await (await route.fetch()).json() as { id: string });
    await route.abort();
  }, { times: 1 });
  await dialog.getByRole("button", { name: "Hold dashboard-held back", exact: true }).click();
  await dialog.getByRole("alert").filter({ hasText: "It is not known whether it was taken in." }).waitFor();
  await dialog.getByRole("status").filter({ hasText: "It is held back already: “the bank is down”" }).waitFor();
  await accessible(page, "a hold that is there already");
  // It can be meant all the same; then it says so.
  expect(await dialog.getByRole("button", { name: "Hold dashboard-held back", exact: true }).count()).toBe(0);
  await dialog.getByRole("button", { name: "Hold dashboard-held back once more" }).waitFor();
  expect(held.length).toBe(1);
  await close();
});

test("scenarios stay while the definition is written, and are run once it is right", async () => {
  const { page, go, close } = await visit(browser);
  const right = await checkout("dashboard-kept");
  await go("/editor");
  await paste(page, "The definition's text", right);
  await page.getByRole("status").filter({ hasText: "No mistakes" }).waitFor();
  await paste(page, "Scenarios (YAML)", "# mine\nscenarios: []\n");
  await paste(page, "The definition's text", right.replace("pivot: true", "pivot: maybe"));
  await page.getByRole("region", { name: "Mistakes" }).getByRole("button").first().waitFor();
  await page.getByText("# mine").waitFor();
  const run = page.getByRole("button", { name: "Run", exact: true });
  expect(await run.isDisabled()).toBe(true);
  // Under another name, too.
  await paste(page, "The definition's text", right.replace("saga: dashboard-kept", "saga: dashboard-kept-too"));
  await page.getByRole("status").filter({ hasText: "No mistakes" }).waitFor();
  await page.getByText("# mine").waitFor();
  await expect.poll(() => run.isEnabled()).toBe(true);
  // And when the editor was left, such as to see how a step is played.
  await move(page, "/parked");
  await expect.poll(() => run.count()).toBe(0);
  await move(page, "/editor");
  await page.getByText("# mine").waitFor();
  await close();
});

test("what was begun for one saga does not stand over the next one", async () => {
  const { page, go, close } = await visit(browser);
  const [one, two] = [await unrefunded(1_800), await unrefunded(1_900)];
  await go(`/sagas/${one}`);
  await page.getByRole("button", { name: "More" }).click();
  await page.getByRole("menuitem", { name: /^Mark as compensated: pay/ }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByLabel("Evidence").fill("receipt 19");
  await move(page, `/sagas/${two}`);
  await page.getByText("₩1,900").first().waitFor();
  expect(await dialog.count()).toBe(0);
  await close();
});

test("who publishes over what somebody else has published meanwhile sees what changes by it, and says so", async () => {
  const { page, context, go, close } = await visit(browser);
  const name = "dashboard-two-authors";
  await publishCheckout(name);
  await go(`/editor?definition=${name}`);
  await page.getByRole("status").filter({ hasText: "No mistakes" }).waitFor();
  const mine = (await checkout(name)).replace("attempts: 8", "attempts: 7");
  await paste(page, "The definition's text", mine);
  await page.getByRole("status").filter({ hasText: "No mistakes" }).waitFor();
  const dialog = page.getByRole("dialog");
  await page.getByRole("button", { name: "Publish" }).click();
  // Nobody else has: it is published as it is.
  await dialog.getByRole("button", { name: `Publish ${name}`, exact: true }).waitFor();
  await publishCheckout(name, (it) => it.replace("attempts: 8", "attempts: 9"));
  const { version } = await ask<{ version: string }>(`/definitions/${name}`);
  // Also where it was published while the dialog was open.
  await dialog.getByRole("button", { name: `Publish ${name}` }).click();
  const over = dialog.getByRole("button", { name: `Publish ${name} over ${version.slice(0, 8)}` });
  await over.waitFor();
  await dialog.getByText("which your text does not begin from").waitFor();
  await expect.poll(() => dialog.locator(".cm-changedLine").filter({ hasText: "attempts: 7" }).count()).toBeGreaterThan(0);
  await accessible(page, "publishing over another's version");
  expect((await ask<{ version: string }>(`/definitions/${name}`)).version).toBe(version);
  // And between the click and the engine.
  let third = "";
  await context.route(/\/definitions\?over=/, async (route) => {
    await publishCheckout(name, (it) => it.replace("attempts: 8", "attempts: 10"));
    ({ version: third } = await ask<{ version: string }>(`/definitions/${name}`));
    await route.continue();
  }, { times: 1 });
  await over.click();
  await expect.poll(async () => third !== "" && await dialog.getByRole("button", { name: `Publish ${name} over ${third.slice(0, 8)}` }).count() === 1).toBe(true);
  expect((await ask<{ version: string }>(`/definitions/${name}`)).version).toBe(third);
  await dialog.getByRole("button", { name: "Cancel" }).click();
  // Another name in the text is another definition.
  await paste(page, "The definition's text", mine.replaceAll(name, `${name}-too`));
  await page.getByRole("status").filter({ hasText: "No mistakes" }).waitFor();
  await page.getByRole("button", { name: "Publish" }).click();
  await dialog.getByText(`this makes ${name}-too, and ${name} stays as it is`).waitFor();
  await dialog.getByRole("button", { name: `Publish ${name}-too`, exact: true }).waitFor();
  await close();
});

test("over plain HTTP, where browsers have fewer means, actions are sent, and a copy that failed is told", async () => {
  const { page, context, go, close } = await visit(browser);
  await context.addInitScript(() => {
    delete (Crypto.prototype as { randomUUID?: unknown }).randomUUID;
    Object.defineProperty(navigator, "clipboard", { value: undefined });
  });
  const parked = await unrefunded(1_700);
  await go(`/sagas/${parked}`);
  await page.locator(".copy").first().click();
  await page.getByText("It could not be copied").first().waitFor();
  await page.getByRole("button", { name: "More" }).click();
  await page.getByRole("menuitem", { name: /^Mark as compensated: pay/ }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByLabel("Evidence").fill("receipt 19");
  await dialog.getByLabel("Who you are").fill("kim");
  await dialog.getByLabel("Why").fill("paid back by hand");
  const known = dialog.getByRole("checkbox");
  if (await known.count() > 0) await known.setChecked(true);
  // The money is named where it is decided on.
  await dialog.getByRole("button", { name: /pay was undone by hand \(₩1,700\)/ }).click();
  await status(parked, "compensated");
  await close();
});

test("what cannot be read is said, and asked again; it does not look as if there were none", async () => {
  const { page, context, go, close } = await visit(browser);
  let broken = true;
  for (const path of ["/ops/holds?*", "/ops/approvals?*", "/definitions"]) {
    await context.route((url) => path.split("?")[0] === url.pathname, (route) => (broken ? route.fulfill(FAILED) : route.continue()));
  }
  await go("/parked");
  await page.getByText("Awaiting a second operator: whether there is any could not be read.").waitFor();
  await page.getByText("Holds: whether there is any could not be read.").first().waitFor();
  await accessible(page, "what cannot be read");
  let looks = 0;
  let answer = (): void => undefined;
  const held = new Promise<void>((done) => { answer = done; });
  await context.route(/\/sagas\/[^/]+\/actions$/, async (route) => {
    looks += 1;
    if (looks > 1) await held;
    await (broken ? route.fulfill(FAILED) : route.continue());
  });
  await go(`/sagas/${await unrefunded(1_950)}`);
  const unread = page.getByRole("alert").filter({ hasText: "Actions: whether there is any could not be read." });
  await unread.waitFor();
  // While it is asked again, it is as unknown as before.
  await expect.poll(() => looks).toBeGreaterThan(1);
  expect(await unread.count()).toBe(1);
  answer();
  broken = false;
  // It was asked again by itself.
  await expect.poll(() => unread.count()).toBe(0);
  await page.getByRole("button", { name: "More" }).click();
  await page.getByRole("menuitem", { name: /^Mark as compensated: pay/ }).waitFor();
  await page.keyboard.press("Escape");
  broken = true;
  await go("/simulator");
  await page.getByRole("alert").getByText("The engine could not answer.").waitFor();
  // While it is asked again, it is as unknown as before.
  let tell = (): void => undefined;
  const untold = new Promise<void>((done) => { tell = done; });
  let asked = 0;
  await context.route((url) => url.pathname === "/definitions", async (route) => { asked += 1; await untold; await route.fallback(); });
  await page.getByRole("alert").getByRole("button", { name: "Try again" }).last().click();
  await expect.poll(() => asked).toBe(1);
  await page.getByRole("alert").getByText("The engine could not answer.").waitFor();
  broken = false;
  tell();
  await settled(page);
  await page.getByRole("group", { name: "Graph" }).waitFor();
  await close();
});

test("what is in flight at a step leads to those that are, and not to those that failed there", async () => {
  const { page, go, close } = await visit(browser);
  // Of its own, so that nothing of another run is counted.
  const name = fresh("dashboard-piles");
  await publishCheckout(name, (it) => it.replace("retry: { attempts: 8, initial: 500ms, max: 15s }", "retry: { attempts: 1 }\n    on_rejected: park"));
  await status(await place(fresh("piled"), "reject_card", 9_000, `/${name}`), "parked");
  await go("/");
  await page.getByRole("combobox", { name: "Definition" }).selectOption(name);
  const row = page.getByRole("row").filter({ has: page.getByRole("link", { name: "pay", exact: true }) });
  await expect.poll(() => row.getByRole("cell").nth(1).textContent()).toBe("0");
  await expect.poll(() => row.getByRole("cell").nth(4).textContent()).toBe("1");
  await row.getByRole("link", { name: "1", exact: true }).click();
  await page.waitForURL(/status=parked/);
  await close();
});

test("what became of a job's last sagas is read once it has ended", async () => {
  const { page, context, go, close } = await visit(browser);
  const parked = await unrefunded(1_800);
  const job = await ask<{ id: string }>("/ops/jobs", "POST", { kind: "action", action: "abandon", acknowledged: true, sagas: [parked], why: "a test" });
  interface Job { ended_at?: string | null; state: string }
  await until("the job has ended", async () => (await ask<Job>(`/ops/jobs/${job.id}`)).ended_at != null);
  // The page is told of it as it was before, until it is told that it has ended.
  let over = false;
  let told = false;
  await context.route((url) => url.pathname === `/ops/jobs/${job.id}`, async (route) => {
    const response = await route.fetch();
    const said = (await response.json()) as Job;
    await route.fulfill({ response, json: over ? said : { ...said, ended_at: null, state: "running" } });
    told = over;
  });
  await context.route((url) => url.pathname === `/ops/jobs/${job.id}/items`, async (route) => {
    const response = await route.fetch();
    const said = (await response.json()) as { items: { outcome: string; words: string | null }[] };
    await route.fulfill({ response, json: told ? said : { ...said, items: said.items.map((it) => ({ ...it, outcome: "waiting", words: null })) } });
  });
  await go(`/jobs/${job.id}`);
  const row = page.getByRole("table", { name: "Sagas" }).getByRole("row").nth(1);
  await row.getByText("waiting").waitFor();
  over = true;
  await expect.poll(() => row.getByText("waiting").count()).toBe(0);
  await close();
});

test("a replay of another version keeps what was written for the first", async () => {
  const { page, go, close } = await visit(browser);
  const name = "dashboard-replayed";
  await publishCheckout(name);
  const { version } = await ask<{ version: string }>(`/definitions/${name}`);
  const saga = await place(fresh("again"), "reject_card", 9_300, `/${name}`);
  await status(saga, "compensated");
  await publishCheckout(name, (it) => it.replace("attempts: 8", "attempts: 9"));
  const other = (await ask<{ version: string }>(`/definitions/${name}`)).version;
  await go(`/sagas/${saga}`);
  await page.getByRole("button", { name: "Replay" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByLabel("Why").fill("another card");
  await dialog.getByRole("button", { name: "Edit the whole input" }).click();
  const input = dialog.getByLabel("Input");
  await input.fill((await input.inputValue()).replace("kim", "lee"));
  const chosen = dialog.getByLabel("Version");
  const next = (await chosen.inputValue()) === version ? other : version;
  await chosen.selectOption(next);
  await expect.poll(() => chosen.inputValue().catch(() => "")).toBe(next);
  expect(await dialog.getByLabel("Why").inputValue()).toBe("another card");
  expect(await input.inputValue()).toContain('"lee"');
  await close();
});

test("a search that failed does not say that nothing is found", async () => {
  const { page, context, go, close } = await visit(browser);
  await go("/");
  await context.route((url) => url.pathname === "/sagas", (route) => route.fulfill(FAILED));
  await page.keyboard.press("Control+k");
  await page.keyboard.type("nobody-has-this");
  await page.getByRole("alert").filter({ hasText: "The sagas could not be searched." }).waitFor();
  expect(await page.getByText("Nothing found.").count()).toBe(0);
  await accessible(page, "a search that failed");
  await close();
});

test("how one signs in is asked until it is known, and what is open meanwhile stays", async () => {
  const { page, context, go, close } = await visit(browser);
  let [asked, known] = [0, false];
  await context.route("**/auth/config", (route) => {
    asked += 1;
    return known ? route.fulfill({ json: { mode: "keys" } }) : route.fulfill(FAILED);
  });
  await go("/sagas");
  const filter = page.getByRole("combobox", { name: "Filter" });
  await filter.fill("half a wor");
  const before = asked;
  await expect.poll(() => asked).toBeGreaterThan(before);
  expect(await filter.inputValue()).toBe("half a wor");
  known = true;
  await page.getByLabel("Token or API key").waitFor();
  await close();
});

test("a server that does not say how one signs in is not told to be open to everybody", async () => {
  const { page, context, go, close } = await visit(browser);
  await context.route("**/auth/*", (route) => route.fulfill(FAILED));
  await go("/settings");
  await page.getByText("What you may do here could not be found out").first().waitFor();
  expect(await page.getByText("This server has no sign-in").count()).toBe(0);
  // One that knows of no sign-in has none.
  await context.unroute("**/auth/*");
  await context.route("**/auth/*", (route) => route.fulfill({ status: 404, contentType: "application/problem+json", body: JSON.stringify({ title: "absent" }) }));
  await go("/settings");
  await page.getByText("This server has no sign-in").waitFor();
  await close();
});
