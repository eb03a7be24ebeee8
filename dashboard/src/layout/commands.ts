// What can be done on the page that is open, for whoever looks for it by typing. Pages offer; the palette lists.

import { useEffect, useRef } from "react";

import type { IconName } from "../ui/Icon";

export interface Command { id: string; label: string; icon: IconName; go: () => void }

const offers = new Map<symbol, { commands: Command[]; everywhere: boolean }>();

/** Offers these as long as the caller is on the page; after the page's own, what can be done everywhere. */
export function useCommands(commands: Command[], everywhere = false): void {
  const place = useRef(Symbol("a page"));
  useEffect(() => { offers.set(place.current, { commands, everywhere }); });
  useEffect(() => {
    const mine = place.current;
    return () => { offers.delete(mine); };
  }, []);
}

export function offered(): Command[] {
  return [...offers.values()].sort((a, b) => Number(a.everywhere) - Number(b.everywhere)).flatMap((it) => it.commands);
}
