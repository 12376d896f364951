"""A plan for an experiment online: what it reads off the data, what it says plainly, what it refuses."""

from __future__ import annotations

import io
import json
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from everloop.clock import SimulatedClock
from everloop.data import infer_contract, load_rows, read_contract, scan, write_contract, write_first_contract
from everloop.errors import NotEnoughData, UsageError
from everloop.experiment import OnlinePlan, online_screen, plan_online
from everloop.experiment.measured import Known, known_metrics, measured
from everloop.experiment.online import GAIN_ALPHA
from everloop.experiment.online_plan import lasting, plain
from everloop.experiment.volume import volume
from everloop.ledger import Ledger
from everloop.monitoring.comparison import Tally
from everloop.project import Model, Project, Spec, write_spec
from everloop.rollout import deploy
from everloop.stats import BoundedSequence
from everloop.tasks import error_bound
from everloop.templates import create_project

from ..data.projects import shared_file
from ..monitoring.world import World
from .made import START, opened, payments, project

DAY = timedelta(days=1)
ROLLOUT = "rollout: {steps: [shadow 1d, 5%, 100%], least gain: 0.05}\n"


def shop(
    root: Path, frame: pl.DataFrame, *, objective: str = "recall at precision >= 0.80", more: str = ""
) -> tuple[Project, Model]:
    return project(root, frame, objective=objective, more=more)


def with_users(root: Path, frame: pl.DataFrame, *, more: str = "") -> tuple[Project, Model]:
    """A project whose rollouts draw users: the column `card`."""
    found, model = shop(root, frame, more=more)
    path = model.folder / "model.yaml"
    path.write_text(path.read_text().replace("  id: payment\n", "  id: payment\n  entity: card\n"))
    found, model = opened(root)
    write_contract(model.contract_path, infer_contract(scan("payments.parquet", root=root), model, reads={"paid_at"}))
    return found, model


def expects(model: Model, **metrics: float) -> None:
    """A spec of the model that expects these metrics."""
    expected = {name: {"low": value, "point": value, "high": value, "level": 0.95} for name, value in metrics.items()}
    objective = str(model.objective)
    spec = Spec.new(name="fraud-s1", objective=objective, learner="lightgbm", expected=expected)
    write_spec(model.spec_path(1), spec)


def shown(plan: OnlinePlan) -> list[str]:
    from rich.console import Console

    console = Console(width=80, record=True, file=io.StringIO())
    console.print(online_screen(plan))
    return console.export_text().splitlines()


def steady(days: int, per_day: int, *, positive_every: int = 10, cards: int = 0) -> pl.DataFrame:
    """So many rows every day, evenly; every so many is positive; cards take turns, where there are any."""
    n = days * per_day
    frame = payments(n, seed=3).with_columns(
        pl.Series("paid_at", [START + DAY * (at / per_day) for at in range(n)]),
        pl.Series("fraud", (np.arange(n) % positive_every == 0).astype(np.int64)),
    )
    return frame if cards == 0 else frame.with_columns(pl.Series("card", [f"c{at % cards}" for at in range(n)]))


def test_a_spec_gives_the_baseline_and_the_rollout_the_share_and_the_effect(tmp_path: Path) -> None:
    found, model = shop(tmp_path / "shop", steady(20, 200), more=ROLLOUT + "outcome: {delay: 3d}\n")
    expects(model, recall=0.75, precision=0.82)
    plan = plan_online(found, model)
    assert (plan.baseline.metric, plan.baseline.value, plan.baseline.counted) == ("recall", 0.75, "positives")
    assert plan.baseline.origin == "fraud-s1 expects it"
    assert plan.baseline.part == pytest.approx(0.1)
    assert (plan.asked.share, plan.effect.absolute) == (0.05, 0.05)
    assert plan.volume.rows_per_day == pytest.approx(200, rel=0.01)
    assert plan.volume.users_per_day is None
    # 1,134 a side at most: with 5 % against 95 % some 598 + 11,346 positives, of 20 a day
    assert plan.arms.once.challenger == pytest.approx(600, rel=0.05)
    assert plan.arms.once.days == pytest.approx(plan.arms.once.rows / 200 + 3, rel=0.01)
    assert not plan.enough
    assert "an A/B of recall 0.75 against 0.80 takes" in plan.sentence
    assert "Too few: no share is enough within 30 days" in plan.sentence
    assert any("left to a person" in note for note in plan.notes)


