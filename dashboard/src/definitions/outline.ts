// The steps of a definition, read from its text: enough to draw it, also while it is being written and not right yet.
// What is right is decided by the engine alone.

import { useQuery } from "@tanstack/react-query";

import { Exact } from "../api/exact";
import { definition } from "../api/queries";
import type { GraphStep } from "../graph/LazyGraph";

interface Raw {
  worker?: unknown; action?: unknown; wait?: unknown; saga?: unknown; http?: unknown; after?: unknown; pivot?: unknown; optional?: unknown; compensation?: unknown;
}

const text = (value: unknown): string => (typeof value === "string" ? value : "");
const record = (value: unknown): Record<string, unknown> => (value !== null && typeof value === "object" && !Array.isArray(value) ? (value as Record<string, unknown>) : {});

/** A step with what its text says of it, by key: two of a name are the same when all of that is. */
export type Outlined = GraphStep & { says: Record<string, string> };

async function parsed(source: string): Promise<Record<string, unknown>> {
  const { parseDocument } = await import("yaml");
  return record(parseDocument(source, { merge: true, maxAliasCount: 100, intAsBigInt: true } as object).toJS({ maxAliasCount: 100, reviver: (_, value) => (typeof value === "bigint" ? whole(value) : value) }));
}

/** A number as what the engine says has it. */
function whole(value: bigint): number | Exact {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : new Exact(String(value));
}

/** The same text for the same value, however its keys are ordered. */
function canonical(value: unknown): string {
  return JSON.stringify(value, (_, it: unknown) =>
    it !== null && typeof it === "object" && !Array.isArray(it) ? Object.fromEntries(Object.entries(it).sort(([a], [b]) => (a < b ? -1 : 1))) : it) ?? "";
}

function said(of: Record<string, unknown>): Record<string, string> {
  return Object.fromEntries(Object.entries(of).map(([key, value]) => [key, canonical(value)]));
}

const SECTIONS = ["steps", "on_compensated", "on_parked"];

/** What a definition says beside its steps, by key. */
export async function beside(source: string): Promise<Record<string, string>> {
  return said(Object.fromEntries(Object.entries(await parsed(source)).filter(([key]) => !SECTIONS.includes(key))));
}

/** What a text is of, and what its sagas take; a name or an input that it has not got right is none. */
export async function head(source: string): Promise<{ name: string; input: unknown }> {
  const root = await parsed(source);
  return { name: text(root["saga"]), input: record(root["input"]) };
}

export async function outline(source: string): Promise<Outlined[]> {
  const root = await parsed(source);
  const steps = (section: string, turn?: string) =>
    Object.entries(record(root[section])).map(([name, raw]): Outlined => {
      const step = record(raw) as Raw;
      return {
        id: name, label: name, work: work(step), after: Array.isArray(step.after) ? step.after.map(text).filter(Boolean) : text(step.after) ? [text(step.after)] : [],
        pivot: step.pivot === true, optional: step.optional === true, ...(turn ? { turn } : {}),
        // In which order a step names those before it says nothing.
        says: said({ ...step, ...(Array.isArray(step.after) ? { after: [...step.after].sort() } : {}) }),
      };
    });
  return [...steps("steps"), ...steps("on_compensated", "on_compensated"), ...steps("on_parked", "on_parked")];
}

function work(step: Raw): string {
  if (step.worker) return `${text(step.worker)}.${text(step.action)}`;
  const wait = record(step.wait);
  if (step.wait) return text(wait["signal"]) ? `signal ${text(wait["signal"])}` : `wait ${text(wait["for"])}`;
  if (step.saga) return `saga ${text(step.saga)}`;
  return step.http ? "http" : "";
}

/** The active version's steps; nothing while they are not known. */
export function useOutline(name: string): GraphStep[] | undefined {
  const asked = useQuery({
    ...definition(name),
    retry: false,
    staleTime: 30_000,
  });
  const active = asked.data?.versions.find((version) => version.active);
  const drawn = useQuery({ queryKey: ["outline", active?.version], queryFn: () => outline(active?.source ?? ""), enabled: active !== undefined, staleTime: Infinity });
  return drawn.data;
}
