// Scenarios run from the page: the same files that `amends test` takes, played by the engine in memory.

import "../saga/saga.css";

import { useMutation } from "@tanstack/react-query";
import { useRef } from "react";

import { writeExact } from "../api/exact";
import { send } from "../api/client";
import type { ScenariosRequest, ScenariosView, ScenarioView, TimelineLine } from "../api/schema";
import { useLanguage, useT } from "../i18n";
import { duration } from "../i18n/format";
import { useSaid, useTold } from "../i18n/said";
import { Button } from "../ui/Controls";
import { Icon, type IconName } from "../ui/Icon";
import { lazyPart } from "../ui/lazily";
import { ProblemLine, Section } from "../ui/Page";
import { Earlier } from "./Earlier";
import { same } from "./same";
import type { EditorHandle } from "./Yaml";

const Editor = lazyPart(async () => (await import("./Yaml")).YamlEditor);
const NO_MISTAKES: never[] = [];
const MARKS: Record<string, [tone: string, icon: IconName]> = {
  good: ["completed", "completed"], failed: ["late", "rejected"], again: ["retrying", "retrying"], back: ["compensated", "compensated"], human: ["parked", "parked"], note: ["pending", "right"],
};

/** One to begin with. */
export function scenario(name: string, input: unknown): string {
  return `definition: ${name}\ninput: ${writeExact(input)}\n\nscenarios:\n  - scenario: Everything works\n    expect:\n      ends: completed\n`;
}

/** `ready`: the definition is right, and can be played. */
export function ScenariosPanel({ source, ready, text, onText }: { source: string; ready: boolean; text: string; onText: (text: string) => void }) {
  const t = useT();
  const handle = useRef<EditorHandle>(null);
  const file = useRef<HTMLInputElement>(null);
  const asked: ScenariosRequest = { source, scenarios: text };
  const run = useMutation({ mutationFn: (request: ScenariosRequest) => send<ScenariosView>("POST", "/authoring/scenarios", request) });
  return (
    <Section title={t("scenarios")} actions={<>
      <input ref={file} type="file" hidden accept=".yaml,.yml" aria-label={t("scenarios.open")} onChange={(event) => void event.target.files?.[0]?.text().then(onText)} />
      <Button onClick={() => file.current?.click()}>{t("scenarios.open")}</Button>
      <Button kind="primary" busy={run.isPending} disabled={!ready} title={ready ? undefined : t("scenarios.not_ready")} onClick={() => run.mutate(asked)}>{t("scenarios.run")}</Button>
    </>}>
      <div className="stack">
        <div className="scenarios-text"><Editor source={text} onChange={onText} mistakes={NO_MISTAKES} handle={handle} label={t("scenarios.text")} plain /></div>
        <ProblemLine error={run.error} sent="question" />
        {run.data && <Earlier is={!same(run.variables, asked)} words="scenarios.earlier"><Results came={run.data} /></Earlier>}
      </div>
    </Section>
  );
}

function Results({ came }: { came: ScenariosView }) {
  const t = useT();
  const said = useSaid();
  const passed = came.scenarios.filter((it) => it.passed).length;
  return (
    <div role="status">
      <p><strong>{t("scenarios.came", { passed, count: came.scenarios.length })}</strong> <span className="muted">{t("scenarios.reached", { reached: came.total - came.missing.length, total: came.total })}</span></p>
      <ul>{came.scenarios.map((it) => <Result key={it.name} of={it} />)}</ul>
      {came.missing.length > 0 && <details><summary className="link">{t("scenarios.missing", { count: came.missing.length })}</summary><p className="muted break">{came.missing.map(said).join("; ")}</p></details>}
    </div>
  );
}

function Result({ of }: { of: ScenarioView }) {
  const t = useT();
  const said = useSaid();
  const language = useLanguage();
  return (
    <li className="line">
      <details open={!of.passed}>
        <summary><span className={`state tone-${of.passed ? "completed" : "parked"}`}><Icon name={of.passed ? "completed" : "rejected"} size={12} />{t(of.passed ? "scenarios.passed" : "scenarios.failed")}</span> {of.name} <span className="muted">{duration(language, of.took_ms)}</span></summary>
        {of.wrong.map((it) => <p key={it} className="history-error break">{said(it)}</p>)}
        <ol className="history">{of.timeline.map((line, at) => <Line key={at} line={line} />)}</ol>
      </details>
    </li>
  );
}

function Line({ line }: { line: TimelineLine }) {
  const language = useLanguage();
  const told = useTold();
  const [tone, icon] = MARKS[line.mark] ?? ["pending", "pending"];
  return (
    <li className={`history-line tone-${tone}`}>
      <span className="history-at">+{duration(language, line.at_ms)}</span><span className="history-icon"><Icon name={icon} size={12} /></span>
      <span className="grow break">{line.step && <strong>{line.step} </strong>}{told(line.text)}</span>
    </li>
  );
}
