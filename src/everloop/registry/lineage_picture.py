"""A version's family as a picture: alerts, specs and versions in three rows, time to the right, the champions' path."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from markupsafe import Markup, escape

from everloop.registry.lineage import Lineage, Node

__all__ = ["lineage_svg"]

_WIDTH, _HEIGHT = 188, 46
_GAP, _LANE, _LEFT, _TOP, _BELOW = 20, 92, 70, 16, 40
_LANES: Final = {"alert": 0, "spec": 1, "version": 2}
_FILL: Final = {"alert": "#f6ddd6", "spec": "#eef1f5", "version": "#dbe8f4"}
_LINE: Final = "#9aa5b1"
_PATH: Final = "#3b8a5a"
_FOCUS: Final = "#1f2933"
_LONGEST: Final = 34


def lineage_svg(family: Lineage) -> Markup:
    """One SVG element, all of its text escaped; each box tells its whole note to a pointer that rests on it.

    A thick line joins the versions that answered, in the order in which they did; dashed where it went back.
    """
    places = _places(family.nodes)
    width = max((x for x, _ in places.values()), default=0) + _WIDTH + _LEFT // 2
    height = _TOP + 2 * _LANE + _HEIGHT + _BELOW
    lanes = [
        f'<text x="4" y="{_TOP + lane * _LANE + _HEIGHT // 2 + 4}" fill="#616e7c">{name}s</text>'
        for name, lane in _LANES.items()
    ]
    edges = [_edge(places[edge.of], places[edge.to]) for edge in family.edges]
    boxes = [_box(node, places[node.id], focus=node.id == family.focus) for node in family.nodes]
    parts = "\n".join([_ARROW, *lanes, *edges, *_champions(family, places), *boxes])
    label = escape(f"The family of {family.focus}: {len(family.nodes)} alerts, specs and versions")
    # parts are ours, and what they hold of the ledger was escaped
    return Markup(  # noqa: S704
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'role="img" aria-label="{label}" font-family="system-ui, sans-serif" font-size="12">\n{parts}\n</svg>'
    )


_ARROW: Final = (
    '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    f'<path d="M0 0 8 4 0 8z" fill="{_LINE}"/></marker></defs>'
)


def _places(nodes: Sequence[Node]) -> dict[str, tuple[int, int]]:
    """The upper left corner of each box: to the right of what was before it, and clear of its neighbours in the row."""
    places: dict[str, tuple[int, int]] = {}
    at, free = _LEFT, dict.fromkeys(_LANES, _LEFT)
    for node in nodes:
        at = max(at, free[node.kind])
        places[node.id] = (at, _TOP + _LANES[node.kind] * _LANE)
        free[node.kind] = at + _WIDTH + _GAP
        at += _WIDTH // 2 + _GAP
    return places


def _edge(of: tuple[int, int], to: tuple[int, int]) -> str:
    """A curve from the side of the parent that faces the child to the side of the child that faces it."""
    (x1, y1), (x2, y2) = of, to
    if y1 == y2:
        ends = (x1 + _WIDTH / 2, y1), (x2 + _WIDTH / 2, y2)
        bow = y1 - 24
        return _curve(f"M{ends[0][0]} {y1} C{ends[0][0]} {bow} {ends[1][0]} {bow} {ends[1][0]} {y2}")
    down = y2 > y1
    start, end = (y1 + _HEIGHT, y2) if down else (y1, y2 + _HEIGHT)
    a, b = x1 + _WIDTH / 2, x2 + _WIDTH / 2
    middle = (start + end) / 2
    return _curve(f"M{a} {start} C{a} {middle} {b} {middle} {b} {end}")


def _curve(path: str) -> str:
    return f'<path d="{path}" fill="none" stroke="{_LINE}" stroke-width="1.5" marker-end="url(#tip)"/>'


def _champions(family: Lineage, places: dict[str, tuple[int, int]]) -> list[str]:
    known = [one for one in family.champions if f"v{one.version}" in places]
    drawn = []
    for before, after in pairwise(known):
        (x1, y), (x2, _) = places[f"v{before.version}"], places[f"v{after.version}"]
        low, back = y + _HEIGHT, x2 < x1
        dash, deep = (' stroke-dasharray="5 4"', low + 44) if back else ("", low + 20)
        a, b = x1 + _WIDTH / 2, x2 + _WIDTH / 2
        drawn.append(
            f'<path d="M{a} {low} C{a} {deep} {b} {deep} {b} {low}" fill="none" stroke="{_PATH}" '
            f'stroke-width="3"{dash}/>'
        )
    return drawn


def _box(node: Node, place: tuple[int, int], *, focus: bool) -> str:
    x, y = place
    note = node.note if len(node.note) <= _LONGEST else f"{node.note[: _LONGEST - 1]}…"
    champion = node.kind == "version" and node.note.startswith("champion since")
    stroke, wide = (_FOCUS, 2.5) if focus else (_PATH, 2.5) if champion else (_LINE, 1)
    name = f"{node.id} ◀" if focus else node.id
    return (
        f"<g><title>{escape(f'{node.id}, {node.at:%Y-%m-%d %H:%M}: {node.note}')}</title>"
        f'<rect x="{x}" y="{y}" width="{_WIDTH}" height="{_HEIGHT}" rx="5" fill="{_FILL[node.kind]}" '
        f'stroke="{stroke}" stroke-width="{wide}"/>'
        f'<text x="{x + 8}" y="{y + 19}" font-weight="600">{escape(name)}</text>'
        f'<text x="{x + 8}" y="{y + 36}" font-size="10" fill="#52606d">{escape(note)}</text></g>'
    )
