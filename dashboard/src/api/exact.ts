// Whole numbers beyond 2^53, such as the ids of some payment providers: JavaScript rounds them as it reads them. What the
// engine says keeps their digits here, to be shown, copied and written as they came.

import { unique } from "./unique";

/** A whole number that is no JavaScript number. Where it is counted with all the same, it is as near as a number comes. */
export class Exact {
  constructor(readonly digits: string) {}
  toString(): string { return this.digits; }
  valueOf(): number { return Number(this.digits); }
}

/** Texts, which may have digits in them, and numbers. */
const TOKENS = /"[^"\\]*(?:\\.[^"\\]*)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;
/** No smaller number is rounded: most documents have none so large, and are read as they are. */
const LARGE = /\d{16}/;
/** No text of anybody's begins so. */
const MARK = `exact ${unique()} `;

const lost = (token: string) => /^-?\d+$/.test(token) && !Number.isSafeInteger(Number(token));

/** What the engine keeps digit by digit: numbers of 64 bits, with a sign or without. */
const [SMALLEST, LARGEST] = [-(2n ** 63n), 2n ** 64n - 1n];

/** The first whole number of a JSON text that the engine would round. */
export function firstLost(json: string): string | null {
  if (!LARGE.test(json)) return null;
  for (const [token] of json.matchAll(TOKENS)) if (lost(token) && (BigInt(token) < SMALLEST || BigInt(token) > LARGEST)) return token;
  return null;
}

export function parseExact(json: string): unknown {
  if (!LARGE.test(json)) return JSON.parse(json);
  return JSON.parse(json.replace(TOKENS, (token) => (lost(token) ? `"${MARK}${token}"` : token)),
    (_, value: unknown) => (typeof value === "string" && value.startsWith(MARK) ? new Exact(value.slice(MARK.length)) : value));
}

export function writeExact(value: unknown, indent?: number): string {
  let exact = false;
  const json = JSON.stringify(value, (_, it: unknown) => {
    if (!(it instanceof Exact)) return it;
    exact = true;
    return MARK + it.digits;
  }, indent) as string | undefined;
  return exact ? (json ?? "").replace(new RegExp(`"${MARK}(-?\\d+)"`, "g"), "$1") : json ?? "";
}
