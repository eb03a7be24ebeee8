// Which sagas can there be?

import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";

import { useInterval } from "../api/live";
import { definitions, useRights } from "../api/queries";
import { useT } from "../i18n";
import { Icon } from "../ui/Icon";
import { Await, Notice, Page, Section } from "../ui/Page";

export function DefinitionsPage() {
  const t = useT();
  const rights = useRights();
  const asked = useQuery({ ...definitions, refetchInterval: useInterval(10_000) });
  return (
    <Page title={t("definitions")} lead={t("definitions.lead")} actions={rights.author && <Link className="button primary" to="/editor"><Icon name="plus" />{t("definitions.new")}</Link>}>
      <Section flush label={t("definitions")}>
        <Await of={asked}>{({ definitions: list }) => list.length === 0 ? <Notice icon="definitions" title={t("definitions.none")}>{t("definitions.none.do")}</Notice> : (
          <ul>{list.map((it) => (
            <li key={it.name} className="line spread">
              <div className="grow">
                <p className="row wrap"><Link to="/definitions/$name" params={{ name: it.name }}><strong>{it.name}</strong></Link><span className="mono muted" title={it.version}>{it.version.slice(0, 8)}</span>{it.trigger && <code>{it.trigger}</code>}{it.owner && <span className="muted">{it.owner}</span>}</p>
                {it.description && <p className="muted">{it.description}</p>}
                <p className="muted ellipsis">{it.steps.join(" · ")}</p>
              </div>
              <Link to="/sagas" search={{ definition: it.name, status: "running" }}>{t("definitions.running")}</Link>
            </li>
          ))}</ul>
        )}</Await>
      </Section>
    </Page>
  );
}
