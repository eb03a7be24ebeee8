// What the exploration of every outcome found; a counter-example is played on the graph, step by step.

import "../saga/saga.css";

import { useQuery } from "@tanstack/react-query";
import { useEffect, useState } from "react";

import { asProblem } from "../api/problem";
import type { ProofView, RefutationView, StoryBeat } from "../api/schema";
import { term, useLanguage, useT } from "../i18n";
import { number } from "../i18n/format";
import { useSaid } from "../i18n/said";
import { worstOf } from "../saga/graphSteps";
import { Button } from "../ui/Controls";
import { Icon, type IconName } from "../ui/Icon";
import { ProblemNotice, Section } from "../ui/Page";
import { prove } from "./mistakes";

const BEAT_MS = 900;
const VERDICTS: Record<string, [tone: string, icon: IconName]> = { proved: ["completed", "completed"], refuted: ["parked", "rejected"], unproved: ["late", "unknown"] };

type Play = (states: Record<string, string> | null) => void;

/** Proves a text that has no mistakes. */
export function ProofPanel({ source, version, onPlay }: { source: string; version: string; onPlay: Play }) {
  const t = useT();
  const asked = useQuery({ queryKey: ["prove", version], queryFn: ({ signal }) => prove(source, signal), retry: false, staleTime: Infinity });
  return (
    <Section title={t("proof")}>
      {asked.isError ? <ProblemNotice problem={asProblem(asked.error)} onRetry={() => void asked.refetch()} />
        : asked.data ? <Found key={version} proof={asked.data} onPlay={onPlay} />
        : <p className="muted row" role="status"><Icon name="running" size={12} />{t("proof.exploring")}</p>}
    </Section>
  );
}

export function VerdictBadge({ verdict }: { verdict: string }) {
  const t = useT();
  const [tone, icon] = VERDICTS[verdict] ?? ["pending", "unknown"];
  return <span className={`state tone-${tone}`}><Icon name={icon} size={12} />{term(t, "proof", verdict)}</span>;
}

function Found({ proof, onPlay }: { proof: ProofView; onPlay: Play }) {
  const t = useT();
  const language = useLanguage();
  return (
    <>
      <p className="row wrap" role="status">
        <VerdictBadge verdict={proof.verdict} />
        <span className="muted">{t("proof.states", { states: number(language, proof.states), transitions: number(language, proof.transitions) })}</span>
        {proof.troubles != null && <span className="muted">{t("proof.troubles", { count: proof.troubles })}</span>}
      </p>
      {proof.refutation && <Story refutation={proof.refutation} onPlay={onPlay} />}
    </>
  );
}

/** Where each step stands; a `foreach` as the worst of its items does. */
export function standing(beat: Pick<StoryBeat, "steps">): Record<string, string> {
  const names = [...new Set(beat.steps.map((it) => it.step))];
  return Object.fromEntries(names.map((name) => [name, worstOf(beat.steps.filter((it) => it.step === name).map((it) => it.state)) ?? ""]));
}

function Story({ refutation, onPlay }: { refutation: RefutationView; onPlay: Play }) {
  const t = useT();
  const said = useSaid();
  const [at, setAt] = useState<number | null>(null);
  const [playing, setPlaying] = useState(false);
  const { story } = refutation;
  useEffect(() => {
    const beat = at === null ? undefined : story[at];
    onPlay(beat === undefined ? null : standing(beat));
  }, [at, story, onPlay]);
  useEffect(() => () => onPlay(null), [onPlay]);
  useEffect(() => {
    if (!playing || at === null) return;
    const timer = setTimeout(() => (at >= story.length - 1 ? setPlaying(false) : setAt(at + 1)), BEAT_MS);
    return () => clearTimeout(timer);
  }, [playing, at, story.length]);
  return (
    <div className="data-part">
      <p><strong>{term(t, "property", refutation.property)}</strong></p>
      <p className="muted">{said(refutation.message)}</p>
      {story.length > 0 && (
        <>
          <div className="row">
            <Button icon="simulator" onClick={() => { setAt(0); setPlaying(true); }}>{t("proof.play")}</Button>
            {at !== null && <Button kind="ghost" onClick={() => { setAt(null); setPlaying(false); }}>{t("proof.stop")}</Button>}
          </div>
          <ol className="history">{story.map((beat, index) => (
            <li key={index} className={`history-line${at === index ? " version-shown" : ""}`}>
              <span className="history-at">{index + 1}</span>
              <div className="grow">
                <button type="button" className="link break" aria-pressed={at === index} onClick={() => { setPlaying(false); setAt(index); }}>{said(beat.happens)}</button>
                {beat.follows.length > 0 && <div className="muted break">{beat.follows.map(said).join(", ")}</div>}
              </div>
            </li>
          ))}</ol>
        </>
      )}
    </div>
  );
}
