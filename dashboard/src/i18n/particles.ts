// Korean particles have two forms, by how the word before them ends. Words with values to fill in carry both: `{name}은(는)`.

const FIRST = "가".charCodeAt(0);
const LAST = "힣".charCodeAt(0);
const ENDINGS = 28;

/** Behind a Korean word the right form; behind anything else, which everybody reads aloud in a way of their own, both stay. */
export function particles(text: string): string {
  return text.replace(/([가-힣])(은|이|을)\((는|가|를)\)/g, (_, before: string, closed: string, open: string) => {
    const code = before.charCodeAt(0);
    const isClosed = code >= FIRST && code <= LAST && (code - FIRST) % ENDINGS !== 0;
    return before + (isClosed ? closed : open);
  });
}
