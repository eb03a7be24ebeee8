// For how long ended sagas are kept.

import { useQuery } from "@tanstack/react-query";

import { get } from "../api/client";
import { useLanguage, useT } from "../i18n";
import { bytes } from "../i18n/format";
import { Await, Section } from "../ui/Page";

interface RetentionView { retention: { definition: string; days: number }[]; weeks: { week: string; bytes: number; droppable_at?: string }[] }

export function Retention() {
  const t = useT();
  const language = useLanguage();
  const asked = useQuery({ queryKey: ["retention"], queryFn: ({ signal }) => get<RetentionView>("/ops/retention", signal), retry: false });
  return (
    <Section title={t("retention")}>
      <Await of={asked} rows={2}>{(data) => (
        <div className="stack">
          <ul>{data.retention.map((it) => <li key={it.definition}>{it.definition === "*" ? t("all.definitions") : it.definition}: {t("retention.days", { count: it.days })}</li>)}</ul>
          {data.weeks.length > 0 && <p className="muted">{data.weeks.map((it) => `${it.week}: ${bytes(language, it.bytes)}`).join(" · ")}</p>}
        </div>
      )}</Await>
    </Section>
  );
}
