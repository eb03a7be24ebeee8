// What can be done to a saga as it stands now.

import { useQuery, type UseQueryResult } from "@tanstack/react-query";

import type { ActionPlan, ActionPlans, SagaView } from "../api/contract";
import { asProblem } from "../api/problem";
import { plans as plansQuery } from "../api/queries";
import { guess } from "./plans";

/** What is to be done, and the revision that it was decided on. */
export interface Acting { plan: ActionPlan; revision: number }
export type OnAct = (acting: Acting) => void;

/** The plans, the revision that they are of, whether they are known, and the question, whose answer may be that it failed. */
export interface Plans { plans: ActionPlan[]; revision: number; known: boolean; asked: UseQueryResult<ActionPlans> }

export function usePlans(saga: SagaView): Plans {
  const asked = useQuery({ ...plansQuery(saga.saga, saga.revision), enabled: !saga.ended_at });
  if (saga.ended_at) return { plans: [], revision: saga.revision, known: true, asked };
  if (asked.data) return { plans: asked.data.actions, revision: asked.data.revision, known: true, asked };
  const absent = asked.isError && asProblem(asked.error).kind === "absent";
  return { plans: absent ? guess(saga) : [], revision: saga.revision, known: absent, asked };
}

/** What is done to what; the same whatever becomes of the saga. */
export function deedOf({ action, step, item, direction }: Pick<ActionPlan, "action" | "step" | "item" | "direction">): string {
  return [action, step ?? "", item ?? "", direction ?? ""].join("/");
}

/** The plan for the same deed, as it stands now. */
export function sameDeed(plans: ActionPlan[], plan: ActionPlan): ActionPlan | undefined {
  return plans.find((it) => deedOf(it) === deedOf(plan));
}
