"""The Open Inference Protocol (V2, REST), so that clients of KServe and Triton ask as they are.

A version in a path is a condition and never a choice: who answers whom is the rollout's, and a caller that could pick
a challenger would expose more than its step. So a request that names a version is answered where the routing has that
version answer every one of its rows anyway; else it is refused, and nothing is recorded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from typing import Any, Final, Literal

import msgspec

from everloop.data import Column, Contract
from everloop.serving.batcher import Reply
from everloop.serving.live import LiveModel
from everloop.serving.problem import PROBLEM_TYPE, Problem, RowError
from everloop.serving.rows import Request, few_names, refuse_crowded
from everloop.serving.tensors import Tensor, columns_of, written
from everloop.serving.whole import OtherVersion

__all__ = [
    "DATATYPES",
    "HEADER_LENGTH",
    "PREFIX",
    "InferForm",
    "Target",
    "described",
    "error_reply",
    "metadata_of",
    "ready_of",
    "target_of",
]

PREFIX: Final = "/v2"
HEADER_LENGTH: Final = b"inference-header-content-length"
DATATYPES: Final[Mapping[str, str]] = {
    "float": "FP64", "int": "INT64", "bool": "BOOL", "string": "BYTES", "datetime": "BYTES",
}  # fmt: skip
_OF_THE_ROW: Final = frozenset({"feature", "input", "segment"})
_FEW_ERRORS: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a path below /v2 names. model: empty where it is the server itself."""

    what: Literal["server", "live", "ready", "metadata", "infer"]
    model: str = ""
    version: int | None = None


def target_of(path: str) -> Target:
    """What the path names. Raises Problem (404) where it names nothing."""
    parts = path.removeprefix(PREFIX).strip("/").split("/")
    server: Mapping[tuple[str, ...], Literal["server", "live", "ready"]] = {
        ("",): "server", ("health", "live"): "live", ("health", "ready"): "ready",
    }  # fmt: skip
    if (what := server.get(tuple(parts))) is not None:
        return Target(what=what)
    of_model: Mapping[tuple[str, ...], Literal["metadata", "ready", "infer"]] = {
        (): "metadata", ("ready",): "ready", ("infer",): "infer",
    }  # fmt: skip
    if len(parts) >= 2 and parts[0] == "models" and parts[1]:
        rest, version = tuple(parts[2:]), None
        if len(rest) >= 2 and rest[0] == "versions":
            rest, version = rest[2:], _version(rest[1])
        if (action := of_model.get(rest)) is not None:
            return Target(what=action, model=parts[1], version=version)
    detail = "there are /v2, /v2/health/live, /v2/health/ready and /v2/models/NAME[/versions/N], with /ready or /infer"
    raise Problem(404, "not-found", f"there is nothing at {path:.100}; {detail}")


def _version(text: str) -> int:
    number = text.removeprefix("v")
    if not (number.isascii() and number.isdigit() and len(number) <= 9):
        raise Problem(404, "unknown-version", f"{text[:40]!r} is no version; a version is a number, such as 7")
    return int(number)


def refuse_silent(model: LiveModel, version: int | None) -> None:
    """Raises Problem (404) where no row at all is answered by that version."""
    if version is None or model.routing.exposure(version) > 0.0:
        return
    answering = " and ".join(f"v{one}" for one in _answering(model))
    detail = f"v{version} of {model.name} answers nobody now; {answering} does, and a path without a version asks it"
    raise Problem(404, "unknown-version", detail)


def _answering(model: LiveModel) -> list[int]:
    return [version for version in model.routing.live if model.routing.exposure(version) > 0.0]


def described() -> Reply:
    """The server."""
    body = {"name": "everloop", "version": _release(), "extensions": ["binary_tensor_data"]}
    return Reply(status=200, body=msgspec.json.encode(body))


@cache
def _release() -> str:
    return metadata.version("everloop")


def metadata_of(model: LiveModel, version: int | None) -> Reply:
    """A model's tensors: an input for each column of a row, an output for each thing that is said of it.

    Raises Problem (404) for a version that answers nobody.
    """
    refuse_silent(model, version)
    columns = [column for column in model.contract.columns if column.at_prediction]
    body = {
        "name": model.name,
        "versions": [str(one) for one in _answering(model)],
        "platform": "onnx_onnxv1",
        "inputs": [{"name": one.name, "datatype": DATATYPES[one.type], "shape": [-1]} for one in columns],
        "outputs": [{"name": name, "datatype": kind, "shape": [-1]} for name, kind in _outputs(model).items()],
    }
    return Reply(status=200, body=msgspec.json.encode(body))


