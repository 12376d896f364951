"""Where a version comes from, told from facts alone: parents, alerts, and the path of those that answered."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from everloop.ledger import ProposalMade, SpecWritten, VersionRegistered
from everloop.registry import champion_stints, lineage, lineage_lines, lineage_svg

from .life import DAY, START, Life, bundle_id


@pytest.fixture
def life(tmp_path: Path) -> Iterator[Life]:
    made = Life(tmp_path / "shop")
    yield made
    made.ledger.close()


def written(life: Life, spec: str, **more: str) -> None:
    payload = SpecWritten(model="fraud", spec=spec, spec_hash=f"hash of {spec}", **more)  # type: ignore[arg-type]
    life.ledger.append("spec.written", spec, payload, actor="search")
    life.days(1)


def registered(life: Life, n: int, spec: str, *, alert: str | None = None) -> None:
    payload = VersionRegistered(
        model="fraud", bundle=bundle_id(n), run=f"r-{n}", spec=spec, spec_hash=f"hash of {spec}", alert=alert
    )
    version, _ = life.ledger.register_version("fraud", payload, actor="worker")
    life.bundles[version.number] = version.bundle
    life.days(1)


def grown(life: Life) -> None:
    """s1 → v1; an alert about v1 → s2 → v2, which is promoted and taken back; s1 → v3 by a schedule; s9 apart."""
    written(life, "fraud-s1", reason="the search's winner")
    registered(life, 1, "fraud-s1")
    life._route(1, None)
    life.days(1)
    life.alert("a-one")
    life.days(1)
    written(life, "fraud-s2", parent="fraud-s1", alert="a-one", reason="amount > 900 <at night>", trigger="alert")
    said = ProposalMade(model="fraud", spec="fraud-s2", reason="a-one", alert="a-one", parent="fraud-s1")
    life.ledger.append("proposal.made", "fraud-s2", said, actor="improvement")
    registered(life, 2, "fraud-s2", alert="a-one")
    life.expose(2)
    life.days(1)
    life.end(promoted=True)
    life.days(1)
    life.go_back()
    registered(life, 3, "fraud-s1")
    written(life, "fraud-s9", reason="another search")


def test_who_answered_and_when(life: Life) -> None:
    grown(life)
    stints = champion_stints(life.ledger, "fraud")
    assert [one.version for one in stints] == [1, 2, 1]
    assert [one.end for one in stints[:-1]] == [one.start for one in stints[1:]]
    assert stints[-1].end is None
    assert stints[0].start == START + 2 * DAY


def test_a_family_is_what_it_came_from_and_what_came_of_it(life: Life) -> None:
    grown(life)
    family = lineage(life.ledger, life.ledger.version("fraud", 2))
    edges = {(edge.of, edge.to) for edge in family.edges}
    assert {("fraud-s1", "fraud-s2"), ("a-one", "fraud-s2"), ("v1", "a-one"), ("fraud-s2", "v2")} <= edges
    names = [node.id for node in family.nodes]
    assert names == ["fraud-s1", "v1", "a-one", "fraud-s2", "v2"]  # by time; neither s9 nor v3, a cousin
    assert "champion" in family.node("v2").note
    assert family.node("v1").note.startswith("champion since")
    of_first = [node.id for node in lineage(life.ledger, life.ledger.version("fraud", 1)).nodes]
    assert set(of_first) == {"fraud-s1", "v1", "a-one", "fraud-s2", "v2"}


def test_it_is_a_tree_of_text(life: Life) -> None:
    grown(life)
    lines = lineage_lines(lineage(life.ledger, life.ledger.version("fraud", 2)))
    assert lines[0] == "fraud-s1  the search's winner"
    assert lines[1].startswith("├─ v1  champion since")
    assert lines[2] == "│  └─ a-one  it fell"
    assert lines[3] == "│     ├─ fraud-s2  amount > 900 <at night>"
    assert lines[4].startswith("│     │  └─ v2  ◀  champion")
    assert lines[-1] == "└─ fraud-s2  (above)"


def test_the_picture_is_well_formed_and_shows_the_champions_path(life: Life) -> None:
    grown(life)
    family = lineage(life.ledger, life.ledger.version("fraud", 2))
    picture = ET.fromstring(str(lineage_svg(family)))
    name = "{http://www.w3.org/2000/svg}"
    assert len(picture.findall(f".//{name}rect")) == len(family.nodes)
    paths = picture.findall(f"{name}path")
    thick = [path for path in paths if path.get("stroke-width") == "3"]
    assert [path.get("stroke-dasharray") for path in thick] == [None, "5 4"]  # to v2, and back
    assert len(paths) - len(thick) == len(family.edges)
    assert "amount &gt; 900 &lt;at night&gt;" in str(lineage_svg(family))


def test_no_box_covers_another(life: Life) -> None:
    """Also where many of one kind follow each other."""
    for n in range(12):
        life.train(n)
        life.expose(n + 1)
        life.end(promoted=True)
        life.days(1)
    family = lineage(life.ledger, life.ledger.version("fraud", 12))
    assert len(family.nodes) == 13  # all of them answered once
    picture = ET.fromstring(str(lineage_svg(family)))
    boxes = [
        (float(box.get("x", "")), float(box.get("y", "")), float(box.get("width", "")))
        for box in picture.findall(".//{http://www.w3.org/2000/svg}rect")
    ]
    for row in {y for _, y, _ in boxes}:
        ends = sorted((x, x + wide) for x, y, wide in boxes if y == row)
        assert all(before[1] < after[0] for before, after in pairwise(ends))
        assert ends[-1][1] <= float(picture.get("width", ""))


def test_a_large_family_is_cut_and_says_so(life: Life) -> None:
    written(life, "fraud-s1")
    for n in range(60):
        registered(life, n, "fraud-s1")
    family = lineage(life.ledger, life.ledger.version("fraud", 5))
    assert family.left_out == 0  # sisters are no family: none of them came of the other
    whole = lineage(life.ledger, life.ledger.version("fraud", 1))
    assert {node.id for node in whole.nodes} == {"fraud-s1", "v1"}
    for n in range(60):
        written(life, f"fraud-s{n + 2}", parent=f"fraud-s{n + 1}")
    registered(life, 100, "fraud-s61")
    deep = lineage(life.ledger, life.ledger.version("fraud", 61))
    assert (len(deep.nodes), deep.left_out) == (40, 22)
    assert lineage_lines(deep)[-1] == "… and 22 further away"
