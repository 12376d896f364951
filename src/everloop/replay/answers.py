"""What customers were answered, and what it turned out to be: the traffic log's matured rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from everloop.errors import EverloopError
from everloop.project import Model
from everloop.replay.spans import Flags, Times
from everloop.traffic import TrafficLog

__all__ = ["Answers", "answers_of", "lost_rows"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Answers:
    """All matured traffic, by time. decision: what was answered. truth: what it turned out to be; shapes (n,)."""

    ids: pl.Series
    times: Times
    truth: Flags
    decision: Flags

    @property
    def duplicates(self) -> int:
        """Rows that the log has more than once."""
        return len(self.ids) - self.ids.n_unique()

    def joined(self, arms: pl.DataFrame, name: str) -> Flags:
        """An arm's decisions, row by row of these. Raises EverloopError where it has none for one of them."""
        found = (
            self.ids.alias("id").to_frame().join(arms.select("id", name), on="id", how="left", maintain_order="left")
        )
        if found[name].null_count():
            raise EverloopError(f"the arm {name!r} knows nothing of {found[name].null_count():,} rows of the log")
        flags: Flags = found[name].to_numpy()
        return flags


def answers_of(log: TrafficLog, model: Model, *, as_of: datetime) -> Answers:
    """The log's rows whose outcome was due at `as_of`, silence and all."""
    labelled = log.labelled(
        as_of=as_of, delay=model.outcome.delay, absent=model.outcome.absent, target=model.data.target
    )
    frame = labelled.select("prediction_id", "event_time", "outcome", "decision").collect()
    return Answers(
        ids=frame["prediction_id"],
        times=frame["event_time"].dt.replace_time_zone(None).to_numpy().astype("datetime64[us]"),
        truth=frame["outcome"].to_numpy() > 0.5,
        decision=frame["decision"].to_numpy(),
    )


def lost_rows(acknowledged: Sequence[pl.Series], answers: Answers) -> int:
    """How many rows were acknowledged and are not in the log."""
    if not acknowledged:
        return 0
    sent = pl.concat([ids.alias("id") for ids in acknowledged]).to_frame()
    return sent.join(answers.ids.alias("id").to_frame(), on="id", how="anti").height
