// Light, dark, or as the system has it.

import { useSyncExternalStore } from "react";

export type Theme = "system" | "light" | "dark";
const STORED = "amends.theme";
const system = matchMedia("(prefers-color-scheme: dark)");
const listeners = new Set<() => void>();

function stored(): Theme {
  const value = localStorage.getItem(STORED);
  return value === "light" || value === "dark" ? value : "system";
}

let theme: Theme = stored();

export function applyTheme(): void {
  const dark = theme === "dark" || (theme === "system" && system.matches);
  document.documentElement.dataset["theme"] = dark ? "dark" : "light";
  for (const listener of listeners) listener();
}

export function setTheme(next: Theme): void {
  theme = next;
  localStorage.setItem(STORED, next);
  applyTheme();
}

export function useTheme(): Theme {
  return useSyncExternalStore(subscribe, () => theme);
}

/** What is seen now, for what cannot read CSS variables. */
export function useDark(): boolean {
  return useSyncExternalStore(subscribe, () => document.documentElement.dataset["theme"] === "dark");
}

function subscribe(listener: () => void) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

system.addEventListener("change", applyTheme);
