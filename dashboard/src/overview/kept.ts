// A choice that was made for the reader is not made anew under their eyes.

/** What is shown stays, as long as it is there; else the first. */
export function kept(shown: string | null, names: string[]): string | null {
  return shown !== null && names.includes(shown) ? shown : names[0] ?? null;
}
