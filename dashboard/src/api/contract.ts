// The answers of the operators' API, as its page describes them (docs/operators-api.md).

import type { Failure, SagaSummary as CoreSummary, SagaView as CoreView, HistoryEvent as CoreEvent } from "./schema";

export type Status = "running" | "parked" | "completed" | "compensated" | "abandoned";
export type Health = "on_time" | "late" | "queued" | "waiting" | "retrying" | "parked";
export type Role = "customer" | "viewer" | "operator" | "author" | "admin";

export type AuthConfig =
  | { mode: "dev" }
  | { mode: "jwt"; issuer: string; client_id?: string; scopes?: string };

export interface Me { principal: string; roles: Role[]; kind: "token" | "key" | "dev"; dev: boolean; expires_at?: string }

export interface Money { currency: string; amount: number; sagas: number }

export type SagaSummary = CoreSummary & {
  health?: Health; step?: string; item?: number; direction?: string; worker?: string; error?: Failure; failure?: string;
  since?: string; next_at?: string; attempt?: number; attempts_max?: number; owner?: string; note?: string; anomalies?: number;
};
export interface SagaPage { sagas: SagaSummary[]; next?: string; lag_ms?: number }

export interface Count { count: number; capped?: boolean }
export interface Counts { total: Count; by_status: Record<Status, Count>; by_health: Record<Health, number>; lag_ms: number }

export interface Note { id: string; at: string; who: string; text: string }
export type SagaView = CoreView & {
  health?: Health; owner?: string; runbook?: string; team?: string; notes?: Note[]; replays?: string[]; held?: string[];
  approvals?: Approval[]; dead_letters?: number; masked?: boolean;
};
export type HistoryEvent = CoreEvent & { notes?: string[] };

export interface SavedFilter { name: string; query: string; shared: boolean; by: string; at: string }

export interface Minute { at: string; started: number; completed: number; compensated: number; parked: number; abandoned: number; p50_ms?: number; p99_ms?: number }
export interface InFlight { definition: string; step: string; direction: string; worker?: string; count: number; late: number; retrying: number; parked: number; oldest_since?: string }
export interface Overview {
  at: string; lag_ms: number;
  now: { running: number; late: number; queued: number; waiting: number; retrying: number; parked: number; anomalies: number; capped?: boolean };
  at_risk: Money[]; minutes: Minute[]; to_end: { p50_ms?: number; p99_ms?: number; samples: number };
  in_flight: InFlight[]; failures: FailureGroup[];
  workers: { worker: string; instances: number; lag_ms?: number; queued_topics?: number }[];
  holds: Hold[]; approvals: number; dead_letters: number;
}

export type Suggested = "retry" | "resume_compensation" | "mark_compensated" | "skip" | "resolve" | "look";
export interface ParkedItem {
  kind: "saga" | "anomaly"; saga: string; definition: string; version: string; key?: string; why?: string; message?: string;
  step?: string; item?: number; direction?: string; revision?: number; amount?: number; currency?: string; since: string; age_s: number;
  team?: string; runbook?: string; owner?: string; note?: string; suggested: Suggested; failure?: string; status?: Status;
  anomaly?: { effect_key: string; kind: string };
}
export interface ParkedPage { parked: ParkedItem[]; next?: string; at_risk: Money[]; lag_ms: number }

export interface FailureGroup {
  id: string; definition: string; version: string; step: string; direction: string; code: string; message: string;
  first_seen: string; last_seen: string; count: number; now: { retrying: number; parked: number; compensated: number };
  recovered: number; trend: number[]; sample: string; job?: string;
}
export interface FailurePage { failures: FailureGroup[]; next?: string; trend_minutes: number }

export interface WorkerView {
  worker: string; version?: string; actions: { action: string }[];
  instances: { instance: string; version?: string; at: string; alive: boolean }[];
  topics: { topic: string; partition: number; reached?: string; at?: string; behind?: number; lag_ms?: number }[];
  open: number; held: string[];
}

