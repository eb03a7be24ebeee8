// What a bulk job does, in words, and with how much money.

import type { ActionName, Job, JobPreview, JobRequest, Money } from "../api/contract";
import type { Key, Language, T } from "../i18n";
import { money } from "../i18n/format";

/**
 * The sagas of a job to be: those that a filter finds, or these. `version` is that of a replay, `fresh` what it brings anew, by
 * saga and place; `why` is what was written already; `must`: its replay is warned of, and refused to who did not see that.
 */
export interface BulkSet { filter?: string; sagas?: string[]; kind?: "action" | "replay"; action?: ActionName; name?: string; version?: string; fresh?: Record<string, Record<string, string>>; why?: string; must?: boolean }

/** What the engine counts under a step's name that stands at no step, such as what has ended. No step is called so. */
export const NO_STEP = "-";

/** A filter may find more by the time that one clicks: no more are acted on than the button says. */
export function bound(set: BulkSet, preview: Pick<JobPreview, "sagas"> | undefined): Pick<JobRequest, "sagas_max"> {
  return set.filter === undefined || preview === undefined ? {} : { sagas_max: preview.sagas };
}

export function jobDeed(job: Pick<Job, "kind" | "action">, t: T): string {
  return job.kind === "replay" ? t("replay") : t(`action.${job.action ?? "retry"}`);
}

/** What a dialog is about to do, and whether what it leaves behind was ticked as seen. */
export interface Chosen { kind: "action" | "replay"; action: ActionName; acknowledged: boolean }

/** Another deed. What was seen of the one before says nothing about this one. */
export function choose(before: Chosen, value: ActionName | "replay"): Chosen {
  return value === "replay" ? { ...before, kind: "replay", acknowledged: false } : { kind: "action", action: value, acknowledged: false };
}

/** The words that are ticked for a deed, and whether it cannot be done without; null where there is nothing to see. */
export function acknowledgement({ kind, action }: Pick<Chosen, "kind" | "action">, must = false): { words: Key; must: boolean } | null {
  if (kind === "replay" && must) return { words: "replay.ack", must };
  // Without it, a replay leaves out the sagas whose effects would be made twice.
  if (kind === "replay") return { words: "bulk.ack.replay", must: false };
  return action === "abandon" ? { words: "act.ack.abandon", must: true } : null;
}

/** What a button says that does it. */
export function bulkDeed(job: { kind: string; action?: string | null | undefined }, t: T, count: number, amount: string): string {
  return t(job.kind === "replay" ? "bulk.go.replay" : `bulk.go.${job.action ?? "retry"}` as "bulk.go.retry", { count, amount });
}

/** The money behind a set; null where none is known. */
export function amounts(all: Pick<Money, "amount" | "currency">[] | undefined, language: Language): string | null {
  return all === undefined || all.length === 0 ? null : all.map((it) => money(language, it.amount, it.currency)).join(" + ");
}

export function amountOf(job: Pick<Job, "amount">, language: Language): string | null {
  return amounts(job.amount, language);
}
