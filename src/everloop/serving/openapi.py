"""OpenAPI 3.1 of the models that are served, from their contracts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

import msgspec

from everloop.data import Column, Contract
from everloop.ids import PREDICTION_ID
from everloop.serving.api_words import (
    COMMON,
    HEADERS,
    PARAMETERS,
    PROBLEMS,
    TIME,
    key_problems,
    problem_responses,
    reference,
    said_time,
)
from everloop.serving.callers import need_of
from everloop.serving.examples import ID, example_outcome, example_row, example_told_by_entity, example_value
from everloop.serving.inference import DATATYPES
from everloop.serving.open_model import OpenModel
from everloop.serving.openapi_answers import answered_schema, example_answered
from everloop.serving.openapi_forms import Common, inference_paths, server_paths, with_forms
from everloop.serving.outcomes import named_outcomes, told_by
from everloop.serving.rows import id_column

__all__ = ["Described", "openapi", "row_schema"]

_JSON: Final = "application/json"
_TEXT_LENGTH: Final = 10_000
_SOURCE_LENGTH: Final = 100
_INT: Final = {"minimum": -(2**63), "maximum": 2**63 - 1}
_TYPES: Final = {"float": "number", "int": "integer", "bool": "boolean", "string": "string", "datetime": "string"}
_ID: Final = {
    "type": ["string", "integer", "null"],
    "pattern": f"^{PREDICTION_ID}$",
    "description": "Yours; a UUIDv7 where it is left out. The same id with the same row gets the recorded answer.",
}
_PAGES: Final[Mapping[str, tuple[str, str, str, str]]] = {
    "/healthz": ("healthz", "Whether the process lives", _JSON, "health"),
    "/readyz": (
        "readyz",
        "Whether every model that has a champion is served, and what is wrong if not",
        _JSON,
        "readiness",
    ),
    "/metrics": ("metrics", "Prometheus's text format, of all workers together", "text/plain", ""),
    "/v1/models": ("models", "The models, and what is served of each", _JSON, "models"),
    "/openapi.json": ("openapi", "This document", _JSON, ""),
    "/docs": ("docs", "This document as a page, with a form to try it", "text/html", ""),
}


_KEYS = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "evl_…, from 'everloop key create --scope …'"},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """What is said of a model.

    version: the champion, where there is one. decides: whether a score becomes a decision. decisions: the negative and
    the positive one, where it does. quantiles: what is given beside a score. features: how many it has.
    """

    name: str
    contract: Contract
    version: int | None
    decides: bool
    decisions: tuple[str, ...] = ()
    quantiles: tuple[str, ...] = ()
    features: int = 1

    @classmethod
    def of(cls, model: OpenModel) -> Self:
        """The champion's words, where there is one, and the contract of all that is served."""
        number = model.routing.champion
        positive, negative = model.labels
        return cls(
            name=model.name,
            contract=model.contract,
            version=number,
            decides=model.decides,
            decisions=(negative, positive) if model.decides else (),
            quantiles=() if number is None else model.bundles[number].quantiles,
            features=1 if number is None else max(1, len(model.bundles[number].features.names)),
        )


