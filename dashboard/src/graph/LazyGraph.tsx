// The graph's libraries load when a graph is first shown; its place is kept until then.

import { lazy, Suspense } from "react";

import type { GraphStep } from "./Graph";

const Graph = lazy(() => import("./Graph"));
export type { GraphStep };

export function LazyGraph(props: { steps: GraphStep[]; selected?: string | null; onSelect?: (id: string) => void; label: string; heightMax?: number; down?: boolean }) {
  return <Suspense fallback={<div aria-busy="true" style={{ height: 160 }} />}><Graph {...props} /></Suspense>;
}
