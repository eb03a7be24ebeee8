// One definition: its graph, its text, its versions and what runs on each, and two versions beside each other.

import "./definitions.css";
import "../saga/saga.css";

import { useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useParams, useSearch } from "@tanstack/react-router";
import { useEffect, useMemo, useState } from "react";

import { definition as definitionQuery, counts, useRights } from "../api/queries";
import type { CanaryView, DefinitionView, VersionView } from "../api/schema";
import { type GraphStep, LazyGraph } from "../graph/LazyGraph";
import { useLanguage, useT } from "../i18n";
import { counted, percent } from "../i18n/format";
import { useCommands } from "../layout/commands";
import { Ago } from "../ui/bits";
import { Button, Select, Tabs } from "../ui/Controls";
import { Icon } from "../ui/Icon";
import { Json } from "../ui/Json";
import { lazyPart } from "../ui/lazily";
import { Await, Notice, Page, Section, Skeleton } from "../ui/Page";
import { HoldDialog } from "../workers/HoldDialog";
import { Canary, Ending, type End } from "./Canary";
import { changedKeys, compare } from "./compare";
import { beside, head, outline } from "./outline";
import { VerdictBadge } from "./ProofPanel";
import { TextUnread } from "./TextUnread";
import { WhatIfPanel } from "./WhatIfPanel";

const Yaml = lazyPart(async () => (await import("./Yaml")).YamlView);
const Merge = lazyPart(async () => (await import("./Yaml")).YamlDiff);

/** What comes of a canary is counted anew. */
const CANARY_EVERY_MS = 5_000;

export function DefinitionPage() {
  const t = useT();
  const { name } = useParams({ from: "/definitions/$name" });
  const rights = useRights();
  const [hold, setHold] = useState(false);
  // Here, and not beside the canary: what is written stays also when somebody else ends it meanwhile.
  const [ending, setEnding] = useState<{ how: End; canary: CanaryView } | null>(null);
  useEffect(() => setEnding(null), [name]);
  const asked = useQuery({ ...definitionQuery(name), refetchInterval: (query) => (query.state.data?.canary ? CANARY_EVERY_MS : false) });
  const navigate = useNavigate();
  useCommands([
    ...(rights.author ? [{ id: "c/edit", label: `${t("edit")}: ${name}`, icon: "definitions" as const, go: () => void navigate({ to: "/editor", search: { definition: name } }) }] : []),
    { id: "c/simulate", label: `${t("simulate")}: ${name}`, icon: "simulator", go: () => void navigate({ to: "/simulator", search: { definition: name } }) },
    ...(rights.operate ? [{ id: "c/hold-this", label: `${t("holds.hold")}: ${name}`, icon: "hold" as const, go: () => setHold(true) }] : []),
  ]);
  return (
    <Page title={name} lead={asked.data?.description}
      actions={<>
        {rights.operate && <Button icon="hold" onClick={() => setHold(true)}>{t("holds.hold")}</Button>}
        <Link className="button" to="/simulator" search={{ definition: name }}><Icon name="simulator" />{t("simulate")}</Link>
        {rights.author && <Link className="button primary" to="/editor" search={{ definition: name }}><Icon name="definitions" />{t("edit")}</Link>}
      </>}>
      <Await of={asked} rows={8}>{(data) => <Whole data={data} onEnd={(how, canary) => setEnding({ how, canary })} />}</Await>
      {ending && <Ending name={name} {...ending} onClose={() => setEnding(null)} />}
      {hold && <HoldDialog target={{ kind: "definition", definition: name }} onClose={() => setHold(false)} />}
    </Page>
  );
}

function Whole({ data, onEnd }: { data: DefinitionView; onEnd: (how: End, canary: CanaryView) => void }) {
  const t = useT();
  const search = useSearch({ from: "/definitions/$name" });
  const navigate = useNavigate();
  const active = data.versions.find((it) => it.active) ?? data.versions[0];
  const shown = data.versions.find((it) => it.version === search["version"]) ?? active;
  const other = data.versions.find((it) => it.version === search["with"]);
  const set = (values: Record<string, string | undefined>) => void navigate({ to: "/definitions/$name", params: { name: data.name }, search: { ...search, ...values }, replace: true });
  if (!shown) return null;
  return (
    <>
      {data.canary && <Canary name={data.name} current={data.version} canary={data.canary} onEnd={onEnd} />}
      <Section flush title={other ? t("diff.graph") : t("saga.graph")}><Drawn shown={shown} other={other} /></Section>
      <div className="saga-grid">
        <Section>
          <Tabs label={t("saga.details")} value={other ? "diff" : search["tab"] ?? "text"} onChange={(tab) => set({ tab, with: tab === "diff" ? data.versions.find((it) => it.version !== shown.version)?.version : undefined })} tabs={[
            { value: "text", label: t("definitions.text"), body: <Yaml source={shown.source} /> },
            { value: "input", label: t("data.input"), body: shown.version === data.version ? <Json value={data.input ?? {}} open={3} /> : <Takes source={shown.source} /> },
            { value: "what-if", label: t("what_if"), body: <WhatIfPanel key={data.name} name={data.name} candidate={{ name: data.name, version: shown.version }} /> },
            ...(data.versions.length > 1 ? [{ value: "diff", label: t("diff"), body: other ? (
              <div className="stack">
                <div className="row wrap"><Versions label={t("diff.before")} versions={data.versions} value={other.version} onChange={(it) => set({ with: it })} />→<Versions label={t("diff.after")} versions={data.versions} value={shown.version} onChange={(it) => set({ version: it })} /></div>
                <Merge before={other.source} after={shown.source} />
              </div>
            ) : null }] : []),
          ]} />
        </Section>
        <Section title={t("versions")} flush>
          <ul>{data.versions.map((it) => <Version key={it.version} name={data.name} version={it} shown={it.version === shown.version} onShow={() => set({ version: it.version, with: undefined })} />)}</ul>
        </Section>
      </div>
    </>
  );
}

