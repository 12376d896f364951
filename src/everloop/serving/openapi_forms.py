"""OpenAPI entries of the other forms in which predictions are asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from everloop.serving.arrow import ARROW_FILE, ARROW_STREAM
from everloop.serving.problem import PROBLEM_TYPE

__all__ = ["REASONS", "Common", "inference_paths", "server_paths", "with_forms"]

_JSON = "application/json"
_BINARY = "application/octet-stream"
_OBJECT: dict[str, Any] = {"type": "object"}
_ERROR: dict[str, Any] = {"type": "object", "properties": {"error": {"type": "string"}}, "required": ["error"]}
_TENSOR: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}},
        "datatype": {"enum": ["BOOL", "BYTES", "FP32", "FP64", "INT64"]},
        "data": {"type": "array"},
    },
    "required": ["name", "shape", "datatype", "data"],
}
_TENSORS = {"type": "array", "items": _TENSOR, "minItems": 1}
_REFUSED = {
    "400": "Not a request of the protocol", "404": "No such model, or a version that does not answer these rows",
    "405": "This path is asked with another method", "409": "An id belongs to another row", "413": "Too large",
    "415": "The body is compressed", "422": "A bad row; no row is answered", "500": "An error of the endpoint's own",
    "503": "Busy, or no champion yet", "507": "Storage is full",
}  # fmt: skip
_OF_READING = ("400", "404", "405", "500", "503")


def inference_paths(model: str, row: Mapping[str, Any], kinds: Mapping[str, str], *, common: Common) -> dict[str, Any]:
    """The paths of the Open Inference Protocol for a model.

    row: an example. kinds: the datatype of each of its columns. common: what every operation has.
    """
    found = {}
    for suffix, version in (("", ""), ("_version", "/versions/{version}")):
        path, named = f"/v2/models/{model}{version}", [_VERSION] if version else []
        for operation, below, what in (("metadata", "", "its tensors"), ("ready", "/ready", "whether it answers")):
            summary = f"The Open Inference Protocol on {model}: {what}"
            read = _operation(f"{operation}_{model}{suffix}", summary, model, named, common, _OF_READING)
            found[f"{path}{below}"] = {"get": read}
        summary = f"Ask {model} by the Open Inference Protocol"
        infer = _operation(f"infer_{model}{suffix}", summary, model, named, common, tuple(_REFUSED))
        found[f"{path}/infer"] = {"post": infer | {"requestBody": _asked(row, kinds)}}
    return found


def server_paths(*, common: Common) -> dict[str, Any]:
    """The protocol's paths about the server itself."""
    said = {
        "/v2": ("inference_server", "The server, by the Open Inference Protocol"),
        "/v2/health/live": ("inference_live", "The process lives, by the same"),
        "/v2/health/ready": ("inference_ready", "Every model that has a champion is served, by the same"),
    }
    return {
        path: {"get": _operation(name, summary, "endpoint", [], common, _OF_READING)}
        for path, (name, summary) in said.items()
    }


class Common(NamedTuple):
    """What every operation has: parameters, headers of an answer, and the problems that no route tells by itself."""

    parameters: list[dict[str, Any]]
    headers: dict[str, Any]
    problems: dict[str, Any]


_VERSION: dict[str, Any] = {
    "name": "version",
    "in": "path",
    "required": True,
    "description": "Answered where the routing has this version answer every row anyway; else 404.",
    "schema": {"type": "string", "pattern": "^v?[0-9]+$"},
}


def _operation(
    name: str, summary: str, tag: str, parameters: list[dict[str, Any]], common: Common, refused: Sequence[str]
) -> dict[str, Any]:
    answered = {"description": "Answered", "headers": common.headers, "content": {_JSON: {"schema": _OBJECT}}}
    return {
        "operationId": name,
        "summary": summary,
        "tags": [tag],
        "parameters": [*common.parameters, *parameters],
        "responses": {"200": answered} | common.problems | {one: _refused(one, common) for one in refused},
    }


def _refused(status: str, common: Common) -> dict[str, Any]:
    content = {_JSON: {"schema": _ERROR}, PROBLEM_TYPE: {"schema": {"$ref": "#/components/schemas/problem"}}}
    return {"description": _REFUSED[status], "headers": common.headers, "content": content}


def _asked(row: Mapping[str, Any], kinds: Mapping[str, str]) -> dict[str, Any]:
    tensors = [
        {"name": name, "shape": [1], "datatype": kinds[name], "data": [value]}
        for name, value in row.items()
        if name in kinds and value is not None
    ]
    schema = {"type": "object", "properties": {"id": {"type": "string"}, "inputs": _TENSORS}, "required": ["inputs"]}
    examples = {"tensors": {"summary": "A tensor a column", "value": {"inputs": tensors}}}
    return {"required": True, "content": {_JSON: {"schema": schema, "examples": examples}, _BINARY: {}}}


def with_forms(post: dict[str, Any], *, features: int) -> dict[str, Any]:
    """A predict operation whose rows and answers may be Arrow too, and whose answers may have reasons.

    features: how many the model has, and so reasons at most.
    """
    asked, answered = post["requestBody"]["content"], post["responses"]["200"]["content"]
    asked |= {ARROW_STREAM: {}, ARROW_FILE: {}}
    answered[ARROW_STREAM] = {}
    explain = {**_EXPLAIN, "schema": {"type": "integer", "minimum": 1, "maximum": features}}
    return {**post, "parameters": [*post["parameters"], explain]}


_EXPLAIN: dict[str, Any] = {
    "name": "explain",
    "in": "query",
    "description": "How many features that moved it most are told of each score, up to as many as the model has.",
}
_VALUE: dict[str, Any] = {"type": ["number", "string", "boolean", "null"]}
REASONS: dict[str, Any] = {
    "type": ["array", "null"],
    "description": "Where `explain` asks for them: the largest effect first.",
    "items": {
        "type": "object",
        "properties": {
            "feature": {"type": "string"},
            "value": _VALUE,
            "typical": _VALUE,
            "effect": {"type": "number", "description": "The score less that with the typical value."},
            "direction": {"enum": ["raises", "lowers"]},
        },
        "required": ["feature", "value", "typical", "effect", "direction"],
    },
}
"""The schema of an answer's reasons."""
