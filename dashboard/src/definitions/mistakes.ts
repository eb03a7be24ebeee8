// What is wrong with a text, as the engine says it, with the codes of `amends check`.

import { call } from "../api/client";
import type { CheckedView, FaultAt, ProofView } from "../api/schema";

export interface Mistake { line?: number | undefined; column?: number | undefined; code?: string | undefined; detail: string; remedy?: string | undefined }

export interface Verdict {
  mistakes: Mistake[];
  /** Its name and the version that it would be, when it is right. */
  name?: string | undefined;
  version?: string | undefined;
}

export function mistake(fault: FaultAt): Mistake {
  return { line: fault.line ?? undefined, column: fault.column ?? undefined, code: fault.code ?? undefined, detail: fault.detail, remedy: fault.remedy ?? undefined };
}

const post = (path: string, source: string, signal: AbortSignal) => call(path, { method: "POST", text: source, type: "application/yaml", signal });

export async function judge(source: string, signal: AbortSignal): Promise<Verdict> {
  const answer = (await (await post("/authoring/check", source, signal)).json()) as CheckedView;
  return { mistakes: answer.mistakes.map(mistake), name: answer.name ?? undefined, version: answer.version ?? undefined };
}

/** Explores every combination of outcomes; takes seconds. */
export async function prove(source: string, signal: AbortSignal): Promise<ProofView> {
  return (await (await post("/authoring/prove", source, signal)).json()) as ProofView;
}
