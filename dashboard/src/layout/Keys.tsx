// Keys that work on every page, and the page that lists them.

import { useNavigate } from "@tanstack/react-router";
import { useEffect, useRef } from "react";

import { type Key, useT } from "../i18n";
import { Kbd } from "../ui/bits";
import { Dialog } from "../ui/Controls";
import { shortcut } from "../ui/keyboard";
import { PAGES } from "./navigation";

const AFTER_G_MS = 1_200;
/** Events count from the page's beginning: 0 would be a `g` that everybody has just pressed. */
const NEVER = -Infinity;

function dialogOpen(): boolean {
  return document.querySelector("[role=dialog], [role=alertdialog]") !== null;
}

export function useKeys({ openPalette, openHelp }: { openPalette: () => void; openHelp: () => void }): void {
  const navigate = useNavigate();
  const pressedG = useRef(NEVER);
  const acts = useRef({ openPalette, openHelp });
  acts.current = { openPalette, openHelp };
  useEffect(() => {
    const listen = (event: KeyboardEvent) => {
      const key = shortcut(event);
      if ((event.metaKey || event.ctrlKey) && key.toLowerCase() === "k") {
        event.preventDefault();
        // What is written in a dialog is of the page below it: nothing else is begun there, nor another page opened.
        if (!dialogOpen()) acts.current.openPalette();
        return;
      }
      const target = event.target as HTMLElement;
      const writing = target.isContentEditable || ["INPUT", "TEXTAREA", "SELECT"].includes(target.tagName);
      if (writing || event.metaKey || event.ctrlKey || event.altKey || dialogOpen()) return;
      if (event.timeStamp - pressedG.current < AFTER_G_MS) {
        pressedG.current = NEVER;
        const page = PAGES.find((it) => it.key === key);
        if (page) {
          event.preventDefault();
          event.stopPropagation();
          void navigate({ to: page.to });
        }
        return;
      }
      if (key === "g") pressedG.current = event.timeStamp;
      else if (key === "?") acts.current.openHelp();
      else if (key === "/") {
        const search = document.querySelector<HTMLElement>("[data-search]");
        event.preventDefault();
        if (search) search.focus();
        else acts.current.openPalette();
      }
    };
    // Before the table's own keys: `g` `j` goes to the jobs.
    document.addEventListener("keydown", listen, { capture: true });
    return () => document.removeEventListener("keydown", listen, { capture: true });
  }, [navigate]);
}

const KEYS: [string[], Key][] = [
  [["Ctrl", "K"], "keys.palette"],
  [["/"], "keys.search"],
  [["j"], "keys.down"],
  [["k"], "keys.up"],
  [["x"], "keys.select"],
  [["Enter"], "keys.open"],
  [["Esc"], "keys.close"],
  [["?"], "keys.help"],
];

export function KeyHelp({ open, onClose }: { open: boolean; onClose: () => void }) {
  const t = useT();
  return (
    <Dialog open={open} onClose={onClose} title={t("keys.title")}>
      <dl className="keys">
        {KEYS.map(([keys, words]) => <Row key={words} keys={keys} words={t(words)} />)}
        {PAGES.map((page) => <Row key={page.to} keys={["g", page.key]} words={t(page.label)} />)}
      </dl>
    </Dialog>
  );
}

function Row({ keys, words }: { keys: string[]; words: string }) {
  return (
    <>
      <dt className="row">{keys.map((key) => <Kbd key={key}>{key}</Kbd>)}</dt>
      <dd>{words}</dd>
    </>
  );
}
