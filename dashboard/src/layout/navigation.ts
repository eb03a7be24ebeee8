// The pages that one goes to, in the order of the side bar.

import type { Key } from "../i18n";
import type { IconName } from "../ui/Icon";

export interface PageLink {
  to: "/" | "/sagas" | "/parked" | "/failures" | "/jobs" | "/workers" | "/dead-letters" | "/reconciliation" | "/audit" | "/definitions" | "/simulator" | "/settings";
  label: Key;
  icon: IconName;
  /** Pressed after `g`. */
  key: string;
}

export const NAVIGATION: { group: Key; pages: PageLink[] }[] = [
  { group: "nav.now", pages: [
    { to: "/", label: "overview", icon: "overview", key: "o" },
    { to: "/sagas", label: "sagas", icon: "list", key: "s" },
    { to: "/parked", label: "parked", icon: "parked", key: "p" },
    { to: "/failures", label: "failures", icon: "failures", key: "f" },
    { to: "/jobs", label: "jobs", icon: "jobs", key: "j" },
  ] },
  { group: "nav.engine", pages: [
    { to: "/workers", label: "workers", icon: "workers", key: "w" },
    { to: "/dead-letters", label: "dead_letters", icon: "letters", key: "l" },
    { to: "/reconciliation", label: "reconciliation", icon: "reconcile", key: "r" },
    { to: "/audit", label: "audit", icon: "audit", key: "a" },
  ] },
  { group: "nav.author", pages: [
    { to: "/definitions", label: "definitions", icon: "definitions", key: "d" },
    { to: "/simulator", label: "simulator", icon: "simulator", key: "m" },
  ] },
  { group: "nav.you", pages: [{ to: "/settings", label: "settings", icon: "settings", key: "t" }] },
];

export const PAGES = NAVIGATION.flatMap(({ pages }) => pages);
