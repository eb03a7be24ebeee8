// What the engine says in its own English words, in the reader's language; what is not known is left as it is.

import { en } from "./en";
import { type Key, type Language, type T, translate, useLanguage } from "./index";
import { particles } from "./particles";
import { CHECKS, KINDS } from "./ko/checks";
import { CAME, DOING, ENGINE, WORDS } from "./ko/engine";
import { TELL, TOLD } from "./ko/tell";

const DEPTH_MAX = 4;
const REMEMBERED_MAX = 500;

interface Pattern { is: RegExp; holes: string[]; korean: string }

/** How much of a phrase stands fast: the more, the earlier it is tried. */
function literal(phrase: string): number {
  return phrase.replace(/\{\w+\}/g, "").length;
}

/** Some begin a sentence, and some end one. */
function normal(text: string): string {
  return text.trim().replace(/\.$/, "").toLowerCase();
}

function pattern(english: string, korean: string): Pattern {
  const holes: string[] = [];
  const source = english.replace(/\.$/, "").split(/(\{\w+\})/).map((part) => {
    const [, hole] = /^\{(\w+)\}$/.exec(part) ?? [];
    if (hole === undefined) return part.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
    holes.push(hole);
    return "(.+?)";
  }).join("");
  return { is: new RegExp(`^${source}\\.?$`, "is"), holes, korean };
}

/** Phrases to look texts up in; `words` are what their holes can have in them. */
function book(phrases: readonly [string, string][], words: Record<string, string>): (text: string) => string {
  const plainly = new Map<string, string>();
  const patterns: Pattern[] = [];
  for (const [english, korean] of [...phrases].sort(([a], [b]) => literal(b) - literal(a))) {
    if (!/\{\w+\}/.test(english)) plainly.set(normal(english), korean);
    else patterns.push(pattern(english, korean));
  }
  const remembered = new Map<string, string>();
  const look = (text: string, depth: number): string => {
    const known = plainly.get(normal(text)) ?? words[text];
    if (known !== undefined || depth === 0) return known ?? text;
    // A list of consequences is said one by one.
    const parts = text.split("; ");
    if (parts.length > 1) {
      const each = parts.map((part) => look(part, depth - 1));
      if (each.some((part, at) => part !== parts[at])) return each.join("; ");
    }
    for (const { is, holes, korean: says } of patterns) {
      const found = is.exec(text);
      if (found === null) continue;
      const values = new Map(holes.map((hole, at) => [hole, look(found[at + 1] ?? "", depth - 1)]));
      return particles(says.replace(/\{(\w+)\}/g, (whole, hole: string) => values.get(hole) ?? whole));
    }
    return text;
  };
  return (text) => {
    if (text === "") return text;
    let says = remembered.get(text);
    if (says === undefined) {
      if (remembered.size >= REMEMBERED_MAX) remembered.clear();
      says = look(text, DEPTH_MAX);
      remembered.set(text, says);
    }
    return says;
  };
}

const korean = book(ENGINE, { ...KINDS, ...WORDS });
const koreanOfChecks = book(CHECKS, KINDS);
const koreanOfTimelines = book([...TELL, ...ENGINE], { ...WORDS, ...TOLD });

export function said(language: Language, text: string): string {
  return language === "ko" ? stands(text) ?? korean(text) : text;
}

/** Where a saga stands after an action: `pay is undone; the saga is parked: stock: NO_ANSWER (Silence.)`. Names and errors are not the engine's. */
function stands(text: string): string | null {
  const [, step, came, status = "", rest] = /^(?:(\S+) ([a-z ]+); the saga is )?(running|parked|completed|compensated|abandoned)(?:: (.+))?$/s.exec(text) ?? [];
  const past = came === undefined ? "" : CAME[came];
  if (status === "" || past === undefined) return null;
  const why = rest === undefined ? "" : `: ${status === "running" ? rest.split(", ").map(doing).join(", ") : cause(rest)}`;
  return (past === "" ? "" : particles(`${past.replace("{step}", step ?? "")}, 사가 상태: `)) + (WORDS[status] ?? status) + why;
}