def openapi(models: Iterable[Described], *, max_rows: int = 10_000, keyed: bool = False) -> dict[str, Any]:
    """The document for these models. max_rows: how many rows one request may hold. keyed: callers show a key."""
    paths: dict[str, Any] = {}
    schemas: dict[str, Any] = dict(COMMON)
    tags = []
    for model in models:
        schemas[f"{model.name}.row"] = row_schema(model.contract)
        schemas[f"{model.name}.outcome"] = _outcome_schema(model.contract, decides=model.decides)
        if model.version is not None:
            schemas[f"{model.name}.key"] = _key_schema(model.contract)
            paths[f"/v1/models/{model.name}/predict"] = {
                "post": with_forms(_predict(model, max_rows), features=model.features)
            }
            paths[f"/v1/models/{model.name}/decide"] = {"post": _decide(model, max_rows)}
            kinds = {one.name: DATATYPES[one.type] for one in model.contract.columns if one.at_prediction}
            paths |= inference_paths(model.name, example_row(model.contract), kinds, common=_common())
        schemas[f"{model.name}.answered"] = answered_schema(
            model.name, model.contract, decisions=model.decisions, champion=model.version is not None
        )
        paths[f"/v1/models/{model.name}/outcomes"] = {"post": _outcomes(model, max_rows)}
        paths[f"/v1/models/{model.name}/predictions"] = {"post": _predictions(model, max_rows)}
        who = "it has no champion yet" if model.version is None else f"v{model.version} is its champion"
        tags.append({"name": model.name, "description": f"The model {model.name}; {who}."})
    paths |= {path: {"get": _page(*said)} for path, said in _PAGES.items()} | server_paths(common=_common())
    document = {
        "openapi": "3.1.0",
        "info": {
            "title": "everloop endpoint",
            "version": "1",
            "description": "Predictions, and what turned out to be true. What is answered was recorded before.",
        },
        "tags": [*tags, {"name": "endpoint", "description": "The endpoint itself."}],
        "paths": paths,
        "components": {"schemas": schemas, "parameters": PARAMETERS, "headers": HEADERS, "responses": PROBLEMS},
    }
    return _with_keys(document) if keyed else document


def _with_keys(document: dict[str, Any]) -> dict[str, Any]:
    """The document, saying how a key is shown and where none is needed."""
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if need_of(method.upper(), path) is None:
                operation["security"] = []
            else:
                operation["responses"] = operation["responses"] | key_problems()
    components = document["components"] | {"securitySchemes": _KEYS}
    return document | {"components": components, "security": [{name: []} for name in _KEYS]}


def row_schema(contract: Contract) -> dict[str, Any]:
    """The JSON schema of a row to predict for."""
    columns = [column for column in contract.columns if column.at_prediction]
    key = id_column(contract)
    properties = {"id": _ID} | {column.name: _column_schema(column) for column in columns}
    required = [column.name for column in columns if not column.nullable and column.role not in ("id", "time")]
    schema: dict[str, Any] = {"type": "object", "properties": properties, "required": required}
    if key != "id":
        properties["id"] = _standing_for(key)
        schema["anyOf"] = [_given(key), {"properties": {"id": _ID}}]
    return schema


def _column_schema(column: Column) -> dict[str, Any]:
    if column.role == "id":
        return _ID
    kinds = [_TYPES[column.type]]
    kinds += ["integer"] if column.role == "entity" and column.type != "int" else []
    kinds += ["null"] if column.nullable or column.role == "time" else []
    schema: dict[str, Any] = {"type": kinds if len(kinds) > 1 else kinds[0]}
    if column.role == "time":
        schema["description"] = "When the row happened, from 1970 to a day ahead; its arrival where it is left out."
    if column.type == "datetime":
        schema |= TIME
    elif column.type == "string" or column.role == "entity":
        schema["maxLength"] = _TEXT_LENGTH
    elif column.type == "int":
        schema |= _INT
    if column.minimum is not None:
        schema["minimum"] = column.minimum
    if column.maximum is not None:
        schema["maximum"] = column.maximum
    if column.categories is not None:
        schema["examples"] = list(column.categories)
        schema["description"] = "Another text is answered as a missing value, and counted."
    elif column.observed is not None:
        low, high = column.observed
        schema |= {"examples": [example_value(column)], "description": f"Seen from {low:g} to {high:g}."}
    return schema


