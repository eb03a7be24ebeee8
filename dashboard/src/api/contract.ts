// What the pages call the answers of the operators' API. The types are the document's (schema.d.ts), where a word of it is one of a
// few they say which; nothing else is written by hand.

import type {
  Acted as CoreActed, ActionList, ActionOption, ApprovalView, AtRiskView, AuditView, FilterView, FindingView, HoldView, JobItem as CoreItem, JobReason, JobView,
  LetterPage, LetterView, NoteView, PileView, SagaView as CoreView, SignIn, WaitingPage, WaitingView,
} from "./schema";

export type { Counts, FailureGroup, FailurePage, HistoryEvent, JobPreview, JobRequest, Me, Overview, Reconciliation, ReconciliationRun, ReplayPlan, SagaPage, SagaSummary, WorkerView } from "./schema";

export type Status = "running" | "parked" | "completed" | "compensated" | "abandoned";
export type Role = "customer" | "worker" | "viewer" | "operator" | "author" | "admin";
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
export type Acted = CoreActed;
export type Approval = ApprovalView;
export type JobState = "canary" | "running" | "paused" | "stopped" | "done" | "cancelled";
export type Outcome = "waiting" | "acting" | "succeeded" | "failed_again" | "changed" | "refused" | "awaiting_approval";
export type Job = Omit<JobView, "state" | "action" | "reasons"> & { state: JobState; action?: ActionName | null; reasons: (Omit<JobReason, "outcome"> & { outcome: Outcome })[] };
export type JobItem = Omit<CoreItem, "outcome"> & { outcome: Outcome };
export type Finding = FindingView;
