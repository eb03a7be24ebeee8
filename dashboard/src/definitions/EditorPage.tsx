// Is it right? The text on the left, the graph and the verdict on the right, the mistakes below, and publishing with its impact.

import "./definitions.css";

import { keepPreviousData, useMutation, useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import { useDeferredValue, useEffect, useMemo, useRef, useState } from "react";

import { call, query } from "../api/client";
import { asProblem } from "../api/problem";
import { definition as definitionQuery, useRights, useStale, workers } from "../api/queries";
import type { DefinitionView, PublishedView } from "../api/schema";
import { LazyGraph } from "../graph/LazyGraph";
import { type T, useLanguage, useT } from "../i18n";
import { number, percent } from "../i18n/format";
import { useChecked } from "../i18n/said";
import { toast } from "../layout/Toasts";
import { Ago } from "../ui/bits";
import { Button, Confirm, Dialog, DialogEnd, Field, Input } from "../ui/Controls";
import { Icon } from "../ui/Icon";
import { lazyPart } from "../ui/lazily";
import { Await, Notice, Page, ProblemLine, ProblemNotice, Section } from "../ui/Page";
import { type Mistake, judge, mistake, type Verdict } from "./mistakes";
import { compare } from "./compare";
import { draftOf, dropDraft, dropScenarios, keepDraft, keepScenarios, moveScenarios, overtaken, scenariosOf } from "./drafts";
import { outline } from "./outline";
import { ProofPanel } from "./ProofPanel";
import { sample } from "./sample";
import { scenario, ScenariosPanel } from "./ScenariosPanel";
import { WhatIfPanel } from "./WhatIfPanel";
import { BEGINNING } from "./beginning";
import type { EditorHandle } from "./Yaml";

const Editor = lazyPart(async () => (await import("./Yaml")).YamlEditor);
const Merge = lazyPart(async () => (await import("./Yaml")).YamlDiff);
const PAUSE_MS = 350;
const SHARE_ALL = 100;

export function EditorPage() {
  const t = useT();
  const { definition: name } = useSearch({ from: "/editor" });
  const asked = useQuery({ ...definitionQuery(name ?? ""), enabled: name !== undefined, staleTime: Infinity });
  if (name === undefined) return <Writing key="new" initial={BEGINNING} published={null} />;
  if (!asked.data) return <Page title={t("editor")}><Await of={asked}>{() => null}</Await></Page>;
  const active = asked.data.versions.find((it) => it.active);
  return <Writing key={name} initial={active?.source ?? ""} published={asked.data} />;
}

function Writing({ initial, published }: { initial: string; published: DefinitionView | null }) {
  const t = useT();
  const checked = useChecked();
  const rights = useRights();
  const navigate = useNavigate();
  const name = published?.name ?? null;
  const [kept] = useState(() => draftOf(name));
  // What is published may change while one writes: the text began from what was there then.
  const [begun, setBegun] = useState({ source: initial, base: kept?.base ?? published?.version ?? null });
  const [source, setSource] = useState(kept?.source ?? initial);
  const [givingUp, setGivingUp] = useState(false);
  const [publishing, setPublishing] = useState(false);
  const [refused, setRefused] = useState<{ source: string; mistakes: Mistake[] } | null>(null);
  const [playing, setPlaying] = useState<Record<string, string> | null>(null);
  const [scenarios, setScenarios] = useState(() => scenariosOf(name));
  const handle = useRef<EditorHandle>(null);
  const known = useQuery({ ...workers, retry: false, staleTime: 60_000 });
  const offers = useMemo(() => Object.fromEntries((known.data?.workers ?? []).map((it) => [it.worker, it.actions])), [known.data]);
  const settled = useSettled(source);
  const asked = useQuery({ queryKey: ["judge", settled], queryFn: ({ signal }) => judge(settled, signal), retry: false, staleTime: Infinity, placeholderData: keepPreviousData });
  const drawn = useQuery({ queryKey: ["draft-outline", settled], queryFn: () => outline(settled), retry: false, staleTime: Infinity, placeholderData: keepPreviousData });
  const before = useQuery({ queryKey: ["draft-before", begun.source], queryFn: () => outline(begun.source), retry: false, staleTime: Infinity });
  const mistakes = useMemo(() => (refused !== null && refused.source === source ? refused.mistakes : asked.data?.mistakes ?? []), [refused, source, asked.data]);
  const current = settled === source && !asked.isPlaceholderData;
  const dirty = source !== begun.source;
  /** Set only while what is in the editor is right. */
  const version = current && mistakes.length === 0 ? asked.data?.version : undefined;
  // The last name that the text had: while it is wrong, it has none.
  const [named, setNamed] = useState(name ?? undefined);
  if (asked.data?.name !== undefined && asked.data.name !== named) setNamed(asked.data.name);
  // A name that was changed in the text is another definition, which nothing is published of.
  const simulate = () => void navigate({ to: "/simulator", search: { definition: name ?? undefined, draft: dirty || name === null ? "1" : undefined } });
  const write = (text: string) => {
    setSource(text);
    if (text === begun.source) dropDraft(name);
    else keepDraft(name, text, begun.base);
  };
  const giveUp = () => {
    setBegun({ source: initial, base: published?.version ?? null });
    setSource(initial);
    dropDraft(name);
    // What has no name yet is nobody's: the next new one begins with none.
    if (name !== null) return;
    dropScenarios(name);
    setScenarios(null);
  };
  useEffect(() => {
    if (!dirty) return;
    const stay = (event: BeforeUnloadEvent) => event.preventDefault();
    addEventListener("beforeunload", stay);
    return () => removeEventListener("beforeunload", stay);
  }, [dirty]);
  const steps = useDeferredValue(useMemo(() => {
    const now = drawn.data ?? [];
    if (playing) return now.map((step) => ({ ...step, ...(playing[step.id] ? { state: playing[step.id] ?? "" } : {}) }));
    return published && dirty && before.data ? compare(before.data, now) : now;
  }, [drawn.data, before.data, published, dirty, playing]));
  return (
    <Page title={published ? t("editor.of", { name: published.name }) : t("definitions.new")} fill
      lead={<VerdictLine verdict={asked.data} current={current} mistakes={mistakes} t={t} />}
      actions={<>
        {dirty && <Button onClick={() => setGivingUp(true)}>{t("draft.give_up")}</Button>}
        {published && <Link className="button" to="/definitions/$name" params={{ name: published.name }}>{t("close")}</Link>}
        <Button icon="simulator" disabled={version === undefined} onClick={simulate}>{t("simulate")}</Button>
        {rights.author && <Button kind="primary" disabled={mistakes.length > 0 || !current || !dirty && published !== null} onClick={() => setPublishing(true)}>{t("publish")}</Button>}
      </>}>
      {kept !== null && dirty && (
        <p className="draft-line tone-late"><Icon name="late" size={12} /><span>{t("draft.kept")} <Ago at={kept.at} />. {published && kept.base !== null && kept.base !== published.version && t("draft.behind", { base: kept.base.slice(0, 8), version: published.version.slice(0, 8) })}</span></p>
      )}
      <div className="editor">
        <div className="editor-text">
          <Editor source={source} onChange={write} mistakes={mistakes} handle={handle} offers={offers} />
          {mistakes.length > 0 && (
            <div className="problems" role="region" aria-label={t("editor.problems")}>
              {mistakes.map((it, at) => (
                <button key={at} type="button" className="problem" onClick={() => handle.current?.reveal(it.line ?? 1, it.column ?? 1)}>
                  <Icon name="rejected" size={12} /><span className="grow"><code>{it.code} {it.line !== undefined && `${it.line}:${it.column ?? 1}`}</code> {checked(it.detail)}{it.remedy && <span className="muted"> — {checked(it.remedy)}</span>}</span>
                </button>
              ))}
            </div>
          )}
        </div>
        <div className="stack">
          <Section flush title={t("saga.graph")}>{steps.length > 0 ? <LazyGraph steps={steps} label={t("saga.graph")} down /> : <Notice icon="definitions" title={t("editor.no_steps")} />}</Section>
          {asked.isError && <Section><ProblemNotice problem={asProblem(asked.error)} onRetry={() => void asked.refetch()} /></Section>}
          {version !== undefined && <ProofPanel source={source} version={version} onPlay={setPlaying} />}
          {/* These stay while the text is wrong, or is being judged: what is written in them is not the text's. */}
          {named !== undefined && <ScenariosPanel source={source} ready={version !== undefined} text={scenarios ?? scenario(named, sample(published?.input ?? {}))} onText={(text) => { setScenarios(text); keepScenarios(name, text); }} />}
          {published !== null && <Section title={t("what_if")}><WhatIfPanel name={published.name} candidate={{ definition: source }} ready={version !== undefined} /></Section>}
        </div>
      </div>
      <Confirm open={givingUp} onClose={() => setGivingUp(false)} onConfirm={giveUp} title={t("draft.give_up")} words={t("draft.give_up.about")} act={t("draft.give_up")} />
      {publishing && <PublishDialog source={source} published={published} target={named ?? null} base={named === name ? begun.base : null} own={version} onDone={(done) => { dropDraft(name); moveScenarios(name, done); }} onClose={() => setPublishing(false)} onRefused={(list) => { setRefused({ source, mistakes: list }); setPublishing(false); }} />}
    </Page>
  );
}

function VerdictLine({ verdict, current, mistakes, t }: { verdict: Verdict | undefined; current: boolean; mistakes: Mistake[]; t: T }) {
  if (!verdict || !current) return <span role="status">{t("editor.checking")}</span>;
  if (mistakes.length > 0) return <span role="status" className="state tone-parked"><Icon name="rejected" size={12} />{t("editor.mistakes", { count: mistakes.length })}</span>;
  return <span role="status" className="state tone-completed"><Icon name="completed" size={12} />{t("editor.right", { version: verdict.version?.slice(0, 8) ?? "" })}</span>;
}

/** What was typed, once the typing pauses. */
function useSettled(source: string): string {
  const [settled, setSettled] = useState(source);
  useEffect(() => {
    const timer = setTimeout(() => setSettled(source), PAUSE_MS);
    return () => clearTimeout(timer);
  }, [source]);
  return settled;
}

/** `target` is the name that the text has, `base` the version of it that the text began from, `own` the version that it would be. */
function PublishDialog({ source, published, target, base, own, onDone, onClose, onRefused }: { source: string; published: DefinitionView | null; target: string | null; base: string | null; own: string | undefined; onDone: (name: string) => void; onClose: () => void; onRefused: (mistakes: Mistake[]) => void }) {
  const t = useT();
  const language = useLanguage();
  const navigate = useNavigate();
  const stale = useStale();
  const [waive, setWaive] = useState("");
  const [share, setShare] = useState(SHARE_ALL);
  // A name that was changed in the text makes another definition.
  const isOther = published !== null && target !== null && target !== published.name;
  const canary = published !== null && !isOther && share < SHARE_ALL;
  // What each version has to finish is asked anew: the editor may have been open for an hour.
  const versions = useQuery({ ...definitionQuery(target ?? ""), enabled: target !== null, retry: false, staleTime: 0 });
  const other = overtaken(versions.data?.versions, base, own);
  const unfinished = versions.data?.versions.filter((it) => (it.unfinished ?? 0) > 0) ?? [];
  const publish = useMutation({
    mutationFn: async () => {
      const over = versions.data?.version ?? base ?? "none";
      return (await (await call(`/definitions${query({ over, waive: waive.trim(), canary: canary ? String(share) : undefined })}`, { method: "POST", text: source, type: "application/yaml" })).json()) as PublishedView;
    },
    onSuccess: (done) => {
      onDone(done.name);
      stale("definitions", "outline");
      toast(t(done.canary_percent != null ? "publish.done.canary" : done.fresh ? "publish.done" : "publish.same", { name: done.name, version: done.version.slice(0, 8) }));
      void navigate({ to: "/definitions/$name", params: { name: done.name } });
    },
    onError: (error) => {
      // Somebody published while this was open: it is looked at, and decided, again.
      if (asProblem(error).kind === "refused") void versions.refetch();
      const faults = asProblem(error).body.errors ?? [];
      if (faults.length > 0 && !unproved(error)) onRefused(faults.map(mistake));
    },
  });
  // A definition that is not proved can be published all the same, for a reason that is kept with the version.
  const refused = publish.isError && unproved(publish.error);
  return (
    <Dialog open onClose={onClose} wide={other !== null} title={t("publish")} description={<p>{t(canary ? "publish.share.hint" : "publish.about")}</p>}>
      {other !== null && (
        <div className="stack" role="alert">
          <p className="state tone-late" style={{ whiteSpace: "normal" }}><Icon name="late" size={12} /><span>{t("publish.over", { version: other.version.slice(0, 8) })} <Ago at={other.published_at} />.</span></p>
          <div className="publish-over"><Merge before={other.source} after={source} /></div>
        </div>
      )}
      {isOther && <p className="state tone-late" role="alert" style={{ whiteSpace: "normal" }}><Icon name="late" size={12} />{t("publish.other", { name: published.name, target })}</p>}
      {versions.data && (
        <div>
          <p><strong>{t(unfinished.length === 0 ? "publish.impact.none" : "publish.impact")}</strong></p>
          {unfinished.length > 0 && (
            <table className="plain"><thead><tr><th scope="col">{t("version")}</th><th scope="col" className="right">{t("publish.unfinished")}</th></tr></thead>
              <tbody>{unfinished.map((it) => <tr key={it.version}><td><span className="mono">{it.version.slice(0, 8)}</span>{it.active && ` (${t("active")})`}</td><td className="right">{number(language, it.unfinished ?? 0)}</td></tr>)}</tbody></table>
          )}
        </div>
      )}
      {published && !isOther && (
        <Field label={t("publish.share")} hint={t("publish.share.hint")}>{(id) => <Input id={id} type="number" min={1} max={SHARE_ALL} value={share} onChange={(event) => setShare(Math.min(SHARE_ALL, Math.max(1, Math.round(Number(event.target.value)))))} />}</Field>
      )}
      {versions.data?.canary && <p className="state tone-late" style={{ whiteSpace: "normal" }}><Icon name="late" size={12} />{t("publish.canary.ends", { version: versions.data.canary.version.slice(0, 8) })}</p>}
      <ProblemLine error={publish.error} />
      {refused && <Field label={t("publish.waive")} hint={t("publish.waive.hint")}>{(id) => <Input id={id} maxLength={1000} value={waive} onChange={(event) => setWaive(event.target.value)} />}</Field>}
      <DialogEnd><Button onClick={onClose}>{t("cancel")}</Button><Button kind={refused || other !== null ? "danger" : "primary"} disabled={(refused && waive.trim() === "") || (target !== null && !versions.isFetchedAfterMount)} busy={publish.isPending} onClick={() => publish.mutate()}>{refused ? t("publish.anyway") : canary ? t("publish.go.canary", { name: published.name, share: percent(language, share / SHARE_ALL) }) : other !== null ? t("publish.go.over", { name: target, version: other.version.slice(0, 8) }) : published ? t("publish.go", { name: target ?? published.name }) : t("publish")}</Button></DialogEnd>
    </Dialog>
  );
}

function unproved(error: unknown): boolean {
  return asProblem(error).body.type?.endsWith("/unproved-definition") ?? false;
}
