// A text that is played before it is published: the editor leaves it here, for the simulator of the same visit.

let draft: { name: string; source: string } | null = null;

export function leaveDraft(name: string, source: string): void {
  draft = { name, source };
}

export function takenDraft(name: string): string | null {
  return draft?.name === name ? draft.source : null;
}
