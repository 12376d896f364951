"""The answer to a question asked of data: passed, failed or undecided, with its evidence and a sentence."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import numpy as np

__all__ = ["Json", "Outcome", "Verdict", "jsonable"]

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]
Outcome = Literal["passed", "failed", "undecided"]
OUTCOMES: tuple[Outcome, ...] = ("passed", "failed", "undecided")


def jsonable(value: Any) -> Json:
    """The same value in JSON's own types; what is not finite becomes None, since JSON has no word for it.

    Takes numbers, text, numpy scalars and arrays, mappings, sequences, and anything with `to_dict()`.
    Raises TypeError for everything else: evidence that cannot be stored is a bug of the caller.
    """
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, np.generic | np.ndarray):
        return jsonable(value.tolist())
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(item) for item in value]
    if hasattr(value, "to_dict"):
        return jsonable(value.to_dict())
    raise TypeError(f"evidence holds a {type(value).__name__}; JSON has numbers, text, lists and mappings")


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One answer. `sentence` is for people; `evidence` holds the numbers it rests on, JSON all through.

    Verdicts compare by value. They have no truth value on purpose: there is a third answer.
    """

    outcome: Outcome
    sentence: str
    evidence: Mapping[str, Json] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.outcome not in OUTCOMES:
            raise ValueError(f"a verdict is one of {', '.join(OUTCOMES)}, not {self.outcome!r}")
        evidence = cast("dict[str, Json]", jsonable(self.evidence))
        object.__setattr__(self, "evidence", evidence)

    def __bool__(self) -> bool:
        raise TypeError("a verdict has three answers: ask .is_passed, .is_failed or .is_undecided")

    def __str__(self) -> str:
        return f"{self.outcome}: {self.sentence}"

    @property
    def is_passed(self) -> bool:
        """Whether the answer is yes."""
        return self.outcome == "passed"

    @property
    def is_failed(self) -> bool:
        """Whether the answer is no."""
        return self.outcome == "failed"

    @property
    def is_undecided(self) -> bool:
        """Whether the evidence does not say."""
        return self.outcome == "undecided"

    @classmethod
    def passed(cls, sentence: str, /, **evidence: Any) -> Verdict:
        """A yes."""
        return cls(outcome="passed", sentence=sentence, evidence=evidence)

    @classmethod
    def failed(cls, sentence: str, /, **evidence: Any) -> Verdict:
        """A no."""
        return cls(outcome="failed", sentence=sentence, evidence=evidence)

    @classmethod
    def undecided(cls, sentence: str, /, **evidence: Any) -> Verdict:
        """The evidence does not say."""
        return cls(outcome="undecided", sentence=sentence, evidence=evidence)

    def to_dict(self) -> dict[str, Json]:
        """Plain JSON; `from_dict` reads it back."""
        return {"outcome": self.outcome, "sentence": self.sentence, "evidence": dict(self.evidence)}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Verdict:
        """What `to_dict` wrote."""
        return cls(outcome=record["outcome"], sentence=record["sentence"], evidence=record["evidence"])
