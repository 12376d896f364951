"""The revision parameter: which version of each value belongs together, so that a put is seen whole or not at all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final, Literal

import msgspec

from everloop.integrations.ssm.parameters import HYPERPARAMETERS
from everloop.models import said_value
from everloop.project import Spec

__all__ = ["Manifest", "configured", "content_sum", "put_values"]

_LISTS: Final = ("features", "quantiles")


class Manifest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What holds: name → version, and the sum of the values.

    state: `writing` while a put is under way; the manifest then still names what held before, under the name
        `version` that it had. spec, reason: of what was put; values that somebody set by hand have none. by: who put.
    beside: parameters that were there at the time and do not belong.
    """

    state: Literal["whole", "writing"] = "whole"
    values: dict[str, int] = {}
    beside: dict[str, int] = {}
    sha256: str = ""
    spec: str | None = None
    reason: str = ""
    by: str = ""
    version: str = ""

    @classmethod
    def read(cls, text: str) -> Manifest:
        """The manifest of a parameter's text. Raises ValueError where somebody wrote something else there."""
        try:
            return msgspec.json.decode(text.encode(), type=cls)
        except msgspec.DecodeError as error:
            raise ValueError(str(error)) from error

    def text(self) -> str:
        """As it is kept: one line of JSON."""
        return msgspec.json.encode(self, order="sorted").decode()


def content_sum(values: Mapping[str, str]) -> str:
    """sha256 of name → text."""
    return hashlib.sha256(json.dumps(dict(values), sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def put_values(spec: Spec) -> dict[str, str]:
    """A spec as parameters: name below the prefix → text. None of the texts is empty, which SSM does not take."""
    content = spec.content
    plain = {name: str(content[name]) for name in ("learner", "objective", "calibration", "seed")}
    plain |= {name: json.dumps(content[name], ensure_ascii=False) for name in _LISTS}
    return plain | {f"{HYPERPARAMETERS}{name}": _text(value) for name, value in spec.hyperparameters.items()}


def configured(values: Mapping[str, str]) -> dict[str, Any]:
    """What parameters say, as the fields of a configuration; lists may also be separated by commas."""
    said: dict[str, Any] = {name: values[name] for name in ("objective", "calibration", "reason") if name in values}
    said |= {name: _list(values[name]) for name in _LISTS if name in values}
    if "seed" in values:
        said["seed"] = said_value(values["seed"])
    params = {
        name.removeprefix(HYPERPARAMETERS): said_value(text)
        for name, text in values.items()
        if name.startswith(HYPERPARAMETERS)
    }
    return {"learner": values.get("learner", values.get("algorithm")), "hyperparameters": params, "said": said}


def _text(value: object) -> str:
    """A value as text that reads back as it was."""
    if isinstance(value, str):
        return value if value and said_value(value) == value else json.dumps(value)
    return json.dumps(value)


def _list(text: str) -> list[str]:
    if text.lstrip().startswith("["):
        with suppress(ValueError):  # it is no JSON, then
            return [str(item) for item in json.loads(text)]
    return [part.strip() for part in text.split(",") if part.strip()]
