// Where the keyboard is in a list: at a row, not at a place. Rows come and go above it while one looks.

/** The row that has the keyboard, and where it was when it was seen last. */
export interface At { key: string | null; index: number }

/** Where that row is now; where it was, when it is gone. */
export function placeOf(keys: string[], at: At): number {
  const found = at.key === null ? -1 : keys.indexOf(at.key);
  return found >= 0 ? found : Math.max(0, Math.min(keys.length - 1, at.index));
}

/** Whether that row is there still: nobody else may be acted on in its place. */
export function isThere(keys: string[], at: At): boolean {
  return at.key === null || keys.includes(at.key);
}
