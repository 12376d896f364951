"""How exposure may move: the steps of a rollout and what stops it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Literal

from everloop.project.condition import format_bound, parse_bound
from everloop.project.durations import format_duration, parse_duration
from everloop.project.shares import format_share, parse_share

__all__ = ["Step", "StepKind", "StopKind", "StopRule", "parse_step", "parse_stop_rule"]

StepKind = Literal["shadow", "canary"]
StopKind = Literal["errors", "latency", "decision_share", "score_shift"]

_SHARE: Final = re.compile(r"(\d+(?:\.\d+)?\s*%)(?:\s+(.+))?")
_ERRORS: Final = re.compile(r"errors(?:\s*>\s*(.+))?")
_LATENCY: Final = re.compile(r"latency\s+p(\d{2}(?:\.\d+)?)\s*>\s*(\S.*)")
_DECISIONS: Final = re.compile(r"decision share moves\s*>\s*(\S.*)")
_TIMES: Final = re.compile(r"(\d+(?:\.\d+)?)\s*x")
_SCORES: Final = re.compile(r"score(?:s)? (?:shift|move)s?\s*>\s*(\S.*)")
_STOP_EXAMPLES: Final = "(one of 'errors', 'latency p99 > 20ms', 'decision share moves > 10%', 'score shifts > 0.1')"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of exposure.

    kind: `shadow` scores and answers nobody; `canary` answers `share` of the routing keys.
    share: fraction of keys, 0 for shadow, else above 0.
    duration: how long the step lasts at least; None leaves it to the evidence.
    """

    kind: StepKind
    share: float
    duration: timedelta | None = None

    def __str__(self) -> str:
        head = "shadow" if self.kind == "shadow" else format_share(self.share)
        return head if self.duration is None else f"{head} {format_duration(self.duration)}"


def parse_step(value: object) -> Step:
    """`shadow 1d`, `10%`, `10% 1d`. Raises ValueError with a sentence."""
    if isinstance(value, Step):
        return value
    words = " ".join(str(value).split())
    if words == "shadow" or words.startswith("shadow "):
        rest = words.removeprefix("shadow").strip()
        return Step(kind="shadow", share=0.0, duration=parse_duration(rest) if rest else None)
    if match := _SHARE.fullmatch(words):
        share = parse_share(match[1], noun="step")
        return Step(kind="canary", share=share, duration=parse_duration(match[2]) if match[2] else None)
    raise ValueError(
        f"{value!r} is not a step (shadow or a share, with a duration if you like: 'shadow 1d', '10%', '10% 1d')"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class StopRule:
    """A guardrail that needs no outcome.

    bound: for errors, decision_share and score_shift a fraction, for latency milliseconds. A decision_share above 1
        is a ratio: `moves > 3x` allows three times as many positive decisions as the champion's.
    quantile: of the latency, 0.99 for p99; None for the other kinds.
    """

    kind: StopKind
    bound: float
    quantile: float | None = None

    def __str__(self) -> str:
        match self.kind:
            case "errors":
                return "errors" if self.bound == 0 else f"errors > {format_share(self.bound)}"
            case "latency":
                return f"latency p{(self.quantile or 0.99) * 100:.12g} > {self.bound:.12g}ms"
            case "decision_share":
                bound = f"{self.bound:.12g}x" if self.bound > 1 else format_share(self.bound)
                return f"decision share moves > {bound}"
            case _:
                return f"score shifts > {format_bound(self.bound)}"


def parse_stop_rule(value: object) -> StopRule:
    """Read one guardrail; `errors` alone tolerates none. Raises ValueError with a sentence."""
    if isinstance(value, StopRule):
        return value
    words = " ".join(str(value).split())
    if match := _ERRORS.fullmatch(words):
        return StopRule(kind="errors", bound=0.0 if match[1] is None else _fraction(match[1]))
    if match := _LATENCY.fullmatch(words):
        span = parse_duration(match[2])
        return StopRule(
            kind="latency", bound=span / timedelta(milliseconds=1), quantile=round(float(match[1]) / 100, 12)
        )
    if match := _DECISIONS.fullmatch(words):
        times = _TIMES.fullmatch(match[1])
        return StopRule(kind="decision_share", bound=_fraction(match[1]) if times is None else _ratio(times[1]))
    if match := _SCORES.fullmatch(words):
        return StopRule(kind="score_shift", bound=_fraction(match[1]))
    raise ValueError(f"{value!r} is not a stop rule {_STOP_EXAMPLES}")


def _ratio(word: str) -> float:
    if float(word) <= 1:
        raise ValueError(f"{word}x is not a ratio above 1, such as 3x")
    return float(word)


def _fraction(word: str) -> float:
    if word.strip().endswith("%"):
        return parse_share(word)
    try:
        return parse_share(parse_bound(word))
    except ValueError as error:
        raise ValueError(str(error)) from None
