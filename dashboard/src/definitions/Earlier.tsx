// What came of another text than the one that is there now: it stays to be read, and does not look like a verdict on this one.

import "./definitions.css";

import type { ReactNode } from "react";

import { type Key, useT } from "../i18n";
import { Icon } from "../ui/Icon";

export function Earlier({ is, words, children }: { is: boolean; words: Key; children: ReactNode }) {
  const t = useT();
  if (!is) return children;
  return (
    <div className="stack">
      <p className="draft-line tone-late" role="status"><Icon name="late" size={12} /><span>{t(words)}</span></p>
      <div className="earlier">{children}</div>
    </div>
  );
}
