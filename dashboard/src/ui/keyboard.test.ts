import { expect, test } from "vitest";

import { composing, shortcut } from "./keyboard";

const key = (pressed: string, code = "", shiftKey = false) => shortcut({ key: pressed, code, shiftKey });

test("shortcuts are the same keys with the Hangul layout on", () => {
  expect([..."ㅓㅏㅌㅎ"].map((it) => key(it))).toEqual(["j", "k", "x", "g"]);
  // An input method that keeps the letter to itself.
  expect([key("Process", "KeyJ"), key("Process", "Slash"), key("Process", "Slash", true), key("Process", "Enter")]).toEqual(["j", "/", "?", "Enter"]);
});

test("another layout's letters are its own: the key's place is asked for only where nothing else tells", () => {
  expect([key("j", "KeyC"), key("?", "Slash", true), key("ArrowDown", "ArrowDown")]).toEqual(["j", "?", "ArrowDown"]);
});

test("a syllable that is being put together has its keys for itself", () => {
  expect(composing({ isComposing: true, keyCode: 13 })).toBe(true);
  expect(composing({ isComposing: false, keyCode: 229 })).toBe(true);
  expect(composing({ isComposing: false, keyCode: 13 })).toBe(false);
});
