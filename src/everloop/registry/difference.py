"""Two versions side by side: what was asked for, what it was made from, what came out, line by line."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from everloop.data import node_text
from everloop.errors import EverloopError, UsageError
from everloop.project import Project
from everloop.registry.card import VersionCard
from everloop.registry.judged import PairedGain, paired_gain
from everloop.registry.removal import size_text

__all__ = ["Difference", "Line", "difference"]

_LONGEST = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One thing of both, as text; None where a version has none. `group` is the heading it stands under."""

    group: str
    what: str
    first: str | None
    second: str | None

    @property
    def same(self) -> bool:
        """Whether both say the same."""
        return self.first == self.second


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Two versions of one model. lines: everything, that which is the same too. unknown: what could not be compared.

    paired: the second minus the first on the same test rows; None where those are not at hand, and `unpaired` says why.
    """

    first: VersionCard
    second: VersionCard
    lines: tuple[Line, ...]
    unknown: tuple[str, ...] = ()
    paired: PairedGain | None = None
    unpaired: str | None = None

    @property
    def changed(self) -> tuple[Line, ...]:
        """The lines in which the two differ."""
        return tuple(line for line in self.lines if not line.same)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON: every line, those that are the same too."""
        return {
            "first": self.first.name,
            "second": self.second.name,
            "lines": [
                {"group": one.group, "what": one.what, "first": one.first, "second": one.second, "same": one.same}
                for one in self.lines
            ],
            "unknown": list(self.unknown),
            "paired": None if self.paired is None else self.paired.to_dict(),
            "unpaired": self.unpaired,
        }


def difference(project: Project, first: VersionCard, second: VersionCard) -> Difference:
    """What differs between two versions of one model. Raises UsageError for versions of two models."""
    if first.version.model != second.version.model:
        raise UsageError(
            f"{first.name} and {second.name} are of two models, which answer different questions; "
            "compare versions of one model"
        )
    pairs = [*_spec(first, second), *_data(first, second), *_results(first, second), *_inside(first, second)]
    pairs += [*_made(first, second)]
    unknown = [
        f"features and contract of {one.name}: its bundle is {one.place.short}"
        for one in (first, second)
        if one.bundle is None
    ]
    unknown += [
        f"files, code and environment of {one.name}: an everloop that kept none registered it"
        for one in (first, second)
        if not one.origin
    ]
    paired, unpaired = None, None
    try:
        paired = paired_gain(project, first, second)
    except EverloopError as error:
        unpaired = str(error)
    return Difference(
        first=first, second=second, lines=tuple(pairs), unknown=tuple(unknown), paired=paired, unpaired=unpaired
    )


def _lines(group: str, first: Mapping[str, Any], second: Mapping[str, Any]) -> Iterator[Line]:
    for what in dict.fromkeys((*first, *second)):
        yield Line(group=group, what=what, first=_text(first.get(what)), second=_text(second.get(what)))


def _text(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return f"{value:.6g}"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list | tuple | bool) else str(value)


def _spec(first: VersionCard, second: VersionCard) -> Iterator[Line]:
    def asked(card: VersionCard) -> dict[str, Any]:
        configuration, version = card.configuration, card.version
        names = ("learner", "objective", "calibration", "quantiles", "seed")
        said = {"spec": version.spec, "spec hash": version.spec_hash[:12], "parent": card.origin.get("parent")}
        return said | {name: configuration.get(name) for name in names if configuration.get(name) not in (None, [])}

    yield from _lines("spec", asked(first), asked(second))
    yield from _lines(
        "hyperparameters",
        first.configuration.get("hyperparameters") or {},
        second.configuration.get("hyperparameters") or {},
    )


def _data(first: VersionCard, second: VersionCard) -> Iterator[Line]:
    def told(card: VersionCard) -> dict[str, Any]:
        data, sources = card.version.data or {}, card.origin.get("sources") or {}
        window = card.origin.get("window_s")
        return {
            "source": data.get("source"),
            "rows": None if "rows" not in data else f"{data['rows']:,}",
            "positives": f"{data['positives']:,.0f}" if data.get("positives") is not None and card.decides else None,
            "from": None if not data.get("start") else str(data["start"])[:16],
            "to": None if not data.get("end") else str(data["end"])[:16],
            "window": None if window is None else f"{window / 86400:g}d",
            "rows' sha256": (data.get("hash") or "")[:12] or None,
            "files": None if not sources else f"{sources['count']:,}, {size_text(sources['bytes'])}",
        }

    yield from (line for line in _lines("data", told(first), told(second)) if line.first or line.second)
    yield from _lines("files", _files(first), _files(second))


