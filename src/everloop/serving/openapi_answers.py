"""The schema and an example of a prediction that another server made, as it is posted to be recorded."""

from __future__ import annotations

from typing import Any, Final

from everloop.data import Contract
from everloop.serving.api_words import reference, said_time
from everloop.serving.examples import ID, example_row
from everloop.serving.told_answer import LARGEST, MOST_SCORES, MOST_VERSION, RESERVED

__all__ = ["answered_schema", "example_answered"]

_NUMBER: Final = {"format": "float", "minimum": -LARGEST, "maximum": LARGEST}


def answered_schema(model: str, contract: Contract, *, decisions: tuple[str, ...], champion: bool) -> dict[str, Any]:
    """What was answered beside the row's own columns, or, where they share a name, around them.

    decisions: the negative and the positive one; none where scores decide nothing. champion: whether there is one; it
    is taken to have answered where no version is told.
    """
    properties = _score(decisions) | {
        "scores": {
            "type": "array",
            "maxItems": MOST_SCORES,
            "items": _told(_score(decisions), ["score", "version"], decides=bool(decisions)),
            "description": "What other versions said of the same row, each once.",
        },
        "side": {"enum": ["champion", "challenger", None], "description": "As decide said it."},
        "propensity": {
            "type": ["number", "null"],
            "exclusiveMinimum": 0,
            "maximum": 1,
            "description": "As decide said it.",
        },
        "scored_at": said_time("When it was answered, from 1970 to now: the row's time, where it brings none."),
    }
    if champion:
        said = "Whose answer it was; the champion's where it is left out."
        properties["version"] = properties["version"] | {"description": said}
    required = ["score"] if champion else ["score", "version"]
    if _shares_names(contract):
        inside = {"row": reference("schemas", f"{model}.row")}
        return _told(properties | inside, [*required, "row"], decides=bool(decisions))
    beside = _told(properties, required, decides=bool(decisions)) | {"not": {"required": ["row"]}}
    return {"allOf": [beside, reference("schemas", f"{model}.row")]}


def example_answered(contract: Contract, *, decisions: tuple[str, ...], version: int | None) -> dict[str, Any]:
    """A prediction that is recorded; of an id that no row has to predict for."""
    row = example_row(contract, row_id=f"{ID}-answered")
    answered: dict[str, Any] = {"score": 0.25, "version": 1 if version is None else version}
    answered |= {"decision": decisions[0]} if decisions else {}
    return {"row": row, **answered} if _shares_names(contract) else row | answered


def _shares_names(contract: Contract) -> bool:
    return bool(RESERVED & {column.name for column in contract.columns if column.at_prediction})


def _score(decisions: tuple[str, ...]) -> dict[str, Any]:
    """What is told of one version's answer."""
    version = {
        "type": ["integer", "string"],
        "minimum": 1,
        "maximum": MOST_VERSION,
        "pattern": "^v?[1-9][0-9]{0,8}$",
        "description": "Your number for the model that answered.",
    }
    return {
        "score": {"type": "number", "description": "What it answered.", **_NUMBER},
        "version": version,
        "decision": {
            "enum": [*decisions, False, True, None] if decisions else [None],
            "description": "What followed; it may be left out where a threshold is told." if decisions else "None.",
        },
        "threshold": {
            "type": ["number", "null"],
            "description": "Scores from it on are decided positively.",
            **_NUMBER,
        },
    }


def _told(properties: dict[str, Any], required: list[str], *, decides: bool) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object", "properties": properties, "required": required}
    if decides:
        given = {"decision": {"not": {"type": "null"}}, "threshold": {"type": "number"}}
        schema["anyOf"] = [{"required": [name], "properties": {name: one}} for name, one in given.items()]
    return schema
