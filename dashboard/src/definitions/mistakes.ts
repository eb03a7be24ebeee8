// What is wrong with a text. The engine says, with the codes of `amends check`; a server that only says so when it is asked to
// publish leaves the text's own grammar to be checked here.

import { call } from "../api/client";
import { asProblem } from "../api/problem";
import type { FaultAt } from "../api/schema";

export interface Mistake { line?: number | undefined; column?: number | undefined; code?: string | undefined; detail: string; remedy?: string | undefined }

export interface Verdict {
  by: "engine" | "grammar";
  mistakes: Mistake[];
  /** The version that it would be. */
  version?: string;
  name?: string;
  /** What the exploration of every outcome found, where it ran. */
  proof?: Proof;
}

export interface Proof { verdict: "proved" | "refuted" | "unproved"; states: number; transitions?: number; refutations?: { property: string; words?: string; story: { words: string; states?: Record<string, string> }[] }[] }

export function mistake(fault: FaultAt): Mistake {
  return { line: fault.line ?? undefined, column: fault.column ?? undefined, code: fault.code ?? undefined, detail: fault.detail, remedy: fault.remedy ?? undefined };
}

export async function judge(source: string, signal: AbortSignal): Promise<Verdict> {
  try {
    const response = await call("/authoring/check", { method: "POST", text: source, type: "application/yaml", signal });
    const answer = (await response.json()) as { name?: string; version?: string; mistakes: FaultAt[]; proof?: Proof };
    return { by: "engine", mistakes: answer.mistakes.map(mistake), ...(answer.name ? { name: answer.name } : {}), ...(answer.version ? { version: answer.version } : {}), ...(answer.proof ? { proof: answer.proof } : {}) };
  } catch (error) {
    if (asProblem(error).kind !== "absent") throw error;
    return { by: "grammar", mistakes: await grammar(source) };
  }
}

export async function grammar(source: string): Promise<Mistake[]> {
  const { parseDocument } = await import("yaml");
  const document = parseDocument(source, { prettyErrors: true });
  return document.errors.map((error) => ({ line: error.linePos?.[0].line, column: error.linePos?.[0].col, code: error.code, detail: error.message.split("\n")[0] ?? "" }));
}