def _files(card: VersionCard) -> dict[str, str]:
    """path → what tells whether it is the same."""
    files = (card.origin.get("sources") or {}).get("files") or []
    return {one["path"]: f"{one['method']} {one['fingerprint'][:12]}".strip() for one in files}


def _results(first: VersionCard, second: VersionCard) -> Iterator[Line]:
    def measured(metrics: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
        return {
            name: f"{value['point']:.3f} [{value['low']:.3f}, {value['high']:.3f}]"
            for name, value in metrics.items()
            if value["point"] is not None and value.get("low") is not None and value.get("high") is not None
        }

    yield from _lines("metrics", measured(first.version.metrics), measured(second.version.metrics))
    objective = first.model.objective.metric

    def per_value(card: VersionCard) -> dict[str, str | None]:
        return {
            f"{one['segment']} {one['value']}": measured(one["metrics"]).get(objective)
            for one in card.segments
            if not one["rest"]
        }

    yield from _lines(f"{objective} per segment", per_value(first), per_value(second))
    yield from _lines("gates", _outcomes(first), _outcomes(second))


def _outcomes(card: VersionCard) -> dict[str, str]:
    return {one["name"] or f"gate {place}": one["outcome"] for place, one in enumerate(card.gates, start=1)}


def _inside(first: VersionCard, second: VersionCard) -> Iterator[Line]:
    def bundle(card: VersionCard) -> dict[str, Any]:
        decided = {"threshold": card.threshold} if card.decides else {}
        said = decided | {"bundle": card.version.bundle[:12]}
        if card.bundle is None:
            return said
        manifest = card.bundle.manifest
        calibration = None if manifest.calibration is msgspec.UNSET else manifest.calibration
        return said | {
            "calibration": calibration or "none",
            "size": None if card.place.bytes is None else size_text(card.place.bytes),
        }

    yield from _lines("bundle", bundle(first), bundle(second))
    if first.bundle is None or second.bundle is None:  # of one alone every line would look like a change
        names = [set(card.configuration.get("features") or ()) for card in (first, second)]
        if all(names):
            for name in sorted(names[0] | names[1]):
                sides = ["yes" if name in one else None for one in names]
                yield Line(group="features", what=name, first=sides[0], second=sides[1])
        return
    yield from _lines("features", _features(first), _features(second))
    yield from _lines("contract", _columns(first), _columns(second))


def _features(card: VersionCard) -> dict[str, str]:
    assert card.bundle is not None
    tree = card.bundle.features
    return {name: node_text(node) for name, node in zip(tree.names, tree.nodes, strict=True)}


def _columns(card: VersionCard) -> dict[str, str]:
    """name → type, role and what it may hold; the range that was merely seen once is not among it."""
    assert card.bundle is not None
    found = {}
    for column in card.bundle.contract.columns:
        bounds = (
            None if column.minimum is None and column.maximum is None else f"{column.minimum} to {column.maximum}",
            "may be missing" if column.nullable else None,
            None if column.categories is None else f"{len(column.categories)} categories: {_cut(column.categories)}",
        )
        found[column.name] = ", ".join([f"{column.type} {column.role}", *(one for one in bounds if one)])
    return found


def _cut(values: tuple[str, ...]) -> str:
    text = ", ".join(values)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _made(first: VersionCard, second: VersionCard) -> Iterator[Line]:
    def code(card: VersionCard) -> dict[str, Any]:
        said = card.origin.get("code") or {}
        if not said:
            return {}
        dirty = {None: None, True: "yes", False: "no"}[said["dirty"]]
        found = {"commit": (said["commit"] or "")[:12] or None, "dirty": dirty, "everloop": said["everloop"]}
        return found | {name: value[:12] for name, value in said["files"].items()}

    def environment(card: VersionCard) -> dict[str, Any]:
        said = card.origin.get("environment") or {}
        if not said:
            return {}
        found = {"python": said["python"], "platform": said["platform"], "installed": said["lock"][:12]}
        lock = (said["lock_file_hash"] or "")[:12]
        return found | ({said["lock_file"]: lock} if said["lock_file"] else {})

    yield from (line for line in _lines("code", code(first), code(second)) if line.first or line.second)
    yield from _lines("environment", environment(first), environment(second))
