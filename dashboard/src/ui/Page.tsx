// What every page is made of: a title with its actions, sections, and honest words for what is not there.

import "./page.css";
import "./table.css";

import { type ReactNode, useEffect, useRef, useState } from "react";

import { reach } from "../api/client";
import { answerOf, type ApiProblem, asProblem, unread } from "../api/problem";
import { type Key, type T, useT } from "../i18n";
import { useChecked, useSaid } from "../i18n/said";
import { Ago } from "./bits";
import { Button } from "./Controls";
import { Icon, type IconName } from "./Icon";

export function Page({ title, lead, actions, children, fill = false }:
  { title: string; lead?: ReactNode; actions?: ReactNode; children: ReactNode; fill?: boolean }) {
  useEffect(() => {
    document.title = `${title} · Amends`;
  }, [title]);
  return (
    <div className={`page${fill ? " fill" : ""}`}>
      <header className="page-head">
        <div className="grow">
          <h1>{title}</h1>
          {lead && <div className="page-lead">{lead}</div>}
        </div>
        {actions && <div className="row wrap page-actions">{actions}</div>}
      </header>
      {children}
    </div>
  );
}

/** `busy`: what it shows is the answer to another question, until that to this one is there. */
export function Section({ title, actions, children, flush = false, label, busy }:
  { title?: ReactNode; actions?: ReactNode; children: ReactNode; flush?: boolean; label?: string; busy?: boolean }) {
  return (
    <section className={`section${flush ? " flush" : ""}`} aria-label={label} aria-busy={busy || undefined}>
      {(title || actions) && (
        <div className="section-head spread">
          {title && <h2>{title}</h2>}
          {actions && <div className="row wrap">{actions}</div>}
        </div>
      )}
      <div className="section-body">{children}</div>
    </section>
  );
}

/** Nothing to show, in words, with what to do about it. */
export function Notice({ icon = "pending", title, children, action, tone }:
  { icon?: IconName; title: string; children?: ReactNode; action?: ReactNode; tone?: "parked" | "late" | "completed" }) {
  return (
    <div className={`notice${tone ? ` tone-${tone}` : ""}`}>
      <span className="notice-icon"><Icon name={icon} size={20} /></span>
      <p className="notice-title">{title}</p>
      {children && <div className="muted notice-words">{children}</div>}
      {action}
    </div>
  );
}

export function Skeleton({ rows = 4 }: { rows?: number }) {
  const t = useT();
  return (
    <div className="skeleton" role="status" aria-label={t("loading")}>
      {Array.from({ length: rows }, (_, at) => <div key={at} className="skeleton-row" style={{ width: `${92 - ((at * 17) % 40)}%` }} />)}
    </div>
  );
}

interface Asked<D> { data: D | undefined; dataUpdatedAt?: number; error: unknown; errorUpdatedAt: number; isError: boolean; isPlaceholderData?: boolean; refetch: () => unknown }

/** Shows what was asked for, or why it is not there. What is known stays while it is asked again. */
export function Await<D>({ of, children, rows }: { of: Asked<D>; children: (data: D) => ReactNode; rows?: number }) {
  const failed = useFailed(of);
  const { data } = answerOf(of);
  if (data !== undefined) {
    return (
      <>
        {of.isError && <StaleLine problem={asProblem(of.error)} at={of.dataUpdatedAt ?? Date.now()} onRetry={() => void of.refetch()} />}
        {children(data)}
      </>
    );
  }
  if (failed) return <ProblemNotice problem={asProblem(failed)} onRetry={() => of.refetch()} />;
  return <Skeleton {...(rows === undefined ? {} : { rows })} />;
}

/** Why it could not be read. While it is asked again the query tells of no error, and it is not known any better. */
function useFailed({ error, errorUpdatedAt: at }: Asked<unknown>): unknown {
  const last = useRef<{ error: unknown; at: number } | null>(null);
  if (error) last.current = { error, at };
  // That of another query which was shown here before is none of this one.
  return last.current?.at === at ? last.current.error : null;
}

/** Whether it could not be read. */
export function useUnread(of: Asked<unknown>): boolean {
  return unread(answerOf(of).data, useFailed(of));
}

/** Beside a page: that it could not be read whether there is something. Nothing while it is known, or where there is no such thing. */
export function Unread({ of, what }: { of: Asked<unknown>; what: string }) {
  const t = useT();
  if (!useUnread(of)) return null;
  return (
    <p className="stale" role="alert">
      <Icon name="unknown" size={12} />
      <span>{t("unread", { what })}</span>
      <button type="button" className="link" onClick={() => void of.refetch()}>{t("try_again")}</button>
    </p>
  );
}