def test_a_share_that_is_too_small_is_said_and_the_one_that_is_named_is_enough(tmp_path: Path) -> None:
    found, model = shop(tmp_path / "shop", steady(10, 2_000, positive_every=4))
    expects(model, recall=0.7)
    plan = plan_online(found, model, effect=0.05, share="0.5%")
    assert not plan.enough
    assert plan.share_needed is not None
    assert 0.005 < plan.share_needed < 0.5
    assert f"Too few: at least {100 * plan.share_needed:.3g} % of rows are needed" in plan.sentence
    again = plan_online(found, model, effect=0.05, share=plan.share_needed)
    assert again.enough
    assert "Enough: the answer is there within 30 days." in again.sentence
    assert not plan_online(found, model, effect=0.05, share=plan.share_needed * 0.9).enough
    assert plan.effect_seen is not None
    assert plan_online(found, model, effect=plan.effect_seen, share="0.5%").enough
    assert plan.effect_seen_paired is not None
    paired = plan_online(found, model, effect=plan.effect_seen_paired).paired
    assert paired is not None
    assert paired.most is not None
    assert paired.most.days <= 30


def test_pairing_needs_less_than_arms_and_looking_at_any_time_more(tmp_path: Path) -> None:
    found, model = shop(tmp_path / "shop", steady(10, 500))
    expects(model, recall=0.7)
    plan = plan_online(found, model, effect="10%", share="1%")
    assert plan.effect.absolute == pytest.approx(0.07)
    assert plan.paired is not None
    for course in (plan.arms, plan.paired):
        assert course.half is not None
        assert course.most is not None
        assert course.once.days < course.half.days <= course.most.days
    assert plan.paired.once.rows < plan.arms.once.rows / 20
    days = [point.once for point in plan.curve]
    assert days == sorted(days, reverse=True)
    alike = plan_online(found, model, effect="10%", share="1%", correlation=0.9).paired
    assert alike is not None
    assert alike.once.rows < plan.paired.once.rows


def test_an_outcome_that_comes_later_than_the_answer_is_asked_for_leaves_no_share(tmp_path: Path) -> None:
    found, model = shop(tmp_path / "shop", steady(10, 500), more="outcome: {delay: 7d}\n")
    plan = plan_online(found, model, days=7)
    assert (plan.share_needed, plan.effect_seen) == (None, None)
    assert "Too few at any share: outcomes take 7 days to be known" in plan.sentence


def test_rows_of_one_user_count_for_less(tmp_path: Path) -> None:
    frame = steady(20, 200, cards=50)
    rng = np.random.default_rng(0)
    # one card in five is a bad one: half of its rows are positive
    bad = (pl.col("card").str.slice(1).cast(pl.Int64) % 5 == 0).alias("bad")
    drawn = pl.Series("draw", rng.random(frame.height))
    clustered = frame.with_columns(bad, drawn).with_columns(
        (pl.col("bad") & (pl.col("draw") < 0.5)).cast(pl.Int64).alias("fraud")
    )
    found, model = with_users(tmp_path / "clustered", clustered.drop("bad", "draw"))
    seen = volume(model, load_rows(model, read_contract(model)), horizon_days=10)
    assert seen.users_per_day == 50
    # the outcomes' correlation is the variance between cards, 0.04, over 0.1 * 0.9
    assert seen.alike == pytest.approx(0.44, abs=0.05)
    assert seen.row_effect == pytest.approx(1 + seen.alike * 39, rel=0.03)
    assert seen.positive_effect == pytest.approx(20, rel=0.15)
    plan = plan_online(found, model, metric="target_rate", effect="20%", share=0.5)
    free, alone = shop(tmp_path / "alone", clustered.drop("bad", "draw", "card"))
    apart = plan_online(free, alone, metric="target_rate", effect="20%", share=0.5)
    assert plan.arms.once.rows == pytest.approx(plan.volume.row_effect * apart.arms.once.rows, rel=0.01)
    assert any("users (card) are drawn, not rows" in note for note in plan.notes)
    assert (plan.paired, apart.paired) == (None, None)


