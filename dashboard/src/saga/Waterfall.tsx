// The saga in time: a row a step, a bar an attempt, backoffs as thin lines, waits hatched, what was undone below, going back.
// Where nothing happens for long, time is broken off: what happened is to be seen, however old it is.

import "./waterfall.css";

import { type KeyboardEvent, useEffect, useMemo, useRef, useState } from "react";

import type { HistoryEvent, SagaView } from "../api/contract";
import { term, useLanguage, useT } from "../i18n";
import { duration } from "../i18n/format";
import { useNow } from "../ui/bits";
import { IconButton } from "../ui/Controls";
import { Icon } from "../ui/Icon";
import { look } from "../ui/State";
import { BarShape, BreakShape, useBarWords } from "./Bars";
import { type Break, scale } from "./scale";
import { type Lane, lanes, ticks } from "./spans";

const LANE = 34;
const AXIS = 22;
/** So much of the whole is drawn on; the rest keeps the end off the edge. */
const DRAWN = 0.98;
const TICK = 90;
/** So many bars are said in words: who has them read aloud hears them one by one. */
const SAID_MAX = 200;

export function Waterfall({ saga, history, selected, onSelect }:
  { saga: SagaView; history: HistoryEvent[]; selected: string | null; onSelect: (step: string) => void }) {
  const t = useT();
  const language = useLanguage();
  const ended = saga.ended_at != null;
  const clock = useNow();
  const now = ended ? Date.parse(saga.ended_at ?? "") : clock;
  const rows = useMemo(() => lanes(saga, history, now).filter((lane) => lane.state !== "pending" || lane.bars.length > 0), [saga, history, now]);
  const started = Date.parse(saga.started_at);
  const time = useMemo(() => {
    const bars = rows.flatMap((lane) => [...lane.bars, ...lane.undo]);
    return scale(started, bars.reduce((last, bar) => Math.max(last, bar.to), now), bars.flatMap((bar) => [bar.from, bar.to]));
  }, [now, started, rows]);
  const [zoom, setZoom] = useState<[number, number] | null>(null); // shares of the whole, from 0 to 1
  const place = useRef<HTMLDivElement>(null);
  const width = useWidth(place);
  const [from, to] = zoom ?? [0, 1];
  const x = (at: number) => ((time.share(at) * DRAWN - from) / (to - from)) * width;
  const at = (place: number) => time.at((from + (place / width) * (to - from)) / DRAWN);
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
  // A `foreach` that is selected as a whole is all of its items.
  const isSelected = (lane: Lane) => selected === lane.id || selected === lane.step;
  const words = useBarWords();
  const told = rows.flatMap((lane) => [...lane.bars.map((bar) => words(lane.id, bar, false)), ...lane.undo.map((bar) => words(lane.id, bar, true))]);
  const lines = stretches(time.breaks, at(0), at(width)).flatMap((it) => {
    const [left, right] = [x(it.from), x(it.to)];
    // A break has its own words above it.
    const last = time.breaks.some((after) => after.from === it.to) ? right - TICK / 3 : right;
    return ticks(it.from - started, it.to - started, Math.max(1, Math.floor((right - left) / TICK))).filter((offset) => x(started + offset) <= last);
  });
  return (
    <div className="waterfall">
      <div className="waterfall-tools">
        <IconButton icon="plus" label={t("waterfall.in")} onClick={() => change(0.6)} />
        <IconButton icon="minus" label={t("waterfall.out")} onClick={() => change(1 / 0.6)} disabled={zoom === null} />
        <IconButton icon="fit" label={t("graph.fit")} onClick={() => setZoom(null)} disabled={zoom === null} />
      </div>
      <div className="waterfall-names" style={{ paddingTop: AXIS }}>
        {rows.map((lane) => {
          const { icon, tone } = look(lane.state);
          return (
            <button key={lane.id} type="button" className={`waterfall-name tone-${tone}${isSelected(lane) ? " selected" : ""}`} style={{ height: LANE }} aria-pressed={isSelected(lane)} onClick={() => onSelect(lane.id)}>
              <span className="waterfall-icon" title={term(t, "state", lane.state)}><Icon name={icon} size={12} /></span><span className="ellipsis">{lane.id}</span>
            </button>
          );
        })}
      </div>
      {/* eslint-disable-next-line jsx-a11y/no-noninteractive-element-interactions -- zoomed and panned by keys */}
      <div className="waterfall-chart" ref={place} role="group" tabIndex={0} aria-label={t("waterfall.label")} onKeyDown={onKey}>
        <ul className="hidden-visually">{told.slice(-SAID_MAX).map((it, index) => <li key={index}>{it}</li>)}</ul>
        <svg width={width} height={height} aria-hidden="true">
          <defs>
            <pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">
              <rect width="6" height="6" fill="var(--s-waiting-bg)" /><path d="M0 0V6" stroke="var(--s-waiting)" strokeWidth="2" />
            </pattern>
          </defs>
          {time.breaks.map((it) => <BreakShape key={it.from} of={it} x={x} top={AXIS - 4} height={height} />)}
          {lines.map((offset) => (
            <g key={offset} transform={`translate(${x(started + offset)} 0)`}>
              <path d={`M0 ${AXIS - 4}V${height}`} className="waterfall-grid" />
              <text x="3" y="13" className="waterfall-tick">+{duration(language, offset)}</text>
            </g>
          ))}
          {rows.map((lane, index) => {
            const top = AXIS + index * LANE;
            return (
              <g key={lane.id} className="waterfall-lane">
                {isSelected(lane) && <rect x="0" y={top} width={width} height={LANE} className="waterfall-selected" />}
                {lane.bars.map((bar, at) => <BarShape key={at} bar={bar} x={x} y={top + (lane.undo.length > 0 ? 4 : 10)} limit={width} words={words(lane.id, bar, false)} onClick={() => onSelect(lane.id)} />)}
                {lane.undo.map((bar, at) => <BarShape key={`u${at}`} bar={bar} x={x} y={top + 19} limit={width} undo words={words(lane.id, bar, true)} onClick={() => onSelect(lane.id)} />)}
              </g>
            );
          })}
          {!ended && x(now) >= 0 && x(now) <= width && <path d={`M${x(now)} ${AXIS - 6}V${height}`} className="waterfall-now" />}
        </svg>
      </div>
    </div>
  );
}

/** What is drawn to scale between two instants: all but the breaks. */
function stretches(breaks: Break[], from: number, to: number): Break[] {
  const edges = [from, ...breaks.flatMap((it) => [it.from, it.to]).map((it) => Math.max(from, Math.min(to, it))), to];
  return Array.from({ length: edges.length / 2 }, (_, at) => ({ from: edges[2 * at] ?? from, to: edges[2 * at + 1] ?? to })).filter((it) => it.to > it.from);
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
