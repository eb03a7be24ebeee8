// Do the books agree? Ledger, orders, stock and provider compared; every difference with its saga and what to do.

import "../parked/parked.css";
import "../saga/saga.css";

import { useMutation, useQuery } from "@tanstack/react-query";
import { useState } from "react";

import { send } from "../api/client";
import { useInterval } from "../api/live";
import type { Finding, Reconciliation } from "../api/contract";
import { reconciliation, useRights, useStale } from "../api/queries";
import { term, useLanguage, useT } from "../i18n";
import { number } from "../i18n/format";
import { useSaid } from "../i18n/said";
import { SagaLink } from "../saga/SagaLink";
import { Ago, Amount, Lasting } from "../ui/bits";
import { Button } from "../ui/Controls";
import { Icon } from "../ui/Icon";
import { SettleDialog } from "./SettleDialog";
import { Await, Figure, Notice, Page, ProblemLine, Section } from "../ui/Page";

export function ReconciliationPage() {
  const t = useT();
  const rights = useRights();
  const stale = useStale();
  const asked = useQuery({ ...reconciliation, refetchInterval: useInterval(10_000) });
  const run = useMutation({ mutationFn: () => send("POST", "/ops/reconciliation"), onSuccess: () => stale("reconciliation") });
  return (
    <Page title={t("reconciliation")} lead={t("reconciliation.lead")} actions={rights.operate && asked.data?.configured && <Button kind="primary" icon="reconcile" busy={run.isPending} onClick={() => run.mutate()}>{t("reconciliation.run")}</Button>}>
      <ProblemLine error={run.error} />
      <Await of={asked}>{(data) => data.configured ? <Whole data={data} /> : <Section><Notice icon="reconcile" title={t("reconciliation.off")}>{t("reconciliation.off.do")}</Notice></Section>}</Await>
    </Page>
  );
}

function Whole({ data }: { data: Reconciliation }) {
  const t = useT();
  const said = useSaid();
  const language = useLanguage();
  const rights = useRights();
  const [settling, setSettling] = useState<Finding | null>(null);
  return (
    <>
      {data.run && (
        <dl className="figures">
          <Figure label={t("reconciliation.last")}><Ago at={data.run.at} /></Figure>
          <Figure label={t("reconciliation.orders")}>{number(language, data.run.orders)}</Figure>
          <Figure label={t("reconciliation.findings")} tone={data.run.findings > 0 ? "parked" : "completed"}>{number(language, data.run.findings)}</Figure>
          <Figure label={t("took")}><Lasting ms={data.run.took_ms} /></Figure>
        </dl>
      )}
      {data.run?.error && <p className="saga-anomaly" role="alert"><Icon name="anomaly" /><span>{t("reconciliation.unread")} {said(data.run.error)}</span></p>}
      {(data.run?.unasked ?? 0) > 0 && <p className="state tone-late" style={{ whiteSpace: "normal" }} role="status"><Icon name="late" size={12} />{t("reconciliation.unasked", { n: number(language, data.run?.unasked ?? 0) })}</p>}
      {settling && <SettleDialog finding={settling} onClose={() => setSettling(null)} />}
      <Section title={t("reconciliation.findings")} flush>
        {data.findings.length === 0
          ? data.run && !data.run.error ? (data.run.findings > 0 ? <Notice icon="completed" tone="completed" title={t("reconciliation.settled")} /> : <Notice icon="completed" tone="completed" title={t("reconciliation.none")}>{t("reconciliation.none.do")}</Notice>) : <Notice icon="reconcile" title={t("reconciliation.never")} />
          : <ul>{data.findings.map((it) => (
            <li key={it.kind + it.order_id} className="line parked-line">
              <span className="parked-amount"><Amount amount={it.amount} currency={it.currency} /></span>
              <div className="grow"><p className="row wrap"><strong>{term(t, "finding", it.kind)}</strong><span className="mono">{it.order_id}</span>{it.saga && <SagaLink id={it.saga} />}</p><p className="break">{said(it.words)}</p><p className="muted">{t("suggested")} {said(it.suggested)}</p></div>
              <div className="parked-do"><span className="muted"><Ago at={it.since} /></span>{rights.operate && <Button onClick={() => setSettling(it)}>{t("reconciliation.settle")}</Button>}</div>
            </li>
          ))}</ul>}
      </Section>
      {data.runs.length > 0 && (
        <Section title={t("reconciliation.runs")}>
          <div className="scroll-x"><table className="plain"><thead><tr><th scope="col">{t("when")}</th><th scope="col" className="right">{t("reconciliation.orders")}</th><th scope="col" className="right">{t("reconciliation.findings")}</th><th scope="col" className="right">{t("took")}</th></tr></thead>
            <tbody>{data.runs.map((it) => <tr key={it.id}><td><Ago at={it.at} /> {it.error && <span className="state tone-parked" title={said(it.error)}>{t("problem.failed")}</span>}</td><td className="right">{number(language, it.orders)}</td><td className="right">{number(language, it.findings)}</td><td className="right"><Lasting ms={it.took_ms} /></td></tr>)}</tbody></table></div>
        </Section>
      )}
    </>
  );
}
