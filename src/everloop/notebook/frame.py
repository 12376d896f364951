"""Frames in and out: pandas or Polars, whichever was given. pandas is used where it is, and needed nowhere.

Columns go over one by one, by NumPy or by plain values, so that no third library is needed between the two.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import polars as pl

from everloop.errors import DataError, UsageError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["AnyFrame", "Kind", "as_kind", "as_pandas", "as_polars", "kind_of"]

Kind = Literal["pandas", "polars"]
AnyFrame: TypeAlias = "pl.DataFrame | pl.LazyFrame | pd.DataFrame"
"""What is taken wherever rows are: pandas, Polars, and what Polars makes a frame of."""

_NUMPY_KINDS = "biufmM"  # bools, numbers, times and spans of NumPy's own


def kind_of(frame: object) -> Kind:
    """Which of the two a frame is; what is neither comes back as Polars."""
    return "pandas" if _is_pandas(frame) else "polars"


def as_polars(frame: AnyFrame | object) -> pl.DataFrame:
    """The rows as Polars has them. A pandas index with a name becomes a column, one without is dropped.

    Raises UsageError for what is no frame, DataError for a column that holds values of several kinds.
    """
    if isinstance(frame, pl.DataFrame):
        return frame
    if isinstance(frame, pl.LazyFrame):
        return frame.collect()
    if _is_pandas(frame):
        return _from_pandas(frame)
    if isinstance(frame, dict) or hasattr(frame, "__arrow_c_stream__"):
        return pl.DataFrame(frame)
    raise UsageError(f"a {type(frame).__name__} is no frame of rows; give a pandas or Polars DataFrame")


def as_kind(frame: pl.DataFrame, kind: Kind) -> Any:
    """The frame as `kind` has it."""
    return as_pandas(frame) if kind == "pandas" else frame


def as_pandas(frame: pl.DataFrame) -> Any:
    """The frame as pandas has it. Raises UsageError where pandas is not installed."""
    try:
        import pandas as pd
    except ImportError:
        raise UsageError("pandas is not installed here: pip install pandas, or go on with the Polars frame") from None
    return pd.DataFrame({name: _to_pandas(frame[name], pd) for name in frame.columns})


def _is_pandas(frame: object) -> bool:
    loaded: Any = sys.modules.get("pandas")  # where someone has such a frame, it is loaded
    return loaded is not None and isinstance(frame, loaded.DataFrame)


def _from_pandas(frame: Any) -> pl.DataFrame:
    columns = set(frame.columns)  # `set_index("paid_at", drop=False)` leaves the column where it was
    levels = [at for at, name in enumerate(frame.index.names) if name is not None and name not in columns]
    if levels:
        frame = frame.reset_index(level=levels, allow_duplicates=True)
    names = [str(name) for name in frame.columns]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"two columns of the frame are called {twice[0]!r}; give each a name of its own")
    return pl.DataFrame([_from_series(name, frame.iloc[:, at]) for at, name in enumerate(names)])


def _from_series(name: str, series: Any) -> pl.Series:
    dtype = series.dtype
    if isinstance(dtype, np.dtype) and dtype.kind in _NUMPY_KINDS:
        return pl.Series(name, _in_polars_unit(series.to_numpy()))
    if getattr(dtype, "tz", None) is not None:
        utc = series.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy()
        return pl.Series(name, _in_polars_unit(utc)).dt.replace_time_zone("UTC")
    values = series.astype(object)
    values = values.where(series.notna(), None).tolist()
    try:
        return pl.Series(name, values)
    except (TypeError, pl.exceptions.PolarsError) as error:
        kinds = sorted({type(value).__name__ for value in values if value is not None})
        raise DataError(
            f"column {name!r} of the frame holds values of several kinds ({', '.join(kinds)}); make them one"
        ) from error


def _in_polars_unit(values: Any) -> Any:
    """Times and spans in seconds, which pandas has and Polars has not, in microseconds; all else as it is."""
    return values.astype(f"{values.dtype.kind}8[us]") if values.dtype.str.endswith("[s]") else values


def _to_pandas(series: pl.Series, pd: Any) -> Any:
    dtype = series.dtype
    if isinstance(dtype, pl.Datetime) and dtype.time_zone is not None:
        utc = series.dt.convert_time_zone("UTC").dt.replace_time_zone(None).to_numpy()
        return pd.Series(pd.DatetimeIndex(utc).tz_localize("UTC").tz_convert(dtype.time_zone))
    if dtype.is_numeric() or dtype.is_temporal() or (dtype == pl.Boolean and not series.null_count()):
        return series.to_numpy()
    return series.to_list()
