"""Every key of both files, its default and what it is for."""

from __future__ import annotations

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

__all__ = ["explain", "explain_model", "explain_settings"]

_EXAMPLES: Final[dict[tuple[str, ...], Any]] = {
    ("data", "source"): "data/*.parquet",
    ("data", "time"): "paid_at",
    ("data", "target"): "fraud",
    ("objective",): "recall at precision >= 0.80",
}
_SHARES: Final = {("train", "holdout"), ("outcome", "acts", "holdout")}
_COMMENT_COLUMN: Final = 44


def explain() -> str:
    """Both files with all defaults and a comment each; the first line of each part names the file."""
    return (
        "# everloop.yaml: where a project runs. Every key is optional; EVERLOOP_A__B in the environment wins.\n"
        f"{explain_settings()}---\n"
        "# NAME/model.yaml: what a model is. A key without a default is marked: required.\n"
        f"{explain_model()}"
    )


def explain_settings() -> str:
    """All keys of everloop.yaml."""
    return "\n".join(_lines(Settings, ())) + "\n"


def explain_model() -> str:
    """All keys of model.yaml, with examples where there is no default."""
    return "\n".join(_lines(ModelFile, ())) + "\n"


def _lines(section: type[BaseModel], path: tuple[str, ...]) -> list[str]:
    lines: list[str] = []
    for name, field in section.model_fields.items():
        key = field.alias or name
        inner = field.annotation
        example = _EXAMPLES.get((*path, key))
        if isinstance(inner, type) and issubclass(inner, Section) and example is None:
            lines += [_line(path, key, "", _comment(field)), *_lines(inner, (*path, key))]
        else:
            lines.append(_line(path, key, _value((*path, key), field), _comment(field)))
            if (*path, key) == ("outcome", "acts"):
                lines += ["  #   " + " ".join(line.split()) for line in _lines(Acts, ("",))]
    return lines


def _line(path: tuple[str, ...], key: str, value: str, comment: str | None) -> str:
    text = f"{'  ' * len(path)}{key}: {value}".rstrip()
    return f"{text:<{_COMMENT_COLUMN}}  # {comment}" if comment else text


def _comment(field: FieldInfo) -> str:
    return ("required: " if field.is_required() else "") + (field.description or "")


def _value(path: tuple[str, ...], field: FieldInfo) -> str:
    if field.is_required():
        return _flow(_EXAMPLES.get(path, "…"))
    default = field.get_default(call_default_factory=True)
    if path in _SHARES or path == ("", "holdout"):
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
