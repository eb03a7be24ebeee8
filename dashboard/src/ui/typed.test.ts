import { expect, test } from "vitest";

import { writeExact } from "../api/exact";
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

test("a large number is sent with the digits that were typed; one that would be kept as another is not sent", () => {
  const typed = typedJson('{"order": 9007199254740993, "less": [-9223372036854775808, 18446744073709551615]}', ko);
  expect(typed.fault).toBeNull();
  expect(writeExact(typed.value)).toBe('{"order":9007199254740993,"less":[-9223372036854775808,18446744073709551615]}');
  const { value, fault } = typedJson('{"order": 18446744073709551616}', ko);
  expect(value).toBeUndefined();
  expect(fault).toContain("18446744073709551616");
  expect(typedJson('{"order": "18446744073709551616"}', ko).fault).toBeNull();
});
