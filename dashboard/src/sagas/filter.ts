// The filter of the list as text: `status:parked step:pay timeout` and the query of `GET /sagas` are two spellings of one thing.

import type { SagaFilter } from "../api/queries";

export const FIELDS = [
  "status", "health", "definition", "version", "step", "error_code", "worker", "failure", "key", "owner", "started_after", "started_before", "older_than_s",
  "attempts_min", "label", "replay_of",
] as const;
export type FilterField = (typeof FIELDS)[number];

const isField = (name: string): name is FilterField => (FIELDS as readonly string[]).includes(name);

/** What an address or a saved view says, without what is no filter. */
export function fromSearch(search: Record<string, string | undefined>): SagaFilter {
  const filter: SagaFilter = {};
  for (const [name, value] of Object.entries(search)) if ((isField(name) || name === "text") && value) filter[name] = value;
  return filter;
}

/** What was typed, put to what stands already. A word without a field searches text. */
export function typed(input: string): SagaFilter {
  const filter: SagaFilter = {};
  const words: string[] = [];
  for (const part of input.match(/[a-z_]+:"[^"]*"|\S+/g) ?? []) {
    const colon = part.indexOf(":");
    const name = part.slice(0, colon);
    if (colon > 0 && isField(name)) {
      const value = part.slice(colon + 1).replace(/^"(.*)"$/, "$1");
      if (value) filter[name] = value;
    } else words.push(part);
  }
  if (words.length > 0) filter["text"] = words.join(" ");
  return filter;
}

/** The words that a completion offers for what is being typed. */
export function complete(input: string, values: Partial<Record<FilterField, string[]>>): string[] {
  const last = input.split(/\s+/).at(-1) ?? "";
  const colon = last.indexOf(":");
  if (colon < 0) return last === "" ? [] : FIELDS.filter((field) => field.startsWith(last.toLowerCase())).map((field) => `${field}:`);
  const name = last.slice(0, colon);
  const begun = last.slice(colon + 1).toLowerCase();
  return isField(name) ? (values[name] ?? []).filter((value) => value.toLowerCase().startsWith(begun) && value !== begun).slice(0, 8).map((value) => `${name}:${/\s/.test(value) ? `"${value}"` : value}`) : [];
}

/** How the label begins that is being typed, if it is one. */
export function labelBegun(input: string): string | null {
  return /(?:^|\s)label:(\S*)$/.exec(input)?.[1] ?? null;
}

export function accept(input: string, completion: string): string {
  const kept = input.slice(0, input.length - (input.split(/\s+/).at(-1) ?? "").length);
  return `${kept}${completion}${completion.endsWith(":") ? "" : " "}`;
}
