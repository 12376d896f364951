"""A finding: one sentence about the data, how much it matters and the evidence it stands on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from everloop.stats import Json

__all__ = ["Finding", "Weight", "by_weight"]

Weight: TypeAlias = Literal["stop", "warn", "note"]

_ORDER: Final[Mapping[Weight, int]] = {"stop": 0, "warn": 1, "note": 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What looks wrong, or is worth knowing, in one sentence.

    kind: what was looked for, the same word for every data set (`constant`, `duplicates`, …).
    weight: `stop` a search on this data would mislead; `warn` look before you go on; `note` good to know.
    column: the column it is about, None where it is about the whole file.
    """

    kind: str
    weight: Weight
    sentence: str
    column: str | None = None
    evidence: Mapping[str, Json] = field(default_factory=dict)


def by_weight(findings: list[Finding]) -> tuple[Finding, ...]:
    """The findings, the gravest first; equals stay in the order they were found."""
    return tuple(sorted(findings, key=lambda finding: _ORDER[finding.weight]))
