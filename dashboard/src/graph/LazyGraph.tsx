// The graph's libraries load when a graph is first shown; its place is kept until then.

import { lazyPart } from "../ui/lazily";
import type { GraphStep } from "./Graph";

export type { GraphStep };

export const LazyGraph = lazyPart(async () => (await import("./Graph")).default, 160);
