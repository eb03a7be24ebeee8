// What goes wrong between browser and engine, as one error with a kind that pages can word.

import type { Problem as ProblemBody } from "./schema";

export type ProblemKind = "offline" | "unauthorized" | "forbidden" | "absent" | "refused" | "invalid" | "busy" | "failed";

export class ApiProblem extends Error {
  readonly kind: ProblemKind;
  readonly status: number;
  readonly body: Partial<ProblemBody>;

  constructor(status: number, body: Partial<ProblemBody>) {
    super(body.detail ?? body.title ?? `HTTP ${status}`);
    this.name = "ApiProblem";
    this.status = status;
    this.body = body;
    this.kind = kindOf(status);
  }
}

function kindOf(status: number): ProblemKind {
  switch (status) {
    case 0: return "offline";
    case 401: return "unauthorized";
    case 403: return "forbidden";
    // A method that this server does not know is as absent as a path.
    case 404: case 405: return "absent";
    case 409: return "refused";
    case 400: case 413: case 415: case 422: return "invalid";
    case 429: case 503: return "busy";
    default: return "failed";
  }
}

export function asProblem(error: unknown): ApiProblem {
  if (error instanceof ApiProblem) return error;
  return new ApiProblem(599, { title: error instanceof Error ? error.message : String(error) });
}

/** Whether it looks as if there were none, and nobody knows. */
export function unread(data: unknown, error: unknown): boolean {
  if (data !== undefined || !error) return false;
  // That nobody answers is said once, above the page; and who may not see it, or a server without it, misses nothing.
  return !["offline", "absent", "forbidden", "unauthorized"].includes(asProblem(error).kind);
}

/**
 * What is known of what was asked. While it is asked for the first time, the answer to the question before may stand there
 * (`waiting`); once it has failed, that is none of this one, also while it is asked again.
 */
export function answerOf<D>({ data, errorUpdatedAt, isPlaceholderData = false }: { data: D | undefined; errorUpdatedAt: number; isPlaceholderData?: boolean }): { data: D | undefined; waiting: boolean } {
  return isPlaceholderData && errorUpdatedAt > 0 ? { data: undefined, waiting: false } : { data, waiting: isPlaceholderData };
}
