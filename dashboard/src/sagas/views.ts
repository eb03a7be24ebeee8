// Saved filters: which one is shown, and whether it is one's own.

import type { SavedFilter } from "../api/contract";

/** One's own view of that name, which saving another under it would replace. */
export function namedOf(views: SavedFilter[], name: string, principal: string | undefined): SavedFilter | undefined {
  return views.find((it) => it.by === principal && it.name === name.trim());
}

/** The view of a query, one's own before a colleague's: only one's own can be deleted, and names are each owner's. */
export function viewOf(views: SavedFilter[], query: string, principal: string | undefined): { view: SavedFilter | undefined; own: boolean } {
  const of = views.filter((it) => it.query === query);
  const mine = of.find((it) => it.by === principal);
  return { view: mine ?? of[0], own: mine !== undefined };
}
