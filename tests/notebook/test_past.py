"""`ev.check` finds in a frame what `everloop check FILE` finds in the same rows, and shows it."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import everloop as ev
from everloop.errors import ContractViolation, EverloopError, UsageError
from tests.cli.terminal import everloop
from tests.monitoring.test_file_check import past

COLUMNS: dict[str, Any] = {"time": "t", "score": "s", "outcome": "fraud"}
NUMBERS: dict[str, Any] = COLUMNS | {"outcome": "minutes"}


def test_the_numbers_are_the_command_lines(tmp_path: Path) -> None:
    frame = past(change=120)
    frame.write_parquet(tmp_path / "past.parquet")
    found = ev.check(frame, **COLUMNS, delay="7d", columns=["amount"])
    options = ["--time", "t", "--score", "s", "--outcome", "fraud", "--delay", "7d", "--column", "amount", "--json"]
    done = everloop("check", "past.parquet", *options, cwd=tmp_path)
    told, said = done.json, json.loads(json.dumps(found.to_dict()))
    words = ("path", "threshold_from")
    assert done.code == 3
    assert {name: told[name] for name in told if name not in words} == {
        name: said[name] for name in said if name not in words
    }
    assert found.alerts


def test_it_takes_a_path_and_spans_of_either_kind(tmp_path: Path) -> None:
    frame = past(days=60)
    frame.write_csv(tmp_path / "past.csv")
    by_path = ev.check(tmp_path / "past.csv", **COLUMNS, every="2d", delay="1d", positive=1)
    by_frame = ev.check(frame.lazy(), **COLUMNS, every=timedelta(days=2), delay=timedelta(days=1))
    assert by_path.windows == by_frame.windows


def test_pandas_rows_give_the_same(tmp_path: Path) -> None:
    pd = pytest.importorskip("pandas", reason="pandas is nobody's dependency here")
    frame = past(days=60)
    same = pd.DataFrame({name: frame[name].to_list() for name in frame.columns})
    assert ev.check(same, **COLUMNS).to_dict() == ev.check(frame, **COLUMNS).to_dict()


@pytest.mark.parametrize("change", [None, 100])
def test_it_displays_itself_without_a_script_or_an_address(change: int | None) -> None:
    found = ev.check(past(change=change), **COLUMNS)
    shown = found._repr_html_()
    assert "<svg" in shown
    assert "<script" not in shown
    assert ("alert</th>" in shown) == bool(found.alerts)
    assert f"{found.windows[0].window.start:%Y-%m-%d %H:%M}" in shown


def test_predictions_of_a_number_show_how_far_off_they_were() -> None:
    rng, frame = np.random.default_rng(0), past()
    later = (frame["t"] >= frame["t"].quantile(0.7)).to_numpy()
    score = rng.normal(30, 8, frame.height)
    minutes = score + rng.normal(0, np.where(later, 8, 2))
    found = ev.check(frame.select("t", s=pl.Series(score), minutes=pl.Series(minutes)), **NUMBERS)
    assert found.alerts
    shown = found._repr_html_()
    assert "predictions of a number" in shown
    assert "mean error" in shown
    assert "positives" not in shown.split("<table>")[-1]


def test_a_hostile_column_name_stays_text() -> None:
    name = "<script>alert(1)</script>"
    later = pl.col("t") >= pl.col("t").median()
    frame = past().with_columns(pl.when(later).then(pl.col("amount") * 100).otherwise("amount").alias(name))
    found = ev.check(frame, **COLUMNS, columns=name)
    assert "drift" in found._repr_html_()
    assert "<script" not in found._repr_html_()


WRONG: list[tuple[dict[str, pl.Expr], dict[str, Any], type[EverloopError], str]] = [
    ({"t": pl.int_range(pl.len())}, {}, ContractViolation, r"say what they count with time_unit='s' \(and from when"),
    ({"fraud": pl.lit("maybe")}, {}, ContractViolation, "which one is the positive class with positive='maybe'"),
    ({}, {"every": timedelta(0)}, UsageError, r"give longer ones \(every=\)"),
    ({}, {"every": "soon"}, UsageError, "every='soon': "),
    ({}, {"false_alarms": "few"}, UsageError, "false_alarms='few': "),
    ({}, {"reference": 1.5}, UsageError, "a share between 0 and 1"),
]


@pytest.mark.parametrize(("columns", "options", "error", "sentence"), WRONG)
def test_a_sentence_names_options_as_python_does(
    columns: dict[str, pl.Expr], options: dict[str, Any], error: type[EverloopError], sentence: str
) -> None:
    with pytest.raises(error, match=sentence) as raised:
        ev.check(past(days=60).with_columns(**columns), **(COLUMNS | options))
    assert "--" not in str(raised.value)
