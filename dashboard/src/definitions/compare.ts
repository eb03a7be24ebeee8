// Two versions as one graph: what came, what went, what changed, and in which of its keys.

import type { GraphStep } from "../graph/LazyGraph";
import type { Outlined } from "./outline";

/** The keys under which two texts say different things. */
export function changedKeys(before: Record<string, string>, after: Record<string, string>): string[] {
  return [...new Set([...Object.keys(before), ...Object.keys(after)])].filter((key) => before[key] !== after[key]);
}

export function compare(before: Outlined[], after: Outlined[]): GraphStep[] {
  const old = new Map(before.map((step) => [step.id, step]));
  const now = new Set(after.map((step) => step.id));
  return [
    ...after.map((step): GraphStep => {
      const was = old.get(step.id);
      if (was === undefined) return { ...step, change: "added" };
      const keys = was.turn === step.turn ? changedKeys(was.says, step.says) : [step.turn ?? "steps"];
      return keys.length === 0 ? step : { ...step, change: "changed", note: keys.join(", ") };
    }),
    ...before.filter((step) => !now.has(step.id)).map((step): GraphStep => ({ ...step, change: "removed" })),
  ];
}
