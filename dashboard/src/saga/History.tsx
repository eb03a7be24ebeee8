// What happened, newest last, each as one line that opens to what it brought. Thousands of them do not freeze the page.

import { Link } from "@tanstack/react-router";
import { useState } from "react";

import type { DeadLetter, HistoryEvent } from "../api/contract";
import type { IgnoredPage, IgnoredView } from "../api/schema";
import { term, type T, useLanguage, useT } from "../i18n";
import { duration } from "../i18n/format";
import { useBecause, useExplained, useSaid } from "../i18n/said";
import { Exactly } from "../ui/bits";
import { Icon } from "../ui/Icon";
import { Json } from "../ui/Json";
import { Notice } from "../ui/Page";
import { look } from "../ui/State";
import { isOf } from "./items";

const SHOWN = 100;
const MORE = 500;

/** What stands between the transitions, though it made none. */
export interface Beside { ignored: IgnoredView[]; letters: DeadLetter[] }

/** `earlier` events are not read yet; `onEarlier` reads some of them. */
export function History({ events, beside, earlier, onEarlier, busy, startedAt, step }:
  { events: HistoryEvent[]; beside: Beside; earlier: number; onEarlier: () => void; busy: boolean; startedAt: string; step: string | null }) {
  const t = useT();
  const [shown, setShown] = useState(SHOWN);
  const of = events.filter((event) => isOf(event, step));
  const visible = of.slice(-shown);
  const hidden = of.length - visible.length;
  return (
    <div>
      {hidden + earlier > 0 && (
        <p className="history-more">
          <button type="button" className="link" disabled={busy} onClick={() => { setShown(shown + MORE); if (hidden < MORE && earlier > 0) onEarlier(); }}>
            {busy ? t("loading") : step === null ? t("history.earlier", { count: hidden + earlier }) : t("history.earlier.step")}
          </button>
        </p>
      )}
      <ol className="history">{inPlace(visible, beside, hidden + earlier > 0, step).map((it) =>
        "event" in it ? <Line key={it.event.revision} event={it.event} startedAt={startedAt} />
        : "letter" in it ? <Letter key={`letter/${it.letter.id}`} letter={it.letter} startedAt={startedAt} />
        : <Late key={`late/${it.late.id}`} late={it.late} startedAt={startedAt} />)}</ol>
    </div>
  );
}

type Placed = { at: number } & ({ event: HistoryEvent } | { letter: DeadLetter } | { late: IgnoredView });

/** Transitions in their order, and between them what came and changed nothing. Of an incomplete history, only what is later than its beginning. */
export function inPlace(events: HistoryEvent[], beside: Beside, incomplete: boolean, step: string | null): Placed[] {
  const first = incomplete && events[0] ? Date.parse(events[0].at) : -Infinity;
  const others: Placed[] = [
    ...beside.letters.map((letter) => ({ at: Date.parse(letter.at), letter })),
    ...beside.ignored.filter((late) => isOf(late, step)).map((late) => ({ at: Date.parse(late.at), late })),
  ].filter((it) => it.at >= first).sort((a, b) => a.at - b.at);
  const placed: Placed[] = [];
  for (const event of events) {
    const at = Date.parse(event.at);
    while (others[0] && others[0].at < at) placed.push(...others.splice(0, 1));
    placed.push({ at, event });
  }
  return [...placed, ...others];
}

function After({ at, startedAt }: { at: string; startedAt: string }) {
  const language = useLanguage();
  return <span className="history-at" title={at}>+{duration(language, Math.max(0, Date.parse(at) - Date.parse(startedAt)))}</span>;
}

/** A late or repeated answer: it stands where it came, and did nothing. */
function Late({ late, startedAt }: { late: IgnoredView; startedAt: string }) {
  const t = useT();
  const said = useSaid();
  const [, words] = describe({ revision: 0, ...late }, t);
  return (
    <li className="history-line history-aside tone-pending">
      <After at={late.at} startedAt={startedAt} /><span className="history-icon"><Icon name="skipped" size={12} /></span>
      <div className="grow"><div className="break">{t("history.ignored")} {words}</div><div className="muted break">{said(late.reason)}</div></div>
    </li>
  );
}

