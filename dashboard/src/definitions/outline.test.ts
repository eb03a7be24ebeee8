import { expect, test } from "vitest";

import { parseExact, writeExact } from "../api/exact";
import { changedKeys } from "./compare";
import { beside, head } from "./outline";

const of = (maximum: string) => `
saga: order
input:
  type: object
  properties:
    order: { type: integer, minimum: -9223372036854775808, maximum: ${maximum} }
    lines: { type: array, minItems: 1, items: { type: number, minimum: 0.5 } }
steps: {}
`;

test("what a text takes has its numbers digit by digit, as the engine tells them", async () => {
  const { name, input } = await head(of("9223372036854775807"));
  expect(name).toBe("order");
  const told = '{"type":"object","properties":{"order":{"type":"integer","minimum":-9223372036854775808,"maximum":9223372036854775807},"lines":{"type":"array","minItems":1,"items":{"type":"number","minimum":0.5}}}}';
  expect(writeExact(input)).toBe(told);
  expect(input).toEqual(parseExact(told));
});

test("two texts whose large numbers differ in the last digit are not the same", async () => {
  expect(changedKeys(await beside(of("9223372036854775807")), await beside(of("9223372036854775806")))).toEqual(["input"]);
  expect(changedKeys(await beside(of("9223372036854775807")), await beside(of("9223372036854775807")))).toEqual([]);
});
