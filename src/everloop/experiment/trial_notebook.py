"""Any trial as a notebook of its own: it fits and judges the trial anew, and ends in the leaderboard's number."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from everloop.errors import UsageError
from everloop.experiment.kept_search import KeptSearch
from everloop.experiment.trials import Trial
from everloop.models import BLEND, Value, fitted_learners, own_content
from everloop.project import Cell, dump_yaml, notebook_text
from everloop.tasks import get_task

__all__ = ["trial_notebook", "write_trial_notebook"]


def trial_notebook(search: KeptSearch, trial: Trial) -> str:
    """The notebook's text, not executed; the same trial gives the same text.

    It runs from the project's folder, or one below. Raises FitFailed for a trial that failed.
    """
    if trial.value is None or trial.range is None:
        search.check(trial)
    cells = [
        _text(_opening(search, trial)),
        _code(_IMPORTS + _opened(search)),
        _text(_ABOUT_ROWS),
        _code(_ROWS),
        _text(_ABOUT_FEATURES),
        _code(_FEATURES),
        _text(_about_folds(search)),
        _code(_folds(search)),
        _text(_about_fit(trial, search)),
        _code(_fit(search, trial)),
        _text(_ABOUT_NUMBER),
        _code(_NUMBER),
        _text(_ABOUT_CURVES),
        _code(_curves(search, trial)),
        _text(_hand_over(search, trial)),
        _text("## The same number\n\nTo the last digit, or this cell fails."),
        _code(_same(trial)),
    ]
    return notebook_text(cells)


def write_trial_notebook(path: Path, text: str) -> None:
    """Write the notebook whole or not at all. Raises UsageError where the path is another notebook, or was edited."""
    if path.exists() and _sources(path.read_text(encoding="utf-8")) != _sources(text):
        raise UsageError(f"{path} holds other cells, of another trial or of yours; say --out FILE, or remove it")
    from everloop.pages import write_whole

    write_whole(path, text)


def _sources(text: str) -> list[tuple[str, str]] | None:
    """Kinds and sources of a notebook's cells, its results aside; None where it is no notebook."""
    try:
        return [(cell["cell_type"], "".join(cell["source"])) for cell in json.loads(text)["cells"]]
    except (ValueError, KeyError, TypeError):
        return None


def _text(text: str) -> Cell:
    return Cell(kind="markdown", text=text)


def _code(text: str) -> Cell:
    return Cell(kind="code", text=text)


def _opening(search: KeptSearch, trial: Trial) -> str:
    kind = "yardstick" if trial.kind == "yardstick" else "trial"
    given_up = f"\n\nThe search gave it up: {trial.sentence}." if trial.status == "pruned" else ""
    return (
        f"# {search.model.name}: {kind} {trial.name}, {trial.learner}\n\n"
        f"**{search.plan.objective}** is {trial.range} on the leaderboard of search `{search.plan.id}`. This notebook "
        "loads the same rows, fits the trial anew on every fold, judges it there, and ends in the same number."
        f"{given_up}\n\n"
        "It is yours to change. What is chosen by looking at these rows is not yet shown on others: let "
        "`everloop search` judge it on the test rows, which nothing here touches."
    )


_IMPORTS = """\
import numpy as np
import polars as pl

from everloop.data import load_features, read_contract
from everloop.experiment import combined, judge_fold, kept_search, trial_curves
from everloop.models import FitRequest, fit
"""


def _opened(search: KeptSearch) -> str:
    return f'\nsearch = kept_search("{search.plan.id}")\nmodel = search.model\nmodel.name, search.plan.objective'


_ABOUT_ROWS = """\
## Rows

The rows whose outcome was due when the search began, in order of time. `__target` is what is learned, and
`__weight` how much a row counts."""

_ROWS = """\
contract = read_contract(model)
known = search.known(contract)
known.frame.head()"""

_ABOUT_FEATURES = """\
## Features

The contract's feature columns, then those of `features.py`. `search.rows` refuses rows, features or folds that have
changed since the search."""

_FEATURES = """\
tree = load_features(model.features_path, contract).tree()
rows = search.rows(known, tree)
pl.DataFrame(rows.X, schema=list(rows.features)).describe()"""


def _about_folds(search: KeptSearch) -> str:
    decides = get_task(search.plan.task).decides
    sampled = "the rarer class whole, and a sample of the other that is weighted up" if decides else "a sample"
    return (
        "## Folds\n\n"
        f"Each fold is judged on rows that it was not fitted on. A fit sees at most {search.plan.fit_rows:,} rows: of "
        f"more {sampled}. The test rows are not among them."
    )


def _folds(search: KeptSearch) -> str:
    counts = ['"fitted": fold.fitted.size', '"judged": fold.judged.size']
    if get_task(search.plan.task).decides:
        counts.append('"positives judged": int(parts.held(fold).y.sum())')
    return (
        f"parts = rows.for_trials(fit_rows={search.plan.fit_rows}, seed={search.plan.seed})\n"
        f"pl.DataFrame([{{{', '.join(counts)}}} for fold in parts.folds])"
    )


