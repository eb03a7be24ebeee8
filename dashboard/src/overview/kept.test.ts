import { expect, test } from "vitest";

import { kept } from "./kept";

test("the busiest definition is shown, and stays when another one gets busier", () => {
  const first = kept(null, ["checkout", "deposits"]);
  expect(first).toBe("checkout");
  expect(kept(first, ["deposits", "checkout"])).toBe("checkout");
  expect(kept(first, ["deposits"])).toBe("deposits");
  expect(kept(null, [])).toBeNull();
});
