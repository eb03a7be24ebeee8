// From a saga's steps and history to bars in time. A bar is drawn only where both ends are known: the first and the newest
// sending are in the state, answers and the engine's own resendings in the history.

import type { HistoryEvent, SagaView } from "../api/contract";
import type { StepView, TrackView } from "../api/schema";

export interface Bar { from: number; to: number; kind: "attempt" | "backoff" | "waiting"; outcome: string; attempt?: number; round?: number; open: boolean }
export interface Lane { id: string; step: string; item: number | null; bars: Bar[]; undo: Bar[]; state: string }

export function laneId(step: { step: string; item?: number | null }): string {
  return step.item == null ? step.step : `${step.step}[${step.item}]`;
}

export function lanes(saga: SagaView, history: HistoryEvent[], now: number): Lane[] {
  return saga.steps
    .map((step) => ({
      id: laneId(step),
      step: step.step,
      item: step.item ?? null,
      state: step.state,
      bars: step.execute ? bars(step, step.execute, "execute", history, saga, now) : [],
      undo: step.compensate ? bars(step, step.compensate, "compensate", history, saga, now) : [],
    }));
}

function bars(step: StepView, track: TrackView, direction: string, history: HistoryEvent[], saga: SagaView, now: number): Bar[] {
  const end = saga.ended_at ? Date.parse(saga.ended_at) : now;
  const answers = history.filter((event) =>
    (event.kind === "answer" || event.kind === "child_ended") && event.step === step.step && (event.item ?? null) === (step.item ?? null) && event.direction === direction);
  const resent = history.filter((event) => event.kind === "due" || event.kind === "operator").map((event) => Date.parse(event.at));
  const first = track.first_sent_at ? Date.parse(track.first_sent_at) : null;
  const last = track.last_sent_at ? Date.parse(track.last_sent_at) : null;
  if (first === null) return track.state === "waiting" ? [waiting(step, history, saga, end)] : [];
  const result: Bar[] = [];
  let began: number | null = first;
  for (const answer of answers) {
    const at = Date.parse(answer.at);
    // Rounds before the newest one were sent before what the state remembers.
    const before = result.at(-1);
    const from = began !== null && began <= at ? began : Math.max(before?.to ?? 0, ...resent.filter((it) => it <= at), 0) || at;
    if (before && from > before.to) result.push({ from: before.to, to: from, kind: "backoff", outcome: "", open: false });
    result.push({
      from, to: at, kind: "attempt", outcome: answer.outcome ?? "", open: false,
      ...(answer.attempt == null ? {} : { attempt: answer.attempt }), ...(answer.round == null ? {} : { round: answer.round }),
    });
    const next = resent.find((it) => it >= at);
    began = answer.attempt !== undefined && answer.attempt === track.attempt - 1 && last !== null && last >= at ? last : next ?? null;
  }
  const before = result.at(-1);
  if (track.state === "retrying" && before) result.push({ from: before.to, to: Math.max(before.to, end), kind: "backoff", outcome: "retrying", open: true });
  if (["running", "unknown"].includes(track.state) && last !== null) {
    if (before && last > before.to) result.push({ from: before.to, to: last, kind: "backoff", outcome: "", open: false });
    const from = before ? last : first;
    result.push({ from, to: Math.max(from, end), kind: "attempt", outcome: track.state, attempt: track.attempt, round: track.round, open: saga.ended_at == null });
  }
  return result;
}

/** A wait is never sent: it began when what it comes after was done. */
function waiting(step: StepView, history: HistoryEvent[], saga: SagaView, end: number): Bar {
  const before = history.filter((event) => event.step != null && step.after?.includes(event.step)).map((event) => Date.parse(event.at));
  return { from: Math.max(Date.parse(saga.started_at), ...before), to: end, kind: "waiting", outcome: "waiting", open: saga.ended_at == null };
}

/** Round instants to put lines at, about as many as fit. */
export function ticks(fromMs: number, toMs: number, count: number): number[] {
  const span = Math.max(1, toMs - fromMs);
  const rough = span / Math.max(1, count);
  const steps = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 15_000, 30_000, 60_000, 120_000, 300_000, 600_000, 900_000, 1_800_000, 3_600_000,
    7_200_000, 14_400_000, 21_600_000, 43_200_000, 86_400_000, 172_800_000, 604_800_000];
  const step = steps.find((it) => it >= rough) ?? 604_800_000;
  const first = Math.ceil(fromMs / step) * step;
  const result: number[] = [];
  for (let at = first; at <= toMs; at += step) result.push(at);
  return result;
}
