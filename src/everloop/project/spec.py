"""The spec: the winning configuration as a file that people review, the bridge from notebook to production."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Final

from pydantic import (
    BeforeValidator,
    Field,
    SerializerFunctionWrapHandler,
    StrictInt,
    ValidationError,
    model_serializer,
)

from everloop.errors import ConfigurationError
from everloop.project.document import parse_document, read_document
from everloop.project.metrics import Calibrate
from everloop.project.quantiles import Quantiles
from everloop.project.section import Section, sentences
from everloop.project.spec_text import commented

__all__ = ["Approval", "Source", "Spec", "parse_spec", "read_spec", "spec_text", "write_spec"]

_LATER: Final[Mapping[str, Any]] = MappingProxyType({"calibration": "none", "quantiles": [], "source": None})
_NAME: Final = re.compile(r"(?P<model>.+)-s(?P<number>[1-9]\d*)")


def _moment(value: object) -> object:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise ValueError(f"{value!r} is not a time (ISO 8601)") from None
    if isinstance(value, datetime) and value.tzinfo is None:
        return value.replace(tzinfo=UTC)
    return value


def _name(value: object) -> object:
    if not isinstance(value, str) or _NAME.fullmatch(value) is None:
        raise ValueError(f"{value!r} is not a spec's name (MODEL-sNUMBER, such as fraud-s1)")
    return value


class Approval(Section):
    """Who said yes, when, and to what: the spec's hash. The ledger's fact decides; this is its copy.

    Without a hash nobody can tell what it was given to: such a block is read, and brings nothing into a ledger.
    """

    by: str
    at: Annotated[datetime | None, BeforeValidator(_moment)] = None
    hash: str | None = None


class Source(Section):
    """Where a configuration came from, if not from a search: a store, its own version there, and who wrote that."""

    store: str
    version: str
    modifier: str = ""


class Spec(Section):
    """A configuration to train, with the reason it exists and the performance it promises.

    features: names in the order of the matrix; empty means all that the contract and features.py have.
    threshold: of the decision, as the search chose it on its validation rows, and what `expected` holds for. A run,
        whose model has seen other rows, chooses its own for the objective on its own validation rows. None where
        nothing is decided, as in a regression.
    calibration: of the learner's scores, fitted on a run's own validation rows. quantiles: what a regression answers
        beside its score. Where there is none, neither file nor hash has the key: a spec without it is what it was.
    expected: metric -> {low, point, high, level} on test rows, {} where nothing was measured.
    yardsticks: learner -> metric -> value on the same rows.
    data: what it was found on: rows, positives, start, end, source, hash, window.
    source: the store that it arrived from; None, and no key, where it was found or written here.
    diff: key -> {from, to} against the parent.
    """

    name: Annotated[str, BeforeValidator(_name)] = Field(alias="spec")
    objective: str
    learner: str
    hyperparameters: Mapping[str, Any] = Field(default_factory=dict)
    features: tuple[str, ...] = ()
    calibration: Calibrate = "none"
    threshold: float | None = None
    quantiles: Quantiles = ()
    seed: StrictInt = 0
    expected: Mapping[str, Any] = Field(default_factory=dict)
    yardsticks: Mapping[str, Any] = Field(default_factory=dict)
    data: Mapping[str, Any] = Field(default_factory=dict)
    source: Source | None = None
    parent: str | None = None
    reason: str = ""
    diff: Mapping[str, Any] = Field(default_factory=dict)
    created_at: Annotated[datetime | None, BeforeValidator(_moment)] = None
    approval: Approval | None = None

    @model_serializer(mode="wrap")
    def _written(self, written: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A key that came later is left out where it says nothing, so that older specs keep their hash."""
        values: dict[str, Any] = written(self)
        return {key: value for key, value in values.items() if key not in _LATER or _plain(value) != _LATER[key]}

    @classmethod
    def new(cls, *, name: str, objective: str, learner: str, **rest: Any) -> Spec:
        """A spec made by code; the options are the fields."""
        return cls.model_validate({"spec": name, "objective": objective, "learner": learner, **rest})

    @property
    def model(self) -> str:
        """The name of the model it is for."""
        match = _NAME.fullmatch(self.name)
        assert match is not None
        return match["model"]

    @property
    def number(self) -> int:
        """Its number, from 1."""
        match = _NAME.fullmatch(self.name)
        assert match is not None
        return int(match["number"])

    @property
    def hash(self) -> str:
        """sha256 of the canonical JSON without `approval`: what an approval is given to."""
        values = self.model_dump(mode="json", by_alias=True, exclude={"approval"})
        return hashlib.sha256(_canonical(values)).hexdigest()

    @property
    def content(self) -> dict[str, Any]:
        """What a run makes of it: two specs with the same content train the same model."""
        plain = {"learner": self.learner, "objective": self.objective, "calibration": self.calibration}
        listed = {"features": list(self.features), "quantiles": list(self.quantiles), "seed": self.seed}
        return {**plain, **listed, "hyperparameters": dict(self.hyperparameters)}

    def approved(self, approval: Approval | None) -> Spec:
        """The same spec with another approval block; its hash stays."""
        return self.model_copy(update={"approval": approval})


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


def _canonical(values: object) -> bytes:
    text = json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode()


def read_spec(path: Path) -> Spec:
    """The spec of a file. Raises ConfigurationError with every mistake; the file is called as its spec is."""
    name = f"{path.parent.name}/{path.name}"
    spec = parse_spec(path.read_text(encoding="utf-8"), shown=name) if path.exists() else None
    if spec is None:
        read_document(path, name=name)
        raise ConfigurationError([f"{name}:1: the file cannot be read"])
    if spec.name != path.stem:
        raise ConfigurationError([f"{name}:1: spec: the file is called {path.stem} and says it is {spec.name}"])
    return spec


def parse_spec(text: str, *, shown: str = "spec") -> Spec:
    """The spec of a YAML text. Raises ConfigurationError with every mistake."""
    document = parse_document(text, name=shown)
    mistakes = list(document.mistakes)
    if not isinstance(document.value, dict):
        raise ConfigurationError([*mistakes, document.mistake((), "a spec is a mapping of keys to values")])
    try:
        spec = Spec.model_validate(document.value)
    except ValidationError as error:
        raise ConfigurationError([*mistakes, *(document.mistake(*item) for item in sentences(error, Spec))]) from None
    if mistakes:
        raise ConfigurationError(mistakes)
    return spec


def spec_text(spec: Spec, *, width: int | None = None) -> str:
    """The spec as YAML that explains itself to who reviews it; `parse_spec` gives it back. One spec has one text.

    width: columns of a screen; None is as the file has it.
    """
    return commented(spec.name, spec.model_dump(mode="json", by_alias=True), width=width)


def write_spec(path: Path, spec: Spec) -> None:
    """Write the file whole or not at all. Raises ValueError where the path is another spec's."""
    if path.stem != spec.name:
        raise ValueError(f"{path.name} is not the file of {spec.name}")
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with draft.open("w", encoding="utf-8") as handle:
            handle.write(spec_text(spec))
            handle.flush()
            os.fsync(handle.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
