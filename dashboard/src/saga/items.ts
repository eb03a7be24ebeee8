// How a `foreach` stands: its items side by side, as one step.

import type { StepView } from "../api/schema";
import { laneId } from "./spans";

/** How many there are, are over and go on, and which ones failed. */
export interface Items { count: number; done: number; open: number; failed: number[] }

const DONE = ["succeeded", "skipped", "compensated"];
const FAILED = ["rejected", "exhausted", "undecidable", "compensation_failed", "given_up"];

/** The items of a step; none where the step is no `foreach`, or has not begun. */
export function itemsOf(steps: StepView[], name: string): StepView[] {
  return steps.filter((step) => step.step === name && step.item != null);
}

export function summed(items: StepView[]): Items {
  const failed = items.filter((it) => FAILED.includes(it.state));
  const done = items.filter((it) => DONE.includes(it.state)).length;
  return { count: items.length, done, open: items.length - done - failed.length, failed: failed.map((it) => it.item ?? 0) };
}

const LISTED_MAX = 12;

/** `[1], [4]`: which items, as long as one can read them. */
export function listed(items: number[]): string {
  return items.slice(0, LISTED_MAX).map((it) => `[${it}]`).join(", ") + (items.length > LISTED_MAX ? ", …" : "");
}

/** Whether it is about what is selected, a step or one item of it; or about none. */
export function isOf(event: { step?: string | null; item?: number | null }, lane: string | null): boolean {
  if (lane === null || event.step == null) return true;
  return event.item == null ? event.step === stepOf(lane) : lane === event.step || lane === laneId({ step: event.step, item: event.item });
}

/** The step that a lane's id names: `wrap` of `wrap[2]`. */
export function stepOf(lane: string): string {
  return lane.replace(/\[\d+\]$/, "");
}
