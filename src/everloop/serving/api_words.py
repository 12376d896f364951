"""The parts of the API's description that are the same for every model: headers, problems, answers."""

from __future__ import annotations

from typing import Any, Final, Literal

from everloop.serving.openapi_forms import REASONS
from everloop.serving.problem import PROBLEM_TYPE

__all__ = [
    "COMMON",
    "HEADERS",
    "PARAMETERS",
    "PROBLEMS",
    "TIME",
    "key_problems",
    "problem_responses",
    "reference",
    "said_time",
]

TIME: Final = {"format": "date-time", "maxLength": 64}


def reference(kind: Literal["headers", "parameters", "responses", "schemas"], name: str) -> dict[str, Any]:
    """A reference to a part of the document's components."""
    return {"$ref": f"#/components/{kind}/{name}"}


def said_time(description: str) -> dict[str, Any]:
    """The schema of a time that a caller may tell."""
    return {"type": ["string", "null"], **TIME, "description": description}


def problem_responses(method: Literal["get", "post"]) -> dict[str, Any]:
    """The problems that a route may answer with, by status."""
    told = [one for one in _STATUSES if one[0] not in _OF_KEYS and (method == "post" or one[0] in _OF_PAGES)]
    return {status: reference("responses", name) for status, name, _, _ in told}


def key_problems() -> dict[str, Any]:
    """The problems of routes that ask for a key, by status."""
    return {status: reference("responses", name) for status, name, _, _ in _STATUSES if status in _OF_KEYS}


HEADERS: Final[dict[str, Any]] = {
    "x-request-id": {
        "description": "The request's id: yours where it was up to 128 of `A-Za-z0-9._:/+=@~-`, else a new one.",
        "required": True,
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9._:/+=@~-]{1,128}$"},
    },
    "retry-after": {
        "description": "Seconds after which the request may be sent again.",
        "required": True,
        "schema": {"type": "integer", "minimum": 0},
    },
}
PARAMETERS: Final[dict[str, Any]] = {
    "x-request-id": {
        "name": "X-Request-Id",
        "in": "header",
        "description": "An id of yours for the request; it comes back with the answer and stands in the access log.",
        "schema": {"type": "string"},
    },
    "traceparent": {
        "name": "traceparent",
        "in": "header",
        "description": "W3C Trace Context; what is not valid is ignored, as it says.",
        "schema": {"type": "string"},
    },
    "tracestate": {
        "name": "tracestate",
        "in": "header",
        "description": "Passed on with the trace.",
        "schema": {"type": "string"},
    },
}

# status, name, what it means, the kinds of problem that it has
_STATUSES: Final = (
    (
        "400",
        "not_a_request",
        "The body is not what was asked for",
        "bad-json, bad-request, no-rows, cut-off, bad-http, bad-arrow, bad-explain, bad-tensor, unknown-output",
    ),
    ("401", "no_key", "No key that is known", "key-needed, key-unknown, key-malformed"),
    ("403", "another_scope", "The key is for something else", "scope"),
    (
        "404",
        "unknown_model",
        "There is no such model, or no such path",
        "unknown-model, unknown-version, not-found, key-in-address",
    ),
    ("405", "wrong_method", "This path is asked with another method", "method-not-allowed"),
    ("408", "too_slow", "The request took too long to arrive", "too-slow"),
    ("409", "id_conflict", "The ids belong to other rows", "id-conflict"),
    (
        "413",
        "too_large",
        "The body is too large; send the rows in several requests",
        "too-large, too-many-rows, too-many-values",
    ),
    ("415", "encoded", "The body is compressed; send it as it is", "encoded"),
    ("422", "bad_row", "No row of the request keeps the contract", "bad-row"),
    ("429", "too_many", "The rate of the key is used up", "too-many-requests"),
    ("431", "head_too_large", "The request's head is too large", "head-too-large"),
    ("500", "not_answered", "An error of the endpoint's own; its log has it", "not-answered, cannot-score"),
    ("501", "not_served_here", "Something else serves the champion, and nobody named its server", "not-served-here"),
    ("502", "upstream_failed", "The server of the champion failed", "upstream-failed"),
    (
        "503",
        "again_later",
        "Send it again later",
        "no-champion, no-contract, busy, not-recorded, stopping, upstream-unavailable, routing-changed",
    ),
    ("504", "upstream_late", "The server of the champion was late", "upstream-late"),
    ("507", "storage_full", "There is no room to record the answer, so none is given", "storage-full"),
)
_OF_KEYS: Final = ("401", "403", "429")
_OF_PAGES: Final = ("400", "405", "408", "431", "500")


