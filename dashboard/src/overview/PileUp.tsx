// Where the work piles up: what is in flight, drawn on its definition's graph.

import { useQuery } from "@tanstack/react-query";
import { Link, useNavigate } from "@tanstack/react-router";
import { useMemo, useState } from "react";

import type { InFlight } from "../api/contract";
import { definitions } from "../api/queries";
import { useOutline } from "../definitions/outline";
import { type GraphStep, LazyGraph } from "../graph/LazyGraph";
import { useT } from "../i18n";
import { Ago } from "../ui/bits";
import { Select } from "../ui/Controls";
import { Notice, Section } from "../ui/Page";
import { kept } from "./kept";
import { atWork, listed, standing } from "./piles";

/** So that it is in the first screen, below what is worse. */
const GRAPH_HEIGHT_MAX = 190;

export function PileUp({ inFlight }: { inFlight: InFlight[] }) {
  const t = useT();
  const busiest = useMemo(() => {
    const byName = new Map<string, number>();
    for (const it of inFlight) byName.set(it.definition, (byName.get(it.definition) ?? 0) + it.count);
    return [...byName].sort((a, b) => b[1] - a[1]).map(([name]) => name);
  }, [inFlight]);
  const known = useQuery({ ...definitions, retry: false });
  const names = [...new Set([...busiest, ...(known.data?.definitions.map((it) => it.name) ?? [])])];
  const [shown, show] = useState<string | null>(null);
  const name = kept(shown, names);
  if (name !== shown) show(name);
  return (
    <Section title={t("overview.pile")} flush actions={name && names.length > 1 && <Select aria-label={t("definition")} value={name} onChange={(event) => show(event.target.value)}>{names.map((it) => <option key={it}>{it}</option>)}</Select>}>
      {name ? <Drawn name={name} inFlight={inFlight.filter((it) => it.definition === name)} /> : <Notice icon="list" title={t("overview.pile.none")} />}
    </Section>
  );
}

function Drawn({ name, inFlight }: { name: string; inFlight: InFlight[] }) {
  const t = useT();
  const navigate = useNavigate();
  const outline = useOutline(name);
  const steps = useMemo<GraphStep[]>(() => (outline ?? []).map((step) => {
    const here = inFlight.filter((it) => it.step === step.id);
    const { running, parked } = standing(here);
    const state = parked > 0 ? "parked" : here.some((it) => it.late > 0) ? "late" : here.some((it) => it.retrying > 0) ? "retrying"
      : here.some((it) => it.direction === "compensate" && atWork(it) > 0) ? "compensating" : running > 0 ? "running" : undefined;
    return { ...step, ...(state ? { state } : {}), note: [running > 0 && t("overview.here", { count: running }), parked > 0 && t("overview.here.parked", { count: parked })].filter(Boolean).join(" · ") || undefined };
  }), [outline, inFlight, t]);
  return (
    <>
      {steps.length > 0 && <LazyGraph steps={steps} label={t("overview.pile")} heightMax={GRAPH_HEIGHT_MAX} onSelect={(step) => void navigate({ to: "/sagas", search: listed(name, step, standing(inFlight.filter((it) => it.step === step))) })} />}
      {inFlight.length > 0 && (
        <div className="scroll-x pile-table">
          <table className="plain">
            <thead><tr><th scope="col">{t("step")}</th><th scope="col" className="right">{t("in_flight")}</th><th scope="col" className="right">{t("state.late")}</th><th scope="col" className="right">{t("state.retrying")}</th><th scope="col" className="right">{t("state.parked")}</th><th scope="col">{t("oldest")}</th></tr></thead>
            <tbody>{inFlight.map((it) => (
              <tr key={it.step + it.direction}>
                <td><Link to="/sagas" search={listed(name, it.step, standing([it]))}>{it.direction === "compensate" ? `⤺ ${it.step}` : it.step}</Link>{it.worker && <span className="muted"> {it.worker}</span>}</td>
                <td className="right"><Counted count={atWork(it)} search={{ definition: name, step: it.step, status: "running" }} /></td>
                <td className="right"><Counted count={it.late} search={{ definition: name, step: it.step, health: "late" }} /></td>
                <td className="right"><Counted count={it.retrying} search={{ definition: name, step: it.step, health: "retrying" }} /></td>
                <td className="right"><Counted count={it.parked} search={{ definition: name, step: it.step, status: "parked" }} /></td><td><Ago at={it.oldest_since} /></td>
              </tr>
            ))}</tbody>
          </table>
        </div>
      )}
    </>
  );
}

function Counted({ count, search }: { count: number; search: Record<string, string> }) {
  return count === 0 ? <span className="muted">0</span> : <Link to="/sagas" search={search}>{count}</Link>;
}
