// What the pages call the answers of the operators' API. The types are the document's (schema.d.ts); what is written out below
// stands in docs/operators-api.md and not in this server's document yet: a page that asks for it says so when it is not there.

import type {
  Acted as CoreActed, ActionList, ActionOption, ApprovalView, AtRiskView, AuditView, FailureGroup as CoreGroup, FailurePage as CorePage, FilterView, HistoryEvent as CoreEvent, HoldView,
  LetterPage, LetterView, NoteView, Overview as CoreOverview, PileView, SagaSummary, SagaView as CoreView, SignIn, WaitingPage, WaitingView,
} from "./schema";

export type { Counts, Me, ReplayPlan, SagaPage, SagaSummary, WorkerView } from "./schema";

export type Status = "running" | "parked" | "completed" | "compensated" | "abandoned";
export type Role = "customer" | "viewer" | "operator" | "author" | "admin";
/** `dev`: nobody has to. `jwt`: at an issuer, or by API key. `keys`: by API key. */
export type AuthConfig = SignIn;
export type Money = AtRiskView;
export type SavedFilter = FilterView;
export type InFlight = PileView;
export type ParkedItem = WaitingView;
export type ParkedPage = WaitingPage;
export type DeadLetter = LetterView;
export type DeadLetterPage = LetterPage;
export type ActionName = "retry" | "retry_edited" | "skip" | "compensate" | "resume_compensation" | "mark_compensated" | "abandon";
export type ActionPlan = Omit<ActionOption, "action"> & { action: ActionName };
export type ActionPlans = Omit<ActionList, "actions"> & { actions: ActionPlan[] };
export type Hold = HoldView;
export type AuditEntry = AuditView;
export type Note = NoteView;

export type SagaView = CoreView;
export type HistoryEvent = CoreEvent & { notes?: string[] };
export type Acted = CoreActed;
/** `job`: the newest bulk job over the group. */
export type FailureGroup = CoreGroup & { job?: string };
export type FailurePage = Omit<CorePage, "failures"> & { failures: FailureGroup[] };
export type Overview = Omit<CoreOverview, "failures"> & { failures: FailureGroup[] };

export type Approval = ApprovalView;

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

export interface Finding {
  kind: "paid_but_cancelled" | "completed_but_unpaid" | "refunded_twice" | "stock_without_order"; order_id: string; saga?: string;
  amount?: number; currency?: string; words: string; suggested: string; since?: string;
}
export interface ReconciliationRun { id: string; at: string; took_ms: number; orders: number; findings: number; error?: string }
export interface Reconciliation { configured: boolean; run?: ReconciliationRun; findings: Finding[]; runs: ReconciliationRun[] }
