// A failure group as one line: what, where, how often, whether it is over.

import "./failures.css";

import { Link } from "@tanstack/react-router";
import { lazy, Suspense } from "react";

import type { FailureGroup } from "../api/contract";
import { type Key, useLanguage, useT } from "../i18n";
import { number } from "../i18n/format";
import { Ago } from "../ui/bits";

const Sparkline = lazy(() => import("../ui/Chart").then((it) => ({ default: it.Sparkline })));

/** How a group stands. "Failed again during a retry" is a state of its own: a fix that does not hold is seen at once. */
export function standingOf(group: FailureGroup): "grows" | "failed_again" | "stuck" | "over" {
  const lately = (group.trend.at(-1) ?? 0) + (group.trend.at(-2) ?? 0);
  if (lately > 0 && group.recovered + (group.job ? 1 : 0) > 0) return "failed_again";
  if (lately > 0) return "grows";
  return group.now.parked + group.now.retrying > 0 ? "stuck" : "over";
}

const TONES = { grows: "parked", failed_again: "parked", stuck: "late", over: "completed" } as const;

export function FailureLine({ group, minutes }: { group: FailureGroup; minutes: number }) {
  const t = useT();
  const language = useLanguage();
  const state = standingOf(group);
  return (
    <li className="line failure-line">
      <div className="grow">
        <p className="row wrap"><Link to="/failures" search={{ group: group.id }}>{group.step && <><strong>{group.step}</strong> · </>}<code>{group.code}</code></Link><span className={`state tone-${TONES[state]}`}>{t(`failures.${state}` as Key)}</span></p>
        <p className="muted ellipsis" title={group.message}>{group.message}</p>
        {group.now.parked + group.now.retrying > 0 && (
          <p className="row wrap failure-now">
            {group.now.parked > 0 && <Link to="/sagas" search={{ failure: group.id, status: "parked" }}>{t("state.parked")} {number(language, group.now.parked)}</Link>}
            {group.now.retrying > 0 && <Link to="/sagas" search={{ failure: group.id, health: "retrying" }}>{t("state.retrying")} {number(language, group.now.retrying)}</Link>}
          </p>
        )}
      </div>
      <Suspense fallback={<span aria-busy="true" style={{ width: 72 }} />}><Sparkline values={group.trend} tone={TONES[state]} label={t("failures.trend", { windows: group.trend.length, minutes, values: group.trend.join(", ") })} /></Suspense>
      <div className="right failure-count"><strong>{number(language, group.count)}</strong><br /><span className="muted"><Ago at={group.last_seen} /></span></div>
    </li>
  );
}
