"""The notebook that a project begins with: phase 1 told in cells, from the first look to the spec."""

from __future__ import annotations

from typing import Final

from everloop.project import Cell, notebook_text

__all__ = ["PHASE1", "phase1_notebook"]

PHASE1: Final = "phase-1.ipynb"
"""The file's name in a model's folder `notebooks`."""

_OF_CLASSES: Final = """\
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

pipeline = make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression(C=0.1, max_iter=500))"""

_OF_NUMBERS: Final = """\
from sklearn.impute import SimpleImputer
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

pipeline = make_pipeline(SimpleImputer(), StandardScaler(), Ridge(alpha=10))"""


def phase1_notebook(model: str, *, numeric: bool) -> str:
    """The notebook's text, without results. numeric: the model's target is a number."""
    linear, pipeline = ("linear", _OF_NUMBERS) if numeric else ("logistic", _OF_CLASSES)
    return notebook_text([*_looking(model), *_searching(model, linear), *_comparing(model, pipeline)])


def _looking(model: str) -> list[Cell]:
    """Explore and engineer."""
    return [
        _say(f"""\
# {model}: from the data to a spec

Explore → engineer → select → tune → compare → hand over. Every cell runs as it is; change what you like and run it
again. Frames go in and come out as pandas or Polars, and nothing here touches what is in production: the last cell
writes a spec, a file that someone reviews and approves."""),
        _run(f"""\
import everloop as ev

{model} = ev.open("{model}")
{model}"""),
        _say("""\
## Explore

What the rows look like, and what looks wrong with them: gaps, duplicates, columns that know the future, a target that
moves. The gravest comes first. `explore(frame)` looks at a frame of yours instead of the source."""),
        _run(f"{model}.explore()"),
        _say("""\
## Engineer

Features are Polars expressions over one row, in `features.py` beside this folder. The table says of each what it
costs, what it tells alone and beside the others, how far it moved, and which say nothing new."""),
        _run(f"{model}.features()"),
        _say("""\
Try one: this adds a line to `features.py`, once, and looks again. What helps stays; what does not, delete."""),
        _run(f"""\
from pathlib import Path

path = Path("../features.py")
text = path.read_text()
if '"weekend"' not in text:
    path.write_text(text + '    yield "weekend", pl.col("event_time").dt.weekday() >= 6\\n')

table = {model}.features()
[line for line in table.features if line.name == "weekend"]"""),
    ]


def _searching(model: str, linear: str) -> list[Cell]:
    """Select and tune."""
    return [
        _say("""\
## Select

Which kind of model is worth the time? A few trials of each learner, on folds by time: each is judged on rows newer than
those it was fitted on. Every bar is an interval, and ≈ marks what the data cannot tell from the best."""),
        _run(f"""\
first = {model}.search(trials=6, learners=["{linear}", "lightgbm", "xgboost"], quiet=True)
first"""),
        _run("""\
columns = ["trial", "learner", "objective", "low", "high", "tied", "fit_s", "us_per_row"]
first.frame().select(columns)"""),
        _say("""\
## Tune

The learner that looks best gets the time. `search(minutes=20)` searches by the clock; interrupt it when you like, it
ends with what there is, and the same call goes on from there."""),
        _run(f"""\
learner = first.best().trial.learner
board = {model}.search(trials=12, learners=[learner], quiet=True)
board"""),
    ]


def _comparing(model: str, pipeline: str) -> list[Cell]:
    """Compare and hand over."""
    return [
        _say("""\
## Compare

Bring your own. `training()` is what the search fits on; whatever you fit on it, a pipeline of scikit-learn's, XGBoost
or LightGBM, becomes an ONNX graph, or is refused with the reason. It is judged on rows that it cannot have seen."""),
        _run(f"""\
{pipeline}
train = {model}.training()
mine = {model}.use(pipeline.fit(train.X, train.y), name="mine")
mine"""),
        _say("""\
Is the search's best surely better than yours? Both meet the test rows, which neither has seen, pair by pair. Where the
data cannot tell them apart that is said, and by how much."""),
        _run("""\
from everloop.errors import Refused

try:
    best = board.best(beats=mine)
except Refused as refused:
    print(refused)
    best = board.best()
best"""),
        _say("""\
And where does it fail? The rows cut into parts, by columns or features, the worst first. ✗ marks those that surely are
worse than the rest, with all the parts that were asked considered."""),
        _run('best.worst(by=["event_time", "hour", "weekend"])'),
        _say("""\
## Hand over

The spec: learner, hyperparameters, features, threshold, what is expected of it and why it is there. Your reason stands
in it for whoever reviews it. Then `everloop approve` puts a name to it, and production takes over."""),
        _run('best.to_spec(reason="the best of a first search")'),
    ]


def _say(text: str) -> Cell:
    return Cell(kind="markdown", text=text)


def _run(text: str) -> Cell:
    return Cell(kind="code", text=text)
