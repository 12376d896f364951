"""The model.yaml sections on where a model's configuration lives, and whom it is taken from without a signature."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Final

from pydantic import BeforeValidator, Field

from everloop.project.document import KeyPath
from everloop.project.section import Section

__all__ = ["FILES", "SpecsSection", "StoreAddress", "parse_store", "specs_section", "store_mistakes"]

FILES: Final = "files"
"""The kind of the store that is the model's own folder."""

_KINDS: Final = {"models": "mlflow"}
_SCHEME: Final = re.compile(r"(?P<scheme>[a-z][a-z0-9_]*):(?P<rest>.+)")
_PREFIX: Final = re.compile(r"(/[A-Za-z0-9_.-]+)+")
_REGISTERED: Final = re.compile(r"/(?P<name>[^/@]+)(?:@(?P<alias>[A-Za-z0-9_-]+)|/(?P<at>[A-Za-z0-9]+))")
_EXAMPLES: Final = "(files, ssm:/fraud-detection or models:/FraudDetection@champion)"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreAddress:
    """Where a model's configuration lives.

    kind: `files`, `ssm`, `mlflow`, or what another package brings. name: SSM's prefix, or the registered model.
    at: of a registered model the alias, stage or version that holds; empty elsewhere. alias: whether `at` is one.
    """

    kind: str
    name: str = ""
    at: str = ""
    alias: bool = False

    @property
    def is_files(self) -> bool:
        """Whether it is the model's own folder."""
        return self.kind == FILES

    def __str__(self) -> str:
        """As model.yaml says it."""
        if self.is_files:
            return FILES
        if self.kind == "mlflow":
            return f"models:/{self.name}{'@' if self.alias else '/'}{self.at}"
        return f"{self.kind}:{self.name}"


def parse_store(value: object) -> StoreAddress:
    """Read `files`, `ssm:/PREFIX`, `models:/NAME@ALIAS` or `models:/NAME/STAGE`. Raises ValueError with a sentence."""
    if isinstance(value, StoreAddress):
        return value
    text = str(value).strip()
    if text == FILES:
        return StoreAddress(kind=FILES)
    match = _SCHEME.fullmatch(text)
    if match is None:
        raise ValueError(f"{value!r} is not a store of specs {_EXAMPLES}")
    kind, rest = _KINDS.get(match["scheme"], match["scheme"]), match["rest"]
    if kind == "ssm":
        return StoreAddress(kind=kind, name=_prefix(rest))
    if kind == "mlflow":
        return _registered(text, rest)
    return StoreAddress(kind=kind, name=rest)


def _prefix(text: str) -> str:
    prefix = text.rstrip("/")
    if _PREFIX.fullmatch(prefix) is None:
        raise ValueError(f"ssm:{text} is not a prefix of parameters, such as ssm:/fraud-detection")
    return prefix


def _registered(text: str, rest: str) -> StoreAddress:
    match = _REGISTERED.fullmatch(rest)
    if match is None:
        raise ValueError(
            f"{text} does not say which version holds; write models:/NAME@ALIAS, models:/NAME/STAGE or models:/NAME/3"
        )
    alias = match["alias"] is not None
    return StoreAddress(kind="mlflow", name=match["name"], at=match["alias"] if alias else match["at"], alias=alias)


class SpecsSection(Section):
    """Where the model's configuration lives: one place, and no other beside it."""

    store: Annotated[StoreAddress, BeforeValidator(parse_store)] = Field(
        StoreAddress(kind=FILES),
        description="files (NAME/specs, in version control), ssm:/fraud-detection (AWS), or "
        "models:/FraudDetection@champion (MLflow's registry)",
    )
    label: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_.-]*$")] | None = Field(
        None, description="of ssm: the label that is read, such as production; left out: the newest"
    )
    learner: str | None = Field(
        None, description="what the hyperparameters are of, where the store does not say it, such as xgboost"
    )
    region: str | None = Field(None, description="of ssm; left out: AWS's own settings say it")
    secure: bool = Field(False, description="of ssm: new parameters are SecureString; one that is there keeps its type")


def specs_section(value: object) -> object:
    """`specs: ssm:/fraud-detection` is short for `specs: {store: ssm:/fraud-detection}`."""
    return {"store": value} if isinstance(value, str) else value


def store_mistakes(specs: SpecsSection) -> list[tuple[KeyPath, str]]:
    """Keys that the chosen store has no use for."""
    kind = specs.store.kind
    only_ssm = {"label": specs.label, "region": specs.region, "secure": specs.secure or None}
    found: list[tuple[KeyPath, str]] = [
        (("specs", name), f"is of ssm:/…, and the specs are in {specs.store}; remove it")
        for name, value in only_ssm.items()
        if value is not None and kind in (FILES, "mlflow")
    ]
    if specs.store.is_files and specs.learner is not None:
        found.append((("specs", "learner"), "a spec's file says its learner; remove it"))
    return found
