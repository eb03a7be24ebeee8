import type { en } from "./en";
import { author } from "./ko/author";
import { codes } from "./ko/codes";
import { common } from "./ko/common";
import { operate } from "./ko/operate";
import { terms } from "./ko/terms";

export const ko: Record<keyof typeof en, string> = { ...common, ...terms, ...operate, ...author, ...codes };
