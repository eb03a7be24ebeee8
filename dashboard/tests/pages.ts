// Every page, for what is asked of all of them.

import { ask, deadLetter, fresh, parking, place, publishCheckout, status, trouble, unpaid, unrefunded, until } from "./engine";

const NAME = "dashboard-looks";
/** It is tried for longer than all pages are looked at. */
const PATIENT = "dashboard-retrying";

/** A bulk job that stops because its first saga fails again, of a definition that has two versions; answers their addresses. */
async function bulk(): Promise<{ job: string; diff: string }> {
  await publishCheckout(NAME);
  const { version } = await ask<{ version: string }>(`/definitions/${NAME}`);
  await publishCheckout(NAME, parking);
  const sagas = await Promise.all([31_000, 32_000].map((amount) => place(fresh("bulk"), "reject_card", amount, `/${NAME}`)));
  await Promise.all(sagas.map((saga) => status(saga, "parked")));
  const { id } = await ask<{ id: string }>("/ops/jobs", "POST", { kind: "action", action: "retry", sagas, why: "The bank says that these cards work again", canary: 1, stop_after_same: 5 });
  await until("the job has stopped", async () => (await ask<{ state: string }>(`/ops/jobs/${id}`)).state === "stopped");
  return { job: `/jobs/${id}`, diff: `/definitions/${NAME}?tab=diff&with=${version}` };
}

/** A bulk job that somebody else has asked for, and that waits for a second person; answers its address. */
async function unapproved(): Promise<string> {
  const name = "dashboard-approving";
  await publishCheckout(name, (yaml) => parking(yaml).replace(/^saga: .*$/m, "$&\napproval: { actions: [compensate], above: 60000 }"));
  const { key } = await ask<{ key: string }>("/ops/keys", "POST", { name: fresh("kim"), roles: ["operator"], why: "a test" });
  const sagas = await Promise.all([90_000, 121_000].map((amount) => place(fresh("closing"), "reject_card", amount, `/${name}`)));
  await Promise.all(sagas.map((saga) => status(saga, "parked")));
  const { id } = await ask<{ id: string }>("/ops/jobs", "POST", { kind: "action", action: "compensate", sagas, why: "These customers have cancelled by phone" }, { authorization: `Bearer ${key}` });
  await until("the job waits for its approval", async () => (await ask<{ counts: { awaiting_approval: number } }>(`/ops/jobs/${id}`)).counts.awaiting_approval === sagas.length);
  return `/jobs/${id}`;
}

/** A definition with a canary that does no better, and some sagas of both. */
async function canary(): Promise<string> {
  const name = "dashboard-bolder";
  await publishCheckout(name);
  await publishCheckout(name, (yaml) => yaml.replace("attempts: 5", "attempts: 7"), 30);
  await Promise.all(Array.from({ length: 12 }, (_, at) => place(fresh("share"), at % 4 === 0 ? "reject_card" : "ok", 18_000 + at * 500, `/${name}`)));
  return `/definitions/${name}`;
}

/** Real data for all pages: orders that completed, went back, retry, and are parked; a job over some of them. */
export async function furnish(): Promise<Record<string, string>> {
  const bulked = bulk();
  const beside = canary();
  const waiting = unapproved();
  const rejected = await place(fresh("card"), "reject_card", 28_000);
  const parked = await unrefunded(39_000);
  const retrying = fresh("slow");
  await trouble({ error: "FAILED_INTERNAL_SYSTEM_PROCESSING" }, { operation: "confirm", order_id: retrying });
  await publishCheckout(PATIENT, (yaml) => yaml.replace("deadline: 10m", "deadline: 10h").replace("retry: { attempts: 8, initial: 500ms, max: 15s }", "retry: { attempts: 100, initial: 4s, max: 40s }"));
  const again = await place(retrying, "ok", 64_000, `/${PATIENT}`);
  const done = await place(fresh("order"));
  await Promise.all([status(rejected, "compensated"), status(done, "completed")]);
  await ask(`/sagas/${parked}/notes`, "POST", { text: "Toss says the account is closed; asked the customer for another one." });
  await ask("/ops/filters/Refused%20cards", "PUT", { query: "status=compensated&error_code=REJECT_CARD_COMPANY", shared: true });
  const [{ job, diff }, shared, unsure] = await Promise.all([bulked, beside, waiting]);
  const letter = await deadLetter(NAME);
  await unpaid(77_000);
  const kept = letter === null ? [] : (await ask<{ dead_letters: { id: number }[] }>(`/ops/dead-letters?saga=${letter}`)).dead_letters;
  return {
    // What could not be answered with right is kept, and stands in its saga's history.
    ...(letter === null ? {} : { "dead-letter": `/dead-letters?letter=${kept[0]?.id ?? ""}`, "saga-letter": `/sagas/${letter}` }),
    job, diff, "job-approval": unsure,
    "overview": "/", "sagas": "/sagas", "saga-parked": `/sagas/${parked}`, "saga-compensated": `/sagas/${rejected}?step=pay`, "saga-retrying": `/sagas/${again}`,
    "parked": "/parked", "failures": "/failures", "workers": "/workers", "jobs": "/jobs", "dead-letters": "/dead-letters", "audit": "/audit",
    "reconciliation": "/reconciliation", "definitions": "/definitions", "definition": "/definitions/order-checkout", "canary": shared, "what-if": "/definitions/order-checkout?tab=what-if", "editor": "/editor?definition=order-checkout",
    "simulator": "/simulator?definition=order-checkout", "settings": "/settings",
  };
}
