// Every page, for what is asked of all of them.

import { ask, fresh, place, status, trouble, unrefunded } from "./engine";

/** Real data for all pages: orders that completed, went back, retry, and are parked. */
export async function furnish(): Promise<Record<string, string>> {
  const rejected = await place(fresh("card"), "reject_card", 28_000);
  const parked = await unrefunded(39_000);
  const retrying = fresh("slow");
  await trouble({ error: "FAILED_INTERNAL_SYSTEM_PROCESSING" }, { operation: "confirm", order_id: retrying });
  const again = await place(retrying, "ok", 64_000);
  const done = await place(fresh("order"));
  await Promise.all([status(rejected, "compensated"), status(done, "completed")]);
  await ask(`/sagas/${parked}/notes`, "POST", { text: "Toss says the account is closed; asked the customer for another one." });
  await ask("/ops/filters/Refused%20cards", "PUT", { query: "status=compensated&error_code=REJECT_CARD_COMPANY", shared: true });
  return {
    "overview": "/", "sagas": "/sagas", "saga-parked": `/sagas/${parked}`, "saga-compensated": `/sagas/${rejected}?step=pay`, "saga-retrying": `/sagas/${again}`,
    "parked": "/parked", "failures": "/failures", "workers": "/workers", "jobs": "/jobs", "dead-letters": "/dead-letters", "audit": "/audit",
    "reconciliation": "/reconciliation", "definitions": "/definitions", "definition": "/definitions/order-checkout", "what-if": "/definitions/order-checkout?tab=what-if", "editor": "/editor?definition=order-checkout",
    "simulator": "/simulator?definition=order-checkout", "settings": "/settings",
  };
}
