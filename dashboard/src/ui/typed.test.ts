import { expect, test } from "vitest";

import { translate, type T } from "../i18n";
import { typedJson } from "./typed";

const ko: T = (key, values) => translate("ko", key, values);

test("what is no JSON is said in the reader's language", () => {
  for (const bad of ["", "{", '{"a": }', '{"a": 1,\n "b"}', "nil"]) {
    const { fault } = typedJson(bad, ko);
    expect(fault, bad).toContain("JSON이 아닙니다");
    expect(fault, bad).not.toMatch(/[A-Za-z]{5,}/);
  }
  expect(typedJson('{"a": 1}', ko)).toEqual({ value: { a: 1 }, fault: null });
});

test("a number that would arrive as another is not sent", () => {
  const { value, fault } = typedJson('{"order": 9007199254740993}', ko);
  expect(value).toBeUndefined();
  expect(fault).toContain("9007199254740993");
  expect(typedJson('{"order": "9007199254740993"}', ko).fault).toBeNull();
});
