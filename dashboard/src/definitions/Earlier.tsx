// What came of another text than the one that is there now: it stays to be read, and does not look like a verdict on this one.

import "./definitions.css";

import type { ReactNode } from "react";

import { type Key, useT } from "../i18n";
import { Icon } from "../ui/Icon";

/** What is open in it stays open, whether it is `is` or not. */
export function Earlier({ is, words, children }: { is: boolean; words: Key; children: ReactNode }) {
  const t = useT();
  return (
    <div className="stack">
      {is && <p className="draft-line tone-late" role="status"><Icon name="late" size={12} /><span>{t(words)}</span></p>}
      <div className={is ? "earlier" : ""}>{children}</div>
    </div>
  );
}
