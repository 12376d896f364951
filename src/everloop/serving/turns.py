"""Whose turn it is for a key, for callers that ask the servers of the versions themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from everloop.clock import Clock
from everloop.rollout import assign
from everloop.serving.open_model import OpenModel
from everloop.serving.problem import Problem, RowError
from everloop.serving.rows import given_id, id_column, prediction_id, row_error

__all__ = ["Turn", "turn_of"]

_LONGEST_KEY = 10_000


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """Who is to answer a row, and the probability of that over keys. It may be sent along with the prediction."""

    id: str
    version: int
    side: str
    propensity: float


def turn_of(model: OpenModel, row: Any, clock: Clock) -> Turn | RowError:
    """The turn for a row's entity, else its id, as `predict` would assign it; nothing is recorded.

    Of the row the id and the entity alone are read. Raises Problem where the model has no champion.
    """
    if model.routing.champion is None:
        detail = f"{model.name} has no champion yet; 'everloop model add {model.name} --version N' says who answers"
        raise Problem(503, "no-champion", detail)
    key = id_column(model.contract)
    if not isinstance(row, Mapping):
        return row_error(row, key, column=None, value=row, detail="a row is a JSON object of names and values")
    given = prediction_id(given_id(row, key), clock)
    if given is None:
        value = given_id(row, key)
        detail = f"{key}: {value!r:.80} is not 1 to 64 of A-Z a-z 0-9 . _ : -"
        return row_error(row, key, column=key, value=value, detail=detail)
    entity = model.contract.only("entity")
    who = None if entity is None else row.get(entity.name)
    if isinstance(who, int) and not isinstance(who, bool):
        who = str(who)
    if entity is not None and who is None and not entity.nullable:
        detail = f"{entity.name}: is missing; it decides who answers, so that one {entity.name} keeps its side"
        return row_error(row, key, column=entity.name, value=None, detail=detail)
    if who is not None and not (isinstance(who, str) and len(who) <= _LONGEST_KEY):
        detail = f"is not a text of up to {_LONGEST_KEY:,} characters"
        return row_error(row, key, column=None if entity is None else entity.name, value=who, detail=detail)
    turn = assign(model.routing, given if who is None else who)
    return Turn(id=given, version=turn.version, side=turn.side, propensity=turn.propensity)