function Letter({ letter, startedAt }: { letter: DeadLetter; startedAt: string }) {
  const t = useT();
  const because = useBecause();
  return (
    <li className="history-line history-aside tone-parked">
      <After at={letter.at} startedAt={startedAt} /><span className="history-icon"><Icon name="letters" size={12} /></span>
      <div className="grow">
        <div><Link to="/dead-letters" search={{ state: "all", saga: letter.saga ?? undefined, letter: String(letter.id) }}>{t("letters.one", { id: letter.id })}</Link> <span className="muted">{t(`letter.${letter.state}` as "letter.kept")}</span></div>
        <div className="break">{because(letter.reason)}</div>
      </div>
    </li>
  );
}

function Line({ event, startedAt }: { event: HistoryEvent; startedAt: string }) {
  const t = useT();
  const [open, setOpen] = useState(false);
  const [said, explain] = [useSaid(), useExplained()];
  const [state, words] = describe(event, t);
  const { tone, icon } = look(state);
  const hasMore = event.payload != null;
  return (
    <li className={`history-line tone-${tone}`}>
      <After at={event.at} startedAt={startedAt} />
      <span className="history-icon"><Icon name={icon} size={12} /></span>
      <div className="grow">
        <div className="break">{words}</div>
        {event.error && <div className="break history-error"><code>{event.error.code}</code> {explain(event.error.code, event.error.message)}</div>}
        {event.why && <div className="break muted">“{event.why}” — {event.who}</div>}
        {event.detail && <div className="break muted">{said(event.detail)}</div>}
        {open && (
          <div className="history-body">
            <p className="muted">r{event.revision} · <Exactly at={event.at} /></p>
            {event.payload != null && <Json value={event.payload} />}
          </div>
        )}
      </div>
      {hasMore && <button type="button" className="link history-open" aria-expanded={open} onClick={() => setOpen(!open)}>{open ? t("hide") : t("history.data")}</button>}
    </li>
  );
}

/** An event as a state, for its look, and in words. */
function describe(event: HistoryEvent, t: T): [string, string] {
  const step = event.step == null ? "" : event.item == null ? event.step : `${event.step}[${event.item}]`;
  const undo = event.direction === "compensate";
  switch (event.kind) {
    case "start": return ["running", t("event.start")];
    case "answer": case "child_ended": {
      const outcome = event.outcome ?? "";
      const tried = (event.attempt ?? 1) > 1 || (event.round ?? 1) > 1 ? ` (${t("waterfall.attempt", { attempt: event.attempt ?? 1, round: event.round ?? 1 })})` : "";
      const state = outcome === "succeeded" ? (undo ? "compensated" : "succeeded") : outcome === "retryable" ? "retrying" : outcome === "undecidable" ? "undecidable" : "rejected";
      return [state, `${undo ? t("event.undo", { step }) : step}: ${term(t, "outcome", outcome)}${tried}`];
    }
    case "due": return ["waiting", t("event.due")];
    case "signal": return ["waiting", t("event.signal", { signal: event.signal ?? "" })];
    case "operator": return ["anomaly", t("event.operator", { who: event.who ?? "", action: term(t, "action", event.action ?? ""), step })];
    case "poison": case "illegal": return ["parked", term(t, "event", event.kind)];
    default: return ["pending", term(t, "event", event.kind)];
  }
}

export function Ignored({ page }: { page: IgnoredPage }) {
  const t = useT();
  const said = useSaid();
  if (page.ignored.length === 0) return <Notice icon="completed" title={t("ignored.none")}>{t("ignored.about")}</Notice>;
  return (
    <div>
      <p className="muted">{t("ignored.about")}</p>
      <ol className="history">
        {page.ignored.map((it) => {
          const [state, words] = describe({ revision: 0, ...it }, t);
          const { tone, icon } = look(state);
          return (
            <li key={it.id} className={`history-line tone-${tone}`}>
              <span className="history-at"><Exactly at={it.at} /></span><span className="history-icon"><Icon name={icon} size={12} /></span>
              <div className="grow"><div>{words}</div><div className="muted">{said(it.reason)}</div></div>
            </li>
          );
        })}
      </ol>
    </div>
  );
}
