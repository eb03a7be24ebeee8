// Do the books agree? Ledger, orders, stock and provider compared; every difference with its saga and what to do.

import "../parked/parked.css";
import "../saga/saga.css";

import { useInfiniteQuery, useMutation } from "@tanstack/react-query";
import { useMemo, useState } from "react";

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
import { Await, Figure, Notice, Page, ProblemLine, Section } from "../ui/Page";
import { type Books, booksOf, TONES } from "./books";
import { SettleDialog } from "./SettleDialog";

export function ReconciliationPage() {
  const t = useT();
  const rights = useRights();
  const stale = useStale();
  const asked = useInfiniteQuery({ ...reconciliation, refetchInterval: useInterval(10_000) });
  const run = useMutation({ mutationFn: () => send("POST", "/ops/reconciliation"), onSuccess: () => stale("reconciliation") });
  // Of the findings there are pages; of all else the first one tells.
  const data = useMemo(() => {
    const [first] = asked.data?.pages ?? [];
    return first && { ...first, findings: asked.data?.pages.flatMap((page) => page.findings) ?? [] };
  }, [asked.data]);
  return (
    <Page title={t("reconciliation")} lead={t("reconciliation.lead")} actions={rights.operate && data?.configured && <Button kind="primary" icon="reconcile" busy={run.isPending} onClick={() => run.mutate()}>{t("reconciliation.run")}</Button>}>
      <ProblemLine error={run.error} />
      <Await of={{ ...asked, data }}>{(it) => it.configured ? <Whole data={it} more={asked.hasNextPage ? { busy: asked.isFetchingNextPage, go: () => void asked.fetchNextPage() } : null} /> : <Section><Notice icon="reconcile" title={t("reconciliation.off")}>{t("reconciliation.off.do")}</Notice></Section>}</Await>
    </Page>
  );
}

function Whole({ data, more }: { data: Reconciliation; more: { busy: boolean; go: () => void } | null }) {
  const t = useT();
  const said = useSaid();
  const language = useLanguage();
  const rights = useRights();
  const [settling, setSettling] = useState<Finding | null>(null);
  const books = booksOf(data);
  return (
    <>
      {data.run && (
        <dl className="figures">
          <Figure label={t("reconciliation.last")}><Ago at={data.run.at} /></Figure>
          <Figure label={t("reconciliation.orders")}>{data.run.error ? "–" : number(language, data.run.orders)}</Figure>
          <Figure label={t("reconciliation.open")} tone={TONES[books]}>{books === "unread" || books === "never" ? "–" : number(language, data.open)}</Figure>
          <Figure label={t("took")}><Lasting ms={data.run.took_ms} /></Figure>
        </dl>
      )}
      {data.run?.error && <p className="saga-anomaly" role="alert"><Icon name="anomaly" /><span>{t("reconciliation.unread")} {said(data.run.error)}</span></p>}
      {(data.run?.unasked ?? 0) > 0 && <p className="state tone-late" style={{ whiteSpace: "normal" }} role="status"><Icon name="late" size={12} />{t("reconciliation.unasked", { n: number(language, data.run?.unasked ?? 0) })}</p>}
      {settling && <SettleDialog finding={settling} onClose={() => setSettling(null)} />}
      <Section title={t("reconciliation.findings")} flush>
        {data.findings.length === 0
          ? books !== "differ" && <Nothing books={books} data={data} />
          : <ul>{data.findings.map((it) => (
            <li key={it.kind + it.order_id} className="line parked-line">
              <span className="parked-amount"><Amount amount={it.amount} currency={it.currency} /></span>
              <div className="grow"><p className="row wrap"><strong>{term(t, "finding", it.kind)}</strong><span className="mono">{it.order_id}</span>{it.saga && <SagaLink id={it.saga} />}</p><p className="break">{said(it.words)}</p><p className="muted">{t("suggested")} {said(it.suggested)}</p></div>
              <div className="parked-do"><span className="muted"><Ago at={it.since} /></span>{rights.operate && <Button onClick={() => setSettling(it)}>{t("reconciliation.settle")}</Button>}</div>
            </li>
          ))}</ul>}
        {more && <div className="line"><Button busy={more.busy} onClick={more.go}>{t("more")}</Button></div>}
      </Section>
      {data.runs.length > 0 && (
        <Section title={t("reconciliation.runs")}>
          <div className="scroll-x"><table className="plain"><thead><tr><th scope="col">{t("when")}</th><th scope="col" className="right">{t("reconciliation.orders")}</th><th scope="col" className="right">{t("reconciliation.findings")}</th><th scope="col" className="right">{t("took")}</th></tr></thead>
            <tbody>{data.runs.map((it) => <tr key={it.id}><td><Ago at={it.at} /> {it.error && <span className="state tone-parked" title={said(it.error)}>{t("problem.failed")}</span>}</td><td className="right">{it.error ? "–" : number(language, it.orders)}</td><td className="right">{it.error ? "–" : number(language, it.findings)}</td><td className="right"><Lasting ms={it.took_ms} /></td></tr>)}</tbody></table></div>
        </Section>
      )}
    </>
  );
}

/** Why no difference stands here. */
function Nothing({ books, data }: { books: Exclude<Books, "differ">; data: Reconciliation }) {
  const t = useT();
  const read = data.runs.find((it) => !it.error);
  switch (books) {
    case "agree": return <Notice icon="completed" tone="completed" title={t("reconciliation.none")}>{t("reconciliation.none.do")}</Notice>;
    case "settled": return <Notice icon="completed" tone="completed" title={t("reconciliation.settled")} />;
    case "agreed": return <Notice icon="late" title={t("reconciliation.agreed")}>{read && <Ago at={read.at} />}</Notice>;
    case "unread": return <Notice icon="unknown" title={t("reconciliation.all_unread")} />;
    case "never": return <Notice icon="reconcile" title={t("reconciliation.never")} />;
  }
}