const WORDS: Record<ApiProblem["kind"], [Key, Key, IconName]> = {
  offline: ["problem.offline", "problem.offline.do", "abandoned"],
  unauthorized: ["problem.unauthorized", "problem.unauthorized.do", "hold"],
  forbidden: ["problem.forbidden", "problem.forbidden.do", "hold"],
  absent: ["problem.absent", "problem.absent.do", "unknown"],
  refused: ["problem.refused", "problem.refused.do", "rejected"],
  invalid: ["problem.invalid", "problem.invalid.do", "rejected"],
  busy: ["problem.busy", "problem.busy.do", "waiting"],
  failed: ["problem.failed", "problem.failed.do", "rejected"],
};

export function ProblemNotice({ problem, onRetry }: { problem: ApiProblem; onRetry?: () => unknown }) {
  const t = useT();
  const [busy, setBusy] = useState(false);
  const say = useSaid();
  const [title, remedy, icon] = WORDS[problem.kind];
  const detail = problem.kind === "offline" ? undefined : shown(problem);
  return (
    <div role="alert">
      <Notice icon={icon} title={t(problem.kind === "absent" && detail ? "problem.missing" : title)} action={onRetry && problem.kind !== "absent" && <Button busy={busy} onClick={() => { setBusy(true); void Promise.resolve(onRetry()).finally(() => setBusy(false)); }}>{t("try_again")}</Button>}>
        <p>{detail ? say(detail) : t(remedy)}</p>
      </Notice>
    </div>
  );
}

/** The engine's own words, without what is for those who ask by hand; none of a path that this server does not have. */
function shown(problem: ApiProblem): string | undefined {
  const detail = problem.body.detail;
  return detail?.startsWith("There is nothing at this path.") ? undefined : detail?.replace(/(?<=\.) `GET [^`]+` lists (them|the open ones)\b.*$/, "");
}

/** A page asks again by itself. What somebody sent is sent again by nobody else: a deed, which may have been taken in, or a question. */
export type Sent = "deed" | "question";

const SENT: Record<Sent, Partial<Record<ApiProblem["kind"], [Key, Key]>>> = {
  deed: {
    offline: ["problem.offline", "problem.offline.deed"],
    forbidden: ["problem.forbidden.deed", "problem.forbidden.do"],
    busy: ["problem.busy", "problem.busy.deed"],
  },
  question: {
    offline: ["problem.offline", "problem.offline.question"],
    busy: ["problem.busy", "problem.busy.question"],
  },
};

/** What became of what was sent, and what it means. The titles of a problem are for logs: only its detail is a sentence. */
function wordsOf(problem: ApiProblem, sent: Sent, t: T, said: (text: string) => string): [string, string] {
  const [title, remedy] = SENT[sent][problem.kind] ?? WORDS[problem.kind];
  const detail = shown(problem);
  return [t(title), detail ? said(detail) : t(remedy)];
}

/** Why it came to nothing, in one line. */
export function problemWords(error: unknown, t: T, said: (text: string) => string, sent: Sent = "deed"): string {
  return wordsOf(asProblem(error), sent, t, said).join(" ");
}

/** What the check says of a text; the codes of what is proved are words. */
const DIAGNOSTIC = /^E\d{3}$/;

/** What came of it, below its form. */
export function ProblemLine({ error, sent = "deed" }: { error: unknown; sent?: Sent }) {
  const t = useT();
  const said = useSaid();
  const checked = useChecked();
  if (!error) return null;
  const problem = asProblem(error);
  const faults = problem.body.errors ?? [];
  const [title, words] = wordsOf(problem, sent, t, said);
  return (
    <div className="problem-line" role="alert">
      <Icon name="rejected" />
      <div>
        <p><strong>{title}</strong> {words}</p>
        {faults.length > 0 && <ul>{faults.map((fault, at) => <li key={at}><code>{fault.pointer || fault.code || ""}</code> {DIAGNOSTIC.test(fault.code ?? "") ? checked(fault.detail) : said(fault.detail)}{fault.remedy ? ` — ${checked(fault.remedy)}` : ""}</li>)}</ul>}
      </div>
    </div>
  );
}

/** `at` is when what is shown was read. */
function StaleLine({ problem, at, onRetry }: { problem: ApiProblem; at: number; onRetry: () => void }) {
  const t = useT();
  const said = useSaid();
  if (problem.kind === "offline" || !reach.get()) return null; // said once, above the page
  return (
    <p className="stale" role="status">
      <Icon name="late" size={12} />
      <span>{t("stale")} <Ago at={new Date(at).toISOString()} />. {problem.body.detail ? said(problem.body.detail) : t(WORDS[problem.kind][0])}</span>
      <button type="button" className="link" onClick={onRetry}>{t("try_again")}</button>
    </p>
  );
}

/** A figure with its name; a link when there is a list behind it. */
export function Figure({ label, children, tone, note }: { label: string; children: ReactNode; tone?: string | undefined; note?: ReactNode }) {
  return (
    <div className={`figure${tone ? ` tone-${tone}` : ""}`}>
      <dt>{label}</dt>
      <dd>{children}{note && <span className="figure-note">{note}</span>}</dd>
    </div>
  );
}
