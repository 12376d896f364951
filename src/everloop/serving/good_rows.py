"""Rows of a request, held against the contract: the good ones by column, and what is wrong with the others."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Protocol

import msgspec
import numpy as np
from msgspec.structs import replace

from everloop.clock import Clock, to_us
from everloop.data import EVENT_TIME, Contract, Decoded, Decoder, FrameDecoder, TableRows
from everloop.serving.problem import MANY_ERRORS, RowError
from everloop.serving.rows import id_column, prediction_id, row_error
from everloop.traffic import InputColumns

__all__ = ["Answers", "GoodRows", "ReadsRows", "behind", "good_rows", "joined", "read_rows"]

JSON = Any
Answers = list[bytes | list[RowError]]
"""Of each row the JSON of its answer, or what is wrong with it."""


class ReadsRows(Protocol):
    """What says how a row is to be read."""

    @property
    def contract(self) -> Contract:
        """The columns."""
        ...

    @property
    def decoder(self) -> Decoder:
        """The contract's."""
        ...


class GoodRows(msgspec.Struct, frozen=True, kw_only=True):
    """The good rows: their place among all rows, their ids and entities, and what else they hold, by column."""

    places: Sequence[int]
    ids: list[str]
    entities: Sequence[str | None]
    event_time_us: np.ndarray[Any, np.dtype[np.int64]]
    decoded: Decoded

    @property
    def keys(self) -> list[str]:
        """What decides who answers a row: its entity, else its id."""
        return [one if entity is None else entity for one, entity in zip(self.ids, self.entities, strict=True)]

    @property
    def inputs(self) -> InputColumns:
        """What is captured of the rows."""
        schema = {name: dtype for name, dtype in self.decoded.schema.items() if name != EVENT_TIME}
        values = [self.decoded.columns[name] for name in schema]
        return InputColumns(names=tuple(schema), kinds=InputColumns.kinds_of(schema.values()), values=values)

    def take(self, rows: Sequence[int]) -> GoodRows:
        """These rows alone, in this order."""
        return replace(
            self,
            places=[self.places[n] for n in rows],
            ids=[self.ids[n] for n in rows],
            entities=[self.entities[n] for n in rows],
            event_time_us=self.event_time_us[np.asarray(rows, dtype=np.intp)],
            decoded=self.decoded.take(rows),
        )


def good_rows(model: ReadsRows, decoded: Decoded, ids: list[str], *, now_us: int) -> GoodRows:
    """Decoded rows with their ids; one that brings no time happened now."""
    entity = model.contract.only("entity")
    times = decoded.columns[EVENT_TIME]
    if None in times:
        times = [now_us if time is None else time for time in times]
    return GoodRows(
        places=decoded.kept,
        ids=ids,
        entities=[None] * len(ids) if entity is None else decoded.columns[entity.name],
        event_time_us=np.array(times, dtype=np.int64),
        decoded=decoded,
    )


def read_rows(model: ReadsRows, rows: Sequence[JSON], answers: Answers, *, clock: Clock) -> GoodRows:
    """The rows that keep the contract and have an id, their own or a new one.

    answers: an empty list for each row, which gets what is wrong with it.
    """
    key, now = id_column(model.contract), clock.now()
    table = rows if isinstance(rows, TableRows) else None
    decoded = _decoded_table(model, table, now) if table is not None else model.decoder.decode(rows, now=now)
    for told, problem in enumerate(decoded.problems):
        if told >= MANY_ERRORS and answers[problem.index]:
            continue
        detail = problem.sentence.removeprefix(f"row {problem.index}: ")
        error = row_error(rows[problem.index], key, column=problem.column or None, value=problem.value, detail=detail)
        _errors_of(answers, problem.index).append(error)
    given = decoded.columns.get(key)
    if given is None:
        own = [row.get("id") for row in rows] if table is None else table.column("id")
        given = [own[place] for place in decoded.kept]
    ids: list[str] = []
    taken: list[int] = []
    for n, place in enumerate(decoded.kept):
        found = prediction_id(given[n], clock)
        if found is None:
            detail = f"id: {given[n]!r:.80} is not 1 to 64 of A-Z a-z 0-9 . _ : -"
            error = row_error(rows[place], key, column="id", value=given[n], detail=detail)
            _errors_of(answers, place).append(error)
        else:
            ids.append(found)
            taken.append(n)
    kept = decoded if len(taken) == len(decoded.kept) else decoded.take(taken)
    return good_rows(model, kept, ids, now_us=to_us(now))


def _decoded_table(model: ReadsRows, table: TableRows, now: datetime) -> Decoded:
    assert isinstance(model.decoder, FrameDecoder)
    return model.decoder.decode_table(table, now=now)


def behind(good: GoodRows, rows: int) -> GoodRows:
    """The same behind so many other rows."""
    return good if rows == 0 else replace(good, places=[rows + place for place in good.places])


def joined(goods: Sequence[GoodRows]) -> GoodRows:
    """All of them as one."""
    return GoodRows(
        places=[place for good in goods for place in good.places],
        ids=[one for good in goods for one in good.ids],
        entities=[entity for good in goods for entity in good.entities],
        event_time_us=np.concatenate([good.event_time_us for good in goods]),
        decoded=Decoded.joined([good.decoded for good in goods]),
    )


def _errors_of(answers: Answers, place: int) -> list[RowError]:
    found = answers[place]
    assert isinstance(found, list)
    return found
