// A failure group as one line: what, where, how often, whether it is over.

import "./failures.css";

import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";

import type { FailureGroup } from "../api/contract";
import { jobs } from "../api/queries";
import { type Key, useLanguage, useT } from "../i18n";
import { number } from "../i18n/format";
import { meaning, useExplained } from "../i18n/said";
import { Ago, Since } from "../ui/bits";
import { Icon, type IconName } from "../ui/Icon";
import { lazily } from "../ui/lazily";
import { type GroupStanding, lately, standingOf } from "./standing";

/** It says nothing that the line does not: where it cannot be fetched, there is none. */
const Sparkline = lazily(async () => (await import("../ui/Chart")).Sparkline, { waiting: <span aria-busy="true" style={{ width: 72 }} />, failed: () => null });

const TONES = {
  grows: "parked", failed_again: "parked", stuck: "late", over: "completed", refused: "compensated", refused_parked: "parked", refused_before: "pending",
} as const;

const SHAPES: Record<GroupStanding, IconName> = {
  grows: "failures", failed_again: "retrying", stuck: "parked", over: "completed", refused: "compensated", refused_parked: "parked", refused_before: "compensated",
};

/** `dense`: in two lines, where it is one of several things on a page. */
export function FailureLine({ group, minutes, dense = false }: { group: FailureGroup; minutes: number; dense?: boolean }) {
  const t = useT();
  const language = useLanguage();
  const explain = useExplained();
  // Of the newest job over it one must know when it began.
  const retried = useQuery({ ...jobs, enabled: group.job != null && lately(group) > 0 });
  const state = standingOf(group, retried.data?.jobs.find((job) => job.id === group.job)?.created_at);
  const words = explain(group.code, group.message);
  const now = group.now.parked + group.now.retrying > 0 && (
    <span className="row wrap failure-now">
      {group.now.parked > 0 && <Link to="/sagas" search={{ failure: group.id, status: "parked" }}>{t("state.parked")} {number(language, group.now.parked)}</Link>}
      {group.now.retrying > 0 && <Link to="/sagas" search={{ failure: group.id, health: "retrying" }}>{t("state.retrying")} {number(language, group.now.retrying)}</Link>}
    </span>
  );
  return (
    <li className="line failure-line">
      <div className="grow">
        <p className="row wrap"><Link to="/failures" search={{ group: group.id }}>{group.step && <><strong>{group.step}</strong> · </>}<code title={meaning(t, group.code)}>{group.code}</code></Link><span className={`state tone-${TONES[state]}`}><Icon name={SHAPES[state]} size={12} />{t(`failures.${state}` as Key)}</span>{dense && now}</p>
        {dense ? <p className="muted ellipsis" title={group.message}>{group.definition} · {t("failures.since")} <Since at={group.since} /> · {words}</p> : (
          <>
            <p className="muted ellipsis" title={group.message}>{words}</p>
            <p className="muted">{group.definition} <span className="mono">{group.version.slice(0, 8)}</span> · {t("failures.since")} <Since at={group.since} /></p>
            {now && <p className="row wrap">{now}</p>}
          </>
        )}
      </div>
      <Sparkline values={group.trend} tone={TONES[state]} label={t("failures.trend", { windows: group.trend.length, minutes, values: group.trend.join(", ") })} />
      <div className="right failure-count"><Link to="/sagas" search={{ failure: group.id }} title={t("failures.count.list")}><strong>{number(language, group.count)}</strong></Link><br /><span className="muted" title={t("failures.last")}><Ago at={group.last_seen} /></span></div>
    </li>
  );
}
