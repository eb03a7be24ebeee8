import { keepPreviousData, QueryClient, QueryObserver } from "@tanstack/react-query";
import { expect, test } from "vitest";

import { en } from "../i18n/en";
import { said } from "../i18n/said";
import { translate, type T } from "../i18n";
import { problemWords } from "../ui/Page";
import { answerOf, ApiProblem, unread } from "./problem";

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

test("the answer to the question before stands until this one has failed, and does not come back while it is asked again", async () => {
  const client = new QueryClient();
  let answer: (letter: string | Error) => void = () => undefined;
  const asks = (letter: string) => ({
    queryKey: [letter], retry: false, placeholderData: keepPreviousData,
    queryFn: () => new Promise<string>((known, failed) => { answer = (it) => (typeof it === "string" ? known(it) : failed(it)); }),
  });
  const observer = new QueryObserver(client, asks("a"));
  const hide = observer.subscribe(() => undefined);
  const now = () => answerOf(observer.getCurrentResult());
  answer("a");
  await expect.poll(now).toEqual({ data: "a", waiting: false });
  observer.setOptions(asks("b"));
  expect(now()).toEqual({ data: "a", waiting: true });
  answer(new ApiProblem(400, {}));
  await expect.poll(() => observer.getCurrentResult().isError).toBe(true);
  void observer.refetch();
  await expect.poll(() => observer.getCurrentResult().isFetching).toBe(true);
  expect(observer.getCurrentResult().data).toBe("a");
  expect(now()).toEqual({ data: undefined, waiting: false });
  // What this question was answered once stays, however often it fails then.
  answer("b");
  await expect.poll(now).toEqual({ data: "b", waiting: false });
  void observer.refetch();
  answer(new ApiProblem(500, {}));
  await expect.poll(() => observer.getCurrentResult().isError).toBe(true);
  expect(now()).toEqual({ data: "b", waiting: false });
  hide();
});
