"""A leaderboard as one HTML page that fetches nothing, and as the fragment that a notebook shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from everloop.experiment.board_charts import board_charts, curve_charts
from everloop.experiment.leaderboard import Leaderboard, notes_of, rows_line, settings_of, settings_text, size_text
from everloop.experiment.trial_curves import TrialCurves
from everloop.experiment.trials import Trial
from everloop.pages import chart_fragment, chart_page, svg, write_whole
from everloop.stats import Interval
from everloop.tasks import get_task

__all__ = ["curves_fragment", "leaderboard_fragment", "leaderboard_page", "write_leaderboard"]

_MOST: Final = 25

_BODY: Final = """<h1>{{ board.model }}: {{ board.objective }}</h1>
<p class="lead {{ "fine" if board.verdict.outcome == "passed" else "stop" }}">{{ board.verdict.sentence }}</p>
<p>{{ rows }} Search <code>{{ board.search }}</code>, {{ board.method }}, seed {{ board.seed }}.</p>
{% if board.winner %}<h2>Winner: trial {{ board.winner.trial.name }}, {{ board.winner.trial.learner }}</h2>
<p>On {{ test }} that no trial had seen, measured once:</p>
<table><tr><th></th><th class="n">value</th><th class="n">low</th><th class="n">high</th></tr>
{% for name, value in promised %}<tr><td>{{ name }}</td><td class="n">{{ "%.4f" | format(value.point) }}</td>
<td class="n">{{ "%.4f" | format(value.low) }}</td><td class="n">{{ "%.4f" | format(value.high) }}</td></tr>
{% endfor %}</table>
<p class="by">Low and high: the 95 % interval. Settings: {{ settings }}.</p>
{% endif %}
{% for title, drawn in pictures %}<h2>{{ title }}</h2>
{% if title in notes %}<p class="by">{{ notes[title] }}</p>{% endif %}
<div class="wide">{{ drawn }}</div>
{% endfor %}
<h2>Trials</h2>
<div class="wide"><table><tr><th class="n">#</th><th></th><th>learner</th><th class="n">objective</th>
<th class="n">low</th><th class="n">high</th>{% for name in shown %}<th class="n">{{ name }}</th>{% endfor %}
<th class="n">fit s</th><th class="n">µs a row</th><th class="n">size</th></tr>
{% for row in table %}<tr><td class="n">{{ row[0] }}</td><td>{{ row[1] }}</td><td>{{ row[2] }}</td>
{% for cell in row[3:] %}<td class="n">{{ cell }}</td>{% endfor %}</tr>
{% endfor %}</table></div>
<ul class="by">{% for note in remarks %}<li>{{ note }}</li>
{% endfor %}</ul>
"""


def _row(board: Leaderboard, trial: Trial) -> list[str]:
    """A line of the table: dashes where the trial failed."""
    won = board.winner is not None and trial == board.winner.trial
    mark = "winner" if won else "≈" if board.tied(trial) else "" if trial.status == "done" else trial.status
    said = [f"{value:.4f}" for value in ([] if trial.range is None else _numbers(trial.range))]
    metrics = [trial.metrics.get(name) for name in get_task(board.task).shown]
    said += ["–"] * (3 - len(said)) + ["–" if value is None else f"{value:.4f}" for value in metrics]
    cost = [f"{trial.fit_s:.1f}", f"{trial.us_per_row:.1f}", size_text(trial.graph_bytes)]
    return [trial.name, mark, trial.learner, *said, *(["–"] * 3 if trial.status == "failed" else cost)]


def _numbers(interval: Interval) -> tuple[float, float, float]:
    return interval.point, interval.low, interval.high


def _table(board: Leaderboard) -> list[list[str]]:
    """The best, the yardsticks and the winner."""
    won = None if board.winner is None else board.winner.trial
    shown = [t for place, t in enumerate(board.trials) if place < _MOST or t.kind == "yardstick" or t == won]
    return [_row(board, trial) for trial in shown]


def _promised(board: Leaderboard) -> list[tuple[str, Interval]]:
    winner = board.winner
    if winner is None:
        return []
    metrics = [(name, value) for name, value in winner.metrics.items() if name != board.objective]
    against = [(f"better than {name} by", gap) for name, gap in winner.against.items()]
    return [(board.objective, winner.objective), *metrics, *against]


def _notes(board: Leaderboard) -> dict[str, str]:
    """What a chart's reader should know, by its title."""
    if not board.curves:
        return {}
    decides = board.curves[0].decisions is not None
    positives = f" with {board.curves[0].positives:,} positives" if decides else ""
    rows = f"On the {board.curves[0].rows:,} rows{positives} that ranked the trials, those of all folds together"
    learner = board.curves[0].learner
    return {
        "Objective": "With 95 % intervals, on the rows that ranked the trials.",
        "Precision, recall and false alarms": f"{rows}. The point is the winner's threshold.",
        "Calibration and threshold": f"{rows}. Each bin has about as many rows, and positives that the scores promise, "
        "as the others, with its Wilson interval: on the dashed line scores are probabilities.",
        "Residuals": f"{rows}. Tails beyond 1 in 200 are counted in the outermost bars.",
        "Hyperparameters": f"What each explains alone of the differences between the trials of {learner}, by "
        "functional ANOVA over a forest fitted on them; what is missing to 100 % they do together. It ranks.",
    }


def _remarks(board: Leaderboard) -> list[str]:
    left_out = len(board.trials) - len(_table(board))
    more = [f"{left_out} more trials: everloop trial list {board.model} --search {board.search}"] if left_out else []
    failed = [trial for trial in board.trials if trial.status == "failed"]
    return [*notes_of(board), *more, *(f"{one.name}, {one.learner}, failed: {one.sentence}" for one in failed[:5])]


def _told(board: Leaderboard) -> dict[str, Any]:
    """The values of `_BODY`, charts aside."""
    rows, positives = board.data.test
    with_positives = f" with {positives:,} positives" if get_task(board.task).decides else ""
    said = rows_line(board)
    return {
        "board": board,
        "rows": f"{said[0].upper()}{said[1:]}.",
        "test": f"{rows:,} test rows{with_positives}",
        "promised": _promised(board),
        "settings": "" if board.winner is None else settings_text(settings_of(board.winner.trial)),
        "notes": _notes(board),
        "shown": get_task(board.task).shown,
        "table": _table(board),
        "remarks": _remarks(board),
    }


def leaderboard_page(board: Leaderboard) -> str:
    """The page, complete: no address in it is fetched."""
    return chart_page(f"{board.model}: {board.objective}", _BODY, board_charts(board), **_told(board))


def leaderboard_fragment(board: Leaderboard) -> str:
    """The same for a notebook's output: charts as pictures, no script."""
    return chart_fragment(_BODY, board_charts(board), **_told(board))


def curves_fragment(curves: TrialCurves) -> str:
    """One trial's curves for a notebook's output: charts as pictures, no script."""
    return "".join(f"<div>{svg(chart)}</div>" for chart in curve_charts([curves]).values())


def write_leaderboard(board: Leaderboard, path: Path) -> None:
    """Write the page to `path`, whole or not at all."""
    write_whole(path, leaderboard_page(board))
