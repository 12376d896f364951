"""The trials ranked, and what came of the best one on rows that no trial had seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from everloop.experiment.trials import Trial
from everloop.stats import Interval, Verdict
from everloop.tasks import get_task

if TYPE_CHECKING:
    from rich.console import Group
    from rich.text import Text

_HEADS = {"precision": "prec.", "average_precision": "avg. prec."}

__all__ = ["DataUsed", "Judged", "Leaderboard", "leaderboard_screen", "ranked"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DataUsed:
    """The rows of a search.

    hash: content hash of the rows, features not among them. fit_rows: what a trial was fitted on. left_out: by reason.
    train, validation, test: rows and positives of each part; of a regression every row counts as one.
    """

    source: str
    hash: str
    start: datetime
    end: datetime
    features: tuple[str, ...]
    train: tuple[int, int]
    validation: tuple[int, int]
    test: tuple[int, int]
    fit_rows: int
    left_out: dict[str, int]

    @property
    def rows(self) -> int:
        """All rows of the three parts."""
        return self.train[0] + self.validation[0] + self.test[0]

    @property
    def positives(self) -> int:
        """All positives of the three parts."""
        return self.train[1] + self.validation[1] + self.test[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """The winner on the test rows, at the threshold that the validation rows chose.

    objective: with its 95 % interval; metrics: the same for every metric of the task. against: by how much the winner
    is better than each yardstick in the objective on the same rows. yardsticks: every yardstick's metrics on them.
    """

    trial: Trial
    objective: Interval
    metrics: dict[str, Interval]
    against: dict[str, Interval]
    yardsticks: dict[str, dict[str, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaderboard:
    """What a search found. `trials` holds yardsticks and failed trials too, the best first.

    verdict: whether the winner may be written as a spec, with the sentence that says why.
    search: the search's id; its folder under `.everloop/searches/` holds every trial.
    quantiles: what a version of the winner will answer beside its score.
    """

    search: str
    model: str
    objective: str
    maximise: bool
    seed: int
    trials: tuple[Trial, ...]
    winner: Judged | None
    verdict: Verdict
    data: DataUsed
    seconds: float
    task: str = "classification"
    quantiles: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON, times as ISO 8601."""
        record: dict[str, Any] = {
            "search": self.search,
            "model": self.model,
            "objective": self.objective,
            "seed": self.seed,
            "verdict": self.verdict.to_dict(),
            "data": msgspec.to_builtins(self.data),
            "trials": [trial.to_dict() for trial in self.trials],
            "winner": None,
            "seconds": round(self.seconds, 3),
        }
        if self.winner is not None:
            record["winner"] = {
                "trial": self.winner.trial.number,
                "objective": self.winner.objective.to_dict(),
                "metrics": {name: value.to_dict() for name, value in self.winner.metrics.items()},
                "against": {name: value.to_dict() for name, value in self.winner.against.items()},
            }
        return record


def ranked(trials: Sequence[Trial], *, maximise: bool) -> tuple[Trial, ...]:
    """The best objective first; of equals a yardstick, then the lower number; failures last."""

    def place(trial: Trial) -> tuple[bool, float, bool, int]:
        value = 0.0 if trial.value is None else trial.value
        return (trial.value is None, -value if maximise else value, trial.kind == "trial", trial.number)

    return tuple(sorted(trials, key=place))


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _metric(trial: Trial, name: str) -> str:
    value = trial.metrics.get(name)
    return "–" if value is None else f"{value:.3f}"


def _settings(trial: Trial) -> dict[str, object]:
    """What the trial was fitted with, and what came of it on the way."""
    found = {"rounds": trial.rounds, "calibration": trial.calibration}
    return {**trial.hyperparameters, **{name: value for name, value in found.items() if value not in (None, "none")}}


def _winner_lines(board: Leaderboard) -> list[Text]:
    from rich.text import Text

    lines = [Text()]
    winner = board.winner
    if winner is not None:
        rows, positives = board.data.test
        with_positives = f" with {positives:,} positives" if get_task(board.task).decides else ""
        head = f"On {rows:,} test rows{with_positives} that no trial had seen:"
        lines += [Text.assemble(("Winner: ", "bold"), f"trial {winner.trial.name}, {winner.trial.learner}"), Text(head)]
        settings = " ".join(f"{name}={_short(value)}" for name, value in _settings(winner.trial).items())
        shown = {board.objective: winner.objective}
        names = [name for name in get_task(board.task).shown if name in winner.metrics and name != board.objective]
        shown |= {name: winner.metrics[name] for name in names}
        shown |= {f"better than {name} by": gap for name, gap in winner.against.items()}
        lines += [Text(f"  {name:<36} {value}") for name, value in shown.items()]
        lines += [Text(), Text(settings, style="dim"), Text()]
    passed = board.verdict.outcome == "passed"
    lines.append(Text(board.verdict.sentence, style="green" if passed else "bold red"))
    return lines


def leaderboard_screen(board: Leaderboard, *, most: int = 15) -> Group:
    """The leaderboard for a terminal, 80 columns wide: the best `most` trials, the yardsticks always."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    train, validation = board.data.train, board.data.validation
    title = Text.assemble((f"{board.model}: {board.objective}", "bold"))
    head = f"fitted on {board.data.fit_rows:,} of {train[0]:,} rows; ranked on {validation[0]:,} later ones"
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name, right in (("#", True), ("learner", False), ("objective, 95 %", False)):
        table.add_column(name, justify="right" if right else "left", no_wrap=True)
    metrics = get_task(board.task).shown
    for name in metrics:
        table.add_column(_HEADS.get(name, name), justify="right", no_wrap=True)
    table.add_column("fit s", justify="right", no_wrap=True)
    left_out = 0
    for place, trial in enumerate(board.trials):
        if place >= most and trial.kind == "trial":
            left_out += 1
            continue
        won = board.winner is not None and trial == board.winner.trial
        style = "bold" if won else "dim" if trial.kind == "yardstick" or trial.status == "failed" else ""
        value = "failed" if trial.range is None else str(trial.range)
        measured = (_metric(trial, name) for name in metrics)
        table.add_row(trial.name, trial.learner, value, *measured, f"{trial.fit_s:.1f}", style=style)
    more = [Text(f"… and {left_out} more; --json has them all", style="dim")] if left_out else []
    return Group(title, Text(head), Text(), table, *more, *_failures(board), *_winner_lines(board))


def _failures(board: Leaderboard) -> list[Text]:
    """The first failure's sentence, and how many there are."""
    from rich.text import Text

    failed = [trial for trial in board.trials if trial.status == "failed"]
    if not failed:
        return []
    others = f" ({len(failed) - 1} more failed)" if len(failed) > 1 else ""
    return [
        Text(),
        Text(f"Trial {failed[0].name}, {failed[0].learner}, failed: {failed[0].sentence}{others}", style="dim"),
    ]
