// A scenario's timeline in Korean: what `simulate/tell.rs` says. Its phrases are so short that they are looked up in a book of their
// own: anywhere else they could be anybody's words.

import { terms } from "./terms";

export const TELL: readonly [string, string][] = [
  ["started", "시작됨"],
  ["{what}: ignored, {why}", "{what}: 무시됨, {why}"],
  ["{what}: refused, {why}", "{what}: 거부됨, {why}"],
  ["ignored, {why}", "무시됨, {why}"],
  ["child saga {how}", "하위 사가: {how}"],
  ["signal {name}", "신호 {name}"],
  ["operator: {action} ({why})", "운영자: {action} ({why})"],
  ["the log lost records", "로그에서 레코드가 유실됨"],
  ["silent, and its budget is spent", "응답이 없고 시도 횟수를 모두 씀"],
  ["silent; try {attempt} goes out", "응답이 없어 {attempt}번째 시도를 보냄"],
  ["the wait is over", "대기가 끝남"],
  ["nothing came in time", "제때 온 것이 없음"],
  ["skipped", "건너뜀"],
  ["waits", "대기함"],
  ["turns around", "되돌리기 시작함"],
  ["anomaly: {kind}", "이상 징후: {kind}"],
  ["goes on", "계속 진행함"],
  ["{step} is skipped: {why}", "{step} 건너뜀: {why}"],
  ["{step} was rejected", "{step} 단계가 거절됨"],
  ["{step} has no final answer", "{step} 단계의 최종 응답이 없음"],
  ["the output of {step} is too large", "{step} 단계의 출력이 너무 큼"],
  ["it is optional", "선택 단계임"],
  ["it is optional, and counts as having none", "선택 단계라 출력이 없는 것으로 봄"],
  ["output: {why}", "출력: {why}"],
  ["{work} to be retried", "{work} 재시도 예정"],
  ["{work} rejected", "{work} 거절됨"],
  ["{work} undecidable", "{work} 판단 불가"],
  ["{work} to be retried: {why}", "{work} 재시도 예정: {why}"],
  ["{work} rejected: {why}", "{work} 거절됨: {why}"],
  ["{work} undecidable: {why}", "{work} 판단 불가: {why}"],
  ["{what} (try {attempt})", "{what} ({attempt}번째 시도)"],
  ["{what} (try {attempt}, round {round})", "{what} ({attempt}번째 시도, {round}라운드)"],
  ["{what} (try {attempt}): {why}", "{what} ({attempt}번째 시도): {why}"],
  ["{what} (try {attempt}, round {round}): {why}", "{what} ({attempt}번째 시도, {round}라운드): {why}"],
];

const WHY: Record<string, string> = {
  rejected: "거절됨", exhausted: "시도 소진", pivot_unsettled: "피벗 미확정", compensation_failed: "보상 실패", undecidable: "판단 불가", output_too_large: "출력이 너무 큼",
  output_unfit: "출력이 맞지 않음", bad_expression: "식을 계산할 수 없음", poison: "적용할 수 없는 레코드", illegal: "엔진의 버그",
};

const of = (prefix: string) => Object.entries(terms).flatMap(([key, korean]) => (key.startsWith(prefix) ? [[key.slice(prefix.length), korean]] : []));

/** What the holes have in them: kinds of anomalies, states, what operators do; and why a saga is parked, which no hole tells from an answer. */
export const TOLD: Record<string, string> = {
  ...Object.fromEntries([...of("state."), ...of("anomaly.")]),
  "to be retried": "재시도 예정",
  retry: "재시도", "retry with another input": "입력을 바꿔 재시도", skip: "건너뛰기", cancel: "취소", "resume compensation": "보상 재개", "mark compensated": "보상됨으로 표시", abandon: "중단",
  ...Object.fromEntries(Object.entries(WHY).map(([why, korean]) => [`parked: ${why}`, `조치 필요: ${korean}`])),
};