function doing(text: string): string {
  const [, step, undoing, run = ""] = /^(\S+) (\(undoing\) )?(.+)$/.exec(text) ?? [];
  return DOING[run] === undefined ? text : `${step} ${undoing === undefined ? "" : "(되돌리기) "}${DOING[run]}`;
}

/** A step's error as the engine tells it: `step: CODE (message)`. */
function cause(text: string): string {
  const [, step = "", code, message] = /^(\S+: )?(\w+) \((.*)\)$/s.exec(text) ?? [];
  return code === undefined || message === undefined ? korean(text) : `${step}${code} (${explained("ko", code, message)})`;
}

/** What the check says of a definition: a mistake, or its remedy. */
export function checked(language: Language, text: string): string {
  return language === "ko" ? koreanOfChecks(text) : text;
}

export function useChecked(): (text: string) => string {
  return CHECKED[useLanguage()];
}

const CHECKED: Record<Language, (text: string) => string> = { en: (text) => text, ko: koreanOfChecks };

/** A line of a scenario's timeline. */
export function told(language: Language, text: string): string {
  return language === "ko" ? koreanOfTimelines(text) : text;
}

export function useTold(): (text: string) => string {
  return TIMELINES[useLanguage()];
}

const TIMELINES: Record<Language, (text: string) => string> = { en: (text) => text, ko: koreanOfTimelines };

/** What the engine says, in the reader's language. */
export function useSaid(): (text: string) => string {
  return SAID[useLanguage()];
}

const SAID: Record<Language, (text: string) => string> = { en: (text) => text, ko: (text) => said("ko", text) };

/** Codes that are known by how they begin or end. */
const FAMILIES: [RegExp, string][] = [
  [/^FAILED_/, "FAILED"], [/^INVALID_.*CARD/, "INVALID_CARD"], [/^EXCEED_MAX_/, "EXCEED_MAX"], [/^http_5\d\d$/, "http_5xx"], [/^http_4\d\d$/, "http_4xx"], [/^sqlstate_/, "sqlstate"],
];

/** What an error code means, where it is one of the codes that are known. */
export function meaning(t: T, code: string): string | undefined {
  const known = [code, ...FAMILIES.filter(([is]) => is.test(code)).map(([, family]) => family)].find((it) => `code.${it}` in en);
  return known === undefined ? undefined : t(`code.${known}` as Key);
}

const HANGUL = /\p{Script=Hangul}/u;

/** An error's message as the reader can understand it: a worker's own words in another language come behind what its code means. */
export function explained(language: Language, code: string, message: string): string {
  if (language === "ko") {
    const [, what, remedy] = /^(.+?) What to do: (.+)$/s.exec(message) ?? [];
    if (what !== undefined && remedy !== undefined) return `${explained(language, code, what)} 조치: ${said(language, remedy)}`;
    // What the engine says of it, and then the worker's error.
    const [, general, its, rest] = /^(.+?\.) (\w{3,}): (.+)$/s.exec(message) ?? [];
    if (general !== undefined && its !== undefined && rest !== undefined && said(language, general) !== general) return `${said(language, general)} ${its}: ${explained(language, its, rest)}`;
  }
  const words = said(language, message);
  const readable = language === "ko" ? HANGUL.test(words) : !HANGUL.test(words);
  const means = meaning((key, values) => translate(language, key, values), code);
  if (means === undefined) return words;
  if (words === "" || words === code) return means;
  return readable ? words : `${means} (${words})`;
}

export function useExplained(): (code: string, message: string) => string {
  return EXPLAINED[useLanguage()];
}

const EXPLAINED: Record<Language, (code: string, message: string) => string> = {
  en: (code, message) => explained("en", code, message), ko: (code, message) => explained("ko", code, message),
};

/** A reason as the engine keeps it: its own words, or an error as `code: message`. */
export function because(language: Language, reason: string): string {
  const [, code, message] = /^([A-Za-z]\w+): (.+)$/s.exec(reason) ?? [];
  return code === undefined || message === undefined ? said(language, reason) : `${code}: ${explained(language, code, message)}`;
}

export function useBecause(): (reason: string) => string {
  return BECAUSE[useLanguage()];
}

const BECAUSE: Record<Language, (reason: string) => string> = { en: (reason) => because("en", reason), ko: (reason) => because("ko", reason) };
