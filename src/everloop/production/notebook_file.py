"""A configuration in a file that a notebook wrote: `model: {algorithm: …, hyperparameters: …}`, or a whole spec."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from everloop.errors import ConfigurationError, NotFound
from everloop.production.configuration import Configuration
from everloop.project import did_you_mean, parse_document, parse_spec

__all__ = ["read_notebook_file"]

_SAID: Final = ("objective", "features", "calibration", "quantiles", "seed", "reason")
_LEARNER: Final = ("learner", "algorithm")
_LEFT: Final[Mapping[str, str]] = {
    "performance": "what was measured there is not taken over: training judges it on the model's own rows",
    "approved_by": "a name in a file approves nothing: 'everloop approve' does",
}
_KNOWN: Final = (*_LEARNER, "hyperparameters", "version", "tested_date", *_SAID, *_LEFT)


def read_notebook_file(path: Path, *, shown: str, by: str) -> tuple[Configuration, tuple[str, ...]]:
    """What the file says, and notes on what is not taken over of it. shown: how to call it. by: who brings it.

    Raises NotFound, ConfigurationError with every mistake.
    """
    if not path.is_file():
        raise NotFound(f"there is no file {shown}; name a spec such as fraud-s2, or a YAML file")
    text = path.read_text(encoding="utf-8")
    at = datetime.fromtimestamp(path.stat().st_mtime, tz=UTC)
    document = parse_document(text, name=shown)
    if isinstance(document.value, dict) and "spec" in document.value:
        spec = parse_spec(text, shown=shown)
        return Configuration.of(spec, store=shown, version=spec.name, modifier=by, at=at), ()
    model = document.value.get("model") if isinstance(document.value, dict) else None
    if document.mistakes or not isinstance(model, dict):
        about = "a file is a spec, or says model: {algorithm: …, hyperparameters: {…}}"
        raise ConfigurationError([*document.mistakes, *([] if document.mistakes else [document.mistake((), about)])])
    unknown = [
        document.mistake(("model", name), f"unknown key{did_you_mean(str(name), _KNOWN)}")
        for name in model
        if name not in _KNOWN
    ]
    params = model.get("hyperparameters", {})
    if not isinstance(params, dict):
        unknown.append(document.mistake(("model", "hyperparameters"), "is a mapping of names to values"))
    if unknown:
        raise ConfigurationError(unknown)
    return _configuration(model, shown=shown, by=by, at=at), tuple(
        f"{name} was left out: {why}" for name, why in _LEFT.items() if name in model
    )


def _configuration(model: Mapping[str, Any], *, shown: str, by: str, at: datetime) -> Configuration:
    learner = next((str(model[name]) for name in _LEARNER if name in model), None)
    said = {name: model[name] for name in _SAID if name in model}
    if "tested_date" in model:
        said.setdefault("reason", f"tested {model['tested_date']}")
    return Configuration(
        store=shown,
        version=str(model.get("version", "1")),
        modifier=by,
        at=at,
        learner=learner,
        hyperparameters=dict(model.get("hyperparameters", {})),
        said=said,
    )
