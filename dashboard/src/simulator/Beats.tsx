// What happened in a play, move by move, and what the engine did about each.

import type { BeatView, EffectView, Move, Played } from "../api/schema";
import { term, type T, useLanguage, useT } from "../i18n";
import { duration } from "../i18n/format";
import { useSaid } from "../i18n/said";
import { Icon } from "../ui/Icon";
import { look } from "../ui/State";

export function Beats({ played, moves }: { played: Played; moves: Move[] }) {
  // A play that is still the one before has fewer beats than there are moves.
  return <ol className="history" aria-live="polite">{played.beats.map((beat, at) => <Beat key={at} beat={beat} move={at === 0 ? null : moves[at - 1]} />)}</ol>;
}

function Beat({ beat, move }: { beat: BeatView; move: Move | null | undefined }) {
  const t = useT();
  const language = useLanguage();
  const say = useSaid();
  const { tone, icon } = look(stateOf(move));
  return (
    <li className={`history-line tone-${beat.changed ? tone : "pending"}`}>
      <span className="history-at">+{duration(language, beat.at_ms)}</span>
      <span className="history-icon"><Icon name={icon} size={12} /></span>
      <div className="grow">
        <div className="break">{move ? said(move, t) : t("event.start")}</div>
        {beat.effects.length > 0 && <ul className="simulator-effects">{beat.effects.map((effect, at) => <li key={at} className="muted break">{did(effect, t, say)}</li>)}</ul>}
        {beat.effects.length === 0 && !beat.changed && <div className="muted">{t("simulator.nothing")}</div>}
      </div>
    </li>
  );
}

function stateOf(move: Move | null | undefined): string {
  switch (move?.kind) {
    case "answer": return move.outcome === "succeeded" ? (move.direction === "compensate" ? "compensated" : "succeeded") : move.outcome === "retryable" ? "retrying" : "rejected";
    case "due": case "signal": return "waiting";
    case undefined: return "running";
    default: return "anomaly";
  }
}

function said(move: Move, t: T): string {
  switch (move.kind) {
    case "answer": {
      const step = move.item == null ? move.step : `${move.step}[${move.item}]`;
      const tried = move.attempt > 1 || move.round > 1 ? ` (${t("waterfall.attempt", { attempt: move.attempt, round: move.round })})` : "";
      return `${move.direction === "compensate" ? t("event.undo", { step }) : step}: ${term(t, "outcome", move.outcome)}${tried}`;
    }
    case "due": return t("simulator.passed");
    case "signal": return t("event.signal", { signal: move.name });
    case "crash": return t("simulator.crash.about");
    default: return t("simulator.operator", { action: term(t, "action", move.kind) });
  }
}

function did(effect: EffectView, t: T, say: (text: string) => string): string {
  const step = effect.step ?? "";
  const undo = effect.direction === "compensate";
  switch (effect.kind) {
    case "send": return t(undo ? "effect.undo" : "effect.send", { step }) + ((effect.attempt ?? 1) > 1 ? ` (${t("graph.attempt", { attempt: effect.attempt ?? 1 })})` : "");
    case "start_child": return t(undo ? "effect.undo" : "effect.child", { step });
    case "anomaly": return `${t("state.anomaly")}: ${term(t, "anomaly", effect.words ?? "")}`;
    case "ignored": return t("effect.ignored", { why: say(effect.words ?? "") });
    case "refused": return t("effect.refused", { why: say(effect.words ?? "") });
    default: return t("effect.ended");
  }
}