def test_users_whose_rows_are_their_own_cost_nothing(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    frame = steady(20, 200, cards=50).with_columns(pl.Series("fraud", (rng.random(4_000) < 0.1).astype(np.int64)))
    _, model = with_users(tmp_path / "shop", frame)
    seen = volume(model, load_rows(model, read_contract(model)), horizon_days=30)
    assert seen.alike < 0.01
    assert seen.row_effect < 1.8


def test_a_sample_of_negatives_stands_for_all_of_them(tmp_path: Path) -> None:
    found, model = shop(tmp_path / "shop", steady(4, 300, positive_every=3))
    path = model.folder / "model.yaml"
    path.write_text(path.read_text().replace("  target: fraud\n", "  target: fraud\n  weight: {negative: 50}\n"))
    found, model = opened(tmp_path / "shop")
    plan = plan_online(found, model)
    assert plan.volume.rows_per_day == pytest.approx(100 + 200 * 50, rel=0.02)
    assert plan.baseline.part == pytest.approx(100 / (100 + 200 * 50), rel=0.02)


def test_a_column_of_weights_counts_in_the_days_as_it_does_in_the_rate(tmp_path: Path) -> None:
    rows = steady(4, 300, positive_every=3)
    _, model = shop(tmp_path / "shop", rows.with_columns(worth=pl.when(pl.col("fraud") == 1).then(1.0).otherwise(50.0)))
    path = model.folder / "model.yaml"
    path.write_text(path.read_text().replace("  target: fraud\n", "  target: fraud\n  weight: worth\n"))
    found, model = opened(tmp_path / "shop")
    scanned = scan("payments.parquet", root=found.root)
    write_contract(model.contract_path, infer_contract(scanned, model, reads={"paid_at"}))
    seen = volume(model, load_rows(model, read_contract(model)), horizon_days=30)
    assert seen.rows_per_day == pytest.approx(100 + 200 * 50, rel=0.02)
    assert seen.rows_per_day * seen.rate == pytest.approx(100, rel=0.02)


def trips(root: Path, **expected: float) -> tuple[Project, Model]:
    """The arrival template's project, and what a spec of it expects."""
    found = create_project(root, template="arrival", days=20, rows_per_day=400).project
    model = found.model()
    write_first_contract(model, root=found.root)
    if expected:
        points = {
            name: {"low": value, "point": value, "high": value, "level": 0.95} for name, value in expected.items()
        }
        spec = Spec.new(name="arrival-s1", objective=str(model.objective), learner="lightgbm", expected=points)
        write_spec(model.spec_path(1), spec)
    return found, found.model()


@pytest.mark.parametrize("metric", ["mae", "mape", "rmse"])
def test_without_a_spec_errors_are_a_constants_cut_as_a_rollout_cuts_them(tmp_path: Path, metric: str) -> None:
    found, model = trips(tmp_path / "town")
    y = load_rows(model, read_contract(model), as_of=found.clock().now()).y
    plan = plan_online(found, model, metric=metric)
    base, bound = plan.baseline, error_bound(y)
    away = np.minimum(np.abs(y - np.median(y)), bound)
    rows = {"mae": away, "mape": np.minimum(np.abs(y - np.median(y)) / y, 1), "rmse": np.square(away)}[metric]
    assert base.value == pytest.approx(rows.mean() if metric != "rmse" else rows.mean() ** 0.5)
    assert base.variance == pytest.approx(rows.var())
    assert base.highest == (1.0 if metric == "mape" else bound)
    assert base.origin.startswith("no spec says it yet; a constant has it on this data, cut at ")
    assert plan.volume.rows_per_day == pytest.approx(400, rel=0.05)
    assert plan.paired is not None
    assert plan.paired.most is not None
    assert plan.paired.most.days < plan.arms.once.days
    assert ("an error counts up to" in "".join(plan.notes)) == (metric != "mape")
    json.dumps(plan.to_dict(), allow_nan=False)
    assert all(len(line.rstrip()) <= 80 for line in shown(plan))


def test_what_a_spec_expects_of_errors_says_how_they_vary(tmp_path: Path) -> None:
    found, model = trips(tmp_path / "town", mae=2.0, rmse=3.0, mape=0.2)
    plan = plan_online(found, model, effect=0.1)
    assert (plan.baseline.value, plan.baseline.origin) == (2.0, "arrival-s1 expects it")
    assert plan.baseline.variance == pytest.approx(9 - 4)
    assert "an A/B of mae 2.00 against 1.90 takes" in plan.sentence
    # two means of variance 5 that differ by 0.1: 2 · 5 · (1.96 + 0.84)² / 0.1² a side
    even = plan_online(found, model, effect=0.1, share=0.5)
    assert even.arms.once.challenger == pytest.approx(2 * 5 * 7.85 / 0.01 * even.volume.row_effect, rel=0.01)
    with pytest.raises(UsageError, match="leads from mae 2 to -1, and it lies from 0 to"):
        plan_online(found, model, effect=3)
    # squares of errors: from 9 to 8.12 where rmse goes from 3 to 2.85, as a gain of 9.75 % of them
    squares = plan_online(found, model, metric="rmse").baseline
    assert squares.better_by(squares.gain_of(0.0975)) == pytest.approx(2.85)
    assert squares.scaled(3.0) - squares.scaled(2.85) == pytest.approx(0.0975 * 9 / squares.highest**2)


def test_errors_count_as_far_as_the_champions_rollout_counts_them(tmp_path: Path) -> None:
    found, model = trips(tmp_path / "town")
    y = load_rows(model, read_contract(model), as_of=found.clock().now()).y
    known = Known(values={"mae": 2.0, "rmse": 40.0}, origin="a test", error_bound=12.0)
    assert measured(model, "mae", rate=1.0, known=known, outcomes=y).highest == 12.0
    # such outliers say nothing of what is left of them: a constant does
    cut = measured(model, "rmse", rate=1.0, known=known, outcomes=y)
    assert cut.value < 12
    assert cut.origin.startswith("a test, and 40 is more than a rollout counts; a constant has it")


@pytest.mark.parametrize(
    ("metric", "sentence"),
    [
        ("target_rate", r"share of positives, and a regression has none; say --metric mae \| rmse \| mape"),
        ("r2", r"r2 is no mean over rows that can be planned for; say --metric mae \| rmse \| mape"),
        ("recall", "'recall' is not a metric of regression"),
    ],
)
def test_what_a_regression_has_no_plan_for_is_one_sentence(tmp_path: Path, metric: str, sentence: str) -> None:
    found, model = trips(tmp_path / "town")
    with pytest.raises(UsageError, match=sentence):
        plan_online(found, model, metric=metric)


def test_precision_is_of_other_rows_on_each_side_and_is_not_paired(tmp_path: Path) -> None:
    found, model = shop(tmp_path / "shop", steady(10, 500), objective="precision at recall >= 0.5")
    expects(model, recall=0.75, precision=0.8)
    plan = plan_online(found, model)
    assert (plan.paired, plan.effect_seen_paired) == (None, None)
    assert any("--metric accuracy plans for those" in note for note in plan.notes)
    assert plan_online(found, model, metric="accuracy").paired is not None
    assert not any(line.startswith("paired") for line in shown(plan))


def test_the_median_day_is_of_whole_days_and_less_than_a_day_is_scaled(tmp_path: Path) -> None:
    # a third day that has just begun is no day
    three = steady(3, 100).head(210)
    _, model = shop(tmp_path / "three", three)
    assert volume(model, load_rows(model, read_contract(model)), horizon_days=30).rows_per_day == 100
    _, model = shop(tmp_path / "hours", steady(1, 240).head(60))
    rows = load_rows(model, read_contract(model))
    assert volume(model, rows, horizon_days=30).rows_per_day == pytest.approx(240, rel=0.03)


@pytest.mark.parametrize("metric", ["accuracy", "cost", "log_loss", "brier"])
def test_without_a_spec_a_mean_over_rows_is_a_constants_on_the_data(tmp_path: Path, metric: str) -> None:
    _, model = shop(tmp_path / "shop", payments(300), objective="cost(fn=10, fp=1)")
    y = np.repeat([1.0, 0.0], [80, 920])
    rate = 0.08
    losses = {
        "accuracy": y == 0,
        "cost": y * 10,
        "log_loss": np.where(y == 1, -np.log(rate), -np.log(1 - rate)),
        "brier": (y - rate) ** 2,
    }[metric].astype(float)
    found = measured(model, metric, rate=rate, known=None)
    assert found.value == pytest.approx(losses.mean() if metric != "cost" else min(0.8, 0.92))
    assert found.variance == pytest.approx(losses.var())
    assert found.origin.startswith("no spec says it yet")


def test_a_cost_varies_as_what_recall_and_precision_leave(tmp_path: Path) -> None:
    _, model = shop(tmp_path / "shop", payments(300), objective="cost(fn=10, fp=1)")
    # 10,000 rows at a rate of 0.1: recall 0.8 and precision 0.5 are 800 caught, 800 wrong, 200 missed
    prices = np.repeat([0.0, 1.0, 10.0], [9_000, 800, 200])
    known = Known(values={"cost": prices.mean(), "recall": 0.8, "precision": 0.5}, origin="a test")
    found = measured(model, "cost", rate=0.1, known=known)
    assert found.variance == pytest.approx(prices.var())
    assert (found.lowest, found.highest, found.maximise) == (0.0, 10.0, False)
    assert found.better_by(0.01) == pytest.approx(found.value - 0.01)
    assert not found.at_most
    flagged = measured(model, "precision", rate=0.1, known=known)
    assert flagged.part == pytest.approx(0.16)


def test_without_a_spec_a_share_is_what_is_asked_of_it(tmp_path: Path) -> None:
    _, gated = shop(tmp_path / "gated", payments(300), more="gates: [recall >= 0.65]\n")
    assert measured(gated, "recall", rate=0.1, known=None).value == 0.65
    assert measured(gated, "precision", rate=0.1, known=None).value == 0.80
    assert measured(gated, "roc_auc", rate=0.1, known=None).value == 0.5


@pytest.mark.parametrize("objective", ["accuracy", "cost(fn=10, fp=1)", "log_loss", "brier", "average_precision"])
def test_every_objective_that_is_a_mean_has_a_plan(tmp_path: Path, objective: str) -> None:
    found, model = shop(tmp_path / "shop", steady(10, 1_000), objective=objective, more=ROLLOUT)
    plan = plan_online(found, model)
    assert plan.paired is not None
    assert plan.paired.most is not None
    assert plan.paired.most.days < plan.arms.once.days
    json.dumps(plan.to_dict(), allow_nan=False)
    assert all(len(line.rstrip()) <= 80 for line in shown(plan))


def test_the_champions_own_metrics_are_the_baseline_where_there_is_one(tmp_path: Path) -> None:
    world = World(tmp_path)
    version = world.version()
    deploy(world.ledger, "fraud", version.number, actor="alice", reason="the first version")
    known = known_metrics(world.model, world.ledger)
    assert known_metrics(world.model, world.ledger, bundles=world.bundles) == known  # it cuts no errors
    world.ledger.close()
    assert known is not None
    assert known.origin == "v1 on its test rows"
    assert known.values["recall"] == version.metrics["recall"]["point"]


def test_the_gain_gets_the_part_of_the_error_that_a_live_comparison_gives_it() -> None:
    assert Tally.start(alpha=0.05, constrained=True).gains == BoundedSequence(alpha=0.05 * GAIN_ALPHA)


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"effect": "0"}, "--effect 0 is nothing that could be seen"),
        ({"effect": "-1%"}, "--effect -1% is nothing that could be seen"),
        ({"effect": "nan"}, "--effect nan is nothing that could be seen"),
        ({"effect": "much"}, "--effect 'much' is no difference; say it as 0.05"),
        ({"effect": "0.4"}, "--effect 0.4 leads from recall 0.75 to 1.15, and it lies from 0 to 1; say at most 0.25"),
        ({"share": "0"}, r"--share: 0 is not a share \(0 < share ≤ 100 %\)"),
        ({"share": "5"}, "did you mean 5%"),
        ({"share": "100%"}, "--share 100% leaves nobody with the champion"),
        ({"days": 0}, "--days 0 is no time to wait"),
        ({"level": 1.0}, "--level 1 is not a level"),
        ({"power": 0.1}, "--power 0.1 is not a power"),
        ({"correlation": 2.0}, "--correlation 2 is not a correlation"),
        ({"metric": "f1"}, "f1 is no mean over rows"),
        ({"metric": "mae"}, "'mae' is not a metric of classification"),
        ({"metric": "recal"}, "did you mean 'recall'"),
    ],
)
def test_what_cannot_be_asked_is_one_sentence(tmp_path: Path, asked: dict[str, object], sentence: str) -> None:
    found, model = shop(tmp_path / "shop", payments(300))
    expects(model, recall=0.75)
    with pytest.raises(UsageError, match=sentence) as raised:
        plan_online(found, model, **asked)  # type: ignore[arg-type]
    assert "\n" not in str(raised.value)


