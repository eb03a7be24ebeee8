// What came of a decision, which is not what was decided: the saga takes an approved action in, or does not.

import type { Approval } from "../api/contract";
import type { Key } from "../i18n";
import type { IconName } from "../ui/Icon";

/** `reason` is the engine's own. */
export interface Told { key: Key; reason: string; tone: string; icon: IconName }

export function told(done: Pick<Approval, "state" | "result">): Told {
  if (done.state !== "approved") return { key: "approvals.rejected", reason: "", tone: "completed", icon: "completed" };
  const [, word, reason = ""] = /^(\w+)(?:: (.*))?$/s.exec(done.result ?? "") ?? [];
  switch (word) {
    case undefined: return { key: "approvals.accepted", reason, tone: "retrying", icon: "waiting" };
    case "refused": case "ignored": return { key: `approvals.${word}`, reason, tone: "parked", icon: "rejected" };
    default: return { key: "approvals.approved", reason: "", tone: "completed", icon: "completed" };
  }
}
