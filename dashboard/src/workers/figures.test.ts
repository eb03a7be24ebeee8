import { expect, test } from "vitest";

import { breakersOf, throughputOf } from "./figures";

const instance = (rest: object) => ({ instance: "i", version: "1", at: "2026-11-21T14:00:00Z", alive: true, ...rest });

test("a worker answers what its living instances answer; who does not say is not counted as idle", () => {
  expect(throughputOf({ instances: [instance({ answered_per_minute: 30 }), instance({ answered_per_minute: 0 }), instance({ alive: false, answered_per_minute: 9 })] })).toBe(30);
  expect(throughputOf({ instances: [instance({})] })).toBeNull();
});

test("of an action's breakers the worst is shown, with when a call goes again first", () => {
  const confirm = (state: string, until?: string) => ({ action: "confirm", direction: "execute", state, ...(until ? { until } : {}) });
  const instances = [
    instance({ breakers: [confirm("closed")] }), instance({ breakers: [confirm("open", "2026-11-21T14:00:09Z")] }),
    instance({ breakers: [confirm("open", "2026-11-21T14:00:04Z")] }), instance({ breakers: [confirm("half_open")] }),
  ];
  expect(breakersOf({ instances })).toEqual([{ action: "confirm", direction: "execute", state: "open", until: "2026-11-21T14:00:04Z", instances: 2 }]);
});

test("to have no breaker is another thing than to say nothing of them", () => {
  expect(breakersOf({ instances: [instance({ breakers: [] }), instance({ alive: false })] })).toEqual([]);
  expect(breakersOf({ instances: [instance({ breakers: [] }), instance({})] })).toBeNull();
  expect(breakersOf({ instances: [instance({ alive: false, breakers: [] })] })).toBeNull();
});
