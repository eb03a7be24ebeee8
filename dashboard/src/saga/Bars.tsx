// The shapes of the waterfall: attempts, backoffs and waits, and the breaks between them. What came of an attempt is a shape
// as well as a colour.

import type { ReactNode } from "react";

import { term, useLanguage, useT } from "../i18n";
import { duration } from "../i18n/format";
import { Icon, type IconName } from "../ui/Icon";
import type { Break } from "./scale";
import type { Bar } from "./spans";

/** Tone and shape of what came of an attempt; a success is the plain bar. */
const OUTCOMES: Record<string, [tone: string, icon: IconName | null]> = {
  succeeded: ["completed", null], rejected: ["late", "rejected"], retryable: ["retrying", "retrying"], undecidable: ["parked", "unknown"],
  running: ["running", "running"], unknown: ["retrying", "unknown"], retrying: ["retrying", null], waiting: ["waiting", null],
};
const HIGH = 11;
const MARK = 10;
/** From this width on there is room for the mark within the bar. */
const ROOMY = 18;

/** What a bar says in words. */
export function useBarWords(): (lane: string, bar: Bar, undo: boolean) => string {
  const t = useT();
  const language = useLanguage();
  return (lane, bar, undo) => `${lane}: ${[
    undo ? t("waterfall.undo") : null,
    bar.kind === "backoff" ? t("waterfall.backoff") : bar.kind === "waiting" ? t("state.waiting") : bar.attempt ? t("waterfall.attempt", { attempt: bar.attempt, round: bar.round ?? 1 }) : null,
    bar.outcome ? term(t, "outcome", bar.outcome) : null,
    `${duration(language, bar.to - bar.from)}${bar.open ? "…" : ""}`,
  ].filter(Boolean).join(" · ")}`;
}

export function BarShape({ bar, x, y, limit, words, undo = false, onClick }:
  { bar: Bar; x: (at: number) => number; y: number; limit: number; words: string; undo?: boolean; onClick: () => void }) {
  const left = Math.max(-4, x(bar.from));
  const right = Math.min(limit + 4, x(bar.to));
  if (right < 0 || left > limit) return null;
  const width = Math.max(3, right - left);
  const [its, mark] = OUTCOMES[bar.outcome] ?? ["pending", null];
  const tone = undo && bar.outcome === "succeeded" ? "compensating" : its;
  return (
    <g className={`waterfall-bar tone-${tone}`} data-outcome={bar.kind === "attempt" ? bar.outcome : undefined} onClick={onClick}>
      <title>{words}</title>
      {bar.kind === "backoff" ? <path d={`M${left} ${y + HIGH / 2}H${left + width}`} className="waterfall-backoff" />
        : <rect x={left} y={y} width={width} height={HIGH} rx="2" className={bar.open ? "open" : ""} style={bar.kind === "waiting" ? { fill: "url(#hatch)" } : undefined} />}
      {undo && bar.kind === "attempt" && <path d={`M${left - 6} ${y + HIGH / 2}l7 -${HIGH / 2}v${HIGH}Z`} className="waterfall-back" />}
      {mark && bar.kind === "attempt" && (
        <g className={`waterfall-mark${width >= ROOMY && !bar.open ? " within" : ""}`} transform={`translate(${width >= ROOMY ? left + width - MARK - 3 : Math.min(left + width + 2, limit - MARK)} ${y + 0.5})`}><Icon name={mark} size={MARK} /></g>
      )}
    </g>
  );
}

/** Time that was left out, with how much of it; across all lanes. */
export function BreakShape({ of, x, top, height }: { of: Break; x: (at: number) => number; top: number; height: number }): ReactNode {
  const t = useT();
  const language = useLanguage();
  const [left, right] = [x(of.from), x(of.to)];
  const middle = (left + right) / 2;
  const lasts = duration(language, of.to - of.from);
  const zigzag = Array.from({ length: Math.ceil((height - top) / 8) }, (_, at) => `l${at % 2 === 0 ? 3 : -3} 4l${at % 2 === 0 ? -3 : 3} 4`).join("");
  return (
    <g className="waterfall-break">
      <title>{t("waterfall.break", { time: lasts })}</title>
      <rect x={left} y={top} width={Math.max(2, right - left)} height={height - top} />
      <path d={`M${middle - 2} ${top}${zigzag}`} /><path d={`M${middle + 2} ${top}${zigzag}`} />
      {right - left >= LABEL && <text x={middle} y="13" textAnchor="middle" className="waterfall-tick">{lasts}</text>}
    </g>
  );
}

/** A break that is narrower has its length in its tooltip only. */
const LABEL = 34;
