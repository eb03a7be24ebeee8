// Everything that a saga waits for by the clock, the next one first.

import type { SagaView } from "../api/contract";
import { useT } from "../i18n";
import { Until } from "../ui/bits";
import { Section } from "../ui/Page";
import { timers } from "./dues";

export function Timers({ saga }: { saga: SagaView }) {
  const t = useT();
  const pending = timers(saga);
  if (pending.length === 0) return null;
  return (
    <Section title={t("timers")}>
      <ul>{pending.map((it) => (
        <li key={it.what + it.step} className="spread timer-line">
          <span className="break">{it.step && <strong>{it.step} </strong>}{t(`timer.${it.what}`)}</span><Until at={it.at} />
        </li>
      ))}</ul>
    </Section>
  );
}
