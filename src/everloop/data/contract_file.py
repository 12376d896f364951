"""contract.yaml: the contract as people read and edit it, every mistake told with its line."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from everloop.data.column import COLUMN_TYPES, ROLES, Column
from everloop.data.contract import Contract
from everloop.errors import ConfigurationError
from everloop.project import Document, did_you_mean, dump_yaml, parse_document, read_document

if TYPE_CHECKING:
    from everloop.project import Model

__all__ = ["contract_text", "parse_contract", "read_contract", "write_contract"]

_KEYS: Final = ("type", "role", "nullable", "range", "observed", "categories")
_TOP: Final = ("columns", "positive")
_HEAD: Final = f"""\
# The columns a row must have. Written once from the data, then yours to edit.
# type: {", ".join(COLUMN_TYPES)}
# role: feature (to the model as it is), input (only read by features.py), ignored;
#   time, id, entity, target, weight, segment and outcome follow model.yaml
# nullable and range: [low, high] are enforced; observed is what was seen, a description
# categories: the values known to the model; another one counts as missing
"""


def contract_text(contract: Contract) -> str:
    """The contract.yaml of a contract; `parse_contract` reads the same back."""
    value: dict[str, Any] = {} if contract.positive is None else {"positive": contract.positive}
    value["columns"] = {column.name: _column_value(column) for column in contract.columns}
    return _HEAD + dump_yaml(value)


def write_contract(path: Path, contract: Contract) -> None:
    """Write contract.yaml."""
    path.write_text(contract_text(contract), encoding="utf-8")


def _column_value(column: Column) -> dict[str, Any]:
    value: dict[str, Any] = {"type": column.type, "role": column.role}
    if column.nullable:
        value["nullable"] = True
    if column.minimum is not None or column.maximum is not None:
        value["range"] = [column.minimum, column.maximum]
    if column.observed is not None:
        value["observed"] = list(column.observed)
    if column.categories is not None:
        value["categories"] = list(column.categories)
    return value


def read_contract(model: Model) -> Contract:
    """The contract beside model.yaml. Raises ConfigurationError with every mistake and its line."""
    shown = f"{model.name}/contract.yaml"
    if not model.contract_path.exists():
        raise ConfigurationError([f"{shown}:1: there is no such file; 'everloop init' infers it from the data"])
    return _contract(read_document(model.contract_path, name=shown), model)


def parse_contract(text: str, model: Model) -> Contract:
    """The contract of a YAML text, as if it lay beside model.yaml."""
    return _contract(parse_document(text, name=f"{model.name}/contract.yaml"), model)


def _contract(document: Document, model: Model) -> Contract:
    reader = _Reader(document, model)
    contract = reader.contract()
    if reader.mistakes or contract is None:
        raise ConfigurationError(reader.mistakes)
    return contract


class _Reader:
    """Reads one document and gathers what is wrong with it."""

    def __init__(self, document: Document, model: Model) -> None:
        self._document = document
        self._model = model
        self.mistakes = list(document.mistakes)

    def _wrong(self, path: tuple[str | int, ...], sentence: str) -> None:
        self.mistakes.append(self._document.mistake(path, sentence))

    def contract(self) -> Contract | None:
        value = self._document.value
        if self.mistakes:
            return None
        if not isinstance(value, dict) or not isinstance(value.get("columns"), dict) or not value["columns"]:
            self._wrong(("columns",), "is missing; it maps each column's name to its type and role")
            return None
        self._unknown_keys((), value, _TOP)
        found = [self._column(name, inner) for name, inner in value["columns"].items()]
        columns = tuple(column for column in found if column is not None)
        self._check_roles({column.name: column for column in columns})
        positive = value.get("positive") if self._model.data.positive is None else self._model.data.positive
        if positive is not None and self._model.task == "regression":
            self._wrong(("positive",), "a regression has no positive class; its target is a number. Leave it out")
        elif positive is not None and not isinstance(positive, bool | int | float | str):
            self._wrong(("positive",), f"{positive!r} is not a value of the target")
        time = self._model.data.time
        return Contract(
            columns=columns,
            timezone=self._model.timezone,
            time_unit=time.unit,
            time_origin=None if time.origin is None else time.origin.isoformat(),
            positive=positive,
        )

    def _unknown_keys(self, path: tuple[str, ...], value: Mapping[str, Any], allowed: tuple[str, ...]) -> None:
        for key in value:
            if key not in allowed:
                hint = did_you_mean(str(key), allowed) or "; the keys here are " + ", ".join(allowed)
                self._wrong((*path, key), "unknown key" + hint)

    def _column(self, name: str, value: Any) -> Column | None:
        path = ("columns", name)
        if not isinstance(value, dict):
            self._wrong(path, "is a mapping such as {type: float, role: feature}")
            return None
        self._unknown_keys(path, value, _KEYS)
        before = len(self.mistakes)
        for key, allowed in (("type", COLUMN_TYPES), ("role", ROLES)):
            if value.get(key) not in allowed:
                hint = did_you_mean(str(value.get(key)), allowed)
                self._wrong((*path, key), f"{value.get(key)!r} is not one of {', '.join(allowed)}{hint}")
        if not isinstance(value.get("nullable", False), bool):
            self._wrong((*path, "nullable"), f"{value['nullable']!r} is not true or false")
        allowed_range = self._pair(path, "range", value, open_ends=True)
        observed = self._pair(path, "observed", value, open_ends=False)
        categories = self._categories(path, value)
        if len(self.mistakes) > before:
            return None
        return Column(
            name=name,
            type=value["type"],
            role=value["role"],
            nullable=value.get("nullable", False),
            minimum=allowed_range[0],
            maximum=allowed_range[1],
            observed=None if observed[0] is None or observed[1] is None else (observed[0], observed[1]),
            categories=categories,
            segment=name in self._model.data.segments,
        )

    def _pair(
        self, path: tuple[str, ...], key: str, value: Mapping[str, Any], *, open_ends: bool
    ) -> tuple[float | None, float | None]:
        pair = value.get(key)
        if pair is None:
            return None, None
        if value.get("type") not in ("float", "int"):
            self._wrong((*path, key), f"only numbers have one, and the type is {value.get('type')}")
            return None, None
        good = isinstance(pair, list) and len(pair) == 2 and all(_is_bound(end, open_ends) for end in pair)
        if not good:
            self._wrong(
                (*path, key), f"{pair!r} is not two numbers [low, high]{'; null leaves an end open' * open_ends}"
            )
            return None, None
        low, high = (None if end is None else float(end) for end in pair)
        if low is not None and high is not None and low > high:
            self._wrong((*path, key), f"the low end {low:g} is above the high end {high:g}")
        return low, high

    def _categories(self, path: tuple[str, ...], value: Mapping[str, Any]) -> tuple[str, ...] | None:
        given = value.get("categories")
        if given is None:
            if value.get("type") == "string" and value.get("role") == "feature":
                self._wrong(path, "a text that is a feature needs its categories: [A, B]; or role: input")
            return None
        if value.get("type") != "string":
            self._wrong((*path, "categories"), f"only texts have categories, and the type is {value.get('type')}")
        elif not isinstance(given, list) or not all(isinstance(item, str) for item in given):
            self._wrong((*path, "categories"), f"{given!r} is not a list of texts; put numbers in quotes")
        elif len(set(given)) < len(given):
            self._wrong((*path, "categories"), "a category stands twice")
        else:
            return tuple(given)
        return None

    def _check_roles(self, columns: Mapping[str, Column]) -> None:
        """model.yaml decides who is time, id, entity, target and weight; the contract says the same."""
        given = {name: role for role, name in self._model.data.role_columns().items()}
        if self._model.outcome.acts is not None:
            given[self._model.outcome.acts.column] = "outcome"
        listed = self._document.value["columns"]
        for name, role in given.items():
            if name not in listed:
                hint = did_you_mean(name, listed)
                self._wrong(("columns",), f"{name!r}, the {role} in model.yaml, is missing{hint}")
            elif name in columns and columns[name].role != role:
                self._wrong(
                    ("columns", name, "role"), f"model.yaml says that it is the {role}, here it is {columns[name].role}"
                )
        for name, column in columns.items():
            if column.role in ("time", "id", "entity", "target", "weight") and given.get(name) != column.role:
                self._wrong(("columns", name, "role"), f"model.yaml does not say that it is the {column.role}")
        for name in self._model.data.segments:
            if name not in listed:
                self._wrong(("columns",), f"{name!r}, a segment in model.yaml, is missing{did_you_mean(name, listed)}")


def _is_bound(end: Any, open_ends: bool) -> bool:
    if end is None:
        return open_ends
    return isinstance(end, int | float) and not isinstance(end, bool) and isfinite(end)
