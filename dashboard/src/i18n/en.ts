import { author } from "./en/author";
import { codes } from "./en/codes";
import { common } from "./en/common";
import { operate } from "./en/operate";
import { terms } from "./en/terms";

/** English, and with it the keys that every language has. */
export const en = { ...common, ...terms, ...operate, ...author, ...codes };
