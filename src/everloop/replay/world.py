"""The company of the demo: its project, made from the fraud template, and the payments that come in."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import numpy as np

from everloop.data import write_first_contract
from everloop.errors import ProjectError
from everloop.project import Project
from everloop.replay.feed import PaymentsFeed
from everloop.templates import History, create_project
from everloop.templates.fraud.generator import Payments
from everloop.templates.fraud.template import payments

__all__ = ["World", "WorldPlan", "make_project", "plan_world"]

_FIRST_DAY: Final = datetime(2025, 1, 6, tzinfo=UTC)
"""A Monday. Every seed plays the same months."""
_CHANGE_DAYS: Final = (23, 28)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorldPlan:
    """What there will be.

    opens_at: the endpoint's first hour, `history_days` after the first payment. closes_at: after the last one.
    change_at: when the new pattern appears; None for never.
    """

    seed: int
    history_days: int
    days: int
    rows_per_day: int
    delay: timedelta
    change_at: datetime | None

    @property
    def began_at(self) -> datetime:
        """The first payment of the history."""
        return _FIRST_DAY

    @property
    def opens_at(self) -> datetime:
        """The first hour of traffic."""
        return _FIRST_DAY + timedelta(days=self.history_days)

    @property
    def closes_at(self) -> datetime:
        """After the last hour of traffic."""
        return self.opens_at + timedelta(days=self.days)

    @property
    def ends_at(self) -> datetime:
        """When the outcomes of the last traffic are known."""
        return self.closes_at + self.delay

    def day_of(self, at: datetime) -> float:
        """The day of traffic, 0.0 when the endpoint opens."""
        return (at - self.opens_at) / timedelta(days=1)

    def history(self) -> History:
        """What the project starts from."""
        return History(seed=self.seed, start=self.began_at, days=self.history_days, rows_per_day=self.rows_per_day)


def plan_world(*, seed: int, days: int, history_days: int, rows_per_day: int, drift: bool) -> WorldPlan:
    """The seed's quarter: the hidden date is drawn from it, to the hour."""
    random = np.random.default_rng([seed, 23])
    change_hours = int(random.integers(_CHANGE_DAYS[0] * 24, _CHANGE_DAYS[1] * 24))
    opens_at = _FIRST_DAY + timedelta(days=history_days)
    return WorldPlan(
        seed=seed,
        history_days=history_days,
        days=days,
        rows_per_day=rows_per_day,
        delay=timedelta(days=7),
        change_at=opens_at + timedelta(hours=change_hours) if drift else None,
    )


class World:
    """The payments of a plan, history and traffic alike."""

    def __init__(self, plan: WorldPlan) -> None:
        self.plan = plan
        self.payments: Payments = _payments(plan)

    def feed(self) -> PaymentsFeed:
        """The traffic as it is sent, from a generator of its own: two readers would draw each other's days again."""
        return PaymentsFeed(_payments(self.plan), delay=self.plan.delay, since=self.plan.opens_at)


def _payments(plan: WorldPlan) -> Payments:
    return payments(plan.history(), change_at=plan.change_at, days=plan.history_days + plan.days)


def make_project(root: Path, plan: WorldPlan, *, changes: dict[str, str]) -> Project:
    """The template's project with the plan's history. changes: lines of model.yaml, as they are and as they are to be.

    Raises ProjectError where the template no longer says what is to be changed.
    """

    def finish(project: Project) -> None:
        for model in project.models.values():
            path = model.folder / "model.yaml"
            path.write_text(_changed(path.read_text(encoding="utf-8"), changes), encoding="utf-8")
            write_first_contract(model, root=project.root)

    created = create_project(
        root,
        template="fraud",
        seed=plan.seed,
        days=plan.history_days,
        rows_per_day=plan.rows_per_day,
        start=plan.began_at,
        finish=finish,
    )
    return Project.open(created.project.root)


def _changed(text: str, changes: dict[str, str]) -> str:
    for before, after in changes.items():
        if before not in text:
            raise ProjectError(
                f"the fraud template's model.yaml does not say {before!r} any more; the demo asks for it"
            )
        text = text.replace(before, after)
    return text
