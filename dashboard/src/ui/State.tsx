// A state is always shape, word and colour together.

import "./state.css";

import { term, useT } from "../i18n";
import { Icon, type IconName } from "./Icon";

/** The colour family of a state, and its shape. Words of sagas, of their health, and of steps. */
const LOOKS: Record<string, [tone: string, icon: IconName]> = {
  running: ["running", "running"], on_time: ["running", "running"], forward: ["running", "running"],
  waiting: ["waiting", "waiting"], queued: ["waiting", "waiting"], held: ["waiting", "hold"],
  retrying: ["retrying", "retrying"], unknown: ["retrying", "unknown"],
  late: ["late", "late"],
  compensating: ["compensating", "compensating"], unwinding: ["compensating", "compensating"],
  completed: ["completed", "completed"], succeeded: ["completed", "completed"],
  compensated: ["compensated", "compensated"],
  parked: ["parked", "parked"], compensation_failed: ["parked", "rejected"], exhausted: ["parked", "rejected"],
  undecidable: ["parked", "unknown"], anomaly: ["parked", "anomaly"],
  rejected: ["late", "rejected"],
  pending: ["pending", "pending"], skipped: ["pending", "skipped"], given_up: ["pending", "abandoned"], abandoned: ["pending", "abandoned"],
};

export function look(state: string): { tone: string; icon: IconName } {
  const [tone, icon] = LOOKS[state] ?? ["pending", "pending"];
  return { tone, icon };
}

export function StateBadge({ state, quiet = false }: { state: string; quiet?: boolean }) {
  const t = useT();
  const { tone, icon } = look(state);
  return (
    <span className={`state tone-${tone}${quiet ? " quiet" : ""}`} data-state={state}>
      <Icon name={icon} size={12} />
      <span>{term(t, "state", state)}</span>
    </span>
  );
}

/** The one word for how a saga stands: where it runs, how it runs. */
export function standing(saga: { status: string; health?: string | null; phase?: string | null }): string {
  if (saga.status !== "running") return saga.status;
  if (saga.health === "late" || saga.health === "retrying" || saga.health === "waiting" || saga.health === "queued") return saga.health;
  return saga.phase === "unwinding" ? "compensating" : "running";
}
