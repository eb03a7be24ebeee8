// What the engine says is known in Korean: each phrase here is one of its own, and of what it says by a closed set none is missing.

import { readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";

import { expect, test } from "vitest";

import { en } from "./en";
import { CHECKS } from "./ko/checks";
import { ENGINE } from "./ko/engine";
import { TELL } from "./ko/tell";
import { because, checked, explained, meaning, said, told } from "./said";

const ROOT = resolve(import.meta.dirname, "../../..");

/** The sources below a folder, without their tests. */
function sources(folder: string): string[] {
  return readdirSync(join(ROOT, folder), { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".rs") && !/(^|\/)(tests|sandbox|testkit)(\/|\.rs$)/.test(name))
    .map((name) => readFileSync(join(ROOT, folder, name), "utf8").split("#[cfg(test)]")[0] ?? "");
}

const machine = sources("crates/saga-core/src/machine").join("\n");
const workers = ["crates/saga-worker/src", "workers/order/src", "workers/stock/src", "workers/notify/src", "workers/http/src", "workers/payment/src"].flatMap(sources).join("\n");
const everything = [workers, ...["crates/saga-core/src", "crates/saga-protocol/src", "orchestrator/src"].flatMap(sources)].join("\n").replace(/\\\n\s*/g, "").replaceAll("\\\"", "\"");

test("every phrase is one that the engine or a worker says", () => {
  // What is there instead of a kind is put behind.
  const gone = [...ENGINE, ...CHECKS, ...TELL].filter(([english]) => english.split(/\{\w+\}|`|, not /).map((part) => part.trim().replace(/^[:,;.]+ ?|[:.]$/g, "")).some((part) => part.length > 3 && !everything.includes(part)));
  expect(gone.map(([english]) => english)).toEqual([]);
});

test("a phrase is there once, and its Korean fills in the same values", () => {
  for (const book of [ENGINE, CHECKS, TELL]) expect(book.filter(([english], at) => book.findIndex(([other]) => other === english) !== at).map(([english]) => english)).toEqual([]);
  for (const [english, korean] of [...ENGINE, ...CHECKS, ...TELL]) for (const [hole] of korean.matchAll(/\{\w+\}/g)) expect(english).toContain(hole);
});

test("why the state machine ignores or refuses something is known, all of it", () => {
  const told = [...machine.matchAll(/(?:Ignored|Refused|Err)\(\s*"([^"]+)"/g)].map(([, reason]) => reason ?? "");
  expect(told.length).toBeGreaterThan(50);
  expect(told.filter((reason) => said("ko", reason) === reason)).toEqual([]);
});

test("what the codes of workers mean is known", () => {
  const codes = [...workers.matchAll(/(?:Fault::new|Answer::rejected|Answer::retryable|Answer::undecidable|Answer::own_trouble)\(\s*"(\w+)"/g)].map(([, code]) => code ?? "");
  const toss = [...readFileSync(join(ROOT, "workers/payment/src/toss/error.rs"), "utf8").matchAll(/"([A-Z_]{8,}|toss_\w+)"/g)].map(([, code]) => code ?? "").filter((code) => !code.endsWith("_") && !["ANYTHING", "A_CODE_OF_TOMORROW", "FAILED_ANYTHING"].includes(code));
  expect(codes.length + toss.length).toBeGreaterThan(60);
  const t = (key: string) => key;
  expect([...new Set([...codes, ...toss])].filter((code) => meaning(t, code) === undefined)).toEqual([]);
});

test("what the API refuses is known, all of it", () => {
  const api = sources("orchestrator/src/api").join("\n").replace(/\\\n\s*/g, "").replaceAll("\\\"", "\u0000");
  const told = [...api.matchAll(/(?:\.detail|bad_request|not_found|FaultAt::at|unauthorized|conflict)\(\s*(?:&?format!\()?\s*(?:"[^"]*",\s*(?:&?format!\()?\s*)?"([^"]{4,})"/g)].map(([, words]) => (words ?? "").replaceAll("\u0000", "\"").replace(/\{\w*\}/g, "4711").replace(/(?<=\.) `GET [^`]+` lists (them|the open ones)\b.*$/, ""));
  expect(told.length).toBeGreaterThan(80);
  // What no page can ask; and what is put together elsewhere.
  const others = ["Over the loopback interface", "There is nothing at this path.", "There is no definition `4711`.", "Use 4711.", "`why` 4711"];
  expect([...new Set(told)].filter((words) => said("ko", words) === words && !/^4711|^\//.test(words) && !others.some((it) => words.startsWith(it)))).toEqual([]);
});

test("which books could not be read is known, all of them", () => {
  const told = [...(sources("orchestrator/src/reconcile").join("\n")).matchAll(/\.context\("([^"]+)"\)/g)].map(([, words]) => words ?? "");
  expect(told.length).toBeGreaterThan(4);
  expect(told.filter((words) => said("ko", `${words}: connection refused`) === `${words}: connection refused`)).toEqual([]);
});

test("where a saga stands after an action is known, all of it", () => {
  const read = (path: string) => (readFileSync(join(ROOT, "orchestrator/src", path), "utf8").split("#[cfg(test)]")[0] ?? "").replace(/\/\/.*$/gm, "");
  const settle = read("settle.rs");
  // With the step's name in the phrase, or as a word beside it.
  const past = [...settle.matchAll(/(?:\{name\} |\) => ")((?:is )?[a-z ]+)(?:; the saga is|",)/g)].map(([, came]) => came ?? "");
  const undoing = [...settle.matchAll(/Run::Sent\) => "([a-z ]+)"/g)].map(([, run]) => run ?? "");
  const runs = [...(/const fn run\(.+?\n\}/s.exec(read("api/words.rs"))?.[0] ?? "").matchAll(/Run::(?:Held|Sent|Unknown|Backoff|Waiting) => "(\w+)"/g)].map(([, run]) => run ?? "");
  const statuses = [.../STATUS_WORDS: .*= \[(.+)\]/.exec(read("store/read.rs"))?.[1]?.matchAll(/\w+/g) ?? []].map(([word]) => word);
  expect([past.length > 1, undoing.length, runs.length, statuses.length]).toEqual([true, 1, 5, 5]);
  const texts = [...past, "is skipped", "is marked as undone"].flatMap((came) => statuses.flatMap((status) => [status, `a1[0] ${came}; the saga is ${status}`]))
    .concat([...runs, ...undoing, ...runs.map((run) => `(undoing) ${run}`)].map((run) => `running: a1[0] ${run}, b ${run}`))
    .concat(["parked", "compensated"].map((status) => `${status}: a1[0]: E1 (A step was rejected; its definition, or the pivot behind it, says park.)`));
  expect(texts.filter((text) => /[a-z]{3}/.test(said("ko", text)))).toEqual([]);
  expect(said("ko", "pay[1] is marked as undone; the saga is parked: stock: NO (The bank; it sleeps.)")).toBe("pay[1] 되돌림으로 표시, 사가 상태: 조치 필요: stock: NO (The bank; it sleeps.)");
  expect(said("ko", "running: pay retrying, stock (undoing) waiting")).toBe("진행 중: pay 재시도 중, stock (되돌리기) 대기 중");
});

test("what the audit knows as done has words, all of it", () => {
  const engine = sources("orchestrator/src").join("\n");
  // Kept as such, or chosen among a few before.
  const kept = [...engine.matchAll(/Deed::new\(\s*"([a-z_.]+)"/g), ...engine.matchAll(/"((?:anomaly|approval|dead_letter|definition|hold|job|key)\.[a-z_]+)"/g)].map(([, what]) => what ?? "");
  const done = [...new Set(kept)].sort();
  expect(done.length).toBeGreaterThan(20);
  const known = Object.keys(en).flatMap((key) => (key.startsWith("deed.") ? [key.slice("deed.".length)] : []));
  expect(known.sort()).toEqual(done);
});

test("what is said is found as a whole, in parts, and within sentences; the rest stays as it is", () => {
  expect(said("en", "a duplicate")).toBe("a duplicate");
  expect(said("ko", "The saga has ended.")).toBe("사가가 이미 끝났습니다");
  expect(said("ko", "It is being undone already. The saga is unchanged; look at it again before you decide.")).toBe("이미 되돌리는 중입니다. 사가는 그대로입니다. 다시 확인한 뒤 결정하세요.");
  expect(said("ko", "Sends pay (payment.confirm), round 2; then undoes a, b.")).toBe("pay (payment.confirm) 전송 (2라운드); 그다음 a, b 되돌림");
  expect(said("ko", "the canary failed: 1 of 1: failed again: pay: BUSY")).toBe("카나리 실패: 1건 중 1건: 다시 실패: pay: BUSY");
  expect(said("ko", "a worker's own words")).toBe("a worker's own words");
});

test("what a scenario's timeline tells is known, all of it", () => {
  const tell = sources("crates/saga-core/src/simulate").find((text) => text.startsWith("//! A run's timeline")) ?? "";
  const state = readFileSync(join(ROOT, "crates/saga-core/src/state.rs"), "utf8");
  const whys = [.../pub enum Why \{(.+?)\n\}/s.exec(state)?.[1]?.matchAll(/^ {4}([A-Z]\w+),/gm) ?? []].map(([, name]) => (name ?? "").replace(/(?<=.)[A-Z]/g, "_$&").toLowerCase());
  const kinds = [...machine.matchAll(/Anomaly\(\s*"(\w+)"/g)].map(([, kind]) => kind ?? "");
  const notes = [...machine.matchAll(/\.note\(format!\(\s*"([^"]+)"/g)].map(([, note]) => note ?? "");
  // Ends of lines stand behind something; what has no word of its own needs none, and why a saga is parked is asked one by one.
  const lines = [...tell.replace(/^ *\/\/.*$/gm, "").matchAll(/"([^"\n]+)"/g)].map(([, line]) => line ?? "").filter((line) => /[a-z]{4}/.test(line.replace(/\{\w*\}/g, "")) || /try/.test(line)).filter((line) => line !== "parked: {}");
  expect([whys.length > 8, kinds.length > 3, notes.length > 5, lines.length > 30]).toEqual([true, true, true, true]);
  const texts = [...whys.map((why) => `parked: ${why}`), ...kinds.map((kind) => `anomaly: ${kind}`), ...notes, ...lines].map((line) => line.replace(/(?<=\S)(\{(tries|why|so|refused|ignored)\})+$/, "")).map((line) => (/^[ :]/.test(line) ? `4711${line}` : line).replace(/\{\w*\}/g, "4711"));
  // A step's name and an author's own mistake: nothing of it is the engine's.
  const english = (text: string) => text !== "4711: 4711" && /[a-z]{4}/.test(told("ko", text).replace("output_schema", ""));
  expect([...new Set(texts)].filter(english)).toEqual([]);
  expect(told("ko", "payment.confirm to be retried (try 2, round 3): FAILED (The bank sleeps.)")).toBe("payment.confirm 재시도 예정 (2번째 시도, 3라운드): FAILED (The bank sleeps.)");
  expect(told("ko", "payment.cancel undecidable: ignored, the round is settled")).toBe("payment.cancel 판단 불가: 무시됨, 이미 결정된 라운드입니다");
  expect(told("ko", "operator: cancel (the customer called): refused, the saga has ended")).toBe("운영자: 취소 (the customer called): 거부됨, 사가가 이미 끝났습니다");
  expect(told("en", "silent; try 2 goes out")).toBe("silent; try 2 goes out");
});

test("a worker's words in another language come behind what their code means", () => {
  expect(explained("ko", "REJECT_CARD_COMPANY", "The card company refused the payment.")).toBe("카드사가 결제를 거절했습니다 (The card company refused the payment.)");
  expect(explained("en", "REJECT_CARD_COMPANY", "The card company refused the payment.")).toBe("The card company refused the payment.");
  expect(explained("en", "REJECT_CARD_COMPANY", "결제 승인이 거절되었습니다.")).toBe("the card company refused the card (결제 승인이 거절되었습니다.)");
  expect(explained("ko", "REJECT_CARD_COMPANY", "결제 승인이 거절되었습니다.")).toBe("결제 승인이 거절되었습니다.");
  expect(explained("ko", "a_code_of_ours", "It broke.")).toBe("It broke.");
  expect(because("ko", "EXCEED_CANCEL_LIMIT: Too much. What to do: the shop's cancel limit is reached: have Toss raise it, then retry."))
    .toBe("EXCEED_CANCEL_LIMIT: 상점의 취소 한도를 초과했습니다 (Too much.) 조치: 상점의 취소 한도에 도달했습니다. 토스에 한도 상향을 요청한 뒤 재시도하세요.");
  expect(explained("ko", "compensation_failed", "A compensation failed for good; what is undone only after it waits. REFUND_REJECTED: No. What to do: ask the card company or Toss why, then retry, or refund by bank transfer."))
    .toBe("보상 하나가 끝내 실패했습니다. 그 뒤에 되돌릴 것은 기다리고 있습니다. REFUND_REJECTED: 환불이 거절되었습니다 (No.) 조치: 카드사나 토스에 이유를 확인한 뒤 재시도하거나 계좌로 환불하세요.");
  expect(said("ko", "`stay` can never start `trip`: it takes no `input.guests[1]` without `name`")).toBe("`stay` 단계는 `trip`을(를) 시작할 수 없습니다: `name` 없는 `input.guests[1]`은(는) 받지 않습니다");
  for (const words of ["`stay` can never start `trip`: `input` is a list, and it takes an object", "`b` reads what a child saga never yields: there is no `steps.s.output.rooms`: `steps.s.output` is null", "the saga ends compensated, and `a` may have taken effect and stands", "the saga is a child, and its parent has it undone", "`week` starts it, and could no longer: `stay` can never start `stay`: it takes no `input` without `id`"])
    expect(said("ko", words).replaceAll(/`[^`]*`/g, "").replace("null", "")).not.toMatch(/[a-z]/);
  expect(said("ko", "look the payment up in Toss's shop console; if it holds no money, mark the step compensated (after the pivot: skip it) with that as evidence, else refund by bank transfer.")).toMatch(/^토스 상점 관리자에서/);
});

test("every mistake that the check's own tests show is said in Korean, with its remedy", () => {
  const folder = "crates/saga-core/tests/definitions";
  const shown = readdirSync(join(ROOT, folder), { recursive: true, encoding: "utf8" }).filter((name) => name.endsWith(".txt")).flatMap((name) => readFileSync(join(ROOT, folder, name), "utf8").split("\n"));
  const mistakes = shown.flatMap((line) => /^E\d{3}: (.+)$/.exec(line)?.[1] ?? []);
  const remedies = shown.flatMap((line) => /^ +\| *$|^ += (.+)$/.exec(line)?.[1] ?? []);
  expect(mistakes.length).toBeGreaterThan(130);
  expect(remedies.length).toBeGreaterThan(130);
  expect([...new Set([...mistakes, ...remedies])].filter((text) => checked("ko", text) === text)).toEqual([]);
  // Nothing of a sentence is left in English but what the author wrote, and what YAML and JSON Schema say.
  expect(checked("ko", "`when` must be a boolean, and `input.amount` is a number")).toBe("`when`: 불리언이어야 하는데 `input.amount`은(는) 수입니다");
  expect(checked("ko", "the label `items` must be a boolean or a number or a string, not a list")).toBe("`items` 라벨: 불리언 또는 수 또는 문자열이어야 하는데 목록입니다");
  expect(checked("ko", "step `a` cannot have `compensation`: a wait asks no worker")).toBe("`a` 단계: `compensation` 키를 쓸 수 없습니다. 대기는 워커에게 보내지 않습니다");
  expect(checked("ko", "`!` takes a boolean, and `input.amount` is a number")).toBe("`!`: 불리언을 받는데 `input.amount`은(는) 수입니다");
  expect(checked("ko", "these cannot be added: `input.order_id` is a string, and `input.amount` is a number")).toBe("더할 수 없습니다: `input.order_id`은(는) 문자열, `input.amount`은(는) 수");
});
