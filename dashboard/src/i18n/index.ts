// Two languages, one set of keys: `Words` is what English has, and Korean does not compile without the same.

import { useSyncExternalStore } from "react";

import { en } from "./en";
import { ko } from "./ko";
import { particles } from "./particles";

export type Key = keyof typeof en;
export type Words = Record<Key, string>;
export type Language = "en" | "ko";
export type Values = Record<string, string | number | null | undefined>;

const WORDS: Record<Language, Words> = { en, ko };
const STORED = "amends.language";

function initial(): Language {
  const stored = globalThis.localStorage?.getItem(STORED);
  if (stored === "en" || stored === "ko") return stored;
  return globalThis.navigator?.language?.startsWith("ko") ? "ko" : "en";
}

let language: Language = initial();
const listeners = new Set<() => void>();

export function setLanguage(next: Language): void {
  language = next;
  localStorage.setItem(STORED, next);
  document.documentElement.lang = next;
  for (const listener of listeners) listener();
}

export function currentLanguage(): Language {
  return language;
}

export function useLanguage(): Language {
  return useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    currentLanguage,
  );
}

/** The words of a key; `{name}` is filled in, and `key_one` is taken where the language counts so. */
export function translate(of: Language, key: Key, values?: Values): string {
  let words = WORDS[of][key];
  const count = values?.["count"];
  if (typeof count === "number" && new Intl.PluralRules(of).select(count) === "one") {
    words = WORDS[of][`${key}_one` as Key] ?? words;
  }
  if (!values) return words;
  const filled = words.replace(/\{(\w+)\}/g, (whole, name: string) => {
    const value = values[name];
    return value == null ? whole : typeof value === "number" ? value.toLocaleString(of) : value;
  });
  return of === "ko" ? particles(filled) : filled;
}

export type T = (key: Key, values?: Values) => string;

const BOUND: Record<Language, T> = {
  en: (key, values) => translate("en", key, values),
  ko: (key, values) => translate("ko", key, values),
};

export function useT(): T {
  return BOUND[useLanguage()];
}

/** Words for a term of the engine, such as a state; the term itself when the dictionary has none. */
export function term(t: T, prefix: string, word: string): string {
  const key = `${prefix}.${word}`;
  return key in en ? t(key as Key) : word.replaceAll("_", " ");
}
