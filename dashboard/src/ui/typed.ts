// JSON that somebody types: its value, or what keeps it from being sent, in the reader's language.

import { firstLost, parseExact } from "../api/exact";
import type { T } from "../i18n";

export interface Typed { value: unknown; fault: string | null }

export function typedJson(text: string, t: T): Typed {
  try {
    // As a browser reads it, for where it is wrong; what is sent has the digits that were typed.
    JSON.parse(text);
    const lost = firstLost(text);
    return lost === null ? { value: parseExact(text), fault: null } : { value: undefined, fault: t("json.lost", { digits: lost }) };
  } catch (error) {
    // Browsers say where in words of their own, and in English; the place is the same in all.
    const [, line, column] = /line (\d+) column (\d+)/.exec(error instanceof Error ? error.message : "") ?? [];
    return { value: undefined, fault: line === undefined ? t("json.bad") : t("json.bad.at", { line, column }) };
  }
}
