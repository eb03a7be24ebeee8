// Which sagas can there be?

import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";

import { useInterval } from "../api/live";
import { counts, definitions, useRights } from "../api/queries";
import { useLanguage, useT } from "../i18n";
import { counted, percent } from "../i18n/format";
import { Icon } from "../ui/Icon";
import { Await, Notice, Page, Section } from "../ui/Page";
import { olderOf } from "./running";

export function DefinitionsPage() {
  const t = useT();
  const language = useLanguage();
  const rights = useRights();
  const asked = useQuery({ ...definitions, refetchInterval: useInterval(10_000) });
  return (
    <Page title={t("definitions")} lead={t("definitions.lead")} actions={rights.author && <Link className="button primary" to="/editor"><Icon name="plus" />{t("definitions.new")}</Link>}>
      <Section flush label={t("definitions")}>
        <Await of={asked}>{({ definitions: list }) => list.length === 0 ? <Notice icon="definitions" title={t("definitions.none")}>{t("definitions.none.do")}</Notice> : (
          <ul>{list.map((it) => (
            <li key={it.name} className="line spread">
              <div className="grow">
                <p className="row wrap"><Link to="/definitions/$name" params={{ name: it.name }}><strong>{it.name}</strong></Link><span className="mono muted" title={it.version}>{it.version.slice(0, 8)}</span>{it.canary && <span className="state tone-retrying"><Icon name="simulator" size={12} />{t("canary.share", { share: percent(language, it.canary.percent / 100) })}</span>}{it.trigger && <code>{it.trigger}</code>}{it.owner && <span className="muted">{it.owner}</span>}</p>
                {it.description && <p className="muted">{it.description}</p>}
                <p className="muted ellipsis">{it.steps.join(" · ")}</p>
              </div>
              <Running name={it.name} version={it.version} />
            </li>
          ))}</ul>
        )}</Await>
      </Section>
    </Page>
  );
}

/** What runs of it: on the version that new sagas take, and on older ones. */
function Running({ name, version }: { name: string; version: string }) {
  const t = useT();
  const language = useLanguage();
  const every = useInterval(10_000);
  const all = useQuery({ ...counts({ definition: name, status: "running" }), refetchInterval: every, retry: false });
  const active = useQuery({ ...counts({ definition: name, version, status: "running" }), refetchInterval: every, retry: false });
  if (!all.data || !active.data) return <Link aria-busy={all.isPending || active.isPending} to="/sagas" search={{ definition: name, status: "running" }}>{t("definitions.running")}</Link>;
  const older = olderOf(all.data.total, active.data.total);
  return (
    <div className="right">
      <p><Link to="/sagas" search={{ definition: name, version, status: "running" }}>{t("definitions.running.count", { count: counted(language, active.data.total) })}</Link></p>
      {older && <p><Link to="/definitions/$name" params={{ name }}>{t("definitions.older", { count: counted(language, older) })}</Link></p>}
    </div>
  );
}
