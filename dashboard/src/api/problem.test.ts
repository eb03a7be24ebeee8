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
  for (const error of [new ApiProblem(503, { title: "busy" }), new TypeError("Failed to fetch"), new ApiProblem(0, { title: "offline" }), new ApiProblem(403, { title: "Forbidden" }), new ApiProblem(413, { title: "Payload Too Large" })]) {
    for (const sent of ["deed", "question"] as const) {
      const words = problemWords(error, ko, korean, sent);
      expect(words).not.toMatch(/[A-Za-z]{4,}/);
      expect(Object.values(en)).not.toContain(words);
    }
  }
});

test("a deed that failed is not told in the words of what a page reads: nobody sends it again, and it may have been taken in", () => {
  const english: T = (key, values) => translate("en", key, values);
  const plain = (text: string) => text;
  expect(problemWords(new ApiProblem(0, { title: "offline" }), english, plain)).toBe("The engine does not answer. It is not known whether it was taken in. Look, then send it again.");
  expect(problemWords(new ApiProblem(403, { title: "Forbidden" }), english, plain)).toBe("You may not do this. Ask an administrator for the role that may.");
  expect(problemWords(new ApiProblem(0, { title: "offline" }), ko, plain)).toBe("엔진이 응답하지 않습니다. 접수되었는지 알 수 없습니다. 확인한 뒤 다시 보내 주세요.");
  expect(problemWords(new ApiProblem(403, {}), ko, plain)).toBe("이 작업을 할 권한이 없습니다. 관리자에게 필요한 역할을 요청해 주세요.");
  for (const status of [0, 429, 503]) {
    for (const sent of ["deed", "question"] as const) {
      expect(problemWords(new ApiProblem(status, {}), english, plain, sent)).not.toMatch(/asked again/);
      expect(problemWords(new ApiProblem(status, {}), ko, plain, sent)).not.toMatch(/다시 묻습니다/);
    }
  }
  // What was only asked was not taken in by anybody.
  expect(problemWords(new ApiProblem(0, {}), english, plain, "question")).not.toMatch(/taken in/);
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
