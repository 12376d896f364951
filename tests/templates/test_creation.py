"""A project is made whole or not at all, and says what it chose."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from everloop.clock import SimulatedClock
from everloop.data import infer_contract, load_features, scan
from everloop.errors import DataError, EverloopError, NotEnoughData, NotFound, ProjectError, SourceError
from everloop.project import Budget, Project
from everloop.templates import create_project, get_template, templates
from everloop.templates.fraud import Payments

START = datetime(2026, 1, 5, tzinfo=UTC)
KAGGLE = Path(__file__).parents[3] / "shared/data/creditcard/creditcard.parquet"
SMALL = {"days": 2, "rows_per_day": 500, "start": START}


def contract_of(project):
    model = project.model()
    contract = infer_contract(scan(model.data.source, root=project.root), model)
    return contract, load_features(model.features_path, contract)


def own_data(path, *, days=3, drop=(), **columns):
    frame = Payments(seed=1, start=START, days=days, rows_per_day=1_500).frame().drop(drop).with_columns(**columns)
    frame.write_parquet(path)
    return path


def test_generated_history_makes_a_project_that_reads_its_own_files(tmp_path):
    made = create_project(tmp_path / "payments", **SMALL)
    model = made.project.model()
    assert model.outcome.delay == timedelta(days=7)
    assert model.data.time.origin == START
    assert model.outcome.acts.blocked == ("declined",)
    assert model.monitor.false_alarms == Budget(count=1, per=timedelta(days=3650))
    assert model.on_alert == "rollout"
    assert model.rollout.least_gain == 0.02
    assert (model.positive_label, model.negative_label) == ("fraud", "legitimate")
    contract, features = contract_of(made.project)
    assert {"amount_log", "hour", "night", "day_of_week"} <= set(features.names)
    assert len(contract.feature_columns) == 29
    assert not made.project.paths.state.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["payments"]


def test_history_ends_with_yesterday_by_the_clock(tmp_path):
    clock = SimulatedClock(datetime(2026, 3, 10, 15, tzinfo=UTC))
    made = create_project(tmp_path / "p", days=2, rows_per_day=200, clock=clock)
    assert made.project.model().data.time.origin == datetime(2026, 3, 8, tzinfo=UTC)


def test_an_empty_folder_is_filled_in_place(tmp_path):
    root = tmp_path / "here"
    root.mkdir()
    inode = root.stat().st_ino
    create_project(root, **SMALL)
    assert root.stat().st_ino == inode
    assert Project.open(root).model().name == "fraud"


def test_a_folder_with_something_in_it_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ProjectError, match="is not empty"):
        create_project(tmp_path, **SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    ("prepare", "sentence"),
    [(lambda root: root.write_text(""), "is a file"), (lambda root: root.parent.rmdir(), "does not exist")],
)
def test_a_place_that_cannot_be_is_refused(tmp_path, prepare, sentence):
    root = tmp_path / "above" / "payments"
    root.parent.mkdir()
    prepare(root)
    with pytest.raises(ProjectError, match=sentence):
        create_project(root, **SMALL)


def test_what_fails_leaves_nothing(tmp_path):
    def fail(project):
        assert project.model().name == "fraud"
        raise NotEnoughData("no")

    with pytest.raises(NotEnoughData):
        create_project(tmp_path / "payments", finish=fail, **SMALL)
    with pytest.raises(SourceError):
        create_project(tmp_path / "payments", data=tmp_path / "nothing.parquet")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_is_one_sentence(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(ProjectError, match="cannot be written"):
        create_project(tmp_path / "payments", **SMALL)


def test_an_unknown_template_names_the_likely_one(tmp_path):
    assert templates() == ("arrival", "fraud")
    assert get_template("fraud").summary
    with pytest.raises(NotFound, match="did you mean 'fraud'"):
        create_project(tmp_path / "p", template="frand")


def test_own_data_without_id_customer_and_action(tmp_path):
    data = own_data(tmp_path / "mine.parquet", drop=["id", "customer", "action"])
    made = create_project(tmp_path / "p", data=data)
    model = made.project.model()
    assert model.data.source == str(data)
    assert (model.data.id, model.data.entity, model.outcome.acts, model.data.weight) == (None, None, None, None)
    assert model.outcome.delay == timedelta(0)
    assert model.train.schedule is None
    assert model.on_alert == "propose"
    assert any("id, customer, action" in note for note in made.notes)
    assert "day_of_week" not in contract_of(made.project)[1].names
    assert not (made.project.root / "data").exists()


def test_long_own_data_keeps_the_delay_and_reads_other_names(tmp_path):
    paid_at = (pl.lit(START) + pl.duration(seconds=pl.col("Time"))).dt.replace_time_zone(None)
    data = own_data(tmp_path / "mine.parquet", days=30, paid_at=paid_at, is_fraud=pl.col("Class") == 1, drop=[])
    pl.read_parquet(data).drop("Time", "Class", "Amount").write_parquet(data)
    made = create_project(tmp_path / "p", data=str(data))
    model = made.project.model()
    assert (model.data.time.column, model.data.time.unit, model.data.target) == ("paid_at", None, "is_fraud")
    assert model.outcome.delay == timedelta(days=7)
    assert model.data.entity == "customer"
    assert contract_of(made.project)[1].names == ("hour", "night", "day_of_week")


@pytest.mark.parametrize(
    ("drop", "columns", "options", "sentence"),
    [
        (["Class"], {}, {}, "--target COLUMN"),
        ([], {}, {"target": "Clas"}, "did you mean 'Class'"),
        (["Time"], {}, {}, "when a payment was made"),
        ([], {"Class": pl.lit(0)}, {}, "both classes"),
        ([], {"Class": pl.lit(1)}, {}, "both classes"),
        ([], {"Class": pl.lit("yes")}, {}, "0 and 1"),
        ([], {}, {"target": "Amount", "template": "fraud"}, "a target has two"),
        ([], {"Time": pl.lit(float("nan"))}, {}, "holds no time that can be read"),
    ],
)
def test_rows_that_cannot_be_used_are_one_sentence_and_no_project(tmp_path, drop, columns, options, sentence):
    data = own_data(tmp_path / "mine.parquet", drop=drop, **columns)
    with pytest.raises(DataError) as caught:
        create_project(tmp_path / "p", data=data, **options)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.parquet"]


def test_an_empty_file_is_one_sentence(tmp_path):
    data = own_data(tmp_path / "mine.parquet")
    pl.read_parquet(data).clear().write_parquet(data)
    with pytest.raises(EverloopError, match="has no rows"):
        create_project(tmp_path / "p", data=data)


def test_a_file_of_headers_and_a_folder_of_this_and_that_are_one_sentence(tmp_path):
    (tmp_path / "headers.csv").write_text("Time,V1,Class\n")
    (tmp_path / "mixed").mkdir()
    own_data(tmp_path / "mixed" / "one.parquet")
    pl.DataFrame({"other": [1]}).write_parquet(tmp_path / "mixed" / "two.parquet")
    for data, sentence in (("headers.csv", "has no rows"), ("mixed", "cannot be read")):
        with pytest.raises(EverloopError, match=sentence):
            create_project(tmp_path / "p", data=tmp_path / data)
        assert not (tmp_path / "p").exists()


def test_a_time_that_is_missing_here_and_there_does_not_hinder(tmp_path):
    gaps = pl.when(pl.int_range(pl.len()) != 5).then(pl.col("Time")).otherwise(float("nan"))
    data = own_data(tmp_path / "mine.parquet", Time=gaps)
    assert create_project(tmp_path / "p", data=data).project.models["fraud"].data.time.unit == "s"


@pytest.mark.skipif(not KAGGLE.exists(), reason="the credit card file is not beside the project")
def test_kaggles_sample_is_weighted(tmp_path):
    made = create_project(tmp_path / "p", data=KAGGLE)
    model = made.project.model()
    assert model.data.weight.negative == pytest.approx(284_315 / 4_800, abs=1e-4)
    assert model.data.time.origin == datetime(2013, 9, 1, tzinfo=UTC)
    assert model.outcome.delay == timedelta(0)