def _outcome_schema(contract: Contract, *, decides: bool) -> dict[str, Any]:
    columns, key, pair = named_outcomes(contract), id_column(contract), told_by(contract)
    properties: dict[str, Any] = {"id": _standing_for(key), key: _ID | {"description": "Of the prediction."}}
    ids = [_given(key)] if key == "id" else [_given(key), _given("id", without=key)]
    if not isinstance(pair, str):
        by_entity = {column.name: _known_column(column) for column in pair}
        said = "Of the predictions, where no id is given; with the other of the two."
        properties |= {name: schema | {"description": said} for name, schema in by_entity.items()}
        none = {"properties": {name: {"type": "null"} for name in {"id", key}} | by_entity, "required": [*by_entity]}
        for one in ids:
            one["properties"] |= dict.fromkeys(by_entity, False)
        ids.append(none)
    for column in columns:
        kinds = {_TYPES[column.type], "null"} | ({"boolean"} if column.role == "target" and decides else set())
        properties[column.name] = {"type": sorted(kinds)} | ({"maxLength": 1_000} if "string" in kinds else {})
        if column.role == "target" and column.type != "string" and contract.positive in (True, 1):
            properties[column.name] = {"enum": [0, 1, False, True, None]}
        said = "What turned out to be true" if column.role == "target" else "What was known or done later"
        properties[column.name]["description"] = f"{said}; null takes back what was told."
    properties |= {
        "source": {"type": "string", "maxLength": _SOURCE_LENGTH, "description": "Who says so."},
        "observed_at": said_time("When it was known, from 1970 on; now where it is left out."),
    }
    return {
        "type": "object",
        "properties": properties,
        "allOf": [{"anyOf": ids}, {"anyOf": [{"required": [column.name]} for column in columns]}],
        "additionalProperties": False,
    }


def _known_column(column: Column) -> dict[str, Any]:
    """The schema of a column's value that is no null."""
    schema = _column_schema(column)
    told = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    kinds = [kind for kind in told if kind != "null"]
    return schema | {"type": kinds if len(kinds) > 1 else kinds[0]}


def _given(name: str, *, without: str | None = None) -> dict[str, Any]:
    """An id under this name, and no null; and none under the other."""
    others = {} if without is None else {without: {"type": "null"}}
    return {"required": [name], "properties": {name: _ID | {"type": ["string", "integer"]}} | others}


def _standing_for(key: str) -> dict[str, Any]:
    """`id` beside a column of the contract that holds it: read where that one is not there."""
    return {"description": f"Stands for {key} where that is left out.", "examples": [ID]}


def _predict(model: Described, max_rows: int) -> dict[str, Any]:
    row = example_row(model.contract)
    result: dict[str, Any] = {"id": ID, "score": 0.25 if model.decides else 12.5}
    if model.quantiles:
        result["quantiles"] = {name: 11.5 + place for place, name in enumerate(model.quantiles)}
    if model.decides and model.decisions:
        result["decision"] = model.decisions[0]
    result |= {"version": model.version, "side": "champion"}
    answered = {"model": model.name, "results": [result], "errors": []}
    return _post(
        model,
        "predict",
        f"Predict with {model.name}",
        "A bad row stands in `errors`; its good neighbours are answered. An answer is given after it was recorded.",
        rows=(f"{model.name}.row", row, max_rows),
        answer=("predictions", answered),
    )


def _outcomes(model: Described, max_rows: int) -> dict[str, Any]:
    outcome = example_outcome(model.contract, decides=model.decides)
    by_entity = example_told_by_entity(model.contract, decides=model.decides)
    answered = {"model": model.name, "recorded": 1, "errors": []}
    return _post(
        model,
        "outcomes",
        f"Tell {model.name} what turned out to be true",
        "Of the prediction with that id, or of all that the entity has at that very time. A repeat changes nothing; a "
        "different value later is a correction, and all are kept.",
        rows=(f"{model.name}.outcome", outcome, max_rows),
        answer=("recorded", answered),
        beside={} if by_entity is None else {"by_entity": {"summary": "By entity and time", "value": by_entity}},
    )


