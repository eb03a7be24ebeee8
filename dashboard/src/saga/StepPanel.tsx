// The selected step: both directions with their rounds and attempts, its data, its error.

import type { SagaView } from "../api/contract";
import type { TrackView } from "../api/schema";
import { useT } from "../i18n";
import { useExplained, useSaid } from "../i18n/said";
import { Exactly, Span, Until } from "../ui/bits";
import { IconButton } from "../ui/Controls";
import { Json } from "../ui/Json";
import { Section } from "../ui/Page";
import { StateBadge } from "../ui/State";
import { laneId } from "./spans";

export function StepPanel({ saga, id, onClose }: { saga: SagaView; id: string; onClose: () => void }) {
  const t = useT();
  const said = useSaid();
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
