// What a deed leaves behind: said to whoever does it, and to whoever approves it.

import type { ActionPlan, SagaView } from "../api/contract";
import { term, useT } from "../i18n";
import { differences } from "./differences";
import { laneId } from "./spans";
import { wouldUndo } from "./words";

/** What is undone when the saga turns around now, in its order. */
export function Undone({ saga }: { saga: SagaView }) {
  const t = useT();
  const steps = wouldUndo(saga).reverse();
  if (steps.length === 0) return <p>{t("act.undo.nothing")}</p>;
  return (
    <div>
      <p><strong>{t("act.undo")}</strong></p>
      <ul>{steps.map((step) => <li key={laneId(step)}>⤺ {laneId(step)} <span className="muted">{step.worker}.{step.compensation}</span> {step.state !== "succeeded" && <span className="muted">({term(t, "state", step.state)})</span>}</li>)}</ul>
    </div>
  );
}

/** What stays uncompensated by it, and what may take effect all the same. */
export function Unsettled({ plan }: { plan: Pick<ActionPlan, "uncompensated" | "may_take_effect"> }) {
  const t = useT();
  return (
    <>
      {(plan.uncompensated?.length ?? 0) > 0 && <p><strong>{t("act.uncompensated")}</strong> {plan.uncompensated?.join(", ")}</p>}
      {(plan.may_take_effect?.length ?? 0) > 0 && <p><strong>{t("act.may_take_effect")}</strong> {plan.may_take_effect?.join(", ")}</p>}
    </>
  );
}

/** Where an edited input differs. */
export function Changes({ before, after }: { before: unknown; after: unknown }) {
  const t = useT();
  const found = differences(before, after);
  if (found.length === 0) return <p className="muted">{t("act.unchanged")}</p>;
  return (
    <table className="plain"><thead><tr><th scope="col">{t("act.where")}</th><th scope="col">{t("act.before")}</th><th scope="col">{t("act.after")}</th></tr></thead>
      <tbody>{found.map((it) => <tr key={it.pointer}><td className="mono">{it.pointer}</td><td className="mono break"><del>{it.before}</del></td><td className="mono break"><ins>{it.after}</ins></td></tr>)}</tbody>
    </table>
  );
}