/** What an older version takes, which may be other than what the current one does; the engine tells it of that alone. */
function Takes({ source }: { source: string }) {
  const asked = useQuery({ queryKey: ["draft-head", source], queryFn: () => head(source), retry: false, staleTime: Infinity });
  if (asked.isError) return <TextUnread onRetry={asked.refetch} />;
  return <Await of={asked} rows={3}>{({ input }) => <Json value={input} open={3} />}</Await>;
}

function Versions({ label, versions, value, onChange }: { label: string; versions: VersionView[]; value: string; onChange: (version: string) => void }) {
  const t = useT();
  return <Select aria-label={label} value={value} onChange={(event) => onChange(event.target.value)}>{versions.map((it) => <option key={it.version} value={it.version}>{it.version.slice(0, 8)}{it.active ? ` (${t("active")})` : ""}</option>)}</Select>;
}

function Version({ name, version, shown, onShow }: { name: string; version: VersionView; shown: boolean; onShow: () => void }) {
  const t = useT();
  const language = useLanguage();
  const running = useQuery({ ...counts({ definition: name, version: version.version, status: "running" }), retry: false });
  return (
    <li className={`line${shown ? " version-shown" : ""}`}>
      <div className="grow stack tight">
      <p className="spread">
      <button type="button" className="link mono" aria-pressed={shown} onClick={onShow}>{version.version.slice(0, 8)}</button>
      {version.active && <span className="state tone-completed"><Icon name="completed" size={12} />{t("active")}</span>}
      {version.canary_percent != null && <span className="state tone-retrying"><Icon name="simulator" size={12} />{t("canary.share", { share: percent(language, version.canary_percent / 100) })}</span>}
      <span className="grow" />
      {running.data && <Link className="nowrap" to="/sagas" search={{ definition: name, version: version.version, status: "running" }}>{t("definitions.running.count", { count: counted(language, running.data.total) })}</Link>}
      <span className="muted"><Ago at={version.published_at} /></span>
      </p>
      <p className="row wrap">
        <VerdictBadge verdict={version.verdict ?? "none"} />
        {version.troubles != null && <span className="muted">{t("proof.troubles", { count: version.troubles })}</span>}
        {version.waiver && <span className="muted break">{t("publish.waived")} “{version.waiver}”</span>}
      </p>
      </div>
    </li>
  );
}

function Drawn({ shown, other }: { shown: VersionView; other: VersionView | undefined }) {
  const t = useT();
  const now = useQuery({ queryKey: ["outline", shown.version], queryFn: () => outline(shown.source), staleTime: Infinity });
  const before = useQuery({ queryKey: ["outline", other?.version], queryFn: () => outline(other?.source ?? ""), enabled: other !== undefined, staleTime: Infinity });
  const steps = useMemo<GraphStep[]>(() => (now.data === undefined ? [] : other && before.data ? compare(before.data, now.data) : now.data), [now.data, before.data, other]);
  const both = useQuery({
    queryKey: ["beside", shown.version, other?.version],
    queryFn: async () => changedKeys(await beside(other?.source ?? ""), await beside(shown.source)),
    enabled: other !== undefined, staleTime: Infinity,
  });
  const failed = [now, before].find((it) => it.isError);
  if (failed) return <TextUnread onRetry={failed.refetch} />;
  if (now.data?.length === 0) return <Notice icon="definitions" title={t("editor.no_steps")} />;
  if (steps.length === 0) return <Skeleton rows={3} />;
  return (
    <>
      <LazyGraph steps={steps} label={t("saga.graph")} />
      {other && both.data && (
        <p className="line muted" role="status">
          {both.data.length > 0 ? <>{t("diff.beside")} <code>{both.data.join(", ")}</code></> : steps.some((it) => it.change) ? t("diff.steps_only") : t("diff.same")}
        </p>
      )}
    </>
  );
}
