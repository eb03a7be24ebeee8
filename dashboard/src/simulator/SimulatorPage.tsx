// A saga played by hand: each command is answered here, time passes only by a click, and the run is saved as a scenario.

import "./simulator.css";
import "../saga/saga.css";

import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import { useMemo, useState } from "react";

import { send } from "../api/client";
import { writeExact } from "../api/exact";
import { asProblem } from "../api/problem";
import { definition as definitionQuery, definitions } from "../api/queries";
import type { DefinitionView, Move, Played, SimulateRequest } from "../api/schema";
import { BEGINNING } from "../definitions/beginning";
import { draftOf } from "../definitions/drafts";
import { head } from "../definitions/outline";
import { TextUnread } from "../definitions/TextUnread";
import { sample } from "../definitions/sample";
import { LazyGraph } from "../graph/LazyGraph";
import { useT } from "../i18n";
import { useSaid } from "../i18n/said";
import { graphSteps } from "../saga/graphSteps";
import { sentence } from "../saga/words";
import { Button, Field, Select, Textarea } from "../ui/Controls";
import { Icon } from "../ui/Icon";
import { Await, Notice, Page, ProblemLine, Section } from "../ui/Page";
import { standing, StateBadge } from "../ui/State";
import { typedJson } from "../ui/typed";
import { Beats } from "./Beats";
import { Moves } from "./Moves";

export function SimulatorPage() {
  const t = useT();
  const { definition: name, draft } = useSearch({ from: "/simulator" });
  const navigate = useNavigate();
  const all = useQuery(definitions);
  // A text that is published under no name yet.
  const isNew = name === undefined && draft !== undefined;
  const chosen = isNew ? undefined : name ?? all.data?.definitions[0]?.name;
  const asked = useQuery({ ...definitionQuery(chosen ?? ""), enabled: chosen !== undefined, staleTime: 30_000 });
  return (
    <Page title={t("simulator")} lead={t("simulator.lead")}
      actions={all.data && all.data.definitions.length > 0 && (
        <Select aria-label={t("definition")} value={chosen ?? ""} onChange={(event) => void navigate({ to: "/simulator", search: { definition: event.target.value } })}>
          {isNew && <option value="">{t("definitions.new")}</option>}
          {all.data.definitions.map((it) => <option key={it.name}>{it.name}</option>)}
        </Select>
      )}>
      {isNew ? <PlayNew /> : all.data?.definitions.length === 0 && name === undefined
        ? <Section><Notice icon="definitions" title={t("definitions.none")}>{t("definitions.none.do")}</Notice></Section>
        : chosen === undefined ? <Await of={all} rows={8}>{() => null}</Await>
        : <Await of={asked} rows={8}>{(data) => <PlayPublished key={`${data.name} ${draft ?? ""}`} definition={data} />}</Await>}
    </Page>
  );
}

function PlayPublished({ definition }: { definition: DefinitionView }) {
  const t = useT();
  const { draft } = useSearch({ from: "/simulator" });
  const [drafted] = useState(() => (draft === undefined ? null : draftOf(definition.name)?.source ?? null));
  // What is played goes on as it was begun, whatever somebody publishes meanwhile.
  const [begun, setBegun] = useState<DefinitionView | null>(null);
  const { name, version, input, versions } = begun ?? definition;
  const isOld = drafted === null && version !== definition.version;
  return (
    <>
      {isOld && <p className="stale" role="status"><Icon name="late" size={12} /><span>{t("simulator.newer", { version: definition.version.slice(0, 8) })}</span><button type="button" className="link" onClick={() => setBegun(null)}>{t("simulator.newer.play")}</button></p>}
      <Play key={drafted === null ? version : ""} name={name} takes={input} source={drafted ?? versions.find((it) => it.active)?.source ?? ""} back={drafted === null ? null : { definition: name }} onBegin={() => setBegun(begun ?? definition)} />
    </>
  );
}

/** The new text of the editor, which nothing is published of. */
function PlayNew() {
  const [source] = useState(() => draftOf(null)?.source ?? BEGINNING);
  const asked = useQuery({ queryKey: ["draft-head", source], queryFn: () => head(source), retry: false, staleTime: Infinity });
  if (asked.isError) return <TextUnread onRetry={asked.refetch} />;
  return <Await of={asked} rows={8}>{({ name, input }) => <Play name={name} takes={input} source={source} back={{}} />}</Await>;
}

