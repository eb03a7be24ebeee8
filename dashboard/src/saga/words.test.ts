import { expect, test } from "vitest";

import type { ActionName, SagaView } from "../api/contract";
import { type Language, translate, type T } from "../i18n";
import { deeds, goes, nextOf, sentence } from "./words";

const step = (name: string, compensation: string | null, item?: number) => ({ step: name, state: "succeeded", compensation, item: item ?? null, action: "work", after: [] }) as unknown as SagaView["steps"][number];
const saga = (steps: SagaView["steps"], amount?: number) => ({ steps, ...(amount === undefined ? {} : { amount, currency: "KRW" }) });
const ACTIONS: ActionName[] = ["retry", "retry_edited", "skip", "compensate", "resume_compensation", "mark_compensated", "abandon"];
const words = (language: Language): T => (key, values) => translate(language, key, values);

test("a button without money has words without a hole, in both languages", () => {
  for (const language of ["en", "ko"] as const) {
    for (const action of ACTIONS) {
      for (const steps of [[], [step("pay", "cancel")]]) {
        const said = goes(action, saga(steps), "pay", words(language), language);
        expect(said, action).not.toMatch(/\{|undefined|null| {2}|, *$|: *$|\(\)|^ |^을|^,/);
      }
    }
  }
  expect(goes("abandon", saga([]), null, words("en"), "en")).toBe("End it as it stands");
});

test("where there is money, each deed that moves some, or leaves some, names it", () => {
  for (const language of ["en", "ko"] as const) {
    for (const action of ["skip", "compensate", "resume_compensation", "mark_compensated", "abandon"] as const) {
      for (const steps of [[], [step("pay", "cancel")]]) expect(goes(action, saga(steps, 39_000), "pay", words(language), language), action).toContain("39,000");
    }
  }
});

test("the items of a step are named as long as they are few, and counted where they are many", () => {
  const items = (count: number) => Array.from({ length: count }, (_, at) => step("reserve", "release", at));
  expect(deeds(saga([...items(3), step("pay", "cancel")]))).toBe("cancel pay, release reserve[2], release reserve[1], release reserve[0]");
  expect(deeds(saga([...items(40), step("pay", "cancel")]))).toBe("cancel pay, release reserve ×40");
});

test("the try that is next is counted as its budget is: what an operator began anew is not try 10 of 8", () => {
  const execute = { state: "retrying", attempt: 9, charged: 1, attempts_max: 8, round: 1 };
  const retried = { status: "running", phase: "forward", steps: [{ ...step("pay", null), state: "retrying", execute }] } as unknown as SagaView;
  expect(sentence(retried, (it) => it)).toEqual({ key: "say.retrying", values: { step: "pay", attempt: 2, max: 8 } });
  expect(nextOf({ charged: 0 })).toEqual({ attempt: 1, max: "–" });
  expect(nextOf(undefined)).toEqual({ attempt: 1, max: "–" });
});
