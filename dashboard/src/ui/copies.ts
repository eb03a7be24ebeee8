// Relative times are copied as the instants that they are: "3 min. ago" says nothing once it is somewhere else.

/** What is selected as text, with each time written out; null where no time is in it. */
function written(selection: Selection): string | null {
  const place = document.createElement("div");
  for (let at = 0; at < selection.rangeCount; at += 1) place.append(selection.getRangeAt(at).cloneContents());
  const times = place.querySelectorAll<HTMLTimeElement>("time[title]");
  if (times.length === 0) return null;
  for (const time of times) time.textContent = time.title;
  // Only what is on the page has lines.
  place.style.position = "absolute";
  place.style.left = "-10000px";
  document.body.append(place);
  const text = place.innerText;
  place.remove();
  return text;
}

export function exactInCopies(): void {
  document.addEventListener("copy", (event) => {
    const selection = getSelection();
    const at = event.target;
    // What is typed is copied as it stands.
    if (selection === null || at instanceof HTMLInputElement || at instanceof HTMLTextAreaElement || (at instanceof HTMLElement && at.isContentEditable)) return;
    const text = written(selection);
    if (text === null) return;
    event.clipboardData?.setData("text/plain", text);
    event.preventDefault();
  });
}

/** Puts a text on the clipboard; answers whether it is there. Over plain HTTP a page has no clipboard. */
export async function copied(text: string): Promise<boolean> {
  const clipboard = navigator.clipboard as Clipboard | undefined;
  if (clipboard === undefined) return false;
  return clipboard.writeText(text).then(() => true, () => false);
}
