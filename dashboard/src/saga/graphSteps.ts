// The steps of a saga as its graph shows them.

import type { StepView } from "../api/schema";
import type { GraphStep } from "../graph/LazyGraph";
import type { T } from "../i18n";
import { laneId } from "./spans";

export function graphSteps(steps: StepView[], t: T, said: (text: string) => string): GraphStep[] {
  // A `foreach` is one node: its items are in the waterfall.
  const names = [...new Set(steps.map((step) => step.step))];
  return names.flatMap((name) => {
    const items = steps.filter((step) => step.step === name);
    const [worst] = [...items].sort((a, b) => WORST.indexOf(b.state) - WORST.indexOf(a.state));
    if (!worst) return [];
    const track = worst.compensate ?? worst.execute;
    const tried = track && track.attempt > 1 ? t("graph.attempt", { attempt: track.attempt }) : undefined;
    return [{
      id: items.length > 1 ? laneId(worst) : name, label: name, work: worst.worker ? `${worst.worker}.${worst.action}` : said(worst.action), after: worst.after ?? [], state: worst.state,
      pivot: worst.pivot ?? false, optional: worst.optional ?? false, turn: worst.turn ?? undefined, note: items.length > 1 ? `×${items.length}` : tried,
    }];
  });
}

const WORST = ["pending", "skipped", "succeeded", "compensated", "waiting", "running", "held", "retrying", "unknown", "compensating", "given_up", "rejected", "undecidable", "exhausted", "compensation_failed"];
