// The selected step: both directions with their rounds and attempts, its data, its error; of a `foreach`, how each item stands.

import { useState } from "react";

import type { SagaView } from "../api/contract";
import { useRights } from "../api/queries";
import type { StepView, TrackView } from "../api/schema";
import { useT } from "../i18n";
import { useExplained, useSaid } from "../i18n/said";
import { Exactly, Span, Until } from "../ui/bits";
import { Button, IconButton, Menu } from "../ui/Controls";
import { Json } from "../ui/Json";
import { Section } from "../ui/Page";
import { StateBadge } from "../ui/State";
import { itemsOf, listed, summed } from "./items";
import { isAt } from "./plans";
import { laneId } from "./spans";
import { type OnAct, usePlans } from "./usePlans";
import { titled } from "./words";

const ITEMS_SHOWN = 20;
const ITEMS_MORE = 200;

export function StepPanel({ saga, id, onSelect, onAct, onClose }: { saga: SagaView; id: string; onSelect: (lane: string) => void; onAct: OnAct; onClose: () => void }) {
  const t = useT();
  const said = useSaid();
  const items = itemsOf(saga.steps, id);
  if (items.length > 0) return <Items saga={saga} name={id} items={items} onSelect={onSelect} onAct={onAct} onClose={onClose} />;
  const step = saga.steps.find((it) => laneId(it) === id) ?? saga.steps.find((it) => it.step === id);
  if (!step) return null;
  return (
    <Section title={<span className="row"><span>{laneId(step)}</span><StateBadge state={step.state} /></span>} actions={<IconButton icon="close" label={t("close")} onClick={onClose} />}>
      <p className="muted">{step.worker ? `${step.worker}.${step.action}` : said(step.action)}{step.compensation ? ` · ${t("step.undo")} ${step.worker}.${step.compensation}` : ` · ${t("step.no_undo")}`}</p>
      {step.pivot && <p>{t("pivot.is")}</p>}
      {step.optional && <p className="muted">{t("optional.is")}</p>}
      {step.execute ? <Track title={t("direction.execute")} track={step.execute} /> : <p className="muted">{t("step.untouched")}</p>}
      {step.compensate && <Track title={t("direction.compensate")} track={step.compensate} />}
    </Section>
  );
}

/** Those that failed first: they are why one looks. */
function Items({ saga, name, items, onSelect, onAct, onClose }: { saga: SagaView; name: string; items: StepView[]; onSelect: (lane: string) => void; onAct: OnAct; onClose: () => void }) {
  const t = useT();
  const [shown, setShown] = useState(ITEMS_SHOWN);
  const { count, done, open, failed } = summed(items);
  const ordered = [...items].sort((a, b) => Number(failed.includes(b.item ?? 0)) - Number(failed.includes(a.item ?? 0)));
  return (
    <Section title={name} actions={<IconButton icon="close" label={t("close")} onClick={onClose} />}>
      <p>{t("items.sum", { count, done, open })} {failed.length > 0 && <strong>{t("items.failed", { items: listed(failed) })}</strong>}</p>
      <ul>{ordered.slice(0, shown).map((item) => (
        <li key={item.item} className="spread timer-line">
          <button type="button" className="link" onClick={() => onSelect(laneId(item))}>{laneId(item)}</button>
          <span className="row wrap"><StateBadge state={item.state} quiet /><ItemDeeds saga={saga} item={item} onAct={onAct} /></span>
        </li>
      ))}</ul>
      {items.length > shown && <Button onClick={() => setShown(shown + ITEMS_MORE)}>{t("more")}</Button>}
    </Section>
  );
}

/** What can be done to one item. */
function ItemDeeds({ saga, item, onAct }: { saga: SagaView; item: StepView; onAct: OnAct }) {
  const t = useT();
  const rights = useRights();
  const { plans, revision } = usePlans(saga);
  const can = rights.operate ? plans.filter((plan) => plan.allowed && isAt(plan, item)) : [];
  if (can.length === 0) return null;
  return <Menu trigger={<Button icon="more" aria-label={t("items.act", { item: laneId(item) })} />} items={can.map((plan) => ({ label: titled(plan, t), onSelect: () => onAct({ plan, revision }) }))} />;
}

function Track({ title, track }: { title: string; track: TrackView }) {
  const t = useT();
  const explain = useExplained();
  return (
    <div className="data-part">
      <p className="spread"><strong>{title}</strong><StateBadge state={track.state} quiet /></p>
      <dl className="track">
        {track.first_sent_at && <><dt>{t("step.round")}</dt><dd>{track.round}</dd></>}
        {track.first_sent_at && <><dt>{t("step.attempts")}</dt><dd>{track.attempt}{track.attempts_max != null && ` · ${t("step.charged", { charged: track.charged, max: track.attempts_max })}`}</dd></>}
        {track.first_sent_at && <><dt>{t("step.sent")}</dt><dd><Exactly at={track.first_sent_at} /></dd></>}
        {track.last_sent_at && track.last_sent_at !== track.first_sent_at && <><dt>{t("step.last_sent")}</dt><dd><Exactly at={track.last_sent_at} /></dd></>}
        {track.answered_at && <><dt>{t("step.answered")}</dt><dd><Exactly at={track.answered_at} />{track.first_sent_at && <> (<Span from={track.first_sent_at} to={track.answered_at} />)</>}</dd></>}
        {track.due_at && <><dt>{t("step.due")}</dt><dd><Until at={track.due_at} /></dd></>}
      </dl>
      {track.error && <p className="history-error break"><code>{track.error.code}</code> {explain(track.error.code, track.error.message)}</p>}
      {track.output !== undefined && track.output !== null && <Json value={track.output} label={t("copy.output")} />}
    </div>
  );
}
