// What runs of a definition, counted up to a bound.

import type { Count } from "../api/schema";

/** What runs on other versions than the one that new sagas take; null where there is none, or nobody knows. */
export function olderOf(all: Count, active: Count): Count | null {
  // Beyond the bound there may be any number of others, and all of them may be of this version.
  if (active.capped) return null;
  // The two are counted a moment apart.
  const count = all.count - active.count;
  return count > 0 ? { count, capped: all.capped ?? false } : null;
}
