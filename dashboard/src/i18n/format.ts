// Numbers, money, instants and durations as the reader's language writes them.

import type { Language } from "./index";

const cache = new Map<string, Intl.NumberFormat>();

/** An amount in the currency's smallest unit, written in the currency. */
export function money(language: Language, amount: number, currency: string | null | undefined): string {
  if (!currency) return number(language, amount);
  const key = `${language}/${currency}`;
  let format = cache.get(key);
  if (!format) {
    try {
      format = new Intl.NumberFormat(language, { style: "currency", currency, currencyDisplay: "narrowSymbol" });
    } catch {
      format = new Intl.NumberFormat(language); // no currency that browsers know
    }
    cache.set(key, format);
  }
  const digits = format.resolvedOptions().maximumFractionDigits ?? 0;
  return format.format(amount / 10 ** digits);
}

export function number(language: Language, value: number): string {
  return value.toLocaleString(language);
}

/** What is counted up to a bound only. */
export function counted(language: Language, { count, capped }: { count: number; capped?: boolean }): string {
  return `${number(language, count)}${capped ? "+" : ""}`;
}

/** A share from 0 to 1. */
export function percent(language: Language, share: number): string {
  return share.toLocaleString(language, { style: "percent", maximumFractionDigits: share < 0.1 ? 1 : 0 });
}

/** A duration in ms, as short as it can be read: `74 ms`, `3.2 s`, `4 min 10 s`, `2 h 5 min`, `3 d`. */
export function duration(language: Language, ms: number): string {
  const unit = language === "ko" ? { s: "초", m: "분", h: "시간", d: "일" } : { s: " s", m: " min", h: " h", d: " d" };
  const abs = Math.abs(ms);
  if (abs < 1_000) return `${Math.round(abs)} ms`;
  if (abs < 10_000) return `${(abs / 1_000).toFixed(1)}${unit.s}`;
  const s = Math.round(abs / 1_000);
  if (s < 60) return `${s}${unit.s}`;
  const m = Math.floor(s / 60);
  if (m < 60) return s % 60 === 0 || m >= 10 ? `${m}${unit.m}` : `${m}${unit.m} ${s % 60}${unit.s}`;
  const h = Math.floor(m / 60);
  if (h < 24) return m % 60 === 0 || h >= 10 ? `${h}${unit.h}` : `${h}${unit.h} ${m % 60}${unit.m}`;
  return `${Math.floor(h / 24)}${unit.d}`;
}

/** How far an instant is from now, as a reader counts it. */
export function relative(language: Language, at: number, now: number): string {
  const ms = at - now;
  const s = Math.round(ms / 1_000);
  const format = new Intl.RelativeTimeFormat(language, { numeric: "auto", style: "short" });
  if (Math.abs(s) < 60) return format.format(s, "second");
  if (Math.abs(s) < 3_600) return format.format(Math.trunc(s / 60), "minute");
  if (Math.abs(s) < 86_400) return format.format(Math.trunc(s / 3_600), "hour");
  return format.format(Math.trunc(s / 86_400), "day");
}

export function exact(language: Language, at: number): string {
  return new Date(at).toLocaleString(language, { dateStyle: "medium", timeStyle: "long" });
}

export function clock(language: Language, at: number): string {
  return new Date(at).toLocaleTimeString(language, { hour: "2-digit", minute: "2-digit", hour12: false });
}

/** Since when: the time, with its date unless that is today, and how long ago that is. */
export function moment(language: Language, at: number, now: number): string {
  const [then, today] = [new Date(at), new Date(now)];
  const year = then.getFullYear() === today.getFullYear() ? {} : { year: "numeric" as const };
  const date = then.toDateString() === today.toDateString() ? {} : { day: "numeric" as const, month: "short" as const, ...year };
  const told = then.toLocaleString(language, { ...date, hour: "2-digit", minute: "2-digit", hour12: false });
  return `${told} (${relative(language, Math.min(at, now), now)})`;
}

export function clockExact(language: Language, at: number): string {
  return new Date(at).toLocaleTimeString(language, { hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3, hour12: false });
}

export function bytes(language: Language, count: number): string {
  if (count < 1_024) return `${number(language, count)} B`;
  if (count < 1_048_576) return `${number(language, Math.round(count / 102.4) / 10)} KB`;
  return `${number(language, Math.round(count / 104_857.6) / 10)} MB`;
}
