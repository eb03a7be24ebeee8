// A chart over time (uPlot), in the colours of the page, with its figures as text for who cannot see it.

import "uplot/dist/uPlot.min.css";
import "./chart.css";

import { useEffect, useRef } from "react";
import uPlot from "uplot";

import { useLanguage } from "../i18n";
import { clock } from "../i18n/format";
import { useDark } from "../settings/theme";

export interface Series { label: string; color: string; values: (number | null)[]; dash?: number[] }

const HEIGHT = 150;

export function Chart({ at, series, label, format }: { at: number[]; series: Series[]; label: string; format: (value: number) => string }) {
  const place = useRef<HTMLDivElement>(null);
  const language = useLanguage();
  const dark = useDark();
  const plot = useRef<uPlot | null>(null);
  const shape = series.map((it) => it.label).join("|");
  const latest = useRef({ at, series, format });
  latest.current = { at, series, format };
  useEffect(() => {
    const element = place.current;
    if (!element) return;
    const style = getComputedStyle(document.documentElement);
    const color = (token: string) => style.getPropertyValue(token).trim();
    const axis = { stroke: color("--muted"), font: `11px ${color("--font")}`, grid: { stroke: color("--line"), width: 1 }, ticks: { show: false } };
    const made = new uPlot({
      width: element.clientWidth || 300, height: HEIGHT, legend: { show: false }, padding: [8, 8, 0, 0],
      cursor: { y: false, points: { size: 6 } },
      scales: { x: { time: true }, y: { range: (_, min, max) => [Math.min(0, min ?? 0), Math.max(1, (max ?? 1) * 1.1)] } },
      axes: [
        { ...axis, size: 24, space: 60, values: (_, splits) => splits.map((split) => clock(language, split * 1_000)) },
        { ...axis, size: 52, values: (_, splits) => splits.map((split) => (split === null ? "" : latest.current.format(split))) },
      ],
      series: [{}, ...latest.current.series.map((it) => ({ label: it.label, stroke: color(it.color), width: 1.6, points: { show: false, size: 4, filter: lone }, ...(it.dash ? { dash: it.dash } : {}) }))],
    }, [latest.current.at, ...latest.current.series.map((it) => it.values)], element);
    plot.current = made;
    const observer = new ResizeObserver(() => made.setSize({ width: element.clientWidth, height: HEIGHT }));
    observer.observe(element);
    return () => {
      observer.disconnect();
      made.destroy();
      plot.current = null;
    };
  }, [language, dark, shape]);
  useEffect(() => {
    plot.current?.setData([at, ...series.map((it) => it.values)]);
  }, [at, series]);
  const newest = series.map((it) => `${it.label} ${it.values.at(-1) == null ? "–" : format(it.values.at(-1) ?? 0)}`).join(", ");
  return (
    <figure className="chart">
      <div ref={place} role="img" aria-label={`${label}: ${newest}`} style={{ height: HEIGHT }} />
      <figcaption className="chart-legend">
        {series.map((it) => <span key={it.label} className="row"><svg width="16" height="4" aria-hidden="true"><path d="M0 2H16" strokeWidth="2" style={{ stroke: `var(${it.color})` }} {...(it.dash ? { strokeDasharray: it.dash.join(" ") } : {})} /></svg>{it.label}</span>)}
      </figcaption>
    </figure>
  );
}

/** What has no neighbour has no line either: it is drawn as a point. */
function lone(plot: uPlot, series: number): number[] {
  const values = plot.data[series] ?? [];
  return Array.from(values.keys()).filter((at) => values[at] != null && values[at - 1] == null && values[at + 1] == null);
}

/** A few bars, as wide as a word: how often lately. */
export function Sparkline({ values, label, tone = "parked" }: { values: number[]; label: string; tone?: string }) {
  const max = Math.max(1, ...values);
  return (
    <svg className={`spark tone-${tone}`} width={values.length * 6} height="20" role="img" aria-label={label}>
      <title>{label}</title>
      {values.map((value, at) => <rect key={at} x={at * 6} width="4" y={20 - Math.max(1, (value / max) * 19)} height={Math.max(1, (value / max) * 19)} />)}
    </svg>
  );
}
