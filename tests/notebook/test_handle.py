"""Phase 1 by hand: rows to fit on, one's own estimator, a search beside it, where the best fails, its spec."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import everloop as ev
from everloop.clock import SystemClock
from everloop.errors import ConfigurationError, NotFound, Refused, UsageError
from everloop.experiment import Mine, kept_search, trial_notebook
from everloop.ledger import Ledger
from everloop.notebook import Board, ModelHandle, Training
from everloop.project import Project
from tests.experiment.made import payments, project
from tests.experiment.test_trial_notebook import run

sklearn = pytest.importorskip("sklearn", reason="the extra [train] is not installed")

from sklearn.linear_model import LogisticRegression  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import StandardScaler  # noqa: E402


def rows() -> pl.DataFrame:
    """Payments in three countries; in Italy nothing tells fraud."""
    frame, rng = payments(4_000), np.random.default_rng(1)
    country = pl.Series("country", rng.choice(["de", "fr", "it"], frame.height))
    anyhow = pl.Series(rng.permutation(frame["fraud"].to_numpy()))
    return frame.with_columns(country, fraud=pl.when(country == "it").then(anyhow).otherwise("fraud"))


@dataclass(frozen=True)
class Desk:
    """What a notebook has after its search."""

    fraud: ModelHandle
    training: Training
    mine: Mine
    board: Board


def pipeline() -> Any:
    return make_pipeline(StandardScaler(), LogisticRegression())


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    root = tmp_path_factory.mktemp("desk") / "shop"
    project(root, rows(), objective="average_precision", learners="lightgbm", trials=3)
    fraud = ev.open(root)
    training = fraud.training()
    mine = fraud.use(pipeline().fit(training.X, training.y))
    yield Desk(fraud=fraud, training=training, mine=mine, board=fraud.search(jobs=1, beside=mine))
    shutil.rmtree(root)


def shown(thing: Any) -> str:
    found: str = thing._repr_html_()
    assert "<script" not in found
    assert "<style>.everloop" in found.replace("\n", "")
    return found


def test_a_model_shows_what_it_is_and_what_comes_next(desk: Desk) -> None:
    assert "average_precision" in shown(desk.fraud)
    assert "none yet" in shown(desk.fraud) or "fraud-s1" in shown(desk.fraud)


def test_rows_and_features_are_looked_at_also_of_a_frame(desk: Desk) -> None:
    few = rows().head(1_000)
    assert desk.fraud.explore(few).rows == 1_000
    assert desk.fraud.explore().rows == 4_000
    assert desk.fraud.features(few.lazy()).rows == 1_000
    assert "amount_log" in shown(desk.fraud.features())


def test_the_training_rows_are_older_than_all_that_judges(desk: Desk) -> None:
    training = desk.training
    assert training.X.columns == [*(f"v{at}" for at in range(4)), "amount", "country", "amount_log", "night"]
    assert training.X.height == training.y.size == training.weight.size == len(training.matrix)
    assert set(np.unique(training.y)) == {0, 1}
    data = desk.board.leaderboard.data
    assert training.y.size == data.train[0]
    assert f"{training.y.size:,} rows" in shown(training)


def test_a_board_shows_the_trials_and_what_was_brought(desk: Desk) -> None:
    board = desk.board
    assert [trial.kind for trial in board.trials].count("trial") == 3
    assert board.trials[-1].kind == "own"
    page = shown(board)
    assert "mine: StandardScaler → LogisticRegression" in page
    assert "lightgbm" in page
    frame = board.frame()
    assert isinstance(frame, pl.DataFrame)
    assert frame["trial"].to_list() == [trial.name for trial in board.trials]
    best = frame.row(by_predicate=(pl.col("trial") == board.trials[0].name), named=True)
    assert best["objective"] == board.trials[0].value
    assert best["param_num_leaves"] == board.trials[0].hyperparameters["num_leaves"]
    assert board.to_dict()["beside"][0]["name"] == "mine"


def test_a_trial_stands_beside_what_was_brought_with_its_newest_fold(desk: Desk) -> None:
    board = desk.board
    rows = {row["trial"]: row for row in board.to_polars().iter_rows(named=True)}
    for trial in board.trials:
        assert rows[trial.name]["newest_fold"] == trial.folds[0].value
    mine = rows[board.trials[-1].name]
    assert mine["newest_fold"] == mine["objective"]
    winner = board.leaderboard.winner
    assert winner is not None
    assert rows[winner.trial.name]["newest_fold"] != rows[winner.trial.name]["objective"]
    assert f"trial {winner.trial.name} has {winner.trial.folds[0].value:.3f}" in shown(board)


def test_the_end_of_a_search_is_a_fact_with_what_stood_beside_it(desk: Desk) -> None:
    board = desk.board.leaderboard
    with Ledger.open(Project.open(desk.fraud.root), clock=SystemClock()) as ledger:
        (fact,) = ledger.facts(kind="search.ended", subject=board.search)
    said = fact.payload
    assert (said["trials"], said["beside"], said["stopped"]) == (3, ["mine"], False)
    assert said["verdict"]["sentence"] == board.verdict.sentence
    report = desk.fraud.root / said["path"] / "report"
    assert [path.name for path in report.iterdir()] == ["leaderboard.json"]


def test_the_best_is_given_where_it_surely_beats_mine_and_refused_where_not(desk: Desk) -> None:
    best = desk.board.best(beats=desk.mine)
    assert best.beaten[0].gap.low > 0
    assert "beats mine: average_precision is" in shown(best)
    assert desk.board.best().trial == best.trial
    lone = desk.fraud.search(jobs=1, trials=1, learners=["logistic"], quiet=True)
    strong = desk.fraud.use(_boosted().fit(desk.training.matrix, desk.training.y), name="strong")
    with pytest.raises(Refused, match=r"trial 1 \(logistic\) is worse than strong: .* by 0\.\d+ .*; keep strong"):
        lone.best(beats=strong)
    with pytest.raises(Refused, match=r"does not surely beat again: .* better by "):
        lone.best(beats=desk.fraud.use(pipeline().fit(desk.training.X, desk.training.y), name="again"))
    with pytest.raises(UsageError, match="beats takes what use"):
        desk.board.best(beats=[pipeline()])


def _boosted() -> Any:
    from lightgbm import LGBMClassifier

    return LGBMClassifier(n_estimators=100, verbose=-1)


def test_where_it_fails_is_found_in_rows_that_it_was_not_fitted_on(desk: Desk) -> None:
    worst = desk.board.best().worst(by=["country"])
    assert (worst.segments[0].value, worst.segments[0].surely) == ("it", True)
    assert worst.found.rows == 4_000 - desk.training.y.size
    assert "were fitted on and are left out" in shown(worst)
    assert worst.frame()["value"].to_list()[0] == "it"
    assert len(desk.board.best().worst(n=3).segments) == 3


def test_a_frame_may_be_looked_at_by_columns_that_the_model_does_not_know(desk: Desk) -> None:
    frame = rows().with_columns(shop=pl.Series(["a", "b"] * 2_000))
    worst = desk.board.best().worst(frame, by=["shop", "amount_log", "event_time"])
    assert {one.column for one in worst.segments} == {"shop", "amount_log", "event_time"}
    with pytest.raises(UsageError, match="neither the rows nor the features have 'shopp'; did you mean 'shop'"):
        desk.board.best().worst(frame, by="shopp")
    with pytest.raises(UsageError, match="n=0 parts are none"):
        desk.board.best().worst(n=0)


def test_a_spec_is_written_for_a_reason_and_once(desk: Desk) -> None:
    best = desk.board.best(beats=desk.mine)
    written = best.to_spec(reason="it finds what my regression misses")
    assert written.new
    assert written.path.exists()
    assert written.spec.reason.startswith("it finds what my regression misses (trial ")
    assert "everloop approve fraud-s1 --by NAME" in shown(written)
    again = best.to_spec(reason="another one")
    assert (again.name, again.new) == ("fraud-s1", False)
    assert desk.fraud.spec() == written.spec == desk.fraud.spec("s1")
    with Ledger.open(Project.open(desk.fraud.root), clock=SystemClock()) as ledger:
        facts = ledger.facts(kind="spec.written")
    assert [(fact.subject, fact.payload["spec_hash"]) for fact in facts] == [("fraud-s1", written.spec.hash)]
    with pytest.raises(UsageError, match="a spec says why it is there"):
        best.to_spec(reason=" ")


def test_a_winner_that_does_not_beat_the_yardsticks_is_looked_at_and_not_handed_over(tmp_path: Path) -> None:
    noise = payments(2_000).with_columns(fraud=pl.Series((np.random.default_rng(0).random(2_000) < 0.1).astype(int)))
    project(tmp_path / "shop", noise, objective="average_precision", learners="lightgbm", trials=1)
    fraud = ev.open(tmp_path / "shop")
    board = fraud.search(jobs=1, quiet=True)
    best = board.best()
    with pytest.raises(Refused) as raised:
        best.to_spec(reason="anyway")
    assert str(raised.value) == board.sentence
    assert not list((tmp_path / "shop" / "fraud").glob("specs/*.yaml"))
    with pytest.raises(NotFound, match="has no spec"):
        fraud.spec()


def test_what_is_edited_holds_with_the_next_call(desk: Desk, tmp_path: Path) -> None:
    root = tmp_path / "shop"
    project(root, payments(600))
    fraud = ev.open(root)
    path = root / "fraud" / "features.py"
    path.write_text(path.read_text() + '    yield "v0_squared", pl.col("v0") ** 2\n')
    assert "v0_squared" in fraud.training().X.columns
    (root / "fraud" / "model.yaml").write_text("task: classification\n")
    with pytest.raises(ConfigurationError):
        fraud.training()


def test_of_the_spaces_those_of_the_learners_named_are_searched(tmp_path: Path) -> None:
    project(tmp_path / "shop", payments(1_000, positives=0.2), learners="lightgbm, xgboost")
    model = tmp_path / "shop" / "fraud" / "model.yaml"
    model.write_text(
        model.read_text().replace(
            "trials: 10}", "trials: 1, space: {xgboost: {max_depth: [3]}, lightgbm: {max_depth: 4}}}"
        )
    )
    board = ev.open(tmp_path / "shop").search(learners=["lightgbm"], jobs=1, quiet=True)
    (only,) = (trial for trial in board.trials if trial.kind == "trial")
    assert (only.learner, only.hyperparameters["max_depth"]) == ("lightgbm", 4)


def test_a_trial_of_a_frame_finds_its_number_in_a_notebook_of_its_own(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "shop"
    shutil.copytree(desk.fraud.root, root, ignore=shutil.ignore_patterns("searches"))
    board = ev.open(root).search(frame=rows().head(2_500), jobs=1, trials=1, quiet=True)
    kept = kept_search(project=Project.open(root))
    names = run(trial_notebook(kept, kept.trial(1)), root, monkeypatch)
    assert names["known"].frame.height == 2_500
    assert names["value"] == next(trial.value for trial in board.trials if trial.name == "1")


def test_a_ledger_that_others_write_to_keeps_nobody_waiting(desk: Desk) -> None:
    """A worker writes facts all the while, as `everloop up` does."""
    place, over, written = Project.open(desk.fraud.root), threading.Event(), []

    def work() -> None:
        with Ledger.open(place, clock=SystemClock()) as ledger:
            while not over.is_set():
                fact = ledger.append("project.created", "shop", {"project": "shop"}, actor="worker")
                written.append(fact.seq)

    worker = threading.Thread(target=work)
    worker.start()
    try:
        desk.board.best().to_spec(reason="beside a worker")
        desk.fraud.search(jobs=1, trials=1, quiet=True)
    finally:
        over.set()
        worker.join()
    assert len(written) > 10
    with Ledger.open(place, clock=SystemClock()) as ledger:
        assert ledger.verify().ok


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"learners": []}, "leaves nothing to try"),
        ({"folds": "many"}, "folds='many': "),
    ],
)
def test_options_that_are_none_are_refused_in_a_sentence(desk: Desk, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        desk.fraud.search(jobs=1, **options)


def test_two_of_one_name_are_refused(desk: Desk) -> None:
    with pytest.raises(UsageError, match=r"two of those beside the search are called 'mine'; use\(…, name="):
        desk.fraud.search(jobs=1, beside=[desk.mine, desk.mine])


def test_a_time_that_is_none_is_refused_and_a_naive_one_is_the_models(desk: Desk) -> None:
    model = pipeline().fit(desk.training.matrix, desk.training.y)
    with pytest.raises(UsageError, match="fitted_until='soon': "):
        desk.fraud.use(model, fitted_until="soon")
    until = desk.training.until.replace(tzinfo=None)
    assert desk.fraud.use(model, fitted_until=until).until == desk.training.until


def test_pandas_goes_in_and_comes_out(desk: Desk) -> None:
    pd = pytest.importorskip("pandas", reason="pandas is nobody's dependency here")
    frame = pd.DataFrame({name: values.to_list() for name, values in rows().to_dict().items()})
    training = desk.fraud.training(frame)
    assert isinstance(training.X, pd.DataFrame)
    mine = desk.fraud.use(pipeline().fit(training.X, training.y), frame=frame)
    assert mine.trial.value == pytest.approx(desk.mine.trial.value)
    board = desk.fraud.search(frame=frame, jobs=1, trials=1, learners=["lightgbm"], beside=mine, quiet=True)
    assert isinstance(board.frame(), pd.DataFrame)
    worst = board.best().worst(frame, by="country")
    assert isinstance(worst.frame(), pd.DataFrame)
    assert isinstance(worst.to_polars(), pl.DataFrame)
    assert worst.frame()["value"].tolist()[0] == "it"
    assert board.best().to_spec(reason="of a frame").spec.data["source"] == "the frame given"
