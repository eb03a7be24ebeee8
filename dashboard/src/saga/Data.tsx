// What the saga was given, what each step produced, what it yields.

import type { SagaView } from "../api/contract";
import { useT } from "../i18n";
import { Json } from "../ui/Json";
import { laneId } from "./spans";

export function Data({ saga }: { saga: SagaView }) {
  const t = useT();
  const outputs = saga.steps.filter((step) => step.execute?.output != null);
  return (
    <div>
      {saga.masked && <p className="muted">{t("data.masked")}</p>}
      <div className="data-part"><h3>{t("data.input")}</h3><Json value={saga.input} label={t("copy.input")} open={3} /></div>
      {outputs.map((step) => <div key={laneId(step)} className="data-part"><h3>{laneId(step)}</h3><Json value={step.execute?.output} label={t("copy.output")} /></div>)}
      {saga.output != null && <div className="data-part"><h3>{t("data.output")}</h3><Json value={saga.output} label={t("copy.output")} open={3} /></div>}
    </div>
  );
}
