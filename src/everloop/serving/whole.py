"""Requests that are answered whole or not at all: what keeps one from being recorded, found before anything is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from everloop.serving.problem import RowError
from everloop.traffic import Answered, PredictionBatch

__all__ = ["OtherVersion", "Whole", "left_out"]


class OtherVersion(RowError, frozen=True, kw_only=True):
    """A row that another version than the one that was asked answers now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    """rows: the places of a request's rows. version: whose answers alone are wanted; None takes any."""

    rows: range
    version: int | None = None


def left_out(
    wholes: Sequence[Whole],
    *,
    batch: PredictionBatch,
    places: Sequence[int],
    known: Mapping[str, Answered],
) -> dict[int, RowError | None]:
    """The places of wholes that must not be recorded, each with what is wrong with it, or None where a neighbour is.

    batch, places: the rows that could be scored, and the place of each. known: what was answered for an id before. A
    row that was answered before keeps its answer, whichever version gave it.
    """
    scored = {place: n for n, place in enumerate(places)}
    in_wholes = {place for whole in wholes for place in whole.rows}
    taken = {batch.ids[n]: batch.digests[n] for n, place in enumerate(places) if place not in in_wholes}
    # read by another contract, a row cannot be told from itself
    taken |= {one: b"" if before.layout != batch.layout else before.digest for one, before in known.items()}
    found: dict[int, RowError | None] = {}
    for whole in wholes:
        wrong: dict[int, RowError] = {}
        own: dict[str, bytes] = {}
        for place in whole.rows:
            if (n := scored.get(place)) is None:
                continue
            before = own.get(batch.ids[n], taken.get(batch.ids[n]))
            if before and before != batch.digests[n]:
                wrong[place] = _conflict(batch.ids[n])
            elif whole.version is not None and before is None and (given := _version(batch, n)) != whole.version:
                wrong[place] = _other_version(batch.ids[n], whole.version, given)
            own[batch.ids[n]] = batch.digests[n]
        if wrong or any(place not in scored for place in whole.rows):
            found |= {place: wrong.get(place) for place in whole.rows if place in scored}
        else:
            taken |= own
    return found


def _version(batch: PredictionBatch, row: int) -> int:
    return batch.versions[int(batch.answered[row])]


def _conflict(given: str) -> RowError:
    detail = f"prediction id {given!r} was used for another row; one id names one row. Send this row under its own"
    return RowError(id=given, column=None, value=None, detail=detail, conflict=True)


def _other_version(given: str, wanted: int, version: int) -> RowError:
    detail = f"the rollout that goes on has v{version} answer this row, not v{wanted}; ask without a version"
    return OtherVersion(id=given, column=None, value=None, detail=detail)
