"""The trials ranked, and what came of the best one on rows that no trial had seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from everloop.experiment.trial_curves import TrialCurves
from everloop.experiment.trials import Trial
from everloop.ledger import DataSpan
from everloop.models import BLEND
from everloop.stats import Interval, Verdict
from everloop.tasks import get_task

if TYPE_CHECKING:
    from rich.console import Group
    from rich.text import Text

_HEADS = {"precision": "prec.", "average_precision": "AP", "roc_auc": "AUC"}

__all__ = [
    "DataUsed",
    "Judged",
    "Leaderboard",
    "leaderboard_screen",
    "notes_of",
    "ranked",
    "rows_line",
    "settings_of",
    "size_text",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class DataUsed:
    """The rows of a search.

    hash: content hash of the rows, features not among them. fit_rows: what a trial was fitted on. left_out: by reason.
    rows, positives: all of them; of a regression every row counts as a positive. train: rows and positives of what the
    newest fold is fitted on; validation: of what the folds are judged by, together; test: of the winner's.
    folds: how many; by_time: else dealt at random. gap: what lies between fitted and judged rows, None without one.
    note: what should be known of the folds.
    """

    source: str
    hash: str
    start: datetime
    end: datetime
    features: tuple[str, ...]
    rows: int
    positives: int
    train: tuple[int, int]
    validation: tuple[int, int]
    test: tuple[int, int]
    folds: int
    by_time: bool
    gap: str | None
    note: str | None
    fit_rows: int
    left_out: dict[str, int]

    @property
    def span(self) -> DataSpan:
        """As a fact keeps it."""
        return DataSpan(
            rows=self.rows,
            start=self.start,
            end=self.end,
            source=self.source,
            hash=self.hash,
            positives=float(self.positives),
        )


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
    """What a search found. `trials` holds yardsticks, failed and given up trials too, the best first.

    behind: by how much the best trial is better than another on the same rows, with its 95 % interval, by number; of
    the best and its rivals. A trial whose interval reaches 0 is tied: the data cannot tell the two apart.
    stopped: it was interrupted, and this is what there was.
    verdict: whether the winner may be written as a spec, with the sentence that says why.
    search: the search's id; its folder under `.everloop/searches/` holds every trial.
    quantiles: what a version of the winner will answer beside its score. calibration: what was asked of its graph.
    curves: of the winner, a few others and the yardsticks, on the rows that ranked them; () where every trial failed.
    parameters: of the winner's learner, by how much of the differences between its trials each explains, {} where too
    few trials say so. notes: what else should be known. page: where the HTML page was written.
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
    calibration: str = "none"
    method: str = "bayesian"
    behind: dict[int, Interval] = field(default_factory=dict)
    stopped: bool = False
    curves: tuple[TrialCurves, ...] = ()
    parameters: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    page: str | None = None

    def tied(self, trial: Trial) -> bool:
        """Whether the data cannot tell `trial` from the best."""
        gap = self.behind.get(trial.number) if trial.kind == "trial" else None
        return gap is not None and gap.low <= 0

    @property
    def ties(self) -> int:
        """How many trials are tied, the best among them."""
        return sum(self.tied(trial) for trial in self.trials)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON, times as ISO 8601."""
        record: dict[str, Any] = {
            "search": self.search,
            "model": self.model,
            "objective": self.objective,
            "method": self.method,
            "seed": self.seed,
            "stopped": self.stopped,
            "verdict": self.verdict.to_dict(),
            "data": msgspec.to_builtins(self.data),
            "trials": [self._record(trial) for trial in self.trials],
            "winner": None,
            "parameters": self.parameters,
            "notes": list(self.notes),
            "page": self.page,
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

    def _repr_html_(self) -> str:
        """What a notebook shows: the same tables and charts as the page, without a script."""
        from everloop.experiment.board_page import leaderboard_fragment

        return leaderboard_fragment(self)

    def _record(self, trial: Trial) -> dict[str, Any]:
        gap = self.behind.get(trial.number) if trial.kind == "trial" else None
        return trial.to_dict() | {"tied": self.tied(trial), "behind": None if gap is None else gap.to_dict()}


def ranked(trials: Sequence[Trial], *, maximise: bool) -> tuple[Trial, ...]:
    """The best objective first; of equals a yardstick, then the lower number; then those given up; failures last."""

    def place(trial: Trial) -> tuple[int, float, bool, int]:
        value = 0.0 if trial.value is None else trial.value
        ended = 2 if trial.value is None else int(trial.status == "pruned")
        return (ended, -value if maximise else value, trial.kind == "trial", trial.number)

    return tuple(sorted(trials, key=place))


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _metric(trial: Trial, name: str) -> str:
    value = trial.metrics.get(name)
    return "–" if value is None else f"{value:.3f}"


def settings_of(trial: Trial) -> dict[str, object]:
    """What the trial was fitted with, of a blend its members' learners; and what came of it on the way."""
    found = {"rounds": trial.rounds, "calibration": trial.calibration}
    said = trial.hyperparameters
    if trial.learner == BLEND:
        said = {name: value for name, value in said.items() if name.endswith(".learner")}
    return {**said, **{name: value for name, value in found.items() if value not in (None, "none")}}


