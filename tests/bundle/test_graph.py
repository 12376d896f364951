"""A row gives the same bytes, alone and in every company."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everloop.bundle import Graph
from everloop.errors import BundleCorrupt, BundleError
from tests.models.rows import COLUMNS, NAMES, rows

every_learner = pytest.mark.parametrize("name", NAMES)


@pytest.fixture(scope="module")
def loaded(graphs: dict[str, bytes]) -> dict[str, Graph]:
    return {name: Graph(graph) for name, graph in graphs.items()}


@every_learner
def test_a_row_alone_gives_the_bytes_of_a_batch(name: str, loaded: dict[str, Graph]) -> None:
    X, _ = rows(1588, seed=5)
    together = loaded[name].scores(X)
    alone = np.concatenate([loaded[name].scores(X[i : i + 1]) for i in range(len(X))])
    assert alone.tobytes() == together.tobytes()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 200), min_size=1, max_size=10), st.integers(0, 99), st.sampled_from(NAMES))
def test_any_cut_and_any_place_give_the_same_bytes(
    loaded: dict[str, Graph], cuts: list[int], start: int, name: str
) -> None:
    X, _ = rows(1000, seed=6)
    together = loaded[name].scores(X)
    for size in cuts:
        piece = X[start : start + size]
        assert loaded[name].scores(piece).tobytes() == together[start : start + size].tobytes()
        start = (start + size) % 800


@every_learner
def test_more_rows_than_a_block_are_scored_alike(name: str, loaded: dict[str, Graph]) -> None:
    X, _ = rows(1000, seed=7)
    many = np.tile(X, (18, 1))
    assert loaded[name].scores(many).tobytes() == np.tile(loaded[name].scores(X), 18).tobytes()


@every_learner
def test_layout_of_the_array_does_not_matter(name: str, loaded: dict[str, Graph]) -> None:
    X, _ = rows(100, seed=8)
    assert loaded[name].scores(np.asfortranarray(X)).tobytes() == loaded[name].scores(X).tobytes()
    assert loaded[name].scores(np.repeat(X, 2, axis=0)[::2]).tobytes() == loaded[name].scores(X).tobytes()


@every_learner
def test_what_is_missing_gets_a_score(name: str, loaded: dict[str, Graph]) -> None:
    X = np.full((3, COLUMNS), np.nan, dtype=np.float32)
    X[1] = np.inf
    X[2] = -np.inf
    scores = loaded[name].scores(X)
    assert np.isfinite(scores).all()
    assert len(set(scores.tolist())) == 1


@every_learner
def test_where_the_machine_is_not_stable_every_row_is_scored_by_itself(name: str, graphs: dict[str, bytes]) -> None:
    graph = Graph(graphs[name])
    X, _ = rows(200, seed=9)
    together = graph.scores(X)
    assert not graph._by_row
    graph._by_row = True  # as loading decides where probe rows differ
    assert graph.scores(X).tobytes() == together.tobytes()


def test_no_rows_have_no_scores(loaded: dict[str, Graph]) -> None:
    assert loaded["logistic"].scores(np.empty((0, COLUMNS), dtype=np.float32)).shape == (0,)


def test_rows_of_another_width_are_refused(loaded: dict[str, Graph]) -> None:
    with pytest.raises(BundleError, match=r"rows of 6 features and got an array of shape \(2, 5\)"):
        loaded["logistic"].scores(np.zeros((2, 5), dtype=np.float32))


def test_what_is_no_graph_is_refused(graphs: dict[str, bytes]) -> None:
    with pytest.raises(BundleCorrupt, match="cannot be loaded"):
        Graph(b"not a graph")
    with pytest.raises(BundleCorrupt, match="from input"):
        Graph(graphs["logistic"].replace(b"\x05input", b"\x05inpot"))
    with pytest.raises(BundleCorrupt, match="row_block is 'zz'"):
        Graph(graphs["logistic"].replace(b"\x12\x0216", b"\x12\x02zz"))
