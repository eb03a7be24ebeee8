// Where the steps of a graph stand: by ELK, in a worker of its own, remembered by the graph's shape.

import ELK, { type ElkNode } from "elkjs/lib/elk-api.js";
import workerUrl from "elkjs/lib/elk-worker.min.js?url";

export interface Shape { id: string; after: string[] }
export interface Placed { positions: Map<string, { x: number; y: number }>; width: number; height: number }

export const NODE_WIDTH = 176;
export const NODE_HEIGHT = 54;

let elk: InstanceType<typeof ELK> | null = null;
const REMEMBERED_MAX = 50;
const remembered = new Map<string, Promise<Placed>>();

export function place(steps: Shape[], direction: "RIGHT" | "DOWN"): Promise<Placed> {
  const key = `${direction} ${steps.map((step) => `${step.id}<${step.after.join(",")}`).join(" ")}`;
  let placed = remembered.get(key);
  if (!placed) {
    placed = run(steps, direction);
    if (remembered.size >= REMEMBERED_MAX) remembered.clear();
    remembered.set(key, placed);
  }
  return placed;
}

async function run(steps: Shape[], direction: string): Promise<Placed> {
  elk ??= new ELK({ workerFactory: () => new Worker(workerUrl) });
  const known = new Set(steps.map((step) => step.id));
  const graph: ElkNode = {
    id: "root",
    layoutOptions: {
      "elk.algorithm": "layered",
      "elk.direction": direction,
      // Steps that depend on none of the others stand above or below them on a narrow page: beside them all would be too small to read.
      "elk.aspectRatio": direction === "DOWN" ? "0.3" : "1.6",
      "elk.layered.spacing.nodeNodeBetweenLayers": "44",
      "elk.spacing.nodeNode": "18",
      "elk.spacing.componentComponent": "28",
      "elk.layered.considerModelOrder.strategy": "NODES_AND_EDGES",
    },
    children: steps.map((step) => ({ id: step.id, width: NODE_WIDTH, height: NODE_HEIGHT })),
    edges: steps.flatMap((step) =>
      step.after.filter((it) => known.has(it)).map((from) => ({ id: `${from}>${step.id}`, sources: [from], targets: [step.id] }))),
  };
  const done = await elk.layout(graph);
  return {
    positions: new Map((done.children ?? []).map((node) => [node.id, { x: node.x ?? 0, y: node.y ?? 0 }])),
    width: done.width ?? 0,
    height: done.height ?? 0,
  };
}