def ready_of(model: LiveModel, version: int | None) -> Reply:
    """That a model, or a version of it, answers. Raises Problem (404) for a version that answers nobody."""
    refuse_silent(model, version)
    return Reply(status=200, body=msgspec.json.encode({"name": model.name, "ready": True}))


def _outputs(model: LiveModel) -> dict[str, str]:
    """Name → datatype of what is said of a row. Quantiles are the champion's."""
    said = {"id": "BYTES", "score": "FP32"} | dict.fromkeys(model.champion.quantiles, "FP32")
    return said | ({"decision": "BYTES"} if model.decides else {}) | {"version": "INT64", "side": "BYTES"}


def error_reply(reply: Reply) -> Reply:
    """A problem as the protocol tells it; any other reply as it is."""
    if reply.content_type != PROBLEM_TYPE:
        return reply
    body = msgspec.json.encode({"error": msgspec.json.decode(reply.body)["detail"]})
    return Reply(status=reply.status, body=body, headers=reply.headers)


class _Output(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    parameters: dict[str, Any] | None = None


class _Body(msgspec.Struct, frozen=True, kw_only=True):
    inputs: list[Tensor]
    id: str | None = None
    parameters: dict[str, Any] | None = None
    outputs: list[_Output] | None = None


class _Answer(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    score: float
    version: int
    side: str
    decision: str = ""
    quantiles: dict[str, float] = {}

    def said(self, name: str) -> Any:
        return getattr(self, name) if name in self.__struct_fields__ else self.quantiles.get(name, float("nan"))


_decode_body = msgspec.json.Decoder(_Body).decode
_decode_answers = msgspec.json.Decoder(list[_Answer]).decode


class _Inference(Request, frozen=True, kw_only=True):
    """A request of the protocol. wanted: output → whether as bytes."""

    id: str | None
    wanted: Mapping[str, bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class InferForm:
    """How a request of the protocol is read and answered.

    version: that the path names. header_bytes: the length of the JSON, where bytes may follow it.
    """

    version: int | None = None
    header_bytes: int | None = None

    def read(self, body: bytes, model: LiveModel, *, max_rows: int) -> Request:
        """The rows of the tensors. Raises Problem."""
        refuse_silent(model, self.version)
        end = len(body) if self.header_bytes is None else self.header_bytes
        if end > len(body):
            raise Problem(
                400, "bad-request", f"the JSON has {end:,} bytes as its header says, and the body {len(body):,}"
            )
        refuse_crowded(body[:end], max_rows=max_rows)
        try:
            read = _decode_body(body[:end])
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            detail = (
                f'this is no inference request: {error}; send {{"inputs": [{{"name", "shape", "datatype", "data"}}]}}'
            )
            raise Problem(400, "bad-request", detail) from error
        columns = _named(read.inputs, body[end:], model.contract, max_rows=max_rows)
        rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        wanted = _wanted(read, model)
        return _Inference(rows=rows, form=self, whole=True, version=self.version, id=read.id, wanted=wanted)

    def reply(self, model: LiveModel, request: Request, answers: Sequence[bytes | list[RowError]]) -> Reply:
        """The outputs that were asked for. Raises Problem where a row has no answer."""
        assert isinstance(request, _Inference)
        _refuse_unanswered(answers)
        found = _decode_answers(b"[" + b",".join(answer for answer in answers if isinstance(answer, bytes)) + b"]")
        kinds = _outputs(model)
        outputs, tail = [], []
        for name, binary in request.wanted.items():
            values = [answer.said(name) for answer in found]
            output: dict[str, Any] = {"name": name, "datatype": kinds[name], "shape": [len(values)]}
            if binary:
                tail.append(written(kinds[name], values))
                output["parameters"] = {"binary_data_size": len(tail[-1])}
            else:
                output["data"] = values
            outputs.append(output)
        body: dict[str, Any] = {"model_name": model.name}
        if len(versions := {answer.version for answer in found}) == 1:
            body["model_version"] = str(versions.pop())
        if request.id is not None:
            body["id"] = request.id
        head = msgspec.json.encode(body | {"outputs": outputs})
        if not tail:
            return Reply(status=200, body=head)
        length = ((HEADER_LENGTH, b"%d" % len(head)),)
        return Reply(status=200, body=b"".join((head, *tail)), content_type="application/octet-stream", headers=length)


def _named(tensors: Sequence[Tensor], tail: bytes, contract: Contract, *, max_rows: int) -> dict[str, list[Any]]:
    """Column → values, all of one length. Raises Problem."""
    columns: dict[str, list[Any]] = {}
    at = 0
    known = {column.name for column in contract.columns} | {"id"}
    for tensor in tensors:
        size = tensor.binary_size
        if size is not None and at + size > len(tail):
            detail = f"input {tensor.name[:60]!r} says {size:,} bytes and {len(tail) - at:,} are left behind the JSON"
            raise Problem(400, "bad-tensor", f"{detail}; is {HEADER_LENGTH.decode()} right?")
        found = columns_of(tensor, None if size is None else tail[at : at + size])
        at += size or 0
        is_table = len(found) != 1 or (tensor.name not in known and tensor.datatype not in ("BYTES", "BOOL"))
        names = _of_table(tensor, len(found), contract) if is_table else [tensor.name]
        if twice := [name for name in names if name in columns]:
            raise Problem(400, "bad-tensor", f"input {tensor.name[:60]!r}: {twice[0][:60]!r} is there already")
        columns |= dict(zip(names, found, strict=True))
    if at != len(tail):
        raise Problem(400, "bad-tensor", f"{len(tail) - at:,} bytes behind the JSON belong to no input")
    lengths = {name: len(values) for name, values in columns.items()}
    if not lengths or min(lengths.values()) == 0:
        raise Problem(400, "no-rows", "the inputs hold no rows; send at least one")
    if len(set(lengths.values())) > 1:
        told = few_names(f"{name} {length:,}" for name, length in lengths.items())
        raise Problem(400, "bad-tensor", f"the inputs have different numbers of rows: {told}")
    if (rows := next(iter(lengths.values()))) > max_rows:
        raise Problem(413, "too-many-rows", f"{rows:,} rows are more than {max_rows:,}; send several requests")
    return columns


def _of_table(tensor: Tensor, width: int, contract: Contract) -> list[str]:
    """The columns that a tensor of shape [n, k] holds: those that a row needs beside ids and times, all numbers."""
    columns = [column for column in contract.columns if column.role in _OF_THE_ROW]
    others = [column.name for column in columns if not _is_number(column)]
    if others:
        detail = f"shape {tensor.shape} is several columns, and {few_names(others)} of the contract is no number"
        raise Problem(400, "bad-tensor", f"input {tensor.name[:60]!r}: {detail}; send a tensor for each column")
    if width != len(columns):
        names = few_names(column.name for column in columns)
        detail = f"it has {width:,} columns and the contract {len(columns):,} ({names}), in the contract's order"
        raise Problem(400, "bad-tensor", f"input {tensor.name[:60]!r}: {detail}")
    return [column.name for column in columns]


def _is_number(column: Column) -> bool:
    return column.type in ("float", "int")


def _wanted(read: _Body, model: LiveModel) -> dict[str, bool]:
    """Output → whether as bytes. Raises Problem for an unknown one."""
    kinds = _outputs(model)
    binary = (read.parameters or {}).get("binary_data_output") is True
    if not read.outputs:
        return dict.fromkeys(kinds, binary)
    for output in read.outputs:
        if output.name not in kinds:
            known = ", ".join(kinds)
            raise Problem(400, "unknown-output", f"there is no output {output.name[:60]!r}; there are {known}")
    return {one.name: (one.parameters or {}).get("binary_data", binary) is True for one in read.outputs}


def _refuse_unanswered(answers: Sequence[bytes | list[RowError]]) -> None:
    """Raises Problem with what is wrong with the rows, where anything is."""
    wrong = [(row, error) for row, answer in enumerate(answers) if isinstance(answer, list) for error in answer]
    if not wrong:
        return
    detail = "; ".join(f"row {row}: {error.detail}" for row, error in wrong[:_FEW_ERRORS])
    if len(wrong) > _FEW_ERRORS:
        detail += f"; and {len(wrong) - _FEW_ERRORS:,} more"
    detail += ". No row of this request is answered" if len(answers) > 1 else ""
    if all(isinstance(error, OtherVersion) for _, error in wrong):
        raise Problem(404, "unknown-version", detail)
    if any(error.conflict for _, error in wrong):
        raise Problem(409, "id-conflict", detail)
    raise Problem(422, "bad-row", detail)
