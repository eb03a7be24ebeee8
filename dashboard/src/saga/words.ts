// A saga's state in words: what it does, why, and what comes next.

import type { ActionName, ActionPlan, SagaView } from "../api/contract";
import type { StepView, TrackView } from "../api/schema";
import { type Key, type Language, type T, term } from "../i18n";
import { money } from "../i18n/format";
import { laneId } from "./spans";

const AT_WORK = ["running", "unknown", "retrying", "waiting", "held"];

/** The steps that something is being done about now. */
export function active(saga: Pick<SagaView, "steps">): StepView[] {
  return saga.steps.filter((step) => AT_WORK.includes(step.state) || (step.state === "compensating"));
}

/** `explain` words an error by its code and message. */
export function cause(saga: SagaView, t: T, explain: (code: string, message: string) => string): string | null {
  if (saga.error) {
    const step = saga.error.step;
    const words = explain(saga.error.code, saga.error.message);
    const said = `${saga.error.code}${words && words !== saga.error.code ? ` — ${words}` : ""}`;
    return step ? `${step}: ${said}` : said;
  }
  if (saga.cause) return [term(t, "cause", saga.cause.kind), saga.cause.step].filter(Boolean).join(": ");
  return null;
}

/** What the state means for whoever looks at it, and what one can do. */
export function remedy(saga: Pick<SagaView, "status" | "steps" | "phase" | "parked">): Key | null {
  if (saga.status === "parked") {
    const why = saga.parked?.why ?? "";
    return PARKED.has(why) ? `parked.${why}.do` as Key : null;
  }
  if (saga.status !== "running") return null;
  const states = active(saga).map((step) => (step.compensate ?? step.execute)?.state ?? step.state);
  if (states.includes("unknown")) return "say.unknown.do";
  return states.includes("retrying") ? "say.retrying.do" : null;
}

/** A deed and what it is done to. */
export function titled(plan: ActionPlan, t: T): string {
  const deed = t(`action.${plan.action}`);
  return plan.step ? `${deed}: ${laneId({ step: plan.step, item: plan.item ?? null })}` : deed;
}

/** Items of one step that are named one by one; more are counted. */
const ITEMS_NAMED = 3;

/** The deeds that undo a saga, in the words of its definition: `cancel pay, release reserve_stock`. */
export function deeds(saga: Pick<SagaView, "steps">): string {
  const undone = wouldUndo(saga).reverse();
  const all = (step: StepView) => undone.filter((it) => it.step === step.step);
  return undone.flatMap((step) => {
    const items = all(step);
    if (items.length <= ITEMS_NAMED) return [`${step.compensation} ${laneId(step)}`];
    return items[0] === step ? [`${step.compensation} ${step.step} ×${items.length}`] : [];
  }).join(", ");
}

/** The saga's money, where it has any. */
export function moneyOf(saga: Pick<SagaView, "amount" | "currency">, language: Language): string | null {
  return saga.amount != null && saga.currency ? money(language, saga.amount, saga.currency) : null;
}

const NAMES_MONEY: ActionName[] = ["skip", "compensate", "resume_compensation", "mark_compensated", "abandon"];

/** What the button says that does it: what becomes of the money, where there is money. */
export function goes(action: ActionName, saga: Pick<SagaView, "steps" | "amount" | "currency">, target: string | null, t: T, language: Language): string {
  const amount = NAMES_MONEY.includes(action) ? moneyOf(saga, language) : null;
  const of = action === "compensate" && wouldUndo(saga).length === 0 ? "compensate.nothing" : action;
  return t(`action.${of}.go${amount === null ? "" : ".money"}` as "action.skip.go.money", { step: target ?? "", amount, deeds: deeds(saga) });
}

export interface Sentence { key: Key; values?: Record<string, string | number> }

/** The first words of the page. */
export function sentence(saga: Pick<SagaView, "status" | "steps" | "phase" | "parked">, said: (text: string) => string): Sentence {
  const undone = saga.steps.filter((step) => step.state === "compensated").length;
  switch (saga.status) {
    case "completed": return { key: "say.completed" };
    case "compensated": return { key: undone === 0 ? "say.compensated.nothing" : "say.compensated", values: { count: undone } };
    case "abandoned": return { key: "say.abandoned" };
    case "parked": {
      const step = saga.parked?.step;
      const key: Key = `parked.${saga.parked?.why ?? ""}` as Key;
      return { key: PARKED.has(saga.parked?.why ?? "") ? key : "parked.other", values: { step: step ? laneId({ step, item: saga.parked?.item ?? null }) : "–" } };
    }
  }
  const now = active(saga);
  const first = now[0];
  if (saga.phase === "unwinding") {
    const undoing = now.filter((step) => step.state === "compensating").map(laneId).join(", ");
    return undoing ? { key: "say.unwinding", values: { steps: undoing } } : { key: "say.unwinding.waits" };
  }
  if (!first) return { key: "say.running" };
  const track = first.execute;
  const step = laneId(first);
  if (now.length > 1) return { key: "say.several", values: { count: now.length, steps: now.map(laneId).join(", ") } };
  switch (track?.state ?? first.state) {
    case "retrying": return { key: "say.retrying", values: { step, ...nextOf(track) } };
    case "unknown": return { key: "say.unknown", values: { step } };
    case "waiting": return { key: "say.waiting", values: { step, what: said(first.action) } };
    case "held": return { key: "say.held", values: { step } };
    default: return { key: "say.step", values: { step, work: first.worker ? `${first.worker}.${first.action}` : first.action } };
  }
}

const PARKED = new Set(["rejected", "exhausted", "pivot_unsettled", "compensation_failed", "undecidable", "output_too_large", "output_unfit", "bad_expression", "poison", "illegal"]);

/**
 * Which try of its budget comes next, and of how many: one that an operator has begun anew counts from its beginning, and what was the
 * worker's own trouble is not counted.
 */
export function nextOf(track: Pick<TrackView, "charged" | "attempts_max"> | null | undefined): { attempt: number; max: number | "–" } {
  return { attempt: (track?.charged ?? 0) + 1, max: track?.attempts_max ?? "–" };
}

/** What is undone when the saga turns around now. */
export function wouldUndo(saga: Pick<SagaView, "steps">): StepView[] {
  return saga.steps.filter((step) => step.compensation != null && ["succeeded", "running", "unknown", "retrying", "waiting", "exhausted", "undecidable", "compensating", "compensation_failed"].includes(step.state));
}
