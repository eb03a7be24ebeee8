// What came of an action, which is not that it was taken in: a retry may fail again, an undoing may complete.

import type { Acted, ActionPlan } from "../api/contract";
import type { Key } from "../i18n";
import type { IconName } from "../ui/Icon";
import { look } from "../ui/State";

export function came(acted: Pick<Acted, "result" | "status">, plan: Pick<ActionPlan, "action" | "direction">, phase = ""): { key: Key; tone: string; icon: IconName } {
  if (acted.result !== "applied") return { key: `acted.${acted.result}` as Key, tone: "retrying", icon: "waiting" };
  const goal = goalOf(plan, phase);
  const otherwise = acted.status !== goal;
  const key = acted.status === "parked" ? "acted.parked" : acted.status === "running" ? "acted.running" : otherwise ? "acted.otherwise" : "acted.applied";
  return { key, ...look(acted.status) };
}

/** Where the saga shall come to. One that goes back does so also while it tells of it. */
function goalOf({ action, direction }: Pick<ActionPlan, "action" | "direction">, phase: string): string {
  if (action === "abandon") return "abandoned";
  return ["compensate", "resume_compensation", "mark_compensated"].includes(action) || direction === "compensate" || phase === "unwinding" ? "compensated" : "completed";
}