def _about_fit(trial: Trial, search: KeptSearch) -> str:
    calibrated = trial.calibration not in (None, "none")
    map_of_others = (
        " The graph's calibration is fitted on the judged rows, so probabilities are judged by others, each fitted "
        "without the row."
        if calibrated
        else ""
    )
    threshold = (
        " The threshold is the best for the objective on the fold's judged rows."
        if get_task(search.plan.task).decides
        else ""
    )
    return (
        "## Fit and judge\n\n"
        f"{trial.learner} with the trial's hyperparameters, on every fold. What is judged is the ONNX graph, which is "
        f"what would be served.{map_of_others}{threshold}"
    )


def _fit(search: KeptSearch, trial: Trial) -> str:
    plan = search.plan
    whole = len(trial.folds) if trial.status == "pruned" else None
    folds = "parts.folds" if whole is None else f"parts.folds[:{whole}]"
    options = [f"seed={plan.seed}", "categories=parts.categories"]
    judged = ["objective=search.objective", f"seed={plan.seed}"]
    if plan.task != "classification":
        options.append(f'task="{plan.task}"')
        judged.append(f'task="{plan.task}"')
    if plan.calibration_of(trial) != "none":
        options.append(f'calibration="{plan.calibration_of(trial)}"')
    if plan.quantiles:
        options.append(f"quantiles={plan.quantiles!r}")
        judged.append(f"levels={plan.quantiles!r}")
    if own_content(fitted_learners(trial.learner, trial.hyperparameters), own=search.model.own_learners) is not None:
        options.append("own=model.own_learners")
    settings = "".join(f"    {json.dumps(name)}: {_written(value)},\n" for name, value in trial.hyperparameters.items())
    asked = "".join(f"            {option},\n" for option in options)
    return (
        f"hyperparameters = {{\n{settings}}}\n"
        f"folds = {folds}\n"
        "scores, predictions = [], []\n"
        "for fold in folds:\n"
        "    held = parts.held(fold)\n"
        "    fitted = fit(\n"
        "        FitRequest(\n"
        f'            learner="{trial.learner}",\n'
        "            params=hyperparameters,\n"
        "            X=parts.X[fold.fitted],\n"
        "            y=parts.y[fold.fitted],\n"
        "            weight=fold.weight,\n"
        "            validation=held,\n"
        f"{asked}"
        "        )\n"
        "    )\n"
        f"    score, said = judge_fold(fitted, held, worth=fold.worth, {', '.join(judged)})\n"
        "    scores.append(score)\n"
        "    predictions.append(said)\n"
        'pl.DataFrame([{"objective": s.value, "threshold": s.threshold, **s.metrics} for s in scores])'
    )


def _written(value: Value) -> str:
    """As Python has it, text in double quotes."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)


_ABOUT_NUMBER = """\
## What it is worth

The mean of the folds, each by its worth, with the 95 % interval: the newest counts most, and the more so, the more
positives (or rows) it is judged by."""

_NUMBER = """\
value, interval = combined(scores)
print(f"{search.plan.objective}: {interval}")"""

_ABOUT_CURVES = "## Curves\n\nOn the judged rows of all folds together."


def _curves(search: KeptSearch, trial: Trial) -> str:
    mapped = "" if trial.calibration is None else "    probability=np.concatenate(predictions)[:, 1],\n"
    more = "" if search.plan.task == "classification" else f'    task="{search.plan.task}",\n'
    return (
        "judged = [parts.held(fold) for fold in folds]\n"
        "trial_curves(\n"
        "    search.objective,\n"
        "    np.concatenate([held.y for held in judged]),\n"
        "    np.concatenate(predictions)[:, 0],\n"
        "    np.concatenate([held.weights for held in judged]),\n"
        "    threshold=scores[0].threshold,\n"
        f"{mapped}{more}"
        f'    name="{trial.name}",\n'
        f'    learner="{trial.learner}",\n'
        ")"
    )


def _hand_over(search: KeptSearch, trial: Trial) -> str:
    if trial.kind == "yardstick":
        return "## How to hand it over\n\nA yardstick is not handed over: it is what the winner of a search must beat."
    if trial.learner == BLEND:
        return (
            "## How to hand it over\n\n"
            "The winner of a search is a spec already: `everloop spec list`, then `everloop approve SPEC --by NAME`. A "
            "blend is made of a search's best trials, where `search` in `model.yaml` says `choose: blend`."
        )
    said: dict[str, Any] = {
        "search": {
            "learners": [trial.learner],
            "method": "grid",  # of one point: what is fitted beside the champion, where there is one
            "space": {trial.learner: dict(trial.hyperparameters)},
        }
    }
    return (
        "## How to hand it over\n\n"
        "The winner of a search is a spec already: `everloop spec list`, then `everloop approve SPEC --by NAME`. To "
        "hand over this configuration, or what you made of it, let a search try it alone, beside the champion where "
        f"there is one. With these keys in `{search.model.name}/model.yaml`, `everloop search` judges the better one "
        f"once on the test rows, against the yardsticks, and writes the spec:\n\n```yaml\n{dump_yaml(said)}```"
    )


def _same(trial: Trial) -> str:
    return (
        f"leaderboard = {trial.value!r}\n"
        'assert value == leaderboard, f"{value!r} here, {leaderboard!r} on the leaderboard"\n'
        'print(f"{value!r}, as on the leaderboard")'
    )
