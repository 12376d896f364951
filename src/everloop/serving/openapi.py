"""OpenAPI 3.1 of the models that are served, from their contracts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from everloop.data import Column, Contract
from everloop.serving.callers import need_of
from everloop.serving.outcomes import named_outcomes
from everloop.serving.rows import id_column

__all__ = ["openapi", "row_schema"]

_JSON = "application/json"
_TYPES = {"float": "number", "int": "integer", "bool": "boolean", "string": "string", "datetime": "string"}
_ID = {
    "type": ["string", "integer", "null"],
    "pattern": "^[A-Za-z0-9._:-]{1,64}$",
    "description": "Yours; a UUIDv7 where it is left out.",
}
_PAGES = {
    "/healthz": ("The process lives", _JSON),
    "/readyz": ("Every model that has a champion is served (503: one is not); what is wrong, if something is", _JSON),
    "/metrics": ("Prometheus's text format", "text/plain"),
    "/v1/models": ("The models, and what is served of each", _JSON),
    "/openapi.json": ("This document", _JSON),
}


_REFUSED = {"401": "No key that is known", "403": "The key is for something else", "429": "Its rate is used up"}
_KEYS = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "evl_…, from 'everloop key create --scope …'"},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}


def openapi(models: Iterable[tuple[str, Contract, bool]], *, keyed: bool = False) -> dict[str, Any]:
    """The document for these models: name, contract, and whether the model decides anything.

    keyed: callers show a key.
    """
    paths: dict[str, Any] = {path: {"get": _page(path, *said)} for path, said in _PAGES.items()}
    schemas: dict[str, Any] = dict(_COMMON)
    for name, contract, decides in models:
        schemas[f"{name}.row"] = row_schema(contract)
        schemas[f"{name}.outcome"] = _outcome_schema(contract, decides=decides)
        paths[f"/v1/models/{name}/predict"] = {"post": _post(f"predict_{name}", f"{name}.row", "predictions")}
        paths[f"/v1/models/{name}/outcomes"] = {"post": _post(f"outcomes_{name}", f"{name}.outcome", "recorded")}
    document = {
        "openapi": "3.1.0",
        "info": {"title": "everloop endpoint", "version": "1"},
        "paths": paths,
        "components": {"schemas": schemas},
    }
    return _with_keys(document) if keyed else document


def _with_keys(document: dict[str, Any]) -> dict[str, Any]:
    """The document, saying how a key is shown and where none is needed."""
    problem = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/problem"}}}
    refused = {status: {"description": text, "content": problem} for status, text in _REFUSED.items()}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if need_of(method.upper(), path) is None:
                operation["security"] = []
            else:
                operation["responses"] = operation["responses"] | refused
    components = document["components"] | {"securitySchemes": _KEYS}
    return document | {"components": components, "security": [{name: []} for name in _KEYS]}


def row_schema(contract: Contract) -> dict[str, Any]:
    """The JSON schema of a row to predict for."""
    columns = [column for column in contract.columns if column.at_prediction]
    properties = {"id": _ID} | {column.name: _column_schema(column) for column in columns}
    required = [column.name for column in columns if not column.nullable and column.role not in ("id", "time")]
    return {"type": "object", "properties": properties, "required": required}


def _column_schema(column: Column) -> dict[str, Any]:
    if column.role == "id":
        return _ID
    kinds = [_TYPES[column.type]]
    kinds += ["integer"] if column.role == "entity" else []
    kinds += ["null"] if column.nullable or column.role == "time" else []
    schema: dict[str, Any] = {"type": kinds if len(kinds) > 1 else kinds[0]}
    if column.role == "time":
        schema["description"] = "When the row happened; arrival where it is left out."
    if column.type == "datetime":
        schema["format"] = "date-time"
    if column.minimum is not None:
        schema["minimum"] = column.minimum
    if column.maximum is not None:
        schema["maximum"] = column.maximum
    if column.categories is not None:
        schema["examples"] = list(column.categories)
    return schema


def _outcome_schema(contract: Contract, *, decides: bool) -> dict[str, Any]:
    columns, key = named_outcomes(contract), id_column(contract)
    properties: dict[str, Any] = {key: {"type": "string"}, "id": {"type": "string"}}
    for column in columns:
        kinds = {_TYPES[column.type], "null"} | ({"boolean"} if column.role == "target" and decides else set())
        properties[column.name] = {"type": sorted(kinds)}
        if column.role == "target" and column.type != "string" and contract.positive in (True, 1):
            properties[column.name] = {"enum": [0, 1, False, True, None]}
    properties |= {"source": {"type": "string"}, "observed_at": {"type": "string", "format": "date-time"}}
    return {
        "type": "object",
        "properties": properties,
        "allOf": [_one_of(dict.fromkeys([key, "id"])), _one_of(column.name for column in columns)],
        "additionalProperties": False,
    }


def _one_of(names: Iterable[str]) -> dict[str, Any]:
    """At least one of these."""
    return {"anyOf": [{"required": [name]} for name in names]}


def _page(path: str, what: str, content_type: str) -> dict[str, Any]:
    responses = {"200": {"description": what, "content": {content_type: {}}}}
    if path == "/readyz":
        responses["503"] = responses["200"]
    return {"operationId": path.strip("/").replace("/", "_").removesuffix(".json"), "responses": responses}


def _post(operation: str, row: str, answer: str) -> dict[str, Any]:
    one = {"$ref": f"#/components/schemas/{row}"}
    many = {"type": "object", "properties": {"rows": {"type": "array", "items": one}}, "required": ["rows"]}
    problem = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/problem"}}}
    statuses = {"400": "Not a request", "404": "No such model", "409": "The id belongs to another row"}
    statuses |= {"408": "Too slow", "413": "Too large", "415": "Encoded", "422": "A bad row, sent alone"}
    statuses |= {"503": "No champion yet, or busy: send it again later", "507": "Storage is full"}
    answered = {"application/json": {"schema": {"$ref": f"#/components/schemas/{answer}"}}}
    responses: dict[str, Any] = {"200": {"description": "Answered", "content": answered}}
    responses |= {status: {"description": text, "content": problem} for status, text in statuses.items()}
    content = {"application/json": {"schema": {"anyOf": [many, one]}}}
    return {
        "operationId": operation,
        "requestBody": {"required": True, "content": content},
        "responses": responses,
    }


_ERRORS = {"type": "array", "items": {"$ref": "#/components/schemas/row_error"}}
_COMMON: dict[str, Any] = {
    "prediction": {
        "type": "object",
        "properties": {
            "id": {"type": "string"},
            "score": {"type": "number"},
            "quantiles": {
                "type": "object",
                "additionalProperties": {"type": "number"},
                "description": "Of a regression: one outcome in ten lies below p10.",
            },
            "decision": {"type": "string", "description": "Of a classification."},
            "version": {"type": "integer"},
            "side": {"enum": ["champion", "challenger"]},
        },
        "required": ["id", "score", "version", "side"],
    },
    "predictions": {
        "type": "object",
        "properties": {
            "model": {"type": "string"},
            "results": {"type": "array", "items": {"$ref": "#/components/schemas/prediction"}},
            "errors": _ERRORS,
        },
        "required": ["model", "results", "errors"],
    },
    "problem": {
        "type": "object",
        "properties": {
            "type": {"type": "string"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string"},
            "errors": _ERRORS,
        },
        "required": ["type", "title", "status", "detail"],
    },
    "recorded": {
        "type": "object",
        "properties": {"model": {"type": "string"}, "recorded": {"type": "integer"}, "errors": _ERRORS},
        "required": ["model", "recorded", "errors"],
    },
    "row_error": {
        "type": "object",
        "properties": {
            "index": {"type": "integer"},
            "id": {"type": ["string", "null"]},
            "column": {"type": ["string", "null"]},
            "value": {},
            "detail": {"type": "string"},
            "conflict": {"type": "boolean", "description": "Whether the id belongs to another row."},
        },
        "required": ["index", "id", "column", "value", "detail", "conflict"],
    },
}
