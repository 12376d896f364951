"""What the parts of both files have in common, and how their mistakes are told."""

from __future__ import annotations

from collections.abc import Mapping
from types import UnionType
from typing import Annotated, Any, Final, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError

from everloop.project.document import KeyPath
from everloop.project.metrics import did_you_mean

__all__ = ["Section", "keys_of", "sentences"]


class Section(BaseModel):
    """A part of a file: frozen, strict about its keys."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        validate_default=False,
        arbitrary_types_allowed=True,
        protected_namespaces=(),
        coerce_numbers_to_str=False,
    )


_PLAIN: Final = {
    "string_type": "is text",
    "int_type": "is a whole number",
    "int_parsing": "is a whole number",
    "int_from_float": "is a whole number",
    "float_type": "is a number",
    "float_parsing": "is a number",
    "bool_type": "is true or false",
    "bool_parsing": "is true or false",
    "tuple_type": "is a list",
    "list_type": "is a list",
    "mapping_type": "is a mapping of keys to values",
    "dict_type": "is a mapping of keys to values",
    "model_type": "is a mapping of keys to values",
    "model_attributes_type": "is a mapping of keys to values",
}
_LIMITS: Final = {"greater_than_equal": ("≥", "ge"), "greater_than": (">", "gt"), "less_than_equal": ("≤", "le")}


def sentences(error: ValidationError, root: type[BaseModel]) -> list[tuple[KeyPath, str]]:
    """Every mistake of a validation as a key and a sentence."""
    return [_sentence(dict(item), root) for item in error.errors(include_url=False)]


def _sentence(item: Mapping[str, Any], root: type[BaseModel]) -> tuple[KeyPath, str]:
    path: KeyPath = tuple(item["loc"])
    kind, got, context = str(item["type"]), item["input"], item.get("ctx") or {}
    if kind == "extra_forbidden":
        allowed = keys_of(root, path[:-1])
        hint = did_you_mean(str(path[-1]), allowed) or "; the keys here are " + ", ".join(allowed)
        return path, "unknown key" + hint
    if kind == "missing":
        return path, "is missing and has no default"
    if kind == "value_error":
        return path, str(context["error"])
    if kind == "literal_error":
        expected = str(context["expected"]).replace("'", "").replace(" or ", ", ")
        hint = did_you_mean(str(got), expected.split(", "))
        return path, f"{got!r} is not one of {expected}{hint}"
    if kind in _LIMITS:
        sign, name = _LIMITS[kind]
        return path, f"{got} is out of range (allowed: {sign} {context[name]})"
    if kind in _PLAIN:
        return path, f"{got!r} is not allowed: the value {_PLAIN[kind]}"
    return path, f"{item['msg']} (got {got!r})"


def keys_of(root: type[BaseModel], path: KeyPath) -> list[str]:
    """The keys allowed in the section at `path` of a file described by `root`."""
    section: Any = root
    for part in path:
        if isinstance(part, int):
            continue
        if get_origin(section) is Mapping:  # the part is a key of the user's own
            section = get_args(section)[1]
            section = get_args(section)[0] if get_origin(section) is Annotated else section
            continue
        section = _section_in(_field_of(section, part)) if _is_section(section) else None
    return [field.alias or name for name, field in section.model_fields.items()] if _is_section(section) else []


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _field_of(section: type[BaseModel], key: str) -> Any:
    for name, field in section.model_fields.items():
        if key == (field.alias or name):
            return field.annotation
    return None


def _section_in(annotation: Any) -> Any:
    """The section class inside `X`, `X | None` or `tuple[X, ...]`."""
    if get_origin(annotation) in (Union, UnionType, tuple):
        return next((found for part in get_args(annotation) if _is_section(found := _section_in(part))), None)
    return annotation
