// The saga in time: a row a step, a bar an attempt, backoffs as thin lines, waits hatched, what was undone below, going back.

import "./waterfall.css";

import { type KeyboardEvent, useEffect, useMemo, useRef, useState } from "react";

import type { HistoryEvent, SagaView } from "../api/contract";
import { term, useLanguage, useT } from "../i18n";
import { duration } from "../i18n/format";
import { useNow } from "../ui/bits";
import { IconButton } from "../ui/Controls";
import { Icon } from "../ui/Icon";
import { look } from "../ui/State";
import { type Bar, lanes, ticks } from "./spans";

const LANE = 34;
const AXIS = 22;

export function Waterfall({ saga, history, selected, onSelect }:
  { saga: SagaView; history: HistoryEvent[]; selected: string | null; onSelect: (step: string) => void }) {
  const t = useT();
  const language = useLanguage();
  const ended = saga.ended_at != null;
  const clock = useNow();
  const now = ended ? Date.parse(saga.ended_at ?? "") : clock;
  const rows = useMemo(() => lanes(saga, history, now).filter((lane) => lane.state !== "pending" || lane.bars.length > 0), [saga, history, now]);
  const started = Date.parse(saga.started_at);
  const whole = useMemo<[number, number]>(() => {
    const last = Math.max(now, started + 1, ...rows.flatMap((lane) => [...lane.bars, ...lane.undo].map((bar) => bar.to)));
    return [started, last + (last - started) * 0.02];
  }, [now, started, rows]);
  const [zoom, setZoom] = useState<[number, number] | null>(null); // shares of the whole, from 0 to 1
  const place = useRef<HTMLDivElement>(null);
  const width = useWidth(place);
  const [from, to] = zoom ? [whole[0] + zoom[0] * (whole[1] - whole[0]), whole[0] + zoom[1] * (whole[1] - whole[0])] : whole;
  const x = (at: number) => ((at - from) / (to - from)) * width;
  const change = (factor: number, around = 0.5) => {
    const [a, b] = zoom ?? [0, 1];
    const centre = a + (b - a) * around;
    const size = Math.min(1, Math.max(1e-6, (b - a) * factor));
    const start = Math.max(0, Math.min(1 - size, centre - size * around));
    setZoom(size >= 1 ? null : [start, start + size]);
  };
  const pan = (share: number) => {
    if (!zoom) return;
    const size = zoom[1] - zoom[0];
    const start = Math.max(0, Math.min(1 - size, zoom[0] + share * size));
    setZoom([start, start + size]);
  };
  // Zooms with Ctrl only: a page must scroll under the wheel.
  useEffect(() => {
    const element = place.current;
    if (!element) return;
    const wheel = (event: WheelEvent) => {
      if (!event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      change(event.deltaY > 0 ? 1.25 : 0.8, (event.clientX - element.getBoundingClientRect().left) / Math.max(1, width));
    };
    element.addEventListener("wheel", wheel, { passive: false });
    return () => element.removeEventListener("wheel", wheel);
  });
  const onKey = (event: KeyboardEvent) => {
    const keys: Record<string, () => void> = { "+": () => change(0.7), "=": () => change(0.7), "-": () => change(1.4), "0": () => setZoom(null), ArrowLeft: () => pan(-0.2), ArrowRight: () => pan(0.2) };
    const act = keys[event.key];
    if (act) { event.preventDefault(); act(); }
  };
  const height = AXIS + rows.length * LANE;
  const words = (bar: Bar, undo: boolean) => [
    undo ? t("waterfall.undo") : null,
    bar.kind === "backoff" ? t("waterfall.backoff") : bar.kind === "waiting" ? t("state.waiting") : bar.attempt ? t("waterfall.attempt", { attempt: bar.attempt, round: bar.round ?? 1 }) : null,
    bar.outcome ? term(t, "outcome", bar.outcome) : null,
    `${duration(language, bar.to - bar.from)}${bar.open ? "…" : ""}`,
  ].filter(Boolean).join(" · ");
  return (
    <div className="waterfall">
      <div className="waterfall-tools">
        <IconButton icon="plus" label={t("waterfall.in")} onClick={() => change(0.6)} />
        <IconButton icon="fit" label={t("graph.fit")} onClick={() => setZoom(null)} disabled={zoom === null} />
      </div>
      <div className="waterfall-names" style={{ paddingTop: AXIS }}>
        {rows.map((lane) => {
          const { icon, tone } = look(lane.state);
          return (
            <button key={lane.id} type="button" className={`waterfall-name tone-${tone}${selected === lane.id ? " selected" : ""}`} style={{ height: LANE }} aria-pressed={selected === lane.id} onClick={() => onSelect(lane.id)}>
              <span className="waterfall-icon" title={term(t, "state", lane.state)}><Icon name={icon} size={12} /></span><span className="ellipsis">{lane.id}</span>
            </button>
          );
        })}
      </div>
      {/* eslint-disable-next-line jsx-a11y/no-noninteractive-element-interactions -- zoomed and panned by keys */}
      <div className="waterfall-chart" ref={place} role="group" tabIndex={0} aria-label={t("waterfall.label")} onKeyDown={onKey}>
        <svg width={width} height={height} role="presentation">
          <defs>
            <pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">
              <rect width="6" height="6" fill="var(--s-waiting-bg)" /><path d="M0 0V6" stroke="var(--s-waiting)" strokeWidth="2" />
            </pattern>
          </defs>
          {ticks(from - started, to - started, Math.max(2, Math.floor(width / 90))).map((offset) => (
            <g key={offset} transform={`translate(${x(started + offset)} 0)`}>
              <path d={`M0 ${AXIS - 4}V${height}`} className="waterfall-grid" />
              <text x="3" y="13" className="waterfall-tick">+{duration(language, offset)}</text>
            </g>
          ))}
          {rows.map((lane, index) => {
            const top = AXIS + index * LANE;
            return (
              <g key={lane.id} className="waterfall-lane">
                {selected === lane.id && <rect x="0" y={top} width={width} height={LANE} className="waterfall-selected" />}
                {lane.bars.map((bar, at) => <BarShape key={at} bar={bar} x={x} y={top + (lane.undo.length > 0 ? 4 : 10)} limit={width} words={`${lane.id}: ${words(bar, false)}`} onClick={() => onSelect(lane.id)} />)}
                {lane.undo.map((bar, at) => <BarShape key={`u${at}`} bar={bar} x={x} y={top + 19} limit={width} undo words={`${lane.id}: ${words(bar, true)}`} onClick={() => onSelect(lane.id)} />)}
              </g>
            );
          })}
          {!ended && now >= from && now <= to && <path d={`M${x(now)} ${AXIS - 6}V${height}`} className="waterfall-now" />}
        </svg>
      </div>
    </div>
  );
}

const OUTCOMES: Record<string, string> = {
  succeeded: "completed", rejected: "late", retryable: "retrying", undecidable: "parked", running: "running", unknown: "retrying", retrying: "retrying", waiting: "waiting",
};

function BarShape({ bar, x, y, limit, words, undo = false, onClick }:
  { bar: Bar; x: (at: number) => number; y: number; limit: number; words: string; undo?: boolean; onClick: () => void }) {
  const left = Math.max(-4, x(bar.from));
  const right = Math.min(limit + 4, x(bar.to));
  if (right < 0 || left > limit) return null;
  const width = Math.max(3, right - left);
  const tone = undo && bar.outcome === "succeeded" ? "compensating" : OUTCOMES[bar.outcome] ?? "pending";
  const high = 11;
  return (
     
    <g className={`waterfall-bar tone-${tone}`} onClick={onClick}>
      <title>{words}</title>
      {bar.kind === "backoff" ? <path d={`M${left} ${y + high / 2}H${left + width}`} className="waterfall-backoff" />
        : <rect x={left} y={y} width={width} height={high} rx="2" className={bar.open ? "open" : ""} style={bar.kind === "waiting" ? { fill: "url(#hatch)" } : undefined} />}
      {undo && bar.kind === "attempt" && <path d={`M${left - 6} ${y + high / 2}l7 -${high / 2}v${high}Z`} className="waterfall-back" />}
    </g>
  );
}

function useWidth(place: React.RefObject<HTMLDivElement | null>): number {
  const [width, setWidth] = useState(600);
  useEffect(() => {
    const element = place.current;
    if (!element) return;
    const observer = new ResizeObserver(([entry]) => entry && setWidth(Math.max(120, entry.contentRect.width)));
    observer.observe(element);
    return () => observer.disconnect();
  }, [place]);
  return width;
}
