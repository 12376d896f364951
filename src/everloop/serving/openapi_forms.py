"""OpenAPI entries of the other forms in which predictions are asked for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from everloop.serving.arrow import ARROW_FILE, ARROW_STREAM

__all__ = ["REASONS", "inference_paths", "with_forms"]

_JSON = "application/json"
_BINARY = "application/octet-stream"
_OBJECT: dict[str, Any] = {"type": "object"}
_ERROR: dict[str, Any] = {"type": "object", "properties": {"error": {"type": "string"}}, "required": ["error"]}
_REFUSED = {
    "400": "Not an inference request", "404": "No such model, or a version that does not answer these rows",
    "409": "An id belongs to another row", "422": "A bad row; no row is answered", "503": "Busy, or no champion yet",
    "507": "Storage is full",
}  # fmt: skip


def inference_paths(models: Iterable[str]) -> dict[str, Any]:
    """The paths of the Open Inference Protocol, for the server and for each of these models."""
    found = {
        "/v2": {"get": _read("inference_server", "The server and its extensions")},
        "/v2/health/live": {"get": _read("inference_live", "The process lives")},
        "/v2/health/ready": {"get": _read("inference_ready", "Every model that has a champion is served")},
    }
    for name in models:
        for suffix, version in (("", ""), ("_version", "/versions/{version}")):
            path = f"/v2/models/{name}{version}"
            named: dict[str, Any] = {"parameters": [_VERSION]} if version else {}
            found[path] = {"get": _read(f"metadata_{name}{suffix}", "The model's tensors") | named}
            found[f"{path}/ready"] = {"get": _read(f"ready_{name}{suffix}", "It answers") | named}
            found[f"{path}/infer"] = {"post": _infer(f"infer_{name}{suffix}") | named}
    return found


_VERSION: dict[str, Any] = {
    "name": "version",
    "in": "path",
    "required": True,
    "description": "Answered where the routing has this version answer every row anyway; else 404.",
    "schema": {"type": "string", "pattern": "^v?[0-9]+$"},
}


def _read(operation: str, what: str) -> dict[str, Any]:
    responses = {"200": {"description": what, "content": {_JSON: {"schema": _OBJECT}}}}
    return {"operationId": operation, "responses": responses | _refused("404", "503")}


def _infer(operation: str) -> dict[str, Any]:
    content = {_JSON: {"schema": _OBJECT}, _BINARY: {}}
    responses = {"200": {"description": "Answered", "content": content}} | _refused(*_REFUSED)
    return {"operationId": operation, "requestBody": {"required": True, "content": content}, "responses": responses}


def _refused(*statuses: str) -> dict[str, Any]:
    return {one: {"description": _REFUSED[one], "content": {_JSON: {"schema": _ERROR}}} for one in statuses}


def with_forms(post: dict[str, Any]) -> dict[str, Any]:
    """A predict operation whose rows and answers may be Arrow too, and whose answers may have reasons."""
    asked, answered = post["requestBody"]["content"], post["responses"]["200"]["content"]
    asked |= {ARROW_STREAM: {}, ARROW_FILE: {}}
    answered[ARROW_STREAM] = {}
    return {**post, "parameters": [*post.get("parameters", []), _EXPLAIN]}


_EXPLAIN: dict[str, Any] = {
    "name": "explain",
    "in": "query",
    "description": "How many features that moved it most are told of each score, up to as many as the model has.",
    "schema": {"type": "integer", "minimum": 1},
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
