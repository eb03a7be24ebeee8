// What if? Sagas of the past, played again by their own histories under a version that they did not run on.

import { useMutation } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useState } from "react";

import { send } from "../api/client";
import type { WhatIf, WhatIfItem, WhatIfRequest } from "../api/schema";
import { fromSearch, typed } from "../sagas/filter";
import { term, useLanguage, useT } from "../i18n";
import { number } from "../i18n/format";
import { useSaid } from "../i18n/said";
import { short } from "../ui/bits";
import { Button, Field, Input } from "../ui/Controls";
import { Await, Figure, Notice, ProblemLine } from "../ui/Page";
import { StateBadge } from "../ui/State";
import { Earlier } from "./Earlier";
import { same } from "./same";

const LIMIT = 100;
const LIMIT_MAX = 1_000;
const WOULD = ["completed", "compensated", "parked", "unknown"] as const;

/** A text that need not be published, or a published version. */
export type Candidate = Pick<WhatIfRequest, "definition" | "name" | "version">;

/** `ready`: what is asked about is right, and can be played. */
export function WhatIfPanel({ name, candidate, ready = true }: { name: string; candidate: Candidate; ready?: boolean }) {
  const t = useT();
  const [which, setWhich] = useState(`definition:${name}`);
  const [limit, setLimit] = useState(LIMIT);
  const ask = useMutation({
    mutationFn: (request: WhatIfRequest) => send<WhatIf>("POST", "/ops/what-if", request),
  });
  const asked: WhatIfRequest = { ...candidate, filter: new URLSearchParams(fromSearch(typed(which)) as Record<string, string>).toString(), limit };
  return (
    <div className="stack">
      <p className="muted">{t("what_if.about")}</p>
      <form className="row wrap form-line" onSubmit={(event) => { event.preventDefault(); if (ready) ask.mutate(asked); }}>
        <Field label={t("what_if.which")} hint={t("what_if.which.hint")}>{(id) => <Input id={id} className="mono" spellCheck={false} required value={which} onChange={(event) => setWhich(event.target.value)} />}</Field>
        <Field label={t("what_if.limit")}>{(id) => <Input id={id} type="number" min={1} max={LIMIT_MAX} value={limit} onChange={(event) => setLimit(Number(event.target.value))} />}</Field>
        <Button type="submit" kind="primary" busy={ask.isPending} disabled={!ready} title={ready ? undefined : t("scenarios.not_ready")}>{t("what_if.run")}</Button>
      </form>
      <ProblemLine error={ask.error} sent="question" />
      {(ask.data !== undefined || ask.isPending) && <Await of={{ data: ask.data, error: null, errorUpdatedAt: 0, isError: false, refetch: () => undefined }}>{(came) => <Earlier is={!same(ask.variables, asked)} words="what_if.earlier"><Came came={came} /></Earlier>}</Await>}
    </div>
  );
}

function Came({ came }: { came: WhatIf }) {
  const t = useT();
  const language = useLanguage();
  if (came.sagas === 0) return <Notice icon="list" title={t("what_if.none")} />;
  return (
    <div className="stack" role="status">
      <p><strong>{t("what_if.came", { count: came.sagas })}</strong></p>
      <dl className="figures">{WOULD.map((it) => <Figure key={it} label={term(t, "state", it)} tone={it === "parked" && came.would[it] > 0 ? "parked" : undefined}>{number(language, came.would[it])}</Figure>)}</dl>
      <div className="scroll-x">
        <table className="plain">
          <thead><tr><th scope="col">{t("saga")}</th><th scope="col">{t("what_if.was")}</th><th scope="col">{t("what_if.would")}</th><th scope="col">{t("what_if.because")}</th></tr></thead>
          <tbody>{came.items.map((it) => <Line key={it.saga} item={it} />)}</tbody>
        </table>
      </div>
    </div>
  );
}

function Line({ item }: { item: WhatIfItem }) {
  const t = useT();
  const said = useSaid();
  const assumed = item.assumed ?? [];
  return (
    <tr>
      <td><Link className="mono" to="/sagas/$id" params={{ id: item.saga }}>{short(item.saga)}</Link></td>
      <td><StateBadge state={item.was} quiet /></td>
      <td><StateBadge state={item.would} quiet={item.was === item.would} /></td>
      <td className="break">{said(item.because)}{assumed.length > 0 && <span className="muted"> {t("what_if.assumed", { steps: assumed.join(", ") })}</span>}</td>
    </tr>
  );
}
