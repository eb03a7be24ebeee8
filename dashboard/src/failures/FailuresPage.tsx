// What broke, since when, is it over?

import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import { useMemo, useState } from "react";

import { useInterval } from "../api/live";
import type { FailureGroup } from "../api/contract";
import { answerOf } from "../api/problem";
import { failure, failures, useRights } from "../api/queries";
import { term, useLanguage, useT } from "../i18n";
import { number } from "../i18n/format";
import { useExplained } from "../i18n/said";
import { BulkDialog } from "../jobs/BulkDialog";
import type { BulkSet } from "../jobs/deed";
import { useCommands } from "../layout/commands";
import { SagaLink } from "../saga/SagaLink";
import { Since } from "../ui/bits";
import { Button, Check, IconButton } from "../ui/Controls";
import { Await, Figure, Notice, Page, Section } from "../ui/Page";
import { FailureLine } from "./FailureLine";
import { isDesigned } from "./standing";

export function FailuresPage() {
  const t = useT();
  const navigate = useNavigate();
  const search = useSearch({ from: "/failures" });
  const open = search["open"] !== "false";
  const every = useInterval(5_000);
  const asked = useInfiniteQuery({ ...failures({ open: String(open), definition: search["definition"] }), refetchInterval: every });
  const { data, waiting } = answerOf(asked);
  const groups = useMemo(() => data?.pages.flatMap((page) => page.failures), [data]);
  const minutes = data?.pages[0]?.trend_minutes ?? 0;
  return (
    <Page title={t("failures")} lead={t("failures.lead")}
      actions={<Check label={t("failures.open")} checked={open} onChange={(event) => void navigate({ to: "/failures", search: { ...search, open: event.target.checked ? undefined : "false" }, replace: true })} />}>
      {search["group"] && <Group id={search["group"]} />}
      <Await of={{ ...asked, data: groups }}>{(list) => {
        const [refusals, trouble] = [list.filter(isDesigned), list.filter((group) => !isDesigned(group))];
        return (
          <>
            <Section flush title={t("failures.trouble")} busy={waiting}>{trouble.length > 0 ? <Groups groups={trouble} minutes={minutes} /> : asked.hasNextPage ? <p className="line muted">{t("failures.none.yet")}</p> : search["definition"] !== undefined ? <Notice icon="search" title={t("failures.none.do")} action={<Button onClick={() => void navigate({ to: "/failures", search: {}, replace: true })}>{t("filter.clear")}</Button>} />
            : <Notice icon="completed" tone="completed" title={t("failures.none")}>{t(open ? "failures.none.short" : "failures.none.do")}</Notice>}</Section>
            {refusals.length > 0 && <Section flush title={t("failures.refusals")} busy={waiting}><p className="line muted">{t("failures.refusals.about")}</p><Groups groups={refusals} minutes={minutes} /></Section>}
            {asked.hasNextPage && <div className="line"><Button busy={asked.isFetchingNextPage} onClick={() => void asked.fetchNextPage()}>{t("more")}</Button></div>}
          </>
        );
      }}</Await>
    </Page>
  );
}

function Groups({ groups, minutes }: { groups: FailureGroup[]; minutes: number }) {
  return <ul>{groups.map((group) => <FailureLine key={group.id} group={group} minutes={minutes} />)}</ul>;
}

function Group({ id }: { id: string }) {
  const t = useT();
  const navigate = useNavigate();
  const asked = useQuery({ ...failure(id), refetchInterval: useInterval(3_000) });
  return (
    <Section title={asked.data ? [asked.data.step, asked.data.code].filter(Boolean).join(": ") : t("failures.group")} actions={<IconButton icon="close" label={t("close")} onClick={() => void navigate({ to: "/failures", search: {} })} />}>
      <Await of={asked} rows={4}>{(group) => <Details group={group} />}</Await>
    </Section>
  );
}

function Details({ group }: { group: FailureGroup }) {
  const t = useT();
  const language = useLanguage();
  const rights = useRights();
  const explain = useExplained();
  const [bulk, setBulk] = useState<BulkSet | null>(null);
  const parked = { filter: `status=parked&failure=${group.id}`, name: [group.step, group.code].filter(Boolean).join(": ") };
  useCommands(rights.operate && group.now.parked > 0 ? [
    { id: "c/retry", label: t("failures.retry", { count: group.now.parked }), icon: "retrying", go: () => setBulk({ ...parked, action: "retry" }) },
    { id: "c/compensate", label: t("failures.compensate"), icon: "compensating", go: () => setBulk({ ...parked, action: "compensate" }) },
  ] : []);
  return (
    <div className="stack">
      <p className="break failure-message">{explain(group.code, group.message)}</p>
      {group.kind && <p className="muted">{t("failures.kind")} {term(t, "failure", group.kind)}</p>}
      <p className="muted row wrap"><Link to="/definitions/$name" params={{ name: group.definition }}>{group.definition}</Link><span className="mono">{group.version.slice(0, 8)}</span><span>{t("failures.first")} <Since at={group.first_seen} /></span><span>{t("failures.last")} <Since at={group.last_seen} /></span><span>{t("failures.sample")} <SagaLink id={group.sample} /></span></p>
      <dl className="figures">
        <Figure label={t("failures.count")}><Link to="/sagas" search={{ failure: group.id }} title={t("failures.count.list")}>{number(language, group.count)}</Link></Figure>
        <Figure label={t("state.parked")} tone={group.now.parked > 0 ? "parked" : undefined}><Link to="/sagas" search={{ failure: group.id, status: "parked" }}>{number(language, group.now.parked)}</Link></Figure>
        <Figure label={t("state.retrying")}><Link to="/sagas" search={{ failure: group.id, health: "retrying" }}>{number(language, group.now.retrying)}</Link></Figure>
        <Figure label={t("state.compensated")}><Link to="/sagas" search={{ failure: group.id, status: "compensated" }}>{number(language, group.now.compensated)}</Link></Figure>
        <Figure label={t("failures.recovered")} tone={group.recovered > 0 ? "completed" : undefined}>{number(language, group.recovered)}</Figure>
      </dl>
      {group.job && <p>{t("failures.job")} <Link to="/jobs/$id" params={{ id: group.job }}>{t("failures.job.look")}</Link></p>}
      {rights.operate && (
        <div className="row wrap">
          <Button kind="primary" icon="retrying" disabled={group.now.parked === 0} onClick={() => setBulk({ ...parked, action: "retry" })}>{t("failures.retry", { count: group.now.parked })}</Button>
          <Button icon="compensating" disabled={group.now.parked === 0} onClick={() => setBulk({ ...parked, action: "compensate" })}>{t("failures.compensate")}</Button>
          <Button icon="simulator" disabled={group.now.compensated === 0} onClick={() => setBulk({ filter: `status=compensated&failure=${group.id}`, kind: "replay", name: parked.name })}>{t("failures.replay", { count: group.now.compensated })}</Button>
        </div>
      )}
      {bulk && <BulkDialog set={bulk} onClose={() => setBulk(null)} />}
    </div>
  );
}
