// Which key was meant. With the Hangul layout on, the key of `j` says ㅓ; and while a syllable is being put together, its keys
// belong to the input method and to nobody else.

type Pressed = Pick<KeyboardEvent, "key" | "code" | "shiftKey">;

/** The letters of the two-set layout (KS X 5002), by the jamo on their keys. */
const LETTERS: Record<string, string> = {
  ㅂ: "q", ㅈ: "w", ㄷ: "e", ㄱ: "r", ㅅ: "t", ㅛ: "y", ㅕ: "u", ㅑ: "i", ㅐ: "o", ㅔ: "p",
  ㅁ: "a", ㄴ: "s", ㅇ: "d", ㄹ: "f", ㅎ: "g", ㅗ: "h", ㅓ: "j", ㅏ: "k", ㅣ: "l",
  ㅋ: "z", ㅌ: "x", ㅊ: "c", ㅍ: "v", ㅠ: "b", ㅜ: "n", ㅡ: "m",
};

/** The key of a shortcut, whatever layout is on. */
export function shortcut(pressed: Pressed): string {
  const letter = LETTERS[pressed.key];
  if (letter !== undefined) return letter;
  // An input method that takes the key keeps what it will become; where the key is it does not hide.
  if (pressed.key !== "Process" && pressed.key !== "Unidentified") return pressed.key;
  const [, named] = /^Key([A-Z])$/.exec(pressed.code) ?? [];
  if (named !== undefined) return named.toLowerCase();
  if (pressed.code === "Slash") return pressed.shiftKey ? "?" : "/";
  return pressed.code;
}

/** What an input method says of every key that it takes for itself. */
const TAKEN = 229;

/** Whether a field's key belongs to a syllable that is not finished: its Enter ends the syllable and nothing else. */
export function composing(event: { isComposing: boolean; keyCode: number }): boolean {
  return event.isComposing || event.keyCode === TAKEN;
}
