// For how long ended sagas are kept, and the weeks that they lie in.

import { useMutation, useQuery } from "@tanstack/react-query";
import { useState } from "react";

import { get, send } from "../api/client";
import { definitions, useStale } from "../api/queries";
import type { RetentionView } from "../api/schema";
import { useLanguage, useT } from "../i18n";
import { bytes } from "../i18n/format";
import { Button, Dialog, DialogEnd, Field, Input } from "../ui/Controls";
import { Await, ProblemLine, Section } from "../ui/Page";

/** The rule for every definition that has none of its own. */
const EVERY = "*";

export function Retention() {
  const t = useT();
  const language = useLanguage();
  const asked = useQuery({ queryKey: ["retention"], queryFn: ({ signal }) => get<RetentionView>("/ops/retention", signal), retry: false });
  const known = useQuery({ ...definitions, retry: false });
  const [changing, setChanging] = useState<{ definition: string; days: number } | null>(null);
  return (
    <Section title={t("retention")}>
      <Await of={asked} rows={2}>{(data) => {
        const own = new Map(data.retention.map((it) => [it.definition, it.days]));
        const every = own.get(EVERY);
        const names = [EVERY, ...new Set([...own.keys(), ...(known.data?.definitions.map((it) => it.name) ?? [])].filter((it) => it !== EVERY))];
        return (
          <div className="stack">
            <div className="scroll-x"><table className="plain"><tbody>{names.map((name) => {
              const days = own.get(name) ?? every;
              return (
                <tr key={name}>
                  <td>{name === EVERY ? t("all.definitions") : name}</td>
                  <td className={own.has(name) ? "" : "muted"}>{days === undefined ? t("retention.ever") : t("retention.days", { count: days })}</td>
                  <td className="right"><Button aria-label={`${t("retention.change")}: ${name === EVERY ? t("all.definitions") : name}`} onClick={() => setChanging({ definition: name, days: days ?? 90 })}>{t("retention.change")}</Button></td>
                </tr>
              );
            })}</tbody></table></div>
            {data.weeks.length > 0 && <p className="muted">{data.weeks.map((it) => `${it.week}: ${bytes(language, it.bytes)}`).join(" · ")}</p>}
          </div>
        );
      }}</Await>
      {changing && <Change of={changing} onClose={() => setChanging(null)} />}
    </Section>
  );
}

function Change({ of, onClose }: { of: { definition: string; days: number }; onClose: () => void }) {
  const t = useT();
  const stale = useStale();
  const [days, setDays] = useState(of.days);
  const [why, setWhy] = useState("");
  const shown = of.definition === EVERY ? t("all.definitions") : of.definition;
  const put = useMutation({
    mutationFn: () => send("PUT", `/ops/retention/${encodeURIComponent(of.definition)}`, { days, why: why.trim() }),
    onSuccess: () => { stale("retention"); onClose(); },
  });
  return (
    <Dialog open onClose={onClose} title={`${t("retention")}: ${shown}`} description={<p>{t("retention.change.about")}</p>}>
      <form className="stack" onSubmit={(event) => { event.preventDefault(); put.mutate(); }}>
        <Field label={t("retention.for")}>{(id) => <Input id={id} type="number" min={1} required value={days} onChange={(event) => setDays(Number(event.target.value))} />}</Field>
        <Field label={t("act.why")} hint={t("act.why.hint")}>{(id) => <Input id={id} required maxLength={1_000} value={why} onChange={(event) => setWhy(event.target.value)} />}</Field>
        <ProblemLine error={put.error} />
        <DialogEnd><Button onClick={onClose}>{t("cancel")}</Button><Button type="submit" kind="danger" disabled={why.trim() === "" || days < 1} busy={put.isPending}>{t("retention.go", { definition: shown, days })}</Button></DialogEnd>
      </form>
    </Dialog>
  );
}
