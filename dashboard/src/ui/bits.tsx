// Small things that every page writes with: instants, durations, money, ids, keys.

import { useState, useSyncExternalStore } from "react";

import { useLanguage, useT } from "../i18n";
import { clockExact, duration, exact, moment, money, relative } from "../i18n/format";
import { toast } from "../layout/Toasts";
import { copied as putOnClipboard } from "./copies";
import { Icon } from "./Icon";

// One clock for every relative time on the page, so that they change together; it stands still when nobody looks.
let now = Date.now();
let timer: ReturnType<typeof setInterval> | null = null;
const listeners = new Set<() => void>();
function subscribe(listener: () => void) {
  listeners.add(listener);
  timer ??= setInterval(() => {
    if (document.hidden) return;
    now = Date.now();
    for (const it of listeners) it();
  }, 1_000);
  return () => {
    listeners.delete(listener);
    if (listeners.size === 0 && timer !== null) {
      clearInterval(timer);
      timer = null;
    }
  };
}

export function useNow(): number {
  return useSyncExternalStore(subscribe, () => now);
}

export function Ago({ at }: { at: string | null | undefined }) {
  const language = useLanguage();
  const clock = useNow();
  if (!at) return <span className="muted">–</span>;
  const instant = Date.parse(at);
  // What was stamped a moment after the clock last moved is not in the future.
  return <time dateTime={at} title={exact(language, instant)} className="nowrap">{relative(language, Math.min(instant, clock), clock)}</time>;
}

/** Since when, with the date where it is not today, and how long ago. */
export function Since({ at }: { at: string }) {
  const language = useLanguage();
  const clock = useNow();
  const instant = Date.parse(at);
  return <time dateTime={at} title={exact(language, instant)} className="nowrap">{moment(language, instant, Math.max(clock, instant))}</time>;
}

/** An instant to come: "in 12 s"; what has just fallen due is now. */
export function Until({ at }: { at: string }) {
  const language = useLanguage();
  const clock = useNow();
  const instant = Date.parse(at);
  return <time dateTime={at} title={exact(language, instant)} className="nowrap">{relative(language, Math.max(instant, clock), clock)}</time>;
}

export function Exactly({ at }: { at: string }) {
  const language = useLanguage();
  return <time dateTime={at} title={exact(language, Date.parse(at))} className="nowrap mono">{clockExact(language, Date.parse(at))}</time>;
}

export function Lasting({ ms }: { ms: number | null | undefined }) {
  const language = useLanguage();
  return ms == null ? <span className="muted">–</span> : <span className="nowrap">{duration(language, ms)}</span>;
}

/** From an instant to another, or to now. */
export function Span({ from, to }: { from: string; to?: string | null }) {
  const clock = useNow();
  return <Lasting ms={Math.max(0, (to ? Date.parse(to) : clock) - Date.parse(from))} />;
}

export function Amount({ amount, currency }: { amount: number | null | undefined; currency: string | null | undefined }) {
  const language = useLanguage();
  if (amount == null || !currency) return <span className="muted">–</span>;
  return <span className="nowrap">{money(language, amount, currency)}</span>;
}

export function Copy({ text, label }: { text: string; label?: string }) {
  const t = useT();
  const [copied, setCopied] = useState(false);
  const words = label ?? t("copy");
  return (
    <button type="button" className="copy" aria-label={copied ? t("copied") : words} title={copied ? t("copied") : words}
      onClick={(event) => {
        event.stopPropagation();
        event.preventDefault();
        void putOnClipboard(text).then((there) => {
          if (!there) return toast(t("copy.failed"), "parked", "rejected");
          setCopied(true);
          setTimeout(() => setCopied(false), 1_200);
        });
      }}>
      <Icon name={copied ? "done" : "copy"} size={12} />
    </button>
  );
}

/** The end of a UUIDv7 tells two apart; its beginning is only the time. */
export function short(id: string): string {
  return id.length > 12 ? id.slice(-12) : id;
}

export function Id({ id, whole = false }: { id: string; whole?: boolean }) {
  return (
    <span className="id nowrap">
      <span className="mono" title={id}>{whole ? id : short(id)}</span>
      <Copy text={id} />
    </span>
  );
}

export function Kbd({ children }: { children: string }) {
  return <kbd className="kbd">{children}</kbd>;
}
