// Where two JSON values differ, by JSON pointer.

import { Exact, writeExact } from "../api/exact";

export interface Difference { pointer: string; before: string; after: string }

const isObject = (value: unknown): value is Record<string, unknown> => value !== null && typeof value === "object" && !(value instanceof Exact);

export function differences(before: unknown, after: unknown, pointer = ""): Difference[] {
  if (Object.is(before, after) || (before instanceof Exact && after instanceof Exact && before.digits === after.digits)) return [];
  if (isObject(before) && isObject(after) && Array.isArray(before) === Array.isArray(after)) {
    const keys = [...new Set([...Object.keys(before), ...Object.keys(after)])];
    return keys.flatMap((key) => differences(before[key], after[key], `${pointer}/${key.replaceAll("~", "~0").replaceAll("/", "~1")}`));
  }
  return [{ pointer: pointer || "/", before: show(before), after: show(after) }];
}

function show(value: unknown): string {
  return value === undefined ? "–" : writeExact(value);
}
