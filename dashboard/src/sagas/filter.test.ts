import { describe, expect, it } from "vitest";

import { accept, complete, fromSearch, typed } from "./filter";

describe("the filter as text", () => {
  it("reads fields, quoted values and free words", () => {
    expect(typed('status:parked key:"order 1" card refused')).toEqual({ status: "parked", key: "order 1", text: "card refused" });
  });
  it("takes what only looks like a field as text", () => {
    expect(typed("https://example.com status:")).toEqual({ text: "https://example.com" });
  });
  it("keeps only filters of an address", () => {
    expect(fromSearch({ status: "parked", step: "", tab: "x", text: "a" })).toEqual({ status: "parked", text: "a" });
  });
  it("knows a label by its name and value", () => {
    expect(typed('label:region:seoul label:"region:the north"')).toEqual({ label: "region:the north" });
    expect(complete("label:reg", { label: ["region:seoul", "region:the north", "tier:gold"] })).toEqual(["label:region:seoul", 'label:"region:the north"']);
  });
  it("completes fields, then their values", () => {
    expect(complete("sta", {})).toEqual(["status:", "started_after:", "started_before:"].filter((it) => it.startsWith("sta")));
    expect(complete("x status:pa", { status: ["parked", "completed"] })).toEqual(["status:parked"]);
    expect(accept("x status:pa", "status:parked")).toBe("x status:parked ");
  });
});
