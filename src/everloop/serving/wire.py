"""What inference servers are sent and what they answer: Open Inference Protocol (V2) and MLflow's `/invocations`.

Sources: kserve/open-inference-protocol, `inference_rest.md`; SeldonIO/MLServer, content types (`pd`); MLflow,
`mlflow/pyfunc/scoring_server`: `dataframe_split` and `{"predictions": …}`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
import numpy as np
import polars as pl

from everloop.project import UpstreamServer

__all__ = ["WireFailed", "error_words", "request_body", "request_path", "scores_of"]

Floats = np.ndarray[Any, np.dtype[np.float32]]

_DATATYPES: Final = {pl.Float64(): "FP64", pl.Int64(): "INT64", pl.Boolean(): "BOOL", pl.String(): "BYTES"}
_NUMBERS: Final = (pl.Float64(), pl.Int64(), pl.Boolean())
_SAID: Final = 300


class WireFailed(Exception):
    """An answer in which there is no score for every row; a sentence."""


def request_path(server: UpstreamServer, model: str) -> str:
    """Where the server is asked."""
    if server.protocol == "mlflow":
        return "/invocations"
    return f"/v2/models/{model if server.name is None else server.name}/infer"


def request_body(server: UpstreamServer, rows: pl.DataFrame) -> bytes:
    """The rows as the server reads them. rows: its columns alone, in order. Raises WireFailed for what has no form."""
    rows = rows.with_columns(pl.col(pl.Datetime("us", "UTC")).dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ"))
    if server.protocol == "mlflow":
        split = {"columns": rows.columns, "data": [list(row) for row in rows.iter_rows()]}
        return msgspec.json.encode({"dataframe_split": split})
    if server.tensor is not None:
        return msgspec.json.encode({"inputs": [_matrix(server.tensor, rows)]})
    inputs = [_column(rows[name]) for name in rows.columns]
    return msgspec.json.encode({"parameters": {"content_type": "pd"}, "inputs": inputs})


def _matrix(name: str, rows: pl.DataFrame) -> dict[str, Any]:
    """All columns as one tensor of numbers, row by row."""
    texts = [column for column, dtype in rows.schema.items() if dtype not in _NUMBERS]
    if texts:
        raise WireFailed(f"{', '.join(texts)} hold no numbers, and upstream.tensor takes numbers alone")
    data = rows.select(pl.all().cast(pl.Float64)).to_numpy().ravel().tolist()
    return {"name": name, "shape": list(rows.shape), "datatype": "FP64", "data": _plain(data)}


def _column(values: pl.Series) -> dict[str, Any]:
    tensor: dict[str, Any] = {"name": values.name, "shape": [len(values), 1], "datatype": _DATATYPES[values.dtype]}
    if values.dtype == pl.String():
        tensor["parameters"] = {"content_type": "str"}
    return tensor | {"data": values.to_list()}


def _plain(values: list[float]) -> list[float | None]:
    return [None if value != value else value for value in values]


def error_words(body: bytes) -> str:
    """What a server says of its error, cut where it is long."""
    try:
        read = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return body[:_SAID].decode(errors="replace").strip()
    if isinstance(read, dict):
        for name in ("error", "message", "detail"):  # V2's, MLflow's, FastAPI's
            if isinstance(read.get(name), str):
                return str(read[name])[:_SAID]
    return body[:_SAID].decode(errors="replace")


def scores_of(server: UpstreamServer, body: bytes, rows: int) -> Floats:
    """The score of each row, float32, NaN where there is none. Raises WireFailed.

    Of several numbers a row, such as the probabilities of two classes, the last is the score.
    """
    try:
        read = msgspec.json.decode(_known_numbers(body))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise WireFailed(f"its answer is not JSON: {error}") from error
    if not isinstance(read, dict):
        raise WireFailed("its answer is no JSON object")
    found = _of_mlflow(server, read) if server.protocol == "mlflow" else _of_v2(server, read, rows)
    if len(found) != rows:
        raise WireFailed(f"it answered {len(found):,} scores for {rows:,} rows")
    return np.array([_number(one) for one in found], dtype=np.float32)


def _known_numbers(body: bytes) -> bytes:
    """Python's servers write NaN, which JSON has not."""
    if b"NaN" not in body:
        return body
    import json

    return msgspec.json.encode(json.loads(body, parse_constant=lambda _: None))


def _of_v2(server: UpstreamServer, read: dict[str, Any], rows: int) -> Sequence[Any]:
    outputs = read.get("outputs")
    if not isinstance(outputs, list) or not all(isinstance(one, dict) for one in outputs) or not outputs:
        raise WireFailed("its answer has no outputs")
    named = [one for one in outputs if server.output is None or one.get("name") == server.output]
    if not named:
        there = ", ".join(str(one.get("name")) for one in outputs)[:_SAID]
        raise WireFailed(f"its answer has no output {server.output!r}; it has {there}")
    data = named[0].get("data")
    if not isinstance(data, list):
        raise WireFailed("its output has no data; binary tensors are not read")
    flat = _flat(data)
    if rows == 0 or len(flat) % rows:
        raise WireFailed(f"it answered {len(flat):,} numbers for {rows:,} rows")
    width = len(flat) // rows
    return flat[width - 1 :: width] if width else ()


def _flat(data: list[Any]) -> list[Any]:
    """A tensor's numbers in row-major order, however they are nested."""
    if not any(isinstance(one, list) for one in data):
        return data
    return [value for one in data for value in (_flat(one) if isinstance(one, list) else [one])]


def _of_mlflow(server: UpstreamServer, read: dict[str, Any]) -> Sequence[Any]:
    found = read.get("predictions")
    if isinstance(found, dict):  # columns, each a list
        found = found.get(server.output) if server.output is not None else next(iter(found.values()), None)
    if not isinstance(found, list):
        raise WireFailed("its answer has no list of predictions")
    return [_of_row(server, one) for one in found]


def _of_row(server: UpstreamServer, said: Any) -> Any:
    if isinstance(said, dict):
        if server.output is not None and server.output not in said:
            raise WireFailed(f"its predictions have no {server.output!r}; they have {', '.join(said)[:_SAID]}")
        return said[server.output] if server.output is not None else next(iter(said.values()), None)
    return _of_row(server, said[-1]) if isinstance(said, list) and said else said


def _number(value: Any) -> float:
    if value is None:
        return float("nan")
    if isinstance(value, bool | int | float):
        return float(value)
    raise WireFailed(f"it answered {str(value)[:60]!r}, which is no number; upstream.output names another output")
