"""Where versions come from and what came of them: specs, versions and alerts as one graph, with the champions' path."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from everloop.ledger import Fact, Ledger, Transaction, Version

__all__ = ["Edge", "Lineage", "Node", "Stint", "champion_stints", "lineage", "lineage_lines"]

Kind = Literal["alert", "spec", "version"]
_MOST_NODES = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Stint:
    """A span in which a version answered by default; `end` is None while it does."""

    version: int
    start: datetime
    end: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """An alert, a spec or a version. note: what is said of it beside its name."""

    id: str
    kind: Kind
    at: datetime
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """`of` led to `to`: a parent to its child, a spec to its version, an alert to what answers it, a version to an
    alert about it."""

    of: str
    to: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """The family of one version: what it comes from, what came of it, and those that answered, oldest first.

    focus: that version's node.
    champions: the path of those that answered, in order of time. left_out: how many nodes further away there are.
    """

    focus: str
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    champions: tuple[Stint, ...] = ()
    left_out: int = 0

    def node(self, name: str) -> Node:
        """The node of this id."""
        return next(node for node in self.nodes if node.id == name)

    def children(self, name: str) -> list[Node]:
        """What a node led to, oldest first."""
        wanted = {edge.to for edge in self.edges if edge.of == name}
        return [node for node in self.nodes if node.id in wanted]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "focus": self.focus,
            "nodes": [
                {"id": node.id, "kind": node.kind, "at": node.at.isoformat(), "note": node.note} for node in self.nodes
            ],
            "edges": [[edge.of, edge.to] for edge in self.edges],
            "champions": [
                {
                    "version": one.version,
                    "start": one.start.isoformat(),
                    "end": None if one.end is None else one.end.isoformat(),
                }
                for one in self.champions
            ],
            "left_out": self.left_out,
        }


def champion_stints(ledger: Ledger | Transaction, model: str) -> tuple[Stint, ...]:
    """Who answered by default, and from when to when, oldest first."""
    found: list[Stint] = []
    for fact in ledger.facts(kind="routing.changed", subject=model):
        champion = fact.payload["champion"]
        if found and found[-1].end is None:
            if found[-1].version == champion:
                continue
            last = found.pop()
            found.append(Stint(version=last.version, start=last.start, end=fact.at))
        if champion is not None:
            found.append(Stint(version=champion, start=fact.at, end=None))
    return tuple(found)


@dataclass(slots=True)
class _Graph:
    nodes: dict[str, Node] = field(default_factory=dict)
    edges: list[tuple[str, str]] = field(default_factory=list)

    def link(self, of: str | None, to: str) -> None:
        if of is not None and (of, to) not in self.edges:
            self.edges.append((of, to))


def lineage(ledger: Ledger | Transaction, version: Version) -> Lineage:
    """The family of a version, told from the ledger alone."""
    model, stints = version.model, champion_stints(ledger, version.model)
    graph = _graph(ledger, model, stints)
    focus = f"v{version.number}"
    edges = [(of, to) for of, to in graph.edges if of in graph.nodes and to in graph.nodes]
    family = _reached(focus, edges) | _reached(focus, [(to, of) for of, to in edges])
    answered = {f"v{stint.version}" for stint in stints} & graph.nodes.keys()
    family |= answered | {of for of, to in edges if to in answered and graph.nodes[of].kind == "spec"}
    near = _nearest(focus, family, edges)
    shown = sorted((graph.nodes[name] for name in near), key=lambda node: (node.at, _ORDER[node.kind], node.id))
    return Lineage(
        focus=focus,
        nodes=tuple(shown),
        edges=tuple(Edge(of=of, to=to) for of, to in edges if of in near and to in near),
        champions=stints,
        left_out=len(family) - len(near),
    )


_ORDER: Mapping[str, int] = {"alert": 0, "spec": 1, "version": 2}


def _graph(ledger: Ledger | Transaction, model: str, stints: Iterable[Stint]) -> _Graph:
    graph, versions = _Graph(), ledger.versions(model)
    for fact in ledger.facts(kind="spec.written"):
        if fact.payload["model"] == model:
            _add_spec(graph, fact)
    for one in versions:
        _add_version(graph, one, tuple(stints))
    for alert in ledger.alerts(model):
        graph.nodes[alert.alert] = Node(id=alert.alert, kind="alert", at=alert.opened_at, note=alert.sentence)
        number = alert.record.get("version")
        graph.link(None if number is None else f"v{number}", alert.alert)
    return graph


def _add_spec(graph: _Graph, fact: Fact) -> None:
    said = fact.payload
    graph.nodes[said["spec"]] = Node(id=said["spec"], kind="spec", at=fact.at, note=said["reason"] or said["trigger"])
    graph.link(said["parent"], said["spec"])
    graph.link(said["alert"], said["spec"])


def _add_version(graph: _Graph, version: Version, stints: tuple[Stint, ...]) -> None:
    name, origin = f"v{version.number}", version.record.get("origin") or {}
    if version.spec not in graph.nodes:  # written by hand: no fact tells of it before its version does
        graph.nodes[version.spec] = Node(
            id=version.spec, kind="spec", at=version.at, note=str(origin.get("reason") or "")
        )
        graph.link(origin.get("parent"), version.spec)
    graph.nodes[name] = Node(id=name, kind="version", at=version.at, note=_told(version, stints))
    graph.link(version.spec, name)
    graph.link(version.record.get("alert"), name)


def _told(version: Version, stints: tuple[Stint, ...]) -> str:
    own = [stint for stint in stints if stint.version == version.number]
    if not own:
        return version.role or "never answered"
    last = own[-1]
    if last.end is None:
        return f"champion since {last.start:%Y-%m-%d}"
    return f"champion {last.start:%Y-%m-%d} to {last.end:%Y-%m-%d}" + (f", {version.role}" if version.role else "")


def _reached(start: str, edges: Iterable[tuple[str, str]]) -> set[str]:
    following: dict[str, list[str]] = {}
    for of, to in edges:
        following.setdefault(of, []).append(to)
    found, todo = {start}, [start]
    while todo:
        for name in following.get(todo.pop(), ()):
            if name not in found:
                found.add(name)
                todo.append(name)
    return found


def _nearest(focus: str, family: set[str], edges: Iterable[tuple[str, str]]) -> set[str]:
    """No more than can be looked at, by their distance along the edges."""
    beside: dict[str, list[str]] = {}
    for of, to in edges:
        if of in family and to in family:
            beside.setdefault(of, []).append(to)
            beside.setdefault(to, []).append(of)
    found, row = [focus], [focus]
    while row and len(found) < _MOST_NODES:
        row = sorted({name for one in row for name in beside.get(one, ())} - set(found))
        found += row
    found += sorted(family - set(found))  # champions that no edge joins to it
    return set(found[:_MOST_NODES])


def lineage_lines(family: Lineage) -> list[str]:
    """The family as a tree of text; what has two parents stands below the first and is named below the other."""
    children = {node.id for node in family.nodes for node in family.children(node.id)}
    roots = [node for node in family.nodes if node.id not in children] or list(family.nodes[:1])
    lines: list[str] = []
    shown: set[str] = set()
    for root in roots:
        _grow(family, root, "", "", lines, shown)
    if family.left_out:
        lines.append(f"… and {family.left_out} further away")
    return lines


def _grow(family: Lineage, node: Node, first: str, rest: str, lines: list[str], shown: set[str]) -> None:
    again = node.id in shown
    note = "(above)" if again else node.note
    mark = "  ◀" if node.id == family.focus and not again else ""
    lines.append(f"{first}{node.id}{mark}  {note}".rstrip())
    if again:
        return
    shown.add(node.id)
    below = family.children(node.id)
    for place, child in enumerate(below):
        last = place == len(below) - 1
        _grow(family, child, f"{rest}{'└─ ' if last else '├─ '}", f"{rest}{'   ' if last else '│  '}", lines, shown)
