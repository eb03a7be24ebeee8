/** Whether what was asked is what would be asked now. */
export function same(asked: object | undefined, now: object): boolean {
  return JSON.stringify(asked) === JSON.stringify(now);
}