def _problem(status: str, text: str, kinds: str) -> dict[str, Any]:
    headers = {"x-request-id": reference("headers", "x-request-id")}
    if status == "405":
        headers["allow"] = {"description": "The method that is.", "required": True, "schema": {"type": "string"}}
    if status == "401":
        headers["www-authenticate"] = {"description": "Bearer.", "required": True, "schema": {"type": "string"}}
    if status in ("429", "503"):
        headers["retry-after"] = reference("headers", "retry-after")
    kind = kinds.split(", ")[0]
    example = {
        "type": f"urn:everloop:problem:{kind}",
        "title": kind.replace("-", " ").capitalize(),
        "status": int(status),
        "detail": f"{text}.",
    }
    content = {PROBLEM_TYPE: {"schema": reference("schemas", "problem"), "example": example}}
    return {"description": f"{text} ({kinds})", "headers": headers, "content": content}


PROBLEMS: Final[dict[str, Any]] = {name: _problem(status, text, kinds) for status, name, text, kinds in _STATUSES}

_ERRORS: Final = {"type": "array", "items": reference("schemas", "row_error")}
_VERSION_OR_NONE: Final = {"type": ["integer", "null"]}
_ROUTING: Final = {
    "revision": {"type": "integer", "description": "Of the routing that is served; 0 where none is."},
    "champion": _VERSION_OR_NONE,
    "challengers": {"type": "array", "items": {"type": "integer"}},
    "wanted": {"type": "integer", "description": "The ledger's newest revision."},
    "problem": {"type": ["string", "null"], "description": "Why the newest is not served."},
}


def _object(properties: dict[str, Any], *, optional: tuple[str, ...] = ()) -> dict[str, Any]:
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required}


COMMON: Final[dict[str, Any]] = {
    "prediction": _object(
        {
            "id": {"type": "string"},
            "score": {"type": "number"},
            "quantiles": {
                "type": "object",
                "additionalProperties": {"type": "number"},
                "description": "Of a regression: one outcome in ten lies below p10.",
            },
            "decision": {"type": "string", "description": "Of a classification."},
            "version": {"type": "integer", "description": "Whose answer this is."},
            "side": {"enum": ["champion", "challenger"]},
            "reasons": REASONS,
        },
        optional=("quantiles", "decision", "reasons"),
    ),
    "predictions": _object(
        {
            "model": {"type": "string"},
            "results": {"type": "array", "items": reference("schemas", "prediction")},
            "errors": _ERRORS,
        }
    ),
    "turn": _object(
        {
            "id": {"type": "string"},
            "version": {"type": "integer"},
            "side": {"enum": ["champion", "challenger"]},
            "propensity": {"type": "number", "description": "The probability, over keys, of this version."},
        }
    ),
    "turns": _object(
        {
            "model": {"type": "string"},
            "results": {"type": "array", "items": reference("schemas", "turn")},
            "errors": _ERRORS,
        }
    ),
    "problem": _object(
        {
            "type": {"type": "string", "pattern": "^urn:everloop:problem:[a-z-]+$"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string", "description": "One sentence that says what to do next."},
            "errors": _ERRORS,
        },
        optional=("errors",),
    ),
    "recorded": _object(
        {
            "model": {"type": "string"},
            "recorded": {"type": "integer", "description": "Rows that were taken."},
            "errors": _ERRORS,
        }
    ),
    "row_error": _object(
        {
            "index": {"type": "integer", "description": "Of the row in the request, from 0."},
            "id": {"type": ["string", "null"]},
            "column": {"type": ["string", "null"]},
            "value": {"description": "What the row has there."},
            "detail": {"type": "string"},
            "conflict": {"type": "boolean", "description": "Whether the id belongs to another row."},
        }
    ),
    "health": _object({"status": {"const": "ok"}}),
    "readiness": _object(
        {
            "ready": {"type": "boolean"},
            "slot": {"type": "integer", "description": "Which of the workers this is."},
            "ledger": {"type": ["string", "null"], "description": "Why the ledger cannot be read."},
            "models": {
                "type": "object",
                "additionalProperties": _object(
                    _ROUTING | {"current": {"type": "boolean", "description": "Whether the newest revision is served."}}
                ),
            },
        }
    ),
    "models": _object({"models": {"type": "array", "items": _object({"name": {"type": "string"}} | _ROUTING)}}),
}
