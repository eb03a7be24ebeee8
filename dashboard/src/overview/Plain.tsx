// The overview of a server that counts nothing yet: what its list of sagas says, and no more.

import { useInfiniteQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";

import { useInterval } from "../api/live";
import { sagas } from "../api/queries";
import { useT } from "../i18n";
import { Ago, Amount, short } from "../ui/bits";
import { Await, Notice, Section } from "../ui/Page";
import { standing, StateBadge } from "../ui/State";

const SHOWN = 12;

export function Plain() {
  const t = useT();
  const asked = useInfiniteQuery({ ...sagas({}), refetchInterval: useInterval() });
  const rows = asked.data?.pages[0]?.sagas.slice(0, SHOWN);
  return (
    <>
      <Section><Notice icon="unknown" title={t("problem.absent")}>{t("overview.absent")}</Notice></Section>
      <Section title={t("overview.newest")} flush actions={<Link to="/sagas">{t("all")}</Link>}>
        <Await of={{ ...asked, data: rows }}>{(list) => list.length === 0 ? <Notice icon="list" title={t("list.none")}>{t("list.none.do")}</Notice> : (
          <ul>{list.map((row) => (
            <li key={row.saga} className="line spread">
              <span className="row grow"><StateBadge state={standing(row)} /><Link className="ellipsis" to="/sagas/$id" params={{ id: row.saga }}>{row.key ?? short(row.saga)}</Link></span>
              <Amount amount={row.amount} currency={row.currency} /><Ago at={row.started_at} />
            </li>
          ))}</ul>
        )}</Await>
      </Section>
    </>
  );
}