/** `back` leads to the editor that has the text; null where the text is the published one. */
function Play({ name, takes, source, back, onBegin }: { name: string; takes: unknown; source: string; back: { definition?: string } | null; onBegin?: () => void }) {
  const t = useT();
  const said = useSaid();
  const [input, setInput] = useState(() => writeExact(sample(takes), 2));
  const [moves, setMoves] = useState<Move[]>([]);
  const parsed = useMemo(() => typedJson(input, t), [input, t]);
  const request: SimulateRequest = { source, input: parsed.value, moves };
  const asked = useQuery({
    queryKey: ["simulate", request],
    queryFn: () => send<Played>("POST", "/authoring/simulate", request),
    enabled: parsed.fault === null, retry: false, staleTime: Infinity, gcTime: 60_000, placeholderData: keepPreviousData,
  });
  const played = asked.data;
  // What is shown is still the play before the last click: a second one was not meant for what comes of the first.
  const make = (move: Move) => {
    if (asked.isPlaceholderData) return;
    onBegin?.();
    setMoves([...moves, move]);
  };
  return (
    <>
      {back !== null && <p className="muted">{t("simulator.draft")} <Link to="/editor" search={back}>{t("simulator.draft.back")}</Link></p>}
      {played && <Standing played={played} />}
      {asked.isError && (
        <Section><ProblemLine error={asProblem(asked.error)} sent="question" />
          <p className="row">
            <Button busy={asked.isFetching} onClick={() => void asked.refetch()}>{t("try_again")}</Button>
            {moves.length > 0 && <Button onClick={() => setMoves(moves.slice(0, -1))}>{t("simulator.back")}</Button>}
          </p>
        </Section>
      )}
      <Section title={t("saga.graph")} flush>{played ? <LazyGraph steps={graphSteps(played.steps, t, said)} label={t("saga.graph")} /> : <div className="simulator-blank" aria-busy={asked.isFetching} />}</Section>
      <div className="simulator">
        <div className="stack">
          <Section title={t("simulator.next")} actions={<>
            <Button disabled={moves.length === 0} onClick={() => setMoves(moves.slice(0, -1))}>{t("simulator.back")}</Button>
            <Button disabled={moves.length === 0} onClick={() => setMoves([])}>{t("simulator.again")}</Button>
          </>}>
            {played && !asked.isError && <Moves played={played} onMove={make} busy={asked.isFetching} />}
          </Section>
          <Section title={t("data.input")}>
            <Field label={t("simulator.input")} error={parsed.fault}>
              {(id) => <Textarea id={id} className="mono" rows={Math.min(16, input.split("\n").length + 1)} spellCheck={false} value={input} onChange={(event) => { onBegin?.(); setInput(event.target.value); setMoves([]); }} />}
            </Field>
          </Section>
        </div>
        <Section title={t("simulator.happened")} actions={<Save played={played} name={name} />}>{played && <Beats played={played} moves={moves} />}</Section>
      </div>
    </>
  );
}

function Standing({ played }: { played: Played }) {
  const t = useT();
  const { key, values } = sentence({ ...played, parked: null }, useSaid());
  const parked = played.status === "parked";
  return <p className="row wrap simulator-say" role="status"><StateBadge state={standing(played)} /><strong>{parked ? t("simulator.parked") : t(key, values)}</strong></p>;
}

/** A file for `amends test`; it plays the same again, or there is none. */
function Save({ played, name }: { played: Played | undefined; name: string }) {
  const t = useT();
  const scenario = played?.scenario;
  const save = () => {
    if (scenario == null) return;
    const url = URL.createObjectURL(new Blob([scenario], { type: "application/yaml" }));
    const link = Object.assign(document.createElement("a"), { href: url, download: `${name}.scenario.yaml` });
    link.click();
    URL.revokeObjectURL(url);
  };
  return <Button disabled={scenario == null} title={scenario == null ? t("simulator.save.wait") : t("simulator.save.about")} onClick={save}>{t("simulator.save")}</Button>;
}
