// What an operator can do to this saga. The engine tells, tried against its state machine; a server that does not tell yet gets
// every action that can make sense here, and refuses with its reason what it will not do.

import type { ActionName, ActionPlan, SagaView } from "../api/contract";
import type { Next } from "../api/schema";
import { writeExact } from "../api/exact";
import { wouldUndo } from "./words";

export function guess(saga: SagaView): ActionPlan[] {
  if (saga.ended_at) return [];
  const plans: ActionPlan[] = [];
  const plan = (action: ActionName, rest: Partial<ActionPlan> = {}) => plans.push({ action, allowed: true, needs: ["why"], ...rest });
  for (const step of saga.steps) {
    const at = { step: step.step, ...(step.item == null ? {} : { item: step.item }) };
    const execute = step.execute?.state ?? "";
    if (["retrying", "rejected", "exhausted", "undecidable", "unknown"].includes(execute) && !step.compensate) {
      plan("retry", at);
      plan("retry_edited", { ...at, needs: ["why", "input"] });
      plan("skip", { ...at, needs: ["why", "output", ...(execute === "rejected" ? [] : ["acknowledged"])] });
    }
    if (step.state === "compensation_failed" || step.compensate?.state === "retrying") {
      plan("retry", { ...at, direction: "compensate" });
      plan("mark_compensated", { ...at, direction: "compensate", needs: ["why", "evidence"] });
    }
  }
  if (saga.phase === "forward") plan("compensate");
  if (saga.status === "parked" && saga.phase === "unwinding") plan("resume_compensation");
  const left = wouldUndo(saga).map((step) => step.step);
  plan("abandon", { needs: ["why", "acknowledged"], uncompensated: left });
  return plans;
}

/** The first thing to try: what heals the cause, else what is allowed at all. */
export function best(plans: ActionPlan[], saga: Pick<SagaView, "parked">): ActionPlan | undefined {
  const allowed = plans.filter((plan) => plan.allowed);
  const order: ActionName[] = saga.parked?.direction === "compensate" ? ["resume_compensation", "retry", "mark_compensated"] : ["retry", "resume_compensation"];
  for (const action of order) {
    const found = allowed.find((plan) => plan.action === action && (!plan.step || !saga.parked?.step || isAt(plan, saga.parked)));
    if (found) return found;
  }
  return undefined;
}

/** What the field of an input or an output begins with. The saga's input is not that of a step that never began. */
export function firstText(plan: Pick<ActionPlan, "action" | "allowed" | "needs" | "input">): string {
  return plan.needs.includes("input") && plan.input != null ? writeExact(plan.input, 2) : "";
}

/** The plan that does at once what is due next: of the item that it is due of. */
export function nextTry(plans: ActionPlan[], next: Next | null | undefined): ActionPlan | undefined {
  return next?.what === "retry" ? plans.find((plan) => plan.action === "retry" && plan.allowed && isAt(plan, next)) : undefined;
}

/** Whether a plan is about a step, and about its item where it is a `foreach`. */
export function isAt(plan: ActionPlan, at: { step?: string | null; item?: number | null }): boolean {
  return plan.step === at.step && (plan.item ?? null) === (at.item ?? null);
}
