"""What servers are sent and what they answer, form by form; and how long one that fails is left alone."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl
import pytest

from everloop.project import UpstreamServer
from everloop.serving.breaker import FAILURES, LONGEST_PAUSE_S, Breaker
from everloop.serving.upstream import trace_headers
from everloop.serving.wire import WireFailed, error_words, request_body, request_path, scores_of

V2 = UpstreamServer(url="http://a:1")
MLFLOW = UpstreamServer(url="http://a:1", protocol="mlflow")
ROWS = pl.DataFrame(
    {
        "amount": [1.5, None],
        "visits": [3, 4],
        "vip": [True, None],
        "country": ["AT", None],
        "at": [datetime(2025, 1, 1, 9, 30, tzinfo=UTC)] * 2,
    },
    schema_overrides={"at": pl.Datetime("us", "UTC")},
)


def test_a_v2_request_has_a_tensor_for_each_column() -> None:
    assert request_path(V2, "fraud") == "/v2/models/fraud/infer"
    assert request_path(UpstreamServer(url="http://a:1", name="risk"), "fraud") == "/v2/models/risk/infer"
    body = json.loads(request_body(V2, ROWS))
    assert body["parameters"] == {"content_type": "pd"}
    assert [(one["name"], one["datatype"], one["shape"]) for one in body["inputs"]] == [
        ("amount", "FP64", [2, 1]),
        ("visits", "INT64", [2, 1]),
        ("vip", "BOOL", [2, 1]),
        ("country", "BYTES", [2, 1]),
        ("at", "BYTES", [2, 1]),
    ]
    assert body["inputs"][0]["data"] == [1.5, None]
    assert body["inputs"][3]["parameters"] == {"content_type": "str"}
    assert body["inputs"][4]["data"][0] == "2025-01-01T09:30:00.000000Z"


def test_one_tensor_takes_numbers_row_by_row_and_no_texts() -> None:
    server = UpstreamServer(url="http://a:1", tensor="input")
    body = json.loads(request_body(server, ROWS.select("amount", "visits", "vip")))
    assert body == {
        "inputs": [{"name": "input", "shape": [2, 3], "datatype": "FP64", "data": [1.5, 3.0, 1.0, None, 4.0, None]}]
    }
    with pytest.raises(WireFailed, match="country, at hold no numbers"):
        request_body(server, ROWS)


def test_an_mlflow_request_is_a_split_frame() -> None:
    assert request_path(MLFLOW, "fraud") == "/invocations"
    assert json.loads(request_body(MLFLOW, ROWS)) == {
        "dataframe_split": {
            "columns": ["amount", "visits", "vip", "country", "at"],
            "data": [
                [1.5, 3, True, "AT", "2025-01-01T09:30:00.000000Z"],
                [None, 4, None, None, "2025-01-01T09:30:00.000000Z"],
            ],
        }
    }


@pytest.mark.parametrize(
    ("server", "said"),
    [
        (V2, {"outputs": [{"name": "p", "shape": [2], "data": [0.25, 0.5]}]}),
        (V2, {"outputs": [{"name": "p", "shape": [2, 1], "data": [[0.25], [0.5]]}]}),
        (V2, {"outputs": [{"name": "p", "shape": [2, 2], "data": [0.75, 0.25, 0.5, 0.5]}]}),
        (V2.model_copy(update={"output": "q"}), {"outputs": [{"name": "p"}, {"name": "q", "data": [0.25, 0.5]}]}),
        (MLFLOW, {"predictions": [0.25, 0.5]}),
        (MLFLOW, {"predictions": [[0.75, 0.25], [0.5, 0.5]]}),
        (MLFLOW, {"predictions": [{"p": 0.25}, {"p": 0.5}]}),
        (MLFLOW.model_copy(update={"output": "q"}), {"predictions": [{"p": 1, "q": 0.25}, {"p": 1, "q": 0.5}]}),
        (MLFLOW.model_copy(update={"output": "q"}), {"predictions": {"p": [1, 1], "q": [0.25, 0.5]}}),
    ],
)
def test_scores_are_found_in_every_form(server: UpstreamServer, said: Any) -> None:
    assert scores_of(server, json.dumps(said).encode(), 2).tolist() == [0.25, 0.5]


def test_what_is_missing_is_no_score() -> None:
    found = scores_of(MLFLOW, b'{"predictions": [NaN, null, 0.5]}', 3)
    assert np.isnan(found).tolist() == [True, True, False]


@pytest.mark.parametrize(
    ("server", "said", "words"),
    [
        (V2, b"<html>", "is not JSON"),
        (V2, b"[]", "no JSON object"),
        (V2, b'{"outputs": []}', "has no outputs"),
        (V2, b'{"outputs": [{"name": "p", "data": [1, 2, 3]}]}', "3 numbers for 2 rows"),
        (V2, b'{"outputs": [{"name": "p", "data": []}]}', "0 scores for 2 rows"),
        (V2, b'{"outputs": [{"name": "p", "data": ["AT", "BE"]}]}', "'AT', which is no number"),
        (V2.model_copy(update={"output": "q"}), b'{"outputs": [{"name": "p"}]}', "has no output 'q'; it has p"),
        (MLFLOW, b'{"predictions": [1]}', "1 scores for 2 rows"),
        (MLFLOW, b'{"error": "x"}', "no list of predictions"),
        (
            MLFLOW.model_copy(update={"output": "q"}),
            b'{"predictions": [{"p": 1}, {"p": 2}]}',
            "have no 'q'; they have p",
        ),
    ],
)
def test_what_holds_no_score_for_every_row_is_refused(server: UpstreamServer, said: bytes, words: str) -> None:
    with pytest.raises(WireFailed, match=words):
        scores_of(server, said, 2)


def test_a_servers_own_words_are_found() -> None:
    assert error_words(b'{"error": "no such model"}') == "no such model"
    assert error_words(b'{"error_code": "BAD_REQUEST", "message": "schema"}') == "schema"
    assert error_words(b"\xff" * 1000).startswith("\ufffd")
    assert len(error_words(b"x" * 10_000)) == 300


def test_the_trace_context_alone_goes_on() -> None:
    given = [(b"authorization", b"secret"), (b"traceparent", b"00-1"), (b"tracestate", b"x" * 2_000)]
    assert trace_headers(given) == [(b"traceparent", b"00-1")]


def test_a_breaker_opens_after_failures_in_a_row_and_lets_one_try_through() -> None:
    breaker = Breaker()
    for _ in range(FAILURES - 1):
        breaker.failed(0.0)
    breaker.succeeded()
    for _ in range(FAILURES):
        assert breaker.allows(0.0)
        breaker.failed(0.0)
    assert not breaker.allows(0.9)
    assert breaker.allows(1.0)
    assert not breaker.allows(1.0)  # one at a time
    breaker.failed(1.0)
    assert not breaker.allows(2.9)
    assert breaker.allows(3.0)
    breaker.let_go()  # its caller went away, which says nothing of the server
    assert breaker.allows(3.0)
    for _ in range(20):
        breaker.failed(3.0)
        assert breaker.allows(3.0 + LONGEST_PAUSE_S)
    breaker.succeeded()
    assert breaker.allows(3.0)
    assert breaker.allows(3.0)
