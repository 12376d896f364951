"""The Open Inference Protocol: as Triton's client speaks it to the real endpoint, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from everloop.data import Column, Contract
from everloop.rollout import Exposure
from everloop.serving.batcher import Ask
from everloop.serving.inference import InferForm, error_reply, target_of
from everloop.serving.problem import Problem
from tests.serving.place import CONTRACT, Endpoint, Place, row
from tests.serving.rig import Rig

NUMBERS = Contract(
    columns=(
        Column(name="payment_id", type="string", role="id"),
        Column(name="amount", type="float", role="feature"),
        Column(name="visits", type="int", role="feature", nullable=True),
        Column(name="age", type="float", role="feature", nullable=True),
        Column(name="fraud", type="bool", role="target"),
    ),
    positive=True,
)


def tensor(name: str, values: list[Any], datatype: str, shape: list[int] | None = None) -> dict[str, Any]:
    return {"name": name, "shape": [len(values)] if shape is None else shape, "datatype": datatype, "data": values}


def tensors(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    kinds = {column.name: {"float": "FP64", "int": "INT64"}.get(column.type, "BYTES") for column in CONTRACT.columns}
    return [tensor(name, [one[name] for one in rows], kinds[name]) for name in rows[0]]


@pytest.fixture
def client(served: tuple[Place, Endpoint]) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(served[1].url.removeprefix("http://")) as found:
        yield found


def given(values: dict[str, np.ndarray], *, binary: bool = True) -> list[triton.InferInput]:
    found = []
    for name, array in values.items():
        one = triton.InferInput(name, array.shape, np_to_triton_dtype(array.dtype))
        one.set_data_from_numpy(array, binary_data=binary)
        found.append(one)
    return found


def arrays(rows: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    return {
        "payment_id": np.array([one["payment_id"] for one in rows], object),
        "card_id": np.array([one["card_id"] for one in rows], object),
        "paid_at": np.array([[one["paid_at"]] for one in rows], object),
        "amount": np.array([one["amount"] for one in rows], np.float64),
        "visits": np.array([[one["visits"]] for one in rows], np.int32),
    }


def test_tritons_client_finds_the_model_and_its_tensors(client: triton.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("fraud")
    assert client.is_model_ready("fraud", "1")
    assert not client.is_model_ready("fraud", "2")
    assert client.get_server_metadata()["extensions"] == ["binary_tensor_data"]
    told = client.get_model_metadata("fraud", "1")
    assert (told["name"], told["versions"], told["platform"]) == ("fraud", ["1"], "onnx_onnxv1")
    assert told["inputs"][3:] == [
        {"name": "amount", "datatype": "FP64", "shape": [-1]}, {"name": "visits", "datatype": "INT64", "shape": [-1]},
        {"name": "country", "datatype": "BYTES", "shape": [-1]},
    ]  # fmt: skip
    assert [one["name"] for one in told["outputs"]] == ["id", "score", "decision", "version", "side"]


@pytest.mark.parametrize("binary", [True, False])
def test_its_requests_are_answered_as_the_same_rows_in_json_are(
    client: triton.InferenceServerClient, served: tuple[Place, Endpoint], binary: bool
) -> None:
    rows = [row(number, payment_id=f"triton_{binary}_{number}") for number in range(30)]
    for one in rows:
        del one["country"]
    result = client.infer("fraud", given(arrays(rows), binary=binary), request_id="r42")
    expected = httpx.post(served[1].predict, json={"rows": rows}).json()["results"]
    assert result.as_numpy("id").tolist() == [one["payment_id"].encode() for one in rows]
    assert result.as_numpy("score").dtype == np.float32
    assert result.as_numpy("score").tolist() == [one["score"] for one in expected], "a repeat: the recorded answer"
    assert result.as_numpy("decision").tolist() == [one["decision"].encode() for one in expected]
    assert set(result.as_numpy("version").tolist()) == {1}
    assert result.get_response()["id"] == "r42"
    assert result.get_response()["model_version"] == "1"


def test_only_the_outputs_that_are_asked_for_are_given(client: triton.InferenceServerClient) -> None:
    asked = [triton.InferRequestedOutput("score", binary_data=False), triton.InferRequestedOutput("side")]
    result = client.infer("fraud", given(arrays([row(1, payment_id="some")])), model_version="1", outputs=asked)
    assert [one["name"] for one in result.get_response()["outputs"]] == ["score", "side"]
    assert "data" in result.get_response()["outputs"][0]
    assert result.as_numpy("side").tolist() == [b"champion"]
    with pytest.raises(InferenceServerException, match="no output 'label'; there are id, score, decision"):
        client.infer("fraud", given(arrays([row(1)])), outputs=[triton.InferRequestedOutput("label")])


def test_a_bad_row_refuses_the_request_and_nothing_of_it_is_recorded(
    client: triton.InferenceServerClient, served: tuple[Place, Endpoint]
) -> None:
    rows = [row(number, payment_id=f"half_{number}") for number in range(3)]
    bad = arrays([*rows[:2], rows[2] | {"amount": -1.0}])
    with pytest.raises(InferenceServerException, match=r"row 2: amount: -1.0 is outside its range \[0, …\]") as caught:
        client.infer("fraud", given(bad))
    assert caught.value.status() == "422"
    again = [one | {"amount": 7.0} for one in rows]
    assert client.infer("fraud", given(arrays(again))).as_numpy("score").shape == (3,), "the ids are still free"
    with pytest.raises(InferenceServerException, match="was used for another row") as caught:
        client.infer("fraud", given(arrays([row(9, payment_id="free"), rows[0]])))
    assert caught.value.status() == "409"
    assert client.infer("fraud", given(arrays([row(8, payment_id="free")]))).as_numpy("id").tolist() == [b"free"]


@pytest.mark.parametrize(
    ("method", "path", "status", "said"),
    [
        ("GET", "/v2/models/froud", 404, "there is no model 'froud' here"),
        ("POST", "/v2/models/froud/infer", 404, "there is no model 'froud' here"),
        ("GET", "/v2/models/fraud/versions/9", 404, "v9 of fraud answers nobody now; v1 does"),
        ("POST", "/v2/models/fraud/versions/9/infer", 404, "v9 of fraud answers nobody now"),
        ("GET", "/v2/models/fraud/versions/newest", 404, "'newest' is no version"),
        ("GET", "/v2/models", 404, "there is nothing at /v2/models"),
        ("GET", "/v2/models/fraud/infer", 405, "is asked with POST"),
        ("POST", "/v2/health/live", 405, "is asked with GET"),
    ],
)
def test_what_is_not_there_is_told_as_the_protocol_tells_errors(
    served: tuple[Place, Endpoint], method: str, path: str, status: int, said: str
) -> None:
    reply = httpx.request(method, f"{served[1].url}{path}", content=b'{"inputs": []}' if method == "POST" else None)
    assert (reply.status_code, reply.headers["content-type"]) == (status, "application/json")
    assert list(reply.json()) == ["error"]
    assert said in reply.json()["error"]


@pytest.fixture
def rig(place: Place) -> Iterator[Rig]:
    made = Rig(place)
    yield made
    made.spool.close()


@pytest.fixture(scope="module")
def resting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """One for all that is refused."""
    made = Rig(Place.make(tmp_path_factory.mktemp("resting")))
    made.route(made.place.version())
    yield made
    made.spool.close()


def said(rig: Rig, body: Any, form: InferForm | None = None) -> tuple[int, dict[str, Any]]:
    reply = error_reply(rig.ask(body, form or InferForm()))
    return reply.status, json.loads(reply.body)


def outputs(body: dict[str, Any]) -> dict[str, list[Any]]:
    return {one["name"]: one["data"] for one in body["outputs"]}


def test_a_version_in_the_path_is_a_condition_and_no_choice(rig: Rig) -> None:
    first, second = rig.place.version(bias=-2.0), rig.place.version(bias=-1.0)
    half = Exposure(version=second, share=0.5, mode="canary", salt="s")
    rig.route(first, half)
    rows = [row(number, payment_id=f"try_{number}") for number in range(60)]
    _, plain = said(rig, {"inputs": tensors(rows)})
    told = outputs(plain)
    assert set(told["version"]) == {first, second}
    assert "model_version" not in plain
    for version in (first, second):
        mine = [one for one, by in zip(rows, told["version"], strict=True) if by == version]
        fresh = [one | {"payment_id": f"{one['payment_id']}_{version}"} for one in mine]
        status, found = said(rig, {"inputs": tensors(fresh)}, InferForm(version=version))
        assert (status, found["model_version"]) == (200, str(version))
        assert set(outputs(found)["version"]) == {version}
        others = [one | {"payment_id": f"other_{one['payment_id']}_{version}"} for one in rows]
        status, found = said(rig, {"inputs": tensors(others)}, InferForm(version=version))
        assert status == 404
        assert "ask without a version" in found["error"]
        assert not rig.spool.answers_for("fraud", [one["payment_id"] for one in others])
    rig.route(first, Exposure(version=second, share=0.0, mode="shadow", salt="s"))
    status, found = said(rig, {"inputs": tensors(rows[:1])}, InferForm(version=second))
    assert status == 404
    assert f"v{second} of fraud answers nobody now; v{first} does" in found["error"]


def test_requests_of_both_forms_are_scored_together_and_one_that_is_refused_costs_the_others_nothing(rig: Rig) -> None:
    rig.route(rig.place.version())
    good, bad = [row(1, payment_id="a"), row(2, payment_id="b")], [row(3, payment_id="c"), row(4, payment_id="a")]
    asks = [
        Ask(model="fraud", kind="predict", body=json.dumps({"inputs": tensors(rows)}).encode(), form=InferForm())
        for rows in (good, bad)
    ]
    asks.append(Ask(model="fraud", kind="predict", body=json.dumps({"rows": [row(5, payment_id="d")]}).encode()))
    replies = rig.pipeline(asks)
    assert [reply.status for reply in replies] == [200, 409, 200]
    known = rig.spool.answers_for("fraud", ["a", "b", "c", "d"])
    assert set(known) == {"a", "b", "d"}


def test_a_table_of_numbers_stands_for_the_columns_in_their_order(rig: Rig) -> None:
    rig.route(rig.place.version(contract=NUMBERS))
    flat = [1.5, 2.0, 30.0, 2.5, 3.0, 40.0]
    ids = tensor("payment_id", ["t1", "t2"], "BYTES", [2, 1])
    _, body = said(rig, {"inputs": [tensor("input", flat, "FP64", [2, 3]), ids]})
    nested = [[1.5, 2, 30], [2.5, 3, 40]]
    _, again = said(rig, {"inputs": [tensor("predict", nested, "FP64", [2, 3]), ids]})
    columns = [
        tensor("amount", flat[::3], "FP32"),
        tensor("visits", [2, 3], "UINT8"),
        tensor("age", flat[2::3], "FP64"),
    ]
    _, apart = said(rig, {"inputs": [*columns, ids]})
    assert outputs(body) == outputs(again) == outputs(apart)
    assert outputs(body)["id"] == ["t1", "t2"]
    status, told = said(rig, {"inputs": [tensor("input", flat, "FP64", [3, 2])]})
    assert status == 400
    assert "it has 2 columns and the contract 3 (age, amount, visits)" in told["error"]


def test_a_number_that_is_no_number_is_a_missing_value(rig: Rig) -> None:
    rig.route(rig.place.version(contract=NUMBERS))
    raw = np.array([[1.0, np.nan, 3.0]], "<f4").tobytes()
    head = json.dumps(
        {"inputs": [{"name": "x", "shape": [1, 3], "datatype": "FP32", "parameters": {"binary_data_size": 12}}]}
    ).encode()
    status, body = said(rig, head + raw, InferForm(header_bytes=len(head)))
    columns = [tensor("amount", [1], "FP32"), tensor("visits", [None], "INT8"), tensor("age", [3], "INT8")]
    _, expected = said(rig, {"inputs": columns})
    assert status == 200
    assert outputs(body)["score"] == outputs(expected)["score"]


def binary(name: str, shape: list[int], datatype: str, size: Any) -> dict[str, Any]:
    return {"name": name, "shape": shape, "datatype": datatype, "parameters": {"binary_data_size": size}}


@pytest.mark.parametrize(
    ("inputs", "tail", "wanted"),
    [
        ([], b"", "hold no rows"),
        ([tensor("amount", [], "FP32")], b"", "hold no rows"),
        ([tensor("amount", [1], "FLOAT")], b"", "datatype 'FLOAT' is not one of"),
        ([tensor("amount", [1], "FP32", [2])], b"", "shape [2] is 2 values and the data are 1"),
        ([tensor("amount", [1], "FP32", [1, 1, 1])], b"", "is not [rows], [rows, 1]"),
        ([tensor("amount", [1], "FP32", [-1])], b"", "is not [rows], [rows, 1]"),
        ([tensor("amount", [[[1]]], "FP32", [1, 1])], b"", "its data are not values"),
        ([tensor("amount", [{}], "FP32")], b"", "its data are not values"),
        ([tensor("amount", [1], "FP32"), tensor("visits", [1, 2], "INT8")], b"", "amount 1, visits 2"),
        ([tensor("amount", [1], "FP32"), tensor("amount", [1], "FP32")], b"", "'amount' is there already"),
        ([tensor("amount", [1, 2], "FP32", [1, 2])], b"", "country of the contract is no number"),
        ([tensor("amount", [1] * 101, "FP32")], b"", "101 rows are more than 100"),
        ([{"name": "amount", "shape": [1], "datatype": "FP32"}], b"", "neither data nor binary_data_size"),
        ([{"name": "amount", "shape": ["1"], "datatype": "FP32"}], b"", "Expected `int`, got `str`"),
        ([binary("amount", [1], "FP32", 4)], b"", "4 bytes and 0 are left"),
        ([binary("amount", [1], "FP32", 4)], b"12345", "1 bytes behind the JSON belong to no input"),
        ([binary("amount", [1], "FP32", -4)], b"1234", "is -4 and not a number of bytes"),
        ([binary("amount", [1], "FP32", 3)], b"123", "3 bytes are no whole number of FP32 values"),
        ([binary("amount", [2**62], "FP32", 4)], b"1234", "and the data are 1"),
        ([binary("card_id", [1], "BYTES", 6)], b"\xff\xff\xff\xffab", "its bytes end within value 0"),
        ([binary("card_id", [1], "BYTES", 3)], b"\x01\x00\x00", "its bytes end within value 0"),
        ([binary("card_id", [1], "BYTES", 5)], b"\x01\x00\x00\x00\xff", "value 0 is not UTF-8"),
        ([binary("fraud", [1], "BOOL", 1)], b"\x02", "a BOOL is a byte of 0 or 1"),
    ],
)
def test_what_is_no_request_is_told(resting: Rig, inputs: list[Any], tail: bytes, wanted: str) -> None:
    head = json.dumps({"inputs": inputs}).encode()
    status, body = said(resting, head + tail, InferForm(header_bytes=len(head)))
    assert status in (400, 413)
    assert wanted in body["error"]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b'{"inputs": 7}', b"[" * 5000 + b"]" * 5000])
def test_bodies_that_are_something_else_are_told(resting: Rig, body: bytes) -> None:
    assert said(resting, body)[0] == 400
    assert said(resting, body, InferForm(header_bytes=10_000_000))[0] == 400


def test_paths_are_read_strictly() -> None:
    for path in ("/v2/x", "/v2/models/a/b", "/v2/models//infer", "/v2/models/a/versions", "/v2/models/a/versions/-1"):
        with pytest.raises(Problem):
            target_of(path)
    assert target_of("/v2/models/a/versions/v7/infer").version == 7
    assert target_of("/v2/").what == "server"


def test_many_at_once_are_answered_each_with_its_own(served: tuple[Place, Endpoint]) -> None:
    with httpx.Client(base_url=served[1].url) as http, ThreadPoolExecutor(8) as pool:

        def one(number: int) -> tuple[str, str]:
            rows = [row(number, payment_id=f"at_once_{number}")]
            body = http.post("/v2/models/fraud/infer", json={"id": str(number), "inputs": tensors(rows)})
            return body.json()["id"], outputs(body.json())["id"][0]

        assert list(pool.map(one, range(40))) == [(str(number), f"at_once_{number}") for number in range(40)]


def test_what_is_captured_is_what_json_rows_would_be(rig: Rig) -> None:
    rig.route(rig.place.version())
    rows = [row(number, payment_id=f"log_{number}") for number in range(3)]
    assert said(rig, {"inputs": tensors(rows)})[0] == 200
    frame = rig.logged()
    assert frame["prediction_id"].to_list() == [one["payment_id"] for one in rows]
    assert frame["in_amount"].to_list() == [one["amount"] for one in rows]
    assert frame["entity"].to_list() == [one["card_id"] for one in rows]
