"""A bundle's manifest: what is served, in one page of canonical JSON whose sha256 is the bundle's id."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

import msgspec

from everloop.errors import BundleCorrupt, BundleError
from everloop.ids import content_id

__all__ = ["SCHEMA", "Manifest"]

SCHEMA: Final = 1
"""The manifest's schema that this everloop writes and reads."""


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is served. Only what determines an answer, and what was promised of it; nothing of when and by whom.

    learner, spec_hash: `external` of what something else made and serves; it has no graph among its files.
    spec_hash: of the spec it was trained from. features: their names, in the order of the graph's input.
    target: the column that is predicted; positive, negative: what a decision is called.
    threshold: a score ≥ it is decided `positive`. All three are None where nothing is decided.
    metrics: on the test rows, by name, such as `recall`.
    files: name → sha256 of every file beside the manifest; evidence is not among them.
    quantiles: what the graph gives beside the score, such as p10; not there where it gives none.
    error_bound: how far off live errors are cut, in the target's unit; of a regression alone.
    calibration: the method by which the graph makes probabilities of its scores; not there where it does not.
    """

    model: str
    task: str
    learner: str
    spec_hash: str
    features: tuple[str, ...]
    target: str
    positive: str | None
    negative: str | None
    threshold: float | None
    metrics: dict[str, float]
    files: dict[str, str]
    calibration: str | msgspec.UnsetType = msgspec.UNSET
    quantiles: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    error_bound: float | msgspec.UnsetType = msgspec.UNSET
    schema: int = SCHEMA

    def to_json(self) -> bytes:
        """Canonical JSON: sorted keys, no spaces. Raises BundleError for a number that JSON has not."""
        numbers = {"threshold": self.threshold, "error_bound": self.error_bound, **self.metrics}
        for name, value in numbers.items():
            if isinstance(value, float) and not math.isfinite(value):
                raise BundleError(f"{name} is {value} and a manifest holds finite numbers only; leave it out")
        return msgspec.json.encode(self, order="sorted")

    @property
    def id(self) -> str:
        """The bundle's id: sha256 of the canonical JSON."""
        return content_id(self.to_json())

    @classmethod
    def from_json(cls, data: bytes) -> Manifest:
        """The manifest of `to_json`. Raises BundleCorrupt where it is not one, or of another schema."""
        try:
            schema = msgspec.json.decode(data, type=_SchemaOnly).schema
            if schema == SCHEMA:
                return msgspec.json.decode(data, type=cls)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise BundleCorrupt(f"manifest.json is not a bundle's manifest: {error}") from error
        raise BundleCorrupt(f"manifest.json has schema {schema} and this everloop reads {SCHEMA}; use a newer everloop")


class _SchemaOnly(msgspec.Struct, frozen=True):
    schema: int


def sums(files: Mapping[str, bytes]) -> dict[str, str]:
    """name → sha256, for a manifest."""
    return {name: content_id(data) for name, data in files.items()}
