// What is parked with the most money, and what to do about it.

import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";

import { useInterval } from "../api/live";
import { parkedFirst } from "../api/queries";
import { type Key, term, useLanguage, useT } from "../i18n";
import { number } from "../i18n/format";
import { useBecause } from "../i18n/said";
import { Ago, Amount, short } from "../ui/bits";
import { Await, Notice, Section } from "../ui/Page";

export function TopParked() {
  const t = useT();
  const language = useLanguage();
  const because = useBecause();
  const asked = useQuery({ ...parkedFirst, refetchInterval: useInterval() });
  const more = (asked.data?.at_risk ?? []).reduce((sum, it) => sum + it.sagas, 0);
  return (
    <Section title={t("overview.parked")} flush actions={<Link to="/parked">{t("all")}{more > (asked.data?.parked.length ?? 0) && ` (${number(language, more)})`}</Link>}>
      <Await of={asked} rows={3}>{(page) => page.parked.length === 0 ? <Notice icon="completed" tone="completed" title={t("parked.none")}>{t("parked.none.do")}</Notice> : (
        <ul>{page.parked.map((row) => (
          <li key={`${row.saga}/${row.anomaly?.kind ?? ""}/${row.anomaly?.effect_key ?? ""}`} className="line">
            <p className="spread"><span className="row"><strong className="tone-parked at-risk"><Amount amount={row.amount} currency={row.currency} /></strong><Link className="ellipsis" to="/sagas/$id" params={{ id: row.saga }}>{row.key ?? short(row.saga)}</Link></span><span className="muted"><Ago at={row.since} /></span></p>
            <p className="muted ellipsis">{t("suggested")} {t(`suggest.${row.suggested}` as Key)} · {row.anomaly ? term(t, "anomaly", row.anomaly.kind) : because(row.message)}</p>
          </li>
        ))}</ul>
      )}</Await>
    </Section>
  );
}
