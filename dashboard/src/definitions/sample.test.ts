import { expect, test } from "vitest";

import { sample } from "./sample";

test("an input has what the schema requires, and nothing else", () => {
  const schema = {
    type: "object", required: ["id", "items", "total"],
    properties: {
      id: { type: "string", minLength: 6, maxLength: 64 }, note: { type: "string" }, total: { type: "integer", minimum: 100 },
      items: { type: "array", minItems: 2, items: { type: "object", required: ["sku"], properties: { sku: { enum: ["cup", "mug"] } } } },
    },
  };
  expect(sample(schema)).toEqual({ id: "id-1xx", items: [{ sku: "cup" }, { sku: "cup" }], total: 100 });
});

test("a schema that contains itself comes to an end", () => {
  const node: Record<string, unknown> = { type: "object", required: ["next"], properties: {} };
  node["properties"] = { next: node };
  expect(JSON.stringify(sample(node)).length).toBeLessThan(500);
});
