// What came of a deed, said once, in a corner; read out by screen readers.

import { useSyncExternalStore } from "react";

import { useT } from "../i18n";
import { IconButton } from "../ui/Controls";
import { Icon, type IconName } from "../ui/Icon";

interface Toast { id: number; words: string; tone: string; icon: IconName }
const SHOWN_MS = 8_000;
/** What went wrong, and stands nowhere else on the page. */
const TROUBLE_MS = 20_000;
const SHOWN_MAX = 4;

let toasts: Toast[] = [];
let count = 0;
const listeners = new Set<() => void>();
const change = (next: Toast[]) => {
  toasts = next;
  for (const listener of listeners) listener();
};

export function toast(words: string, tone = "completed", icon: IconName = "completed"): void {
  const id = ++count;
  change([...toasts.slice(1 - SHOWN_MAX), { id, words, tone, icon }]);
  setTimeout(() => change(toasts.filter((it) => it.id !== id)), tone === "parked" ? TROUBLE_MS : SHOWN_MS);
}

export function Toasts() {
  const t = useT();
  const shown = useSyncExternalStore((listener) => { listeners.add(listener); return () => listeners.delete(listener); }, () => toasts);
  return (
    <div className="toasts" role="status" aria-live="polite">
      {shown.map((it) => (
        <div key={it.id} className={`toast tone-${it.tone}`}>
          <Icon name={it.icon} /><span className="grow break">{it.words}</span>
          <IconButton icon="close" label={t("close")} onClick={() => change(toasts.filter((other) => other.id !== it.id))} />
        </div>
      ))}
    </div>
  );
}
