"""The end of a search: what others may read of it, laid into its folder, and the fact that it ended.

.everloop/searches/ID/report/leaderboard.json   every trial, what was brought beside them, the verdict
                             leaderboard.html   the page, where the project is mirrored to MLflow, as the rest
                             plots/*.png        the page's charts
                             trials/7/*.png     trial 7's curves, of those that are drawn
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from everloop.experiment.leaderboard import Leaderboard
from everloop.experiment.mine import Mine
from everloop.ledger import Estimate, Fact, Ledger, SearchEnded, VerdictRecord
from everloop.project import Project

__all__ = ["REPORT", "note_search"]

REPORT: Final = "report"
"""The folder's name within a search's own."""


def note_search(
    project: Project, board: Leaderboard, *, ledger: Ledger, actor: str, beside: Sequence[Mine] = ()
) -> Fact:
    """Lay the report, then write the fact.

    A search that is repeated writes it once; with more trials, or another winner of them, once more.
    """
    folder = project.state / "searches" / board.search
    _lay(folder / REPORT, board, beside, pictures=project.settings.mlflow is not None)
    ended = _fact(board, beside, path=folder.relative_to(project.root).as_posix())
    key = (f"search-{board.search}", f"ended, winner {ended.winner}", len(board.trials) + len(beside))
    return ledger.append("search.ended", board.search, ended, actor=actor, key=key)


def _lay(folder: Path, board: Leaderboard, beside: Sequence[Mine], *, pictures: bool) -> None:
    from everloop.pages import write_whole

    record = board.to_dict() | {"beside": [mine.to_dict() for mine in beside]}
    write_whole(folder / "leaderboard.json", json.dumps(record, ensure_ascii=False, indent=1, default=float) + "\n")
    if not pictures:
        return
    from everloop.experiment.board_charts import board_charts, curve_charts
    from everloop.experiment.board_page import write_leaderboard

    write_leaderboard(board, folder / "leaderboard.html")
    _draw(folder / "plots", board_charts(board))
    for curves in board.curves:
        _draw(folder / "trials" / curves.name, curve_charts([curves]))


def _draw(folder: Path, charts: Mapping[str, Any]) -> None:
    """The charts as pictures, in place of those of a run before."""
    import vl_convert

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for title, chart in charts.items():
        name = re.sub(r"\W+", "-", title.lower()).strip("-")
        (folder / f"{name}.png").write_bytes(vl_convert.vegalite_to_png(chart.to_dict(), scale=1.5))


def _fact(board: Leaderboard, beside: Sequence[Mine], *, path: str) -> SearchEnded:
    tried = [trial for trial in board.trials if trial.kind == "trial"]
    winner = board.winner
    return SearchEnded(
        model=board.model,
        search=board.search,
        objective=board.objective,
        trials=len(tried),
        failed=sum(trial.status == "failed" for trial in tried),
        pruned=sum(trial.status == "pruned" for trial in tried),
        stopped=board.stopped,
        method=board.method,
        seed=board.seed,
        winner=None if winner is None else winner.trial.name,
        learner="" if winner is None else winner.trial.learner,
        expected=None if winner is None else Estimate(**winner.objective.to_dict()),
        verdict=VerdictRecord(
            name="may become a spec",
            outcome=board.verdict.outcome,
            sentence=board.verdict.sentence,
            evidence=dict(board.verdict.evidence),
        ),
        beside=[mine.name for mine in beside],
        seconds=round(board.seconds, 3),
        path=path,
        data=board.data.span,
    )
