"""What is kept of a search on disk: every trial with its predictions, and the graphs that may still be wanted.

.everloop/searches/ID/trials.jsonl        a line for each trial, written last
                      predictions/7.npy   what trial 7 said of the judged rows of its folds
                      graphs/7.onnx       its newest fold's graph
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from everloop.experiment.trial_fit import TrialResult, TrialTask
from everloop.experiment.trials import Trial, TrialLog
from everloop.models import told
from everloop.pages import drafted

__all__ = ["TrialStore"]

Array = np.ndarray[Any, np.dtype[Any]]


class TrialStore:
    """The folder of one search. One process writes."""

    def __init__(self, folder: Path) -> None:
        """Open or begin the folder."""
        self._folder = folder
        self._log = TrialLog(folder / "trials.jsonl")
        for name in ("predictions", "graphs"):
            (folder / name).mkdir(exist_ok=True)

    @property
    def trials(self) -> Mapping[tuple[str, int], Trial]:
        """Every trial that has ended, by kind and number."""
        return self._log.trials

    def ended(self, task: TrialTask) -> Trial | None:
        """What is kept of `task`; None where it is still to be fitted, as what need not fail the next time is."""
        kept = self.trials.get((task.kind, task.number))
        if kept is None or kept.learner != task.learner or _need_not_fail_again(kept, task):
            return None
        asked = told(task.learner, task.params, task=task.task, own=task.own)
        return kept if asked.items() <= kept.hyperparameters.items() else None

    def keep(self, result: TrialResult) -> None:
        """Keep a trial, its line last. Raises StorageFull, and what was kept before stays."""
        trial = result.trial
        if result.predictions is not None:
            self._write(self._predictions_path(trial), _as_npy(result.predictions))
            self._write(self._graph_path(trial), result.graph)
        self._log.append(trial)

    def predictions(self, trial: Trial) -> Array | None:
        """float32, shape (n, 1 + q): score and quantiles on the judged rows, fold after fold; None where removed."""
        path = self._predictions_path(trial)
        return np.load(path, allow_pickle=False) if path.exists() else None

    def graph(self, trial: Trial) -> bytes | None:
        """The graph; None where it was removed."""
        path = self._graph_path(trial)
        return path.read_bytes() if path.exists() else None

    def keep_graphs_of(self, wanted: set[str]) -> None:
        """Remove the graphs of all other trials: those of forests are large."""
        for path in (self._folder / "graphs").glob("[0-9]*.onnx"):
            if path.stem not in wanted:
                path.unlink()

    def _predictions_path(self, trial: Trial) -> Path:
        return self._folder / "predictions" / f"{trial.name}.npy"

    def _graph_path(self, trial: Trial) -> Path:
        return self._folder / "graphs" / f"{trial.name}.onnx"

    def _write(self, path: Path, data: bytes) -> None:
        full = (
            f"the disk of {self._folder} is full; {len(self.trials)} trials are kept there: make room and run "
            "the same search again, it goes on where it was"
        )
        with drafted(path, full=full) as draft:
            draft.write_bytes(data)


def _need_not_fail_again(kept: Trial, task: TrialTask) -> bool:
    if kept.cause == "too long":
        return kept.limit_s is not None and (task.time_limit_s is None or task.time_limit_s > kept.limit_s)
    return kept.cause is not None


def _as_npy(array: Array) -> bytes:
    import io

    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()
