// A version that takes a share of the starts, beside the current one: what has come of both, and how it ends.

import { useMutation } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useState } from "react";

import { send } from "../api/client";
import { useRights, useStale } from "../api/queries";
import type { CanaryView, DefinitionSummary, OutcomesView } from "../api/schema";
import { useLanguage, useT } from "../i18n";
import { number, percent } from "../i18n/format";
import { toast } from "../layout/Toasts";
import { Since } from "../ui/bits";
import { Button, Dialog, DialogEnd, Field, Textarea } from "../ui/Controls";
import { ProblemLine, Section } from "../ui/Page";
import { StateBadge } from "../ui/State";

const OUTCOMES = ["running", "parked", "completed", "compensated", "abandoned"] as const;
/** How both can end. */
export type End = "promote" | "withdraw";

export function Canary({ name, current, canary, onEnd }: { name: string; current: string; canary: CanaryView; onEnd: (how: End, canary: CanaryView) => void }) {
  const t = useT();
  const language = useLanguage();
  const rights = useRights();
  const sides: [words: string, version: string, of: OutcomesView][] = [[t("canary"), canary.version, canary.outcomes], [t("canary.current"), current, canary.current]];
  return (
    <Section title={t("canary.takes", { version: canary.version.slice(0, 8), share: percent(language, canary.percent / 100) })}
      actions={rights.author && <><Button onClick={() => onEnd("withdraw", canary)}>{t("canary.withdraw")}</Button><Button kind="primary" onClick={() => onEnd("promote", canary)}>{t("canary.promote")}</Button></>}>
      <div className="scroll-x">
        <table className="plain">
          <thead><tr><th scope="col">{t("version")}</th><th scope="col" className="right">{t("canary.failed")}</th>{OUTCOMES.map((it) => <th key={it} scope="col" className="right"><StateBadge state={it} quiet /></th>)}</tr></thead>
          <tbody>{sides.map(([words, version, of]) => (
            <tr key={version}>
              <td>{words} <span className="mono muted">{version.slice(0, 8)}</span></td>
              <td className="right"><strong>{of.failure_rate == null ? "–" : percent(language, of.failure_rate)}</strong></td>
              {OUTCOMES.map((it) => <td key={it} className="right">{of[it] === 0 ? <span className="muted">0</span> : <Link to="/sagas" search={{ definition: name, version, status: it, started_after: canary.since }}>{number(language, of[it])}</Link>}</td>)}
            </tr>
          ))}</tbody>
        </table>
      </div>
      <p className="muted">{t("canary.since")} <Since at={canary.since} /></p>
    </Section>
  );
}

export function Ending({ name, canary, how, onClose }: { name: string; canary: CanaryView; how: End; onClose: () => void }) {
  const t = useT();
  const stale = useStale();
  const [why, setWhy] = useState("");
  const version = canary.version.slice(0, 8);
  const end = useMutation({
    mutationFn: () => send<DefinitionSummary>("POST", `/definitions/${encodeURIComponent(name)}/${how}`, { version: canary.version, why: why.trim() }),
    onSuccess: () => { stale("definitions", "outline"); toast(t(`canary.${how}.done`, { name, version })); onClose(); },
  });
  return (
    <Dialog open onClose={onClose} title={`${t(`canary.${how}`)}: ${name} ${version}`} description={<p>{t(`canary.${how}.about`)}</p>}>
      <form className="stack" onSubmit={(event) => { event.preventDefault(); end.mutate(); }}>
        <Field label={t("act.why")} hint={t("canary.why.hint")}>{(id) => <Textarea id={id} rows={2} required maxLength={1_000} value={why} onChange={(event) => setWhy(event.target.value)} />}</Field>
        <ProblemLine error={end.error} />
        <DialogEnd><Button onClick={onClose}>{t("cancel")}</Button><Button type="submit" kind={how === "promote" ? "primary" : "danger"} disabled={why.trim() === ""} busy={end.isPending}>{t(`canary.${how}.go`, { version })}</Button></DialogEnd>
      </form>
    </Dialog>
  );
}
