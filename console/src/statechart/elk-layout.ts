import ElkConstructor, { type ElkExtendedEdge, type ElkNode } from 'elkjs/lib/elk.bundled.js';
import { isTransient } from './drawn-states.ts';
import { edgesOf } from './edges.ts';
import { exitStates, isExit } from './exits.ts';
import { type Box, type Layout, METRICS, nodeWidth, type Point, shapeOf } from './layout.ts';
import type { MachineData, StateData } from './machine-data.ts';

/** At build time only: elkjs has more bytes than the rest of the console together. */
const Elk = ElkConstructor.default ?? ElkConstructor;

const OPTIONS = {
  'elk.algorithm': 'layered',
  'elk.direction': 'DOWN',
  'elk.partitioning.activate': 'true',
  'elk.edgeRouting': 'ORTHOGONAL',
  'elk.json.shapeCoords': 'ROOT',
  'elk.json.edgeCoords': 'ROOT',
  'elk.randomSeed': '1',
  'elk.layered.considerModelOrder.strategy': 'NODES_AND_EDGES',
  'elk.layered.spacing.nodeNodeBetweenLayers': '22',
  'elk.layered.spacing.edgeNodeBetweenLayers': '12',
  'elk.layered.spacing.edgeEdgeBetweenLayers': '7',
  'elk.spacing.nodeNode': '20',
  'elk.spacing.edgeNode': '12',
  'elk.spacing.edgeEdge': '8',
  'elk.layered.nodePlacement.strategy': 'NETWORK_SIMPLEX',
};

/** The layout of a machine: nested and parallel states as nested boxes, ways as right-angled lines. */
export async function elkLayout(machine: MachineData): Promise<Layout> {
  const { padding, headHeight } = METRICS;
  const all = edgesOf(machine);
  const exits = exitStates(all);
  const edges: ElkExtendedEdge[] = all
    .filter((edge) => !isExit(edge, exits))
    .map(({ id, source, target }) => ({ id, sources: [source], targets: [target] }));
  const laid: ElkNode & { edges?: ElkExtendedEdge[] } = await new Elk().layout({
    id: 'root',
    layoutOptions: { ...OPTIONS, 'elk.padding': `[top=${padding},left=${padding},bottom=${padding},right=${padding}]` },
    children: children(machine.root),
    edges,
  });
  const nodes: Record<string, Box> = {};
  const collect = (node: ElkNode) => {
    if (node.id !== 'root') nodes[node.id] = [whole(node.x), whole(node.y), whole(node.width), whole(node.height)];
    node.children?.forEach(collect);
  };
  collect(laid);
  const paths: Record<string, Point[]> = {};
  for (const edge of laid.edges ?? []) paths[edge.id] = pointsOf(edge);
  return { shape: shapeOf(machine), width: whole(laid.width), height: whole(laid.height), nodes, edges: paths };

  function children(parent: StateData): ElkNode[] {
    return parent.states
      .filter((state) => !isTransient(state))
      .map((state) => {
        const constraint = state.key === parent.initial ? 'FIRST' : state.type === 'final' ? 'LAST' : undefined;
        const node = elkNode(state);
        if (constraint)
          node.layoutOptions = { ...node.layoutOptions, 'elk.layered.layering.layerConstraint': constraint };
        return node;
      });
  }

  function elkNode(state: StateData): ElkNode {
    if (state.states.length === 0) {
      return { id: state.path, width: nodeWidth(state.key), height: METRICS.atomHeight };
    }
    return {
      id: state.path,
      layoutOptions: {
        ...(state.type === 'parallel' && { 'elk.algorithm': 'rectpacking', 'elk.aspectRatio': '2.4' }),
        'elk.padding': `[top=${headHeight + padding},left=${padding},bottom=${padding},right=${padding}]`,
        'elk.nodeSize.constraints': 'MINIMUM_SIZE',
        'elk.nodeSize.minimum': `(${nodeWidth(state.key)},${METRICS.atomHeight})`,
      },
      children: children(state),
    };
  }
}

function pointsOf(edge: ElkExtendedEdge): Point[] {
  return (edge.sections ?? []).flatMap(({ startPoint, bendPoints = [], endPoint }) =>
    [startPoint, ...bendPoints, endPoint].map(({ x, y }) => [whole(x), whole(y)] as const),
  );
}

function whole(value: number | undefined): number {
  return Math.round(value ?? 0);
}