def settings_text(settings: Mapping[str, object]) -> str:
    """Hyperparameters as people read them."""
    return ", ".join(f"{name}={_short(value)}" for name, value in settings.items())


def _winner_lines(board: Leaderboard) -> list[Text]:
    from rich.text import Text

    lines = [Text()]
    winner = board.winner
    if winner is not None:
        rows, positives = board.data.test
        with_positives = f" with {positives:,} positives" if get_task(board.task).decides else ""
        head = f"On {rows:,} test rows{with_positives} that no trial had seen:"
        lines += [Text.assemble(("Winner: ", "bold"), f"trial {winner.trial.name}, {winner.trial.learner}"), Text(head)]
        settings = " ".join(f"{name}={_short(value)}" for name, value in settings_of(winner.trial).items())
        shown = {board.objective: winner.objective}
        names = [name for name in get_task(board.task).shown if name in winner.metrics and name != board.objective]
        shown |= {name: winner.metrics[name] for name in names}
        shown |= {f"better than {name} by": gap for name, gap in winner.against.items()}
        lines += [Text(f"  {name:<36} {value}") for name, value in shown.items()]
        lines += [Text(), Text(settings, style="dim"), Text()]
    passed = board.verdict.outcome == "passed"
    lines.append(Text(board.verdict.sentence, style="green" if passed else "bold red"))
    return lines


def size_text(count: int) -> str:
    """Bytes as people read them, at most six characters."""
    if count < 1_000:
        return f"{count} B"
    return f"{count / 1e3:.0f} kB" if count < 1e6 else f"{count / 1e6:.1f} MB"


def rows_line(board: Leaderboard) -> str:
    """What trials were fitted and ranked on."""
    data = board.data
    how = "by time" if data.by_time else "dealt at random"
    gap = "" if data.gap is None else f", a gap of {data.gap} between"
    folds = f"{data.folds} folds" if data.folds > 1 else "1 fold"
    return (
        f"fitted on {data.fit_rows:,} of {data.train[0]:,} rows; ranked on {data.validation[0]:,} rows of {folds} "
        f"{how}{gap}"
    )


def _row(board: Leaderboard, trial: Trial) -> list[str]:
    measured = [_metric(trial, name) for name in get_task(board.task).shown]
    value = trial.status if trial.range is None else str(trial.range)
    if trial.status == "failed":
        return [trial.name, "", trial.learner, value, *("–" for _ in measured), "–", "–", "–"]
    tied = "≈" if board.tied(trial) else "↓" if trial.status == "pruned" else ""
    cost = (f"{trial.fit_s:.1f}", f"{trial.us_per_row:.1f}", size_text(trial.graph_bytes))
    return [trial.name, tied, trial.learner, value, *measured, *cost]


def leaderboard_screen(board: Leaderboard, *, most: int = 15) -> Group:
    """The leaderboard for a terminal, 80 columns wide: the best `most` trials, the yardsticks and the winner always."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    title = Text.assemble((f"{board.model}: {board.objective}", "bold"))
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for name, right in (("#", True), ("", False), ("learner", False), ("objective, 95 %", False)):
        table.add_column(name, justify="right" if right else "left", no_wrap=True)
    for name in (*get_task(board.task).shown, "fit s", "µs", "size"):
        table.add_column(_HEADS.get(name, name), justify="right", no_wrap=True)
    left_out = 0
    for place, trial in enumerate(board.trials):
        won = board.winner is not None and trial == board.winner.trial
        if place >= most and trial.kind == "trial" and not won:
            left_out += 1
            continue
        faint = trial.kind == "yardstick" or trial.status != "done"
        table.add_row(*_row(board, trial), style="bold" if won else "dim" if faint else "")
    more = [Text(f"… and {left_out} more; --json has them all", style="dim")] if left_out else []
    notes = [Text(text, style="dim") for text in notes_of(board)]
    page = [] if board.page is None else [Text(), Text(f"page: {board.page}")]
    below = [*more, *notes, *_failures(board), *_winner_lines(board), *page]
    return Group(title, Text(rows_line(board)), Text(), table, *below)


def notes_of(board: Leaderboard) -> list[str]:
    """What the marks mean, where there are some, and what else should be known."""
    found = []
    if board.stopped:
        found.append(f"stopped by hand: this is what {len(board.trials)} trials found; run it again and it goes on")
    if board.ties > 1:
        found.append(f"≈ the data cannot tell these {board.ties} apart{_more_near(board)}")
    pruned = sum(trial.status == "pruned" for trial in board.trials)
    if pruned:
        found.append(f"↓ {pruned} given up before the last fold, behind half of others or far from the best")
    if board.data.note is not None:
        found.append(board.data.note)
    found += board.notes
    found.append("µs: a row through the graph, among many; size: of the graph")
    return found


def _more_near(board: Leaderboard) -> str:
    """How many more are near the best, where not all were compared with it."""
    done = [trial for trial in board.trials if trial.kind == "trial" and trial.status == "done"]
    more = sum(trial.number not in board.behind and done[0].meets(trial) for trial in done)
    return f"; {len(board.behind)} were compared, and {more} more are near the best" if more else ""


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