def test_what_is_perfect_has_nothing_left_to_gain(tmp_path: Path) -> None:
    found, model = shop(tmp_path / "shop", payments(300))
    expects(model, recall=1.0)
    with pytest.raises(UsageError, match=r"recall is 1 and cannot be better \(fraud-s1 expects it\)"):
        plan_online(found, model)
    expects(model, recall=0.99)
    plan = plan_online(found, model)
    assert plan.effect.absolute == pytest.approx(0.005)
    assert plan.effect.origin.startswith("half of what is left to gain")


def test_data_that_says_nothing_is_refused(tmp_path: Path) -> None:
    found, model = shop(tmp_path / "never", payments(300).with_columns(fraud=pl.lit(0, dtype=pl.Int64)))
    with pytest.raises(NotEnoughData, match="no row is 1, the positive class"):
        plan_online(found, model)
    found, model = shop(tmp_path / "once", payments(300).with_columns(paid_at=pl.lit(START)))
    with pytest.raises(NotEnoughData, match=r"all 300 rows of payments\.parquet have one time, 2024-01-01 00:00"):
        plan_online(found, model)
    found, model = shop(tmp_path / "young", payments(300), more="outcome: {delay: 10d}\n")
    with pytest.raises(
        NotEnoughData, match=r"no row of payments\.parquet is left in the span asked for, 300 unmatured"
    ):
        plan_online(found, model, clock=SimulatedClock(START + DAY))


