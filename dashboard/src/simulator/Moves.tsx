// What can happen next: answers to what is open, late answers to what is not, time, signals, a crash, an operator.

import { useState } from "react";

import type { Move, MoveOutcome, Played, SentCommand } from "../api/schema";
import { term, useLanguage, useT } from "../i18n";
import { duration } from "../i18n/format";
import { Button, Field, Menu, Select, Textarea } from "../ui/Controls";
import { Icon } from "../ui/Icon";
import { Notice } from "../ui/Page";
import { typedJson } from "../ui/typed";

type Make = (move: Move) => void;

export function Moves({ played, onMove, busy }: { played: Played; onMove: Make; busy: boolean }) {
  const t = useT();
  const language = useLanguage();
  const open = played.sent.filter((it) => it.open);
  const ended = played.status !== "running" && played.status !== "parked";
  const operator: Move["kind"][] = played.status === "parked" ? ["retry", "resume_compensation", "compensate"] : ["compensate"];
  return (
    <div className="stack" aria-busy={busy}>
      {ended && <Notice icon="completed" title={t("simulator.ended")}>{t("simulator.ended.do")}</Notice>}
      {open.map((command) => <Answer key={[command.step, command.item, command.direction, command.round, command.attempt].join("/")} command={command} onMove={onMove} />)}
      {!ended && (
        <div className="simulator-move">
          <div className="grow"><strong>{t("simulator.time")}</strong><span className="muted block">{played.due
            ? t("simulator.due", { what: t(`simulator.due.${played.due.what}` as "simulator.due.retry", { step: played.due.step ?? "" }), span: duration(language, played.due.in_ms) })
            : t("simulator.due.none")}</span></div>
          <Button icon="waiting" disabled={played.due == null} onClick={() => onMove({ kind: "due" })}>{t("simulator.pass")}</Button>
        </div>
      )}
      {!ended && played.awaited?.map((name) => (
        <div className="simulator-move" key={name}>
          <div className="grow"><strong>{name}</strong><span className="muted block">{t("simulator.awaited")}</span></div>
          <Button icon="letters" onClick={() => onMove({ kind: "signal", name })}>{t("signal.send")}</Button>
        </div>
      ))}
      {!ended && (
        <div className="row wrap">
          <Button icon="anomaly" onClick={() => onMove({ kind: "crash" })} title={t("simulator.crash.about")}>{t("simulator.crash")}</Button>
          {operator.map((kind) => <Button key={kind} onClick={() => onMove({ kind } as Move)}>{t("simulator.operator", { action: term(t, "action", kind) })}</Button>)}
        </div>
      )}
      <Late played={played} onMove={onMove} />
    </div>
  );
}

function said(command: SentCommand, outcome: MoveOutcome, output?: unknown): Move {
  const { step, item, direction, round, attempt } = command;
  return { kind: "answer", step, ...(item == null ? {} : { item }), direction, round, attempt, outcome, ...(output === undefined ? {} : { output }) };
}

function named(command: SentCommand): string {
  return command.item == null ? command.step : `${command.step}[${command.item}]`;
}

/** A command that waits, and what its worker may answer. */
function Answer({ command, onMove }: { command: SentCommand; onMove: Make }) {
  const t = useT();
  const [writing, setWriting] = useState(false);
  const undo = command.direction === "compensate";
  return (
    <div className={`simulator-move tone-${undo ? "compensating" : "running"}`} role="group" aria-label={`${named(command)} ${command.work}`}>
      <div className="grow">
        <strong className="row"><Icon name={undo ? "compensating" : "running"} size={12} />{undo ? t("event.undo", { step: named(command) }) : named(command)}</strong>
        <span className="muted block">{command.work} · {t("waterfall.attempt", { attempt: command.attempt, round: command.round })}</span>
      </div>
      <div className="row wrap">
        <Button onClick={() => onMove(said(command, "succeeded"))}>{t("simulator.succeed")}</Button>
        <Button onClick={() => onMove(said(command, "rejected"))}>{t("simulator.reject")}</Button>
        <Button onClick={() => onMove(said(command, "retryable"))}>{t("simulator.later")}</Button>
        <Menu trigger={<Button icon="more" aria-label={t("act.more")}>{""}</Button>} items={[
          { label: t("simulator.succeed.with"), onSelect: () => setWriting(true) },
          { label: t("simulator.undecidable"), onSelect: () => onMove(said(command, "undecidable")) },
        ]} />
      </div>
      {writing && <Output onSay={(output) => onMove(said(command, "succeeded", output))} onClose={() => setWriting(false)} />}
    </div>
  );
}

function Output({ onSay, onClose }: { onSay: (output: unknown) => void; onClose: () => void }) {
  const t = useT();
  const [text, setText] = useState("{}");
  const [error, setError] = useState<string | null>(null);
  const say = () => {
    const { value, fault } = typedJson(text, t);
    if (fault === null) onSay(value);
    setError(fault);
  };
  return (
    <form className="simulator-output" onSubmit={(event) => { event.preventDefault(); say(); }}>
      <Field label={t("act.output")} error={error}>{(id) => <Textarea id={id} className="mono" value={text} spellCheck={false} onChange={(event) => setText(event.target.value)} />}</Field>
      <div className="row"><Button type="submit" kind="primary">{t("simulator.succeed")}</Button><Button onClick={onClose}>{t("cancel")}</Button></div>
    </form>
  );
}

/** An answer that comes when nobody waits for it any more. */
function Late({ played, onMove }: { played: Played; onMove: Make }) {
  const t = useT();
  const [chosen, setChosen] = useState(0);
  const late = played.sent.filter((it) => !it.open);
  const command = late[Math.min(chosen, late.length - 1)];
  if (!command) return null;
  return (
    <details className="simulator-late">
      <summary>{t("simulator.late")}</summary>
      <div className="row wrap">
        <Select aria-label={t("simulator.late")} value={Math.min(chosen, late.length - 1)} onChange={(event) => setChosen(Number(event.target.value))}>
          {late.map((it, at) => <option key={at} value={at}>{`${it.direction === "compensate" ? "↶ " : ""}${named(it)} · ${t("waterfall.attempt", { attempt: it.attempt, round: it.round })}`}</option>)}
        </Select>
        {(["succeeded", "rejected", "retryable"] as const).map((outcome) => <Button key={outcome} onClick={() => onMove(said(command, outcome))}>{term(t, "outcome", outcome)}</Button>)}
      </div>
    </details>
  );
}