export interface DeadLetter {
  id: number; at: string; source: string; reason: string; saga?: string; state: "kept" | "sent" | "discarded"; bytes: number;
  resendable: boolean; by?: string; settled_at?: string; why?: string;
  headers?: Record<string, string>; data?: string; data_base64?: string;
}
export interface DeadLetterPage { dead_letters: DeadLetter[]; next?: number }

export type ActionName = "retry" | "retry_edited" | "skip" | "compensate" | "resume_compensation" | "mark_compensated" | "abandon";
export interface ActionPlan {
  action: ActionName; step?: string; item?: number; direction?: "execute" | "compensate"; allowed: boolean; refused?: string;
  consequence?: string; needs: string[]; approval?: boolean; uncompensated?: string[]; may_take_effect?: string[]; input?: unknown;
}
export interface ActionPlans { revision: number; status: Status; actions: ActionPlan[] }
export interface Acted {
  id: string; result: "applied" | "ignored" | "accepted" | "awaiting_approval"; reason?: string; status: Status; revision?: number;
  happened?: string; approval?: string;
}

export interface Approval {
  id: string; saga: string; definition: string; key?: string; amount?: number; currency?: string; action: Record<string, unknown>;
  asked_by: string; asked_at: string; why: string; state: "open" | "approved" | "rejected" | "expired";
  decided_by?: string; decided_at?: string; decision_why?: string; result?: unknown;
}

export interface Hold {
  id: string; kind: "starts" | "definition" | "action"; definition?: string; worker?: string; action?: string; by: string; why: string;
  at: string; until?: string; released_at?: string; released_by?: string; held_back?: number;
}

export interface JobRequest {
  kind: "action" | "replay"; action?: ActionName; filter?: string; sagas?: string[]; why: string; acknowledged?: boolean;
  canary?: number; rate_per_s?: number; stop_after_same?: number; name?: string; version?: string;
  fresh?: Record<string, Record<string, string>>;
}
export interface JobPreview {
  sagas: number; excluded: { reason: string; sagas: number }[]; amount: Money[]; sample: SagaSummary[];
  by_step: { step: string; sagas: number }[]; needs_fresh?: string[]; approval: number;
}
export type JobState = "canary" | "running" | "paused" | "stopped" | "done" | "cancelled";
export type Outcome = "waiting" | "acting" | "succeeded" | "failed_again" | "changed" | "refused" | "awaiting_approval";
export interface Job {
  id: string; name?: string; kind: "action" | "replay"; action?: ActionName; by: string; why: string; created_at: string; ended_at?: string;
  state: JobState; stopped_because?: string; canary: number; rate_per_s: number; stop_after_same: number;
  counts: Record<Outcome, number> & { total: number }; reasons: { outcome: Outcome; reason: string; sagas: number }[];
}
export interface JobItem { number: number; saga: string; key?: string; outcome: Outcome; words: string; new_saga?: string; at?: string }

export interface ReplayPlan {
  saga: string; definition: string; version: string; versions: { version: string; active: boolean }[]; allowed: boolean; refused?: string;
  steps: { step: string; plan: "runs_again" | "reused" | "already_undone" | "new" | "gone"; was?: string }[];
  fresh: { pointer: string; description?: string }[]; input: unknown; warnings: string[];
}

export interface AuditEntry {
  id: number; at: string; who: string; roles?: Role[]; address?: string; what: string; target?: string; why?: string; before?: unknown; after?: unknown;
}

export interface Finding {
  kind: "paid_but_cancelled" | "completed_but_unpaid" | "refunded_twice" | "stock_without_order"; order_id: string; saga?: string;
  amount?: number; currency?: string; words: string; suggested: string; since?: string;
}
export interface ReconciliationRun { id: string; at: string; took_ms: number; orders: number; findings: number; error?: string }
export interface Reconciliation { configured: boolean; run?: ReconciliationRun; findings: Finding[]; runs: ReconciliationRun[] }
