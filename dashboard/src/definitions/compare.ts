// Two versions as one graph: what came, what went, what changed.

import type { GraphStep } from "../graph/LazyGraph";

const essence = (step: GraphStep) => JSON.stringify([step.work, [...step.after].sort(), step.pivot, step.optional, step.turn]);

export function compare(before: GraphStep[], after: GraphStep[]): GraphStep[] {
  const old = new Map(before.map((step) => [step.id, step]));
  const now = new Set(after.map((step) => step.id));
  return [
    ...after.map((step): GraphStep => {
      const was = old.get(step.id);
      return was === undefined ? { ...step, change: "added" } : essence(was) === essence(step) ? step : { ...step, change: "changed" };
    }),
    ...before.filter((step) => !now.has(step.id)).map((step): GraphStep => ({ ...step, change: "removed" })),
  ];
}
