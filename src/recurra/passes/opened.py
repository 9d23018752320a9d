"""opened: a plan whose parts name what they read by how it was made, to be shown.

Nothing that computes reads such a plan: there parts read leaves, and cannot look behind them.
"""

from collections.abc import Mapping
from dataclasses import replace

from recurra.ir import Graph, Node, intern
from recurra.passes.cut import Loop
from recurra.passes.place import When
from recurra.passes.plan import Plan, Section


def opened(plan: Plan) -> Plan:
    """The plan with what stands behind each leaf in its place."""
    known: dict[Node, Node] = {}

    def of(node: Node) -> Node:
        return known.get(node, node)

    def rebuilt(graph: Graph) -> Graph:
        for node in graph.nodes():
            known[node] = intern(node.op, tuple(map(of, node.inputs)), node.attrs, node.shape)
        made = zip(graph.keys, graph.output_nodes, strict=True)
        known.update({leaf: of(node) for leaf, node in made})
        outputs = tuple((name, of(node)) for name, node in graph.outputs)
        return Graph(inputs=tuple(map(of, graph.inputs)), outputs=outputs, names=graph.names)

    def part(section: Section) -> Section:
        graph, kept = rebuilt(section.graph), rebuilt(section.kept)
        wanted = tuple(map(of, section.wanted))
        adjoint = rebuilt(section.adjoint)
        return replace(section, graph=graph, kept=kept, adjoint=adjoint, wanted=wanted)

    def loop(cut: Loop) -> Loop:
        return Loop(before=rebuilt(cut.before), body=rebuilt(cut.body), after=rebuilt(cut.after))

    def when(where: Mapping[Node, When]) -> dict[Node, When]:
        return {of(node): at for node, at in where.items()}

    sections = {name: part(getattr(plan, name)) for name in ("once", "context", "sequence", "step")}
    loops = {name: loop(getattr(plan, name)) for name in ("loop", "reverse")}
    tail = plan.tail
    if tail is not None:
        outputs = tuple((str(i), node) for i, (_, node) in enumerate(tail))
        rebuilt(Graph(inputs=tuple(known), outputs=outputs))
        tail = tuple((of(value), of(node)) for value, node in tail)
    return replace(
        plan,
        **sections,
        **loops,
        tail=tail,
        residuals=tuple(map(of, plan.residuals)),
        forward_when=when(plan.forward_when),
        backward_when=when(plan.backward_when),
    )
