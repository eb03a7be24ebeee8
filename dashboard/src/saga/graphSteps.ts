// The steps of a saga as its graph shows them.

import type { StepView } from "../api/schema";
import type { GraphStep } from "../graph/LazyGraph";
import type { T } from "../i18n";
import { itemsOf, listed, summed } from "./items";

/** A `foreach` is one node, by its name: what comes after it comes after all of its items. */
export function graphSteps(steps: StepView[], t: T, said: (text: string) => string): GraphStep[] {
  const names = [...new Set(steps.map((step) => step.step))];
  return names.flatMap((name) => {
    const all = steps.filter((step) => step.step === name);
    const state = worstOf(all.map((step) => step.state));
    const worst = all.find((step) => step.state === state);
    if (!worst) return [];
    const track = worst.compensate ?? worst.execute;
    const tried = track && track.attempt > 1 ? t("graph.attempt", { attempt: track.attempt }) : undefined;
    const items = itemsOf(steps, name);
    return [{
      id: name, label: name, work: worst.worker ? `${worst.worker}.${worst.action}` : said(worst.action), after: worst.after ?? [], state: worst.state,
      pivot: worst.pivot ?? false, optional: worst.optional ?? false, turn: worst.turn ?? undefined,
      ...(items.length > 0 ? ofItems(items, t) : { note: tried }),
    }];
  });
}

/** The state that one looks for among those of items. */
export function worstOf(states: string[]): string | undefined {
  return [...states].sort((a, b) => WORST.indexOf(b) - WORST.indexOf(a))[0];
}

/** Short on the node, and in words for who asks for more. */
function ofItems(items: StepView[], t: T): { note: string; about: string } {
  const { count, done, open, failed } = summed(items);
  const about = [t("items.sum", { count, done, open }), failed.length > 0 ? t("items.failed", { items: listed(failed) }) : ""].filter(Boolean).join(" ");
  return { note: `${done}/${count}`, about };
}

const WORST = ["pending", "skipped", "succeeded", "compensated", "waiting", "running", "held", "retrying", "unknown", "compensating", "given_up", "rejected", "undecidable", "exhausted", "compensation_failed"];
