// The graph of a definition or saga: each step with its state in shape, word and colour; one selection, shared with its page.

import "@xyflow/react/dist/style.css";
import "./graph.css";

import {
  Background, BackgroundVariant, type Edge, Handle, MarkerType, type Node, type NodeProps, Position, ReactFlow, ReactFlowProvider, useReactFlow, useStore,
} from "@xyflow/react";
import { type KeyboardEvent, useEffect, useMemo, useState } from "react";

import { term, useT } from "../i18n";
import { useSaid } from "../i18n/said";
import { IconButton } from "../ui/Controls";
import { Icon } from "../ui/Icon";
import { look } from "../ui/State";
import { useNarrow } from "../ui/Table";
import { NODE_HEIGHT, NODE_WIDTH, place, type Placed } from "./layout";

export interface GraphStep {
  id: string;
  label: string;
  /** What does it: `payment.confirm`. */
  work?: string;
  after: string[];
  state?: string;
  pivot?: boolean;
  optional?: boolean;
  turn?: string | undefined;
  /** More words, such as "attempt 4 of 8" or "31 here". */
  note?: string | undefined;
  /** The note in whole words, where it is short. */
  about?: string | undefined;
  /** In a comparison of two versions. */
  change?: "added" | "removed" | "changed" | undefined;
}

type StepNode = Node<{ step: GraphStep; vertical: boolean }, "step">;

interface GraphProps {
  steps: GraphStep[];
  selected?: string | null;
  onSelect?: (id: string) => void;
  label: string;
  /** Of a graph that goes to the right; one that goes down takes its room. */
  heightMax?: number;
  /** Goes down although the page is wide: where its place is not. */
  down?: boolean;
}

export default function Graph(props: GraphProps) {
  return <ReactFlowProvider><Drawn {...props} /></ReactFlowProvider>;
}

function Drawn({ steps, selected, onSelect, label, heightMax = 340, down = false }: GraphProps) {
  const t = useT();
  const narrow = useNarrow();
  const vertical = narrow || down;
  const [placed, setPlaced] = useState<Placed | null>(null);
  const flow = useReactFlow();
  // Known once it has been drawn, later than the graph's own size.
  const [width, seen] = [useStore((it) => it.width), useStore((it) => it.height)];
  const shape = steps.map((step) => `${step.id}<${step.after.join(",")}`).join(" ");
  useEffect(() => {
    let current = true;
    void place(steps.map((step) => ({ id: step.id, after: step.after })), vertical ? "DOWN" : "RIGHT").then((next) => current && setPlaced(next));
    return () => { current = false; };
    // eslint-disable-next-line react-hooks/exhaustive-deps -- only another shape is placed anew
  }, [shape, vertical]);
  useEffect(() => {
    if (!placed) return;
    const frame = requestAnimationFrame(() => void flow.fitView({ padding: 0.06, maxZoom: 1 }));
    return () => cancelAnimationFrame(frame);
  }, [placed, flow, width, seen]);

  const nodes = useMemo<StepNode[]>(() => (placed === null ? [] : steps.flatMap((step) => {
    const position = placed.positions.get(step.id);
    return position === undefined ? [] : [{
      id: step.id, type: "step" as const, position, width: NODE_WIDTH, height: NODE_HEIGHT, data: { step, vertical },
      selected: step.id === selected, draggable: false, connectable: false,
      ariaLabel: [step.label, step.work, step.change && t(`change.${step.change}`), step.state && term(t, "state", step.state), step.about ?? step.note].filter(Boolean).join(", "),
    }];
  })), [placed, steps, selected, vertical, t]);
  const edges = useMemo<Edge[]>(() => {
    const byId = new Map(steps.map((step) => [step.id, step]));
    return steps.flatMap((step) => step.after.filter((it) => byId.has(it)).map((from) => {
      const undone = ["compensating", "compensated"].includes(step.state ?? "") ;
      const walked = step.state !== undefined && step.state !== "pending";
      return {
        id: `${from}>${step.id}`, source: from, target: step.id, focusable: false,
        className: undone ? "edge-undone" : walked ? "edge-walked" : "edge-ahead",
        markerEnd: { type: MarkerType.ArrowClosed, width: 14, height: 14, color: "var(--line-strong)" },
      };
    }));
  }, [steps]);
  // Once a click and once a key: what selects also takes its selection back.
  const onKey = (event: KeyboardEvent) => {
    const id = event.target instanceof HTMLElement && event.target.classList.contains("react-flow__node") ? event.target.dataset["id"] : undefined;
    if (id === undefined || (event.key !== "Enter" && event.key !== " ")) return;
    event.preventDefault();
    onSelect?.(id);
  };
  const natural = placed === null ? 160 : Math.min(vertical ? 520 : heightMax, Math.max(110, placed.height * (vertical ? 0.9 : 1) + 36));
  return (
    <div className="graph" aria-busy={placed === null || undefined} style={{ height: natural }} role="group" aria-label={label}>
      <ReactFlow nodes={nodes} edges={edges} nodeTypes={NODE_TYPES} fitView minZoom={0.2} maxZoom={1.6} nodesDraggable={false} nodesConnectable={false}
        edgesFocusable={false} elementsSelectable={onSelect !== undefined} nodesFocusable={onSelect !== undefined} panOnScroll={false} zoomOnScroll={false} preventScrolling={false}
        deleteKeyCode={null} selectionKeyCode={null} multiSelectionKeyCode={null}
        onNodeClick={(_, node) => onSelect?.(node.id)} onKeyDown={onKey}>
        <Background variant={BackgroundVariant.Dots} gap={16} size={1} color="var(--line)" />
      </ReactFlow>
      <div className="graph-fit"><IconButton icon="fit" label={t("graph.fit")} onClick={() => void flow.fitView({ padding: 0.06, maxZoom: 1 })} /></div>
    </div>
  );
}

function Step({ data: { step, vertical }, selected }: NodeProps<StepNode>) {
  const t = useT();
  const said = useSaid();
  const { tone, icon } = look(step.state ?? "pending");
  return (
    <div className={`graph-step tone-${tone}${selected ? " selected" : ""}${step.pivot ? " pivot" : ""}${step.turn ? " turn" : ""}${step.change ? ` change-${step.change}` : ""}`}>
      <Handle type="target" position={vertical ? Position.Top : Position.Left} isConnectable={false} />
      <div className="graph-name">
        {step.pivot && <span title={t("pivot.is")} className="graph-pivot"><Icon name="pivot" size={10} /></span>}
        <span className="ellipsis">{step.label}</span>
      </div>
      <div className="graph-state">
        {step.change ? <span>{t(`change.${step.change}`)}</span>
          : step.state ? <><Icon name={icon} size={11} /><span>{term(t, "state", step.state)}</span></>
          : <span className="graph-work ellipsis">{step.work && said(step.work)}</span>}
        {step.note ? <span className="graph-note ellipsis" title={step.about ?? step.note}>{step.note}</span>
          : step.turn ? <span className="graph-note ellipsis">{term(t, "turn", step.turn)}</span>
          : step.optional ? <span className="graph-note">{t("optional")}</span> : null}
      </div>
      <Handle type="source" position={vertical ? Position.Bottom : Position.Right} isConnectable={false} />
    </div>
  );
}

const NODE_TYPES = { step: Step };
