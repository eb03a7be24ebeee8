// What the exploration of every outcome found; a counter-example is played on the graph, step by step.

import { useEffect, useState } from "react";

import { term, useLanguage, useT } from "../i18n";
import { number } from "../i18n/format";
import { Button } from "../ui/Controls";
import { Icon } from "../ui/Icon";
import { Section } from "../ui/Page";
import type { Proof } from "./mistakes";

const BEAT_MS = 900;

export function ProofPanel({ proof, onPlay }: { proof: Proof; onPlay: (states: Record<string, string> | null) => void }) {
  const t = useT();
  const language = useLanguage();
  const tone = proof.verdict === "proved" ? "completed" : proof.verdict === "refuted" ? "parked" : "late";
  return (
    <Section title={t("proof")}>
      <p className="row wrap"><span className={`state tone-${tone}`}><Icon name={proof.verdict === "proved" ? "completed" : proof.verdict === "refuted" ? "rejected" : "unknown"} size={12} />{t(`proof.${proof.verdict}`)}</span><span className="muted">{t("proof.states", { states: number(language, proof.states) })}</span></p>
      {proof.refutations?.map((it) => <Story key={it.property} refutation={it} onPlay={onPlay} />)}
    </Section>
  );
}

function Story({ refutation, onPlay }: { refutation: NonNullable<Proof["refutations"]>[number]; onPlay: (states: Record<string, string> | null) => void }) {
  const t = useT();
  const [at, setAt] = useState<number | null>(null);
  const [playing, setPlaying] = useState(false);
  const { story } = refutation;
  useEffect(() => {
    onPlay(at === null ? null : story[at]?.states ?? null);
  }, [at, story, onPlay]);
  useEffect(() => {
    if (!playing || at === null) return;
    if (at >= story.length - 1) return setPlaying(false);
    const timer = setTimeout(() => setAt(at + 1), BEAT_MS);
    return () => clearTimeout(timer);
  }, [playing, at, story.length]);
  return (
    <div className="data-part">
      <p><strong>{term(t, "property", refutation.property)}</strong></p>
      {refutation.words && <p className="muted">{refutation.words}</p>}
      <div className="row">
        <Button icon="simulator" onClick={() => { setAt(0); setPlaying(true); }}>{t("proof.play")}</Button>
        {at !== null && <Button kind="ghost" onClick={() => { setAt(null); setPlaying(false); }}>{t("proof.stop")}</Button>}
      </div>
      <ol className="history">{story.map((line, index) => (
        <li key={index} className="history-line"><span className="history-at">{index + 1}</span><button type="button" className="link break" aria-pressed={at === index} onClick={() => { setPlaying(false); setAt(index); }}>{at === index ? <strong>{line.words}</strong> : line.words}</button></li>
      ))}</ol>
    </div>
  );
}
