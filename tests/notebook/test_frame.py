"""Frames of either kind come in as the same rows, and go out as the kind that came in."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from everloop.errors import DataError, UsageError
from everloop.notebook.frame import as_kind, as_pandas, as_polars, kind_of

TIMES = [datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 7, 1, 12, tzinfo=UTC), None]


def test_polars_stays_as_it_is_and_lazy_rows_are_collected() -> None:
    frame = pl.DataFrame({"a": [1, 2]})
    assert as_polars(frame) is frame
    assert_frame_equal(as_polars(frame.lazy()), frame)
    assert_frame_equal(as_polars({"a": [1, 2]}), frame)
    assert as_kind(frame, kind_of(frame)) is frame


@pytest.mark.parametrize("thing", [[1, 2], "payments.csv", None, np.zeros((2, 2))])
def test_what_is_no_frame_is_refused_in_a_sentence(thing: object) -> None:
    with pytest.raises(UsageError, match="is no frame of rows; give a pandas or Polars DataFrame"):
        as_polars(thing)


def test_pandas_is_loaded_by_nobody_but_its_user() -> None:
    code = "import sys, polars as pl, everloop.notebook as n; from everloop.notebook.frame import as_polars; "
    code += "as_polars(pl.DataFrame({'a': [1]})); print('pandas' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_without_pandas_it_is_asked_for_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(UsageError, match="pandas is not installed here"):
        as_pandas(pl.DataFrame({"a": [1]}))


@pytest.fixture
def pd() -> Any:
    return pytest.importorskip("pandas", reason="pandas is nobody's dependency here")


def test_every_kind_of_pandas_column_comes_over(pd: Any) -> None:
    frame = pd.DataFrame(
        {
            "number": [1.5, None, 3.0],
            "small": np.array([1, 2, 3], dtype="float32"),
            "whole": pd.array([1, None, 3], dtype="Int64"),
            "yes": [True, False, True],
            "maybe": pd.array([True, None, False], dtype="boolean"),
            "text": ["x", None, "y"],
            "string": pd.array(["a", None, "c"], dtype="string"),
            "category": pd.Categorical(["u", "v", "u"]),
            "naive": pd.to_datetime(["2024-01-01 00:00", "2024-07-01 12:00", None]),
            "aware": pd.to_datetime(["2024-01-01 00:00", "2024-07-01 12:00", None]).tz_localize("UTC"),
            "berlin": pd.to_datetime(["2024-01-01 01:00", "2024-07-01 14:00", None]).tz_localize("Europe/Berlin"),
        }
    )
    got = as_polars(frame)
    assert got["number"].fill_nan(None).to_list() == [1.5, None, 3.0]
    assert got["small"].dtype == pl.Float32
    assert got["whole"].to_list() == [1, None, 3]
    assert got["yes"].to_list() == [True, False, True]
    assert got["maybe"].to_list() == [True, None, False]
    assert got["text"].to_list() == ["x", None, "y"]
    assert got["string"].to_list() == ["a", None, "c"]
    assert got["category"].to_list() == ["u", "v", "u"]
    assert got["naive"].dt.replace_time_zone("UTC").to_list() == TIMES
    assert got["aware"].to_list() == TIMES
    assert got["berlin"].to_list() == TIMES


def test_an_index_with_a_name_is_a_column(pd: Any) -> None:
    frame = pd.DataFrame({"a": [1, 2], "at": ["x", "y"]})
    assert as_polars(frame.set_index("at")).columns == ["at", "a"]
    assert as_polars(frame).columns == ["a", "at"]
    assert as_polars(frame.set_index("at", drop=False)).columns == ["a", "at"]
    with pytest.raises(DataError, match="two columns of the frame are called 'at'"):
        as_polars(frame.set_index("at", drop=False).set_index("at", append=True))


def test_times_in_seconds_come_over(pd: Any) -> None:
    at = pd.Series(np.array(["2024-01-01T00:00:00", "2024-07-01T12:00:00", "NaT"], dtype="datetime64[s]"))
    got = as_polars(pd.DataFrame({"naive": at, "berlin": at.dt.tz_localize("UTC").dt.tz_convert("Europe/Berlin")}))
    assert got["naive"].dt.replace_time_zone("UTC").to_list() == TIMES
    assert got["berlin"].to_list() == TIMES


def test_what_pandas_lets_pass_is_refused_with_its_column(pd: Any) -> None:
    with pytest.raises(DataError, match=r"column 'a' of the frame holds values of several kinds \(float, int, str\)"):
        as_polars(pd.DataFrame({"a": [1, "x", 2.5]}))
    with pytest.raises(DataError, match="two columns of the frame are called 'a'"):
        as_polars(pd.DataFrame([[1, 2]], columns=["a", "a"]))


def test_rows_go_out_as_they_came_in(pd: Any) -> None:
    frame = pl.DataFrame({"n": [1, 2], "x": [0.5, None], "text": ["a", None], "b": [True, False], "at": TIMES[:2]})
    out = as_kind(frame, kind_of(pd.DataFrame()))
    assert isinstance(out, pd.DataFrame)
    assert list(out.columns) == frame.columns
    again = as_polars(out).with_columns(pl.col("x").fill_nan(None), pl.col("at").dt.cast_time_unit("us"))
    assert_frame_equal(again, frame, check_dtypes=False)