def test_the_screen_is_80_columns_and_says_the_verdict(tmp_path: Path) -> None:
    found, model = with_users(tmp_path / "shop", steady(20, 300, cards=40), more=ROLLOUT)
    expects(model, recall=0.75)
    plan = plan_online(found, model, out=tmp_path / "plan.html")
    lines = shown(plan)
    assert max(len(line.rstrip()) for line in lines if "/" not in line or " " in line.strip()) <= 80
    text = "\n".join(lines)
    for words in ("today", "A/B at 5 %", "paired", "●", "○", "┊", "30 days ┤", "Too few"):
        assert words in text
    page = (tmp_path / "plan.html").read_text()
    assert page.startswith("<!doctype html>")
    assert "fraud: is an experiment online ready?" in page


def test_spans_and_numbers_are_said_as_people_say_them() -> None:
    assert [lasting(days) for days in (0.01, 0.5, 1.2, 2, 11.2, 731, 1e9)] == [
        "1 hour",
        "12 hours",
        "29 hours",
        "2 days",
        "12 days",
        "3 years",
        "more than 1,000 years",
    ]
    assert [plain(value) for value in (0.6, 0.123456, 95.82, 12345.6)] == ["0.60", "0.123", "95.8", "12,346"]


def test_a_real_files_days_and_users(tmp_path: Path) -> None:
    path = shared_file("card_transactions/card_transactions.parquet")
    created = create_project(tmp_path / "shop", data=path).project
    model = created.model()
    write_first_contract(model, root=created.root)
    plan = plan_online(created, model, share="1%")
    assert plan.volume.rows_per_day == pytest.approx(9_580, rel=0.01)
    assert plan.volume.entity == "CUSTOMER_ID"
    assert "1 % of users is 95.8 rows a day" in plan.sentence
    assert not plan.enough


def test_the_ledger_may_be_left_out_or_know_no_champion(tmp_path: Path) -> None:
    found, model = shop(tmp_path / "shop", payments(600))
    expects(model, recall=0.75)
    with Ledger.open(tmp_path / "ledger.db", clock=found.clock()) as ledger:
        with_it = plan_online(found, model, ledger=ledger)
    assert with_it == plan_online(found, model)
