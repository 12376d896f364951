"""Every feature by itself: what it is, what it costs, what it tells, how it moved; and which ones say nothing new."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from everloop.clock import Clock
from everloop.data import (
    EVENT_TIME,
    Contract,
    FeatureTree,
    Node,
    Rows,
    infer_contract,
    load_rows,
    node_text,
    raw_node,
    read_contract,
    read_features,
    rows_of,
    scan,
    translate,
)
from everloop.errors import FeatureRefused, NotEnoughData
from everloop.experiment.association import associations, bin_codes, target_codes
from everloop.experiment.correlated import rank_correlations
from everloop.experiment.importance import can_be_asked, importances
from everloop.project import Model, Project
from everloop.stats import psi
from everloop.tasks import get_task

if TYPE_CHECKING:
    from rich.console import Group

__all__ = ["FeatureLine", "FeatureTable", "feature_table", "feature_table_screen"]

_MONTH: Final = timedelta(days=30)
_TIMED_ROWS: Final = 1_000
_TIMES: Final = 15
_IN_STEP: Final = 0.99995
_TELLS_AUC: Final = 0.52
_TELLS_WORTH: Final = 0.002
_STEP_ROWS: Final = 20_000

Matrix = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureLine:
    """One feature.

    expression: as people read it; a column of the source is its own name. derived: whether features.py makes it.
    refused: why it cannot be served, None for a row-wise feature. Such a one has none of the numbers below.
    us_per_1000: what 1,000 rows cost, in µs; 0 for a column as it is. missing: share of rows without a value.
    auc, information: what it tells alone. permutation, forest: what it is worth beside the others. psi: between the
    first and the last month. same_as: an earlier feature that has the same values, or the same order of them.
    unused: why it is of no use, None where it is of some.
    """

    name: str
    expression: str
    derived: bool
    refused: str | None = None
    us_per_1000: float = 0.0
    missing: float = 0.0
    auc: float | None = None
    information: float | None = None
    permutation: float | None = None
    forest: float | None = None
    psi: float | None = None
    same_as: str | None = None
    unused: str | None = None

    @property
    def row_wise(self) -> bool:
        """Whether one row is enough for it."""
        return self.refused is None


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureTable:
    """Every feature, in the order of the model's matrix, those that cannot be served last.

    rows: how many were looked at. unread: columns of the contract that every prediction must have and no feature reads.
    ignored: columns of the source that are left alone. spans: the two spans that `psi` compares, ready to print.
    """

    model: str
    rows: int
    features: tuple[FeatureLine, ...]
    unread: tuple[str, ...]
    ignored: tuple[str, ...]
    spans: tuple[str, str] | None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        record: dict[str, Any] = msgspec.to_builtins(self) | {"sentences": list(self.sentences)}
        for line, feature in zip(record["features"], self.features, strict=True):
            line["row_wise"] = feature.row_wise
        return record

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        from everloop.experiment.page import feature_fragment

        return feature_fragment(self)

    @property
    def sentences(self) -> tuple[str, ...]:
        """What stands out, a sentence each."""
        return tuple(_sentences(self))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Given:
    """The features as the contract and features.py give them; nodes are of those that can be served."""

    names: tuple[str, ...]
    nodes: tuple[Node, ...]
    derived: frozenset[str]
    refused: tuple[FeatureLine, ...]


def feature_table(
    project: Project,
    model: Model,
    *,
    frame: pl.DataFrame | None = None,
    clock: Clock | None = None,
    seed: int = 0,
    threads: int = 1,
) -> FeatureTable:
    """Look at the features of `model` one by one, on the rows a search would have.

    frame: rows to look at instead of the source. clock: the project's where None; it times the features too.
    Raises what loading rows raises, FeatureRefused for a features.py that cannot be read at all.
    """
    clock = project.clock() if clock is None else clock
    lazy = scan(model.data.source, root=project.root) if frame is None else frame.lazy()
    contract = read_contract(model) if model.contract_path.exists() else infer_contract(lazy, model)
    given = _given(model, contract)
    if frame is None:
        rows = load_rows(model, contract, as_of=clock.now())
    else:
        rows = rows_of(frame, model, contract, source="the frame given", as_of=clock.now())
    tree = FeatureTree(names=given.names, nodes=given.nodes)
    matrix = tree.matrix(rows.frame)
    months = _months(rows.frame[EVENT_TIME])
    told = _told(tree, matrix, rows, contract, numeric=not get_task(model.task).decides, seed=seed, threads=threads)
    same = _same(matrix, tree.names, seed=seed)
    lines = [
        _line(name, node, matrix[:, at], told.get(name, {}), months, same=same.get(name))
        for at, (name, node) in enumerate(zip(tree.names, tree.nodes, strict=True))
    ]
    lines = [
        replace(line, derived=True, us_per_1000=_cost_us(node, rows.frame, clock))
        if line.name in given.derived
        else line
        for line, node in zip(lines, tree.nodes, strict=True)
    ]
    read = set(tree.columns)
    return FeatureTable(
        model=model.name,
        rows=rows.frame.height,
        features=(*lines, *given.refused),
        unread=tuple(column.name for column in contract.columns if column.role == "input" and column.name not in read),
        ignored=tuple(column.name for column in contract.columns if column.role == "ignored"),
        spans=None if months is None else months.spans,
    )


def _line(
    name: str,
    node: Node,
    column: NDArray[np.float32],
    told: dict[str, float],
    months: _Months | None,
    *,
    same: str | None,
) -> FeatureLine:
    return FeatureLine(
        name=name,
        expression=node_text(node),
        derived=False,
        missing=float(np.isnan(column).mean()),
        auc=told.get("auc"),
        information=told.get("information"),
        permutation=told.get("permutation"),
        forest=told.get("forest"),
        psi=None if months is None else _moved(column, months, node),
        same_as=same,
        unused=_unused(column, told),
    )


def _given(model: Model, contract: Contract) -> _Given:
    """What can be served, and why the rest cannot, one by one: a mistake in one feature hides no other."""
    raw = [(column.name, raw_node(column)) for column in contract.feature_columns]
    made: list[tuple[str, Node]] = []
    refused: list[FeatureLine] = []
    for name, expr in read_features(model.features_path):
        try:
            made.append((name, translate(expr, feature=name, contract=contract)))
        except FeatureRefused as error:
            why = str(error).removeprefix(f"feature {name!r} ")
            refused.append(FeatureLine(name=name, expression=str(expr), derived=True, refused=why))
    if not raw and not made:
        raise NotEnoughData(
            f"{model.name} has no feature that can be served: no column has `role: feature`, and features.py gives none"
            + "".join(f"; {line.name} {line.refused}" for line in refused[:3])
        )
    return _Given(
        names=tuple(name for name, _ in (*raw, *made)),
        nodes=tuple(node for _, node in (*raw, *made)),
        derived=frozenset(name for name, _ in made),
        refused=tuple(refused),
    )


def _told(
    tree: FeatureTree, matrix: Matrix, rows: Rows, contract: Contract, *, numeric: bool, seed: int, threads: int
) -> dict[str, dict[str, float]]:
    """What every feature tells alone and beside the others, by name; nothing where there is one class only."""
    if np.ptp(rows.y) == 0:
        return {}
    split, classes = target_codes(rows.y, rows.weight) if numeric else (rows.y, None)
    categories = {one.name: one.categories or () for one in contract.feature_columns if one.type == "string"}
    alone = associations(
        matrix,
        tree.names,
        split,
        weight=rows.weight,
        later=None,
        classes=classes,
        categories=categories,
        seed=seed,
    )
    found: dict[str, dict[str, float]] = {
        one.feature: {"auc": one.auc, "information": one.information} for one in alone
    }
    if can_be_asked():
        worth = importances(matrix, tree.names, rows.y, weight=rows.weight, numeric=numeric, seed=seed, threads=threads)
        for one in worth:
            found[one.feature] |= {"permutation": one.permutation, "forest": one.forest}
    return found


def _unused(column: NDArray[np.float32], told: dict[str, float]) -> str | None:
    """Why the feature is of no use, as the end of a sentence; None where it is of some."""
    known = column[~np.isnan(column)]
    if known.size == 0:
        return "has no value at all"
    if np.ptp(known) == 0 and known.size == column.size:
        return "has one value only"
    if "permutation" not in told:
        return None
    alone, beside = told["auc"] < _TELLS_AUC, max(told["permutation"], told["forest"]) < _TELLS_WORTH
    return "tells nothing, alone or beside the others" if alone and beside else None


def _cost_us(node: Node, frame: pl.DataFrame, clock: Clock) -> float:
    """What the feature costs for 1,000 rows, in µs: the best of several times, so that no other work is counted."""
    some = frame.head(_TIMED_ROWS)
    if some.height < _TIMED_ROWS:
        some = some[np.resize(np.arange(some.height), _TIMED_ROWS).tolist()]
    tree = FeatureTree(names=("x",), nodes=(node,))
    best_s = np.inf
    for _ in range(_TIMES):
        started_s = clock.monotonic_s()
        tree.matrix(some)
        best_s = min(best_s, clock.monotonic_s() - started_s)
    return round(1e6 * best_s, 1)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Months:
    """Which rows are of the first and of the last month, and the two spans, ready to print."""

    first: NDArray[np.bool_]
    last: NDArray[np.bool_]
    spans: tuple[str, str]


def _months(times: pl.Series) -> _Months | None:
    """The first and the last 30 days; thirds of a span that is shorter than two of them; None of too few rows.

    times: UTC, in order.
    """
    start, end = times[0], times[-1]
    length = min(_MONTH, (end - start) / 3)
    first, last = (times <= start + length).to_numpy(), (times >= end - length).to_numpy()
    if length <= timedelta(0) or min(first.sum(), last.sum()) < 50:
        return None
    names = tuple(f"{a:%Y-%m-%d} … {b:%Y-%m-%d}" for a, b in ((start, start + length), (end - length, end)))
    return _Months(first=first, last=last, spans=(names[0], names[1]))


def _moved(column: NDArray[np.float32], months: _Months, node: Node) -> float:
    codes, edges = bin_codes(column, categorical=node.op == "code")
    bins = edges.size + 2
    return float(psi(*(np.bincount(codes[part], minlength=bins) for part in (months.first, months.last))))


def _same(matrix: Matrix, names: Sequence[str], *, seed: int) -> dict[str, str]:
    """name → the earlier feature that has its values, or puts the rows in the same order (to trees, the same)."""
    rows = np.arange(len(matrix))
    if rows.size > _STEP_ROWS:
        rows = np.sort(np.random.default_rng(seed).choice(rows.size, _STEP_ROWS, replace=False))
    ties = rank_correlations(matrix[rows])
    found = {}
    for at, name in enumerate(names):
        for earlier in range(at):
            if names[earlier] not in found and ties[at, earlier] >= _IN_STEP:
                found[name] = names[earlier]
                break
    return found


def feature_table_screen(table: FeatureTable) -> Group:
    """The table for a terminal, 80 columns wide."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    def short(value: float | None, form: str) -> str:
        return "–" if value is None else format(value, form)

    shown = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    shown.add_column("feature", no_wrap=True, overflow="ellipsis", max_width=18)
    shown.add_column("expression", overflow="fold", max_width=22)
    for header in ("µs", "missing", "area", "shuf.", "forest", "moved"):
        shown.add_column(header, justify="right", no_wrap=True)
    for line in table.features:
        if line.refused is not None:
            continue
        shown.add_row(
            line.name,
            line.expression if line.derived else "as it is",
            f"{line.us_per_1000:.0f}" if line.derived else "–",
            "–" if not line.missing else f"{100 * line.missing:.3g} %",
            *(short(value, ".3f") for value in (line.auc, line.permutation, line.forest)),
            short(line.psi, ".2f"),
            style="dim" if line.unused or line.same_as else "",
        )
    head = Text.assemble((table.model, "bold"), f"  {len(table.features)} features on {table.rows:,} rows")
    about = "µs: of 1,000 rows. area: alone. shuf., forest: beside the others, on a sample."
    return Group(head, Text(), shown, Text(), Text(about, style="dim"), *map(Text, _sentences(table)))


def _sentences(table: FeatureTable) -> list[str]:
    """What the table says, a sentence each."""
    said = []
    if table.spans is not None:
        said.append(f"moved: stability index of {table.spans[1]} against {table.spans[0]}.")
    said += [f"✗ {line.name} cannot be served: it {line.refused}." for line in table.features if line.refused]
    said += [f"! {line.name} {line.unused}." for line in table.features if line.unused]
    said += [f"! {line.name} says the same as {line.same_as}." for line in table.features if line.same_as]
    if table.unread:
        said.append(f"! No feature reads {', '.join(table.unread)}, which every prediction must have.")
    if table.ignored:
        said.append(f"· Left alone: {', '.join(table.ignored)}.")
    if all(line.refused is None for line in table.features):
        said.append("All features are row-wise: a row has the same ones alone and in a batch.")
    return said
