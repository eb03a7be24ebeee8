import { expect, test } from "vitest";

import { came } from "./acted";

const acted = (status: string, result = "applied") => ({ result, status });

test("that an action was taken in is no word of what came of it", () => {
  const retry = { action: "retry", direction: "execute" } as const;
  expect(came(acted("completed"), retry)).toEqual({ key: "acted.applied", tone: "completed", icon: "completed" });
  expect(came(acted("parked"), retry)).toEqual({ key: "acted.parked", tone: "parked", icon: "parked" });
  expect(came(acted("running"), retry)).toEqual({ key: "acted.running", tone: "running", icon: "running" });
  expect(came(acted("parked", "awaiting_approval"), retry)).toMatchObject({ key: "acted.awaiting_approval", icon: "waiting" });
});

test("who wanted it forward is not told that it is done when it went back, nor the other way round", () => {
  expect(came(acted("compensated"), { action: "retry", direction: "execute" })).toMatchObject({ key: "acted.otherwise", tone: "compensated" });
  expect(came(acted("compensated"), { action: "retry", direction: "compensate" })).toMatchObject({ key: "acted.applied", tone: "compensated" });
  // What it does once it is undone, such as telling the customer.
  expect(came(acted("compensated"), { action: "retry", direction: "execute" }, "unwinding")).toMatchObject({ key: "acted.applied", tone: "compensated" });
  expect(came(acted("completed"), { action: "compensate" })).toMatchObject({ key: "acted.otherwise", tone: "completed" });
  expect(came(acted("abandoned"), { action: "abandon" })).toMatchObject({ key: "acted.applied" });
});