def _predictions(model: Described, max_rows: int) -> dict[str, Any]:
    answered = example_answered(model.contract, decisions=model.decisions, version=model.version)
    return _post(
        model,
        "predictions",
        f"Record what another server answered for {model.name}",
        "The row, as predict takes it, with the answer that it was given: it is watched as if it had been given here.",
        rows=(f"{model.name}.answered", answered, max_rows),
        answer=("recorded", {"model": model.name, "recorded": 1, "errors": []}),
    )


def _decide(model: Described, max_rows: int) -> dict[str, Any]:
    entity = model.contract.only("entity")
    row = {"id": ID} | ({} if entity is None else {entity.name: example_value(entity)})
    turn = {"id": ID, "version": model.version, "side": "champion", "propensity": 1.0}
    return _post(
        model,
        "decide",
        f"Ask which version of {model.name} is to answer",
        "As predict would assign the row's entity, else its id. Nothing is recorded.",
        rows=(f"{model.name}.key", row, max_rows),
        answer=("turns", {"model": model.name, "results": [turn], "errors": []}),
    )


def _key_schema(contract: Contract) -> dict[str, Any]:
    """What decides whose turn it is: of a row its id and its entity."""
    columns = [column for column in contract.columns if column.role in ("id", "entity")]
    return row_schema(msgspec.structs.replace(contract, columns=tuple(columns)))


def _post(
    model: Described,
    kind: str,
    summary: str,
    description: str,
    *,
    rows: tuple[str, dict[str, Any], int],
    answer: tuple[str, dict[str, Any]],
    beside: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """rows: the schema of one, an example of one, and how many may come. answer: the schema and an example.

    beside: further examples of a body.
    """
    schema, example, most = rows
    one = reference("schemas", schema)
    # a row that is sent alone is told from many by this name
    alone = {"allOf": [one, {"not": {"required": ["rows"]}}]}
    many = {
        "type": "object",
        "properties": {"rows": {"type": "array", "items": one, "minItems": 1, "maxItems": most}},
        "required": ["rows"],
        "additionalProperties": False,
    }
    examples = {
        "rows": {"summary": "Rows", "value": {"rows": [example]}},
        "alone": {"summary": "One row alone", "value": example},
        **({} if beside is None else beside),
    }
    content = {_JSON: {"schema": {"anyOf": [many, alone]}, "examples": examples}}
    answered = {_JSON: {"schema": reference("schemas", answer[0]), "example": answer[1]}}
    return {
        "operationId": f"{kind}_{model.name}",
        "summary": summary,
        "description": description,
        "tags": [model.name],
        "parameters": [reference("parameters", name) for name in PARAMETERS],
        "requestBody": {"required": True, "content": content},
        "responses": {"200": _answered("Answered", answered)} | problem_responses("post"),
    }


def _page(operation: str, what: str, content_type: str, schema: str) -> dict[str, Any]:
    shown: dict[str, Any] = {"schema": reference("schemas", schema)} if schema else {}
    if not schema:
        shown = {"schema": {"type": "object"}} if content_type == _JSON else {"schema": {"type": "string"}}
    answered = _answered(what, {content_type: shown})
    responses: dict[str, Any] = {"200": answered} | problem_responses("get")
    if operation == "readyz":
        again = {"retry-after": reference("headers", "retry-after")}
        responses["503"] = {
            **answered,
            "description": "A model that has a champion is not served",
            "headers": answered["headers"] | again,
        }
    return {
        "operationId": operation,
        "summary": what,
        "tags": ["endpoint"],
        "parameters": [reference("parameters", name) for name in PARAMETERS],
        "responses": responses,
    }


def _common() -> Common:
    problems = {status: one for status, one in problem_responses("post").items() if status in ("408", "431")}
    parameters = [reference("parameters", name) for name in PARAMETERS]
    return Common(parameters, {"x-request-id": reference("headers", "x-request-id")}, problems)


def _answered(description: str, content: dict[str, Any]) -> dict[str, Any]:
    headers = {"x-request-id": reference("headers", "x-request-id")}
    return {"description": description, "headers": headers, "content": content}
