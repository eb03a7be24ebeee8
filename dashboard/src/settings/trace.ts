// Where this reader's traces are looked at. The engine does not know: it only sends them.

const STORED = "amends.trace";
export const PLACE = "{trace}";

export function traceTemplate(): string {
  return localStorage.getItem(STORED) ?? "";
}

/** Kept when it is an address with the place for the id; an empty one forgets it. */
export function setTraceTemplate(template: string): boolean {
  const text = template.trim();
  if (text === "") localStorage.removeItem(STORED);
  else if (/^https?:\/\/\S+$/.test(text) && text.includes(PLACE)) localStorage.setItem(STORED, text);
  else return false;
  return true;
}

export function traceAddress(id: string): string | null {
  const template = traceTemplate();
  return template === "" ? null : template.replaceAll(PLACE, id);
}
