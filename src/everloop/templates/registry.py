"""The templates there are."""

from __future__ import annotations

from typing import Final

from everloop.errors import NotFound
from everloop.project import did_you_mean
from everloop.templates.arrival import ArrivalTemplate
from everloop.templates.fraud import FraudTemplate
from everloop.templates.template import Template

__all__ = ["get_template", "templates"]

_TEMPLATES: Final[dict[str, Template]] = {"fraud": FraudTemplate(), "arrival": ArrivalTemplate()}


def templates() -> tuple[str, ...]:
    """The names of all templates."""
    return tuple(sorted(_TEMPLATES))


def get_template(name: str) -> Template:
    """The template called `name`. Raises NotFound naming the others."""
    if name not in _TEMPLATES:
        hint = did_you_mean(name, _TEMPLATES) or f"; there are {', '.join(_TEMPLATES)}"
        raise NotFound(f"there is no template {name!r}{hint}")
    return _TEMPLATES[name]
