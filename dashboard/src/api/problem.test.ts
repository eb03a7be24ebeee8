import { expect, test } from "vitest";

import { en } from "../i18n/en";
import { said } from "../i18n/said";
import { translate, type T } from "../i18n";
import { problemWords } from "../ui/Page";
import { ApiProblem, unread } from "./problem";

const ko: T = (key, values) => translate("ko", key, values);

test("what could not be read is not as if there were none", () => {
  expect(unread(undefined, new ApiProblem(500, { title: "broken" }))).toBe(true);
  expect(unread(undefined, new ApiProblem(503, { title: "busy" }))).toBe(true);
  // What is known stays, and says how old it is; what has not come yet is no failure.
  expect(unread({ holds: [] }, new ApiProblem(500, {}))).toBe(false);
  expect(unread(undefined, null)).toBe(false);
  for (const status of [0, 401, 403, 404]) expect(unread(undefined, new ApiProblem(status, {})), String(status)).toBe(false);
});

test("why a deed came to nothing is said in the reader's language", () => {
  const korean = (text: string) => said("ko", text);
  expect(problemWords(new ApiProblem(409, { detail: "The saga has ended." }), ko, korean)).toBe(`${ko("problem.refused")} 사가가 이미 끝났습니다`);
  for (const error of [new ApiProblem(503, { title: "busy" }), new TypeError("Failed to fetch"), new ApiProblem(0, { title: "offline" })]) {
    const words = problemWords(error, ko, korean);
    expect(words).not.toMatch(/[A-Za-z]{4,}/);
    expect(Object.values(en)).not.toContain(words);
  }
});
