"""Every key of both files, its default and what it is for."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from everloop.project.document import dump_yaml
from everloop.project.durations import format_duration
from everloop.project.model import ModelFile
from everloop.project.outcome import Acts
from everloop.project.section import Section
from everloop.project.settings import Settings

__all__ = ["explain", "explain_model", "explain_records", "explain_settings"]

_EXAMPLES: Final[dict[tuple[str, ...], Any]] = {
    ("data", "source"): "data/*.parquet",
    ("data", "time"): "paid_at",
    ("data", "target"): "fraud",
    ("objective",): "recall at precision >= 0.80",
}
_SHARES: Final = {("train", "holdout"), ("outcome", "acts", "holdout")}
_COMMENT_COLUMN: Final = 40
_WIDTH: Final = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class _Key:
    """One key: where it stands, its value as YAML (empty for a section), what it is for."""

    path: tuple[str, ...]
    value: str
    about: str
    inside_comment: bool = False

    @property
    def text(self) -> str:
        if self.inside_comment:
            return f"  #   {self.path[-1]}: {self.value}"
        return f"{'  ' * (len(self.path) - 1)}{self.path[-1]}: {self.value}".rstrip()


def explain() -> str:
    """Both files with all defaults and a comment each, in 80 columns; the first line of each part names the file."""
    return (
        "# everloop.yaml: where a project runs. Every key is optional;\n"
        "# EVERLOOP_A__B in the environment wins over a: {b: …}.\n"
        f"{explain_settings()}---\n"
        "# NAME/model.yaml: what a model is. A key without a default is marked: required.\n"
        f"{explain_model()}"
    )


def explain_records() -> dict[str, list[dict[str, str]]]:
    """The same for machines: by file, every key with its default and what it is for."""
    files: dict[str, type[BaseModel]] = {"everloop.yaml": Settings, "model.yaml": ModelFile}
    return {
        name: [{"key": ".".join(key.path), "value": key.value, "about": key.about} for key in _keys(section, ())]
        for name, section in files.items()
    }


def explain_settings() -> str:
    """All keys of everloop.yaml."""
    return _text(Settings)


def explain_model() -> str:
    """All keys of model.yaml, with examples where there is no default."""
    return _text(ModelFile)


def _text(section: type[BaseModel]) -> str:
    return "\n".join(line for key in _keys(section, ()) for line in _commented(key.text, key.about)) + "\n"


def _keys(section: type[BaseModel], path: tuple[str, ...]) -> Iterator[_Key]:
    for name, field in section.model_fields.items():
        here = (*path, field.alias or name)
        inner = field.annotation
        is_section = isinstance(inner, type) and issubclass(inner, Section) and here not in _EXAMPLES
        yield _Key(path=here, value="" if is_section else _value(here, field), about=_comment(field))
        if isinstance(inner, type) and is_section:
            yield from _keys(inner, here)
        if here == ("outcome", "acts"):
            yield from (replace(key, inside_comment=True) for key in _keys(Acts, here))


def _commented(text: str, comment: str) -> Iterator[str]:
    """The key, and its comment beside it, or below where one of them is long."""
    told = [f"# {line}" for line in textwrap.wrap(comment, _WIDTH - _COMMENT_COLUMN - 2)]
    if len(text) > _COMMENT_COLUMN - 2:
        yield text
        text = ""
    for line in told:
        yield f"{text:<{_COMMENT_COLUMN}}{line}"
        text = ""
    if not told:
        yield text


def _comment(field: FieldInfo) -> str:
    return ("required: " if field.is_required() else "") + (field.description or "")


def _value(path: tuple[str, ...], field: FieldInfo) -> str:
    if field.is_required():
        return _flow(_EXAMPLES.get(path, "…"))
    default = field.get_default(call_default_factory=True)
    if path in _SHARES:
        return f"{default:.0%}"
    return _flow(_plain(default))


def _plain(value: Any) -> Any:
    if isinstance(value, timedelta):
        return format_duration(value)
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, bool | int | float | str | dict):
        return value
    if isinstance(value, datetime | Path):
        return str(value)
    return str(value)


def _flow(value: Any) -> str:
    """One line of YAML."""
    if isinstance(value, list):
        return "[" + ", ".join(_flow(item) for item in value) + "]"
    if value is None:
        return "null"
    if value == {}:
        return "{}"
    return dump_yaml(value).removesuffix("...\n").strip()
