// What a bulk job does, in words, and with how much money.

import type { Job, Money } from "../api/contract";
import type { Language, T } from "../i18n";
import { money } from "../i18n/format";

export function jobDeed(job: Pick<Job, "kind" | "action">, t: T): string {
  return job.kind === "replay" ? t("replay") : t(`action.${job.action ?? "retry"}`);
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
