"""How a gate is read: the sentence is taken apart from its end, and what is left is one of the forms below.

FORM [at 95%] [for each SEGMENT [with 200 rows]] [, undecided passes]
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Literal, cast, get_args

from everloop.project.condition import BOUND, METRIC, OPERATOR, Condition, Operator, parse_bound
from everloop.project.durations import parse_duration
from everloop.project.gates import (
    CALIBRATION_ERROR,
    COVERAGE,
    BeatsGate,
    DriftGate,
    FreshGate,
    Gate,
    Measure,
    MeasureGate,
    MetricGate,
    NotWorseGate,
    OwnGate,
    PredictedGate,
    SegmentGate,
    StableGate,
    TargetGate,
    UsualGate,
)
from everloop.project.metrics import METRICS, did_you_mean, metric_name
from everloop.project.shares import parse_share

__all__ = ["GATE_EXAMPLES", "parse_gate"]

GATE_EXAMPLES: Final = (
    "rows within 50% of usual",
    "rows >= 5,000",
    "newest row within 3d",
    "target rate within 50% of usual",
    "target rate between 0.1% and 2%",
    "target mean within 20% of usual",
    "target mean between 5 and 40",
    "duplicates < 1%",
    "drift < 0.2",
    "drift of amount, country < 0.2",
    "drift by ks < 0.1",
    "contract violations < 0.1%",
    "recall >= 0.75",
    "recall >= 0.75 at 95%",
    "recall >= 0.75 for each country with 200 rows",
    "beats yardstick",
    "beats champion",
    "not worse than champion by 0.01",
    "precision not worse than champion by 0.02",
    "calibration error <= 0.02",
    "predicted rate within 20% of actual",
    "predicted mean within 5% of actual",
    "coverage >= 0.75",
    "agreement <= 1e-5",
    "latency <= 500us per row",
    "bundle <= 5MB",
    "stable within 0.02 over 3 seeds",
    "gates.check_countries",
    "gates.enough_merchants before training",
    "recall >= 0.75 for each country, undecided passes",
)
"""One sentence of every form, as docs/gates.md explains them."""

_SHOWN: Final = (
    "such as 'recall >= 0.75', 'recall >= 0.75 at 95%', 'beats yardstick', 'not worse than champion by 0.01', "
    "'recall >= 0.60 for each country with 200 rows', 'rows within 50% of usual', 'drift < 0.2'"
)
_UNDECIDED: Final = re.compile(r"(?P<head>.*?)\s*[,(]?\s*\bundecided\s+(?P<verb>\w+)\)?")
_EACH: Final = re.compile(r"(?P<head>.+?)\s+for\s+each\s+(?P<segment>\S.*?)(?:\s+with\s+(?P<least>\S+)\s+rows?)?")
_LEVEL: Final = re.compile(r"(?P<head>.+?)\s+at\s+(?P<level>\d+(?:\.\d+)?)\s*%")
_SIZE_BYTES: Final = {"B": 1, "kB": 1e3, "KB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_LATENCY_US: Final = {"us": 1.0, "µs": 1.0, "μs": 1.0, "ms": 1e3, "s": 1e6}
_ASCII: Final = {"≥": ">=", "≤": "<="}
_MOST_SEEDS: Final = 20
_OTHER_WORDS: Final = {
    "calibration": "calibration error <= 0.02",
    "ece": "calibration error <= 0.02",
    "freshness": "newest row within 3d",
    "ks": "drift by ks < 0.1",
    "psi": "drift < 0.2",
    "size": "bundle <= 5MB",
    "volume": "rows within 50% of usual",
}
_NOUNS: Final = (*get_args(Measure), "drift", "calibration error", "coverage")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Form:
    """One form of sentence: how its head looks, and what is made of it. make: of the match and the whole sentence."""

    pattern: re.Pattern[str]
    make: Callable[[re.Match[str], str], Gate]


def parse_gate(text: object) -> Gate:
    """Read one sentence. Raises ValueError that names the likely word or shows examples."""
    if isinstance(text, get_args(Gate)):
        return cast(Gate, text)
    if isinstance(text, dict) and len(text) == 1 and isinstance(next(iter(text.values())), str):
        words = " ".join(str(part) for part in next(iter(text.items())))
        raise ValueError(f"{text!r} is not a gate: a colon makes a mapping in YAML. Leave it out: '{words}'")
    if not isinstance(text, str):
        raise ValueError(f"{text!r} is not a gate, {_SHOWN}")
    sentence = " ".join(text.split())
    head, undecided_passes = _undecided(sentence)
    head, segment, least = _each(head, sentence)
    level_of = _LEVEL.fullmatch(head)
    level = None if level_of is None else _level(level_of["level"], sentence)
    gate = _form(head if level_of is None else level_of["head"], sentence)
    if isinstance(gate, SegmentGate):
        gate = replace(gate, at_level=level, segment=segment, least_rows=least)
        if level is not None and isinstance(gate, BeatsGate) and gate.reference == "yardstick":
            raise ValueError(f"{sentence!r} has a level, and yardsticks are compared by their values; leave it out")
    elif segment is not None or level is not None:
        extra = f"for each {segment}" if segment is not None else f"at {level:.0%}"
        raise ValueError(f"{sentence!r} is asked of the whole and takes no {extra!r}; leave it out")
    return replace(gate, undecided_passes=undecided_passes)


def _undecided(sentence: str) -> tuple[str, bool]:
    """The sentence without its end, and whether an undecided answer is to pass."""
    match = _UNDECIDED.fullmatch(sentence)
    if match is None:
        return sentence, False
    head = match["head"].removesuffix(" or").rstrip(" ,")
    if not head:
        raise ValueError(
            f"{sentence!r} belongs to the gate before it: in a [list, in, brackets] a comma ends a gate, so put that "
            "gate in quotes"
        )
    if match["verb"] not in ("passes", "refuses"):
        raise ValueError(
            f"{sentence!r} ends in 'undecided {match['verb']}' (undecided passes, or undecided refuses, as without it)"
            f"{did_you_mean(match['verb'], ('passes', 'refuses'))}"
        )
    return head, match["verb"] == "passes"


def _each(head: str, sentence: str) -> tuple[str, str | None, int | None]:
    """The sentence without its segment, the segment, and how many rows a value of it must have."""
    match = _EACH.fullmatch(head)
    if match is None:
        return head, None, None
    least = None if match["least"] is None else _count(match["least"], sentence)
    return match["head"], match["segment"], least


def _count(word: str, sentence: str) -> int:
    digits = word.replace(",", "").replace("_", "")
    if not digits.isascii() or not digits.isdigit() or int(digits) < 1:
        raise ValueError(f"{sentence!r} has {word!r} rows (a whole number from 1)")
    return int(digits)


def _level(word: str, sentence: str) -> float:
    level = parse_bound(word + "%")
    if not 0.5 <= level < 1:
        raise ValueError(f"{sentence!r} has the level {word}% (50% ≤ level < 100%)")
    return level


def _form(head: str, sentence: str) -> Gate:
    for form in _FORMS:
        if match := form.pattern.fullmatch(head):
            return form.make(match, sentence)
    other = _OTHER_WORDS.get(head.split()[0].lower()) if head.split() else None
    near = [other] if other else difflib.get_close_matches(head, GATE_EXAMPLES, n=1, cutoff=0.55)
    raise ValueError(f"{sentence!r} is not a gate" + (f"; did you mean '{near[0]}'?" if near else f", {_SHOWN}"))


def _op(word: str) -> Operator:
    return cast(Operator, _ASCII.get(word, word))


def _share(word: str, sentence: str) -> float:
    """`50%` or 0.5, above 0 and, unlike other shares, as large as one likes."""
    share = parse_bound(word)
    if share <= 0:
        raise ValueError(f"{sentence!r} allows {word} (a share above 0, such as 50%)")
    if share > 1 and not word.endswith("%"):
        raise ValueError(f"{sentence!r} allows {word}, which is {share:.0%}; did you mean {word}%?")
    return share


def _metric(match: re.Match[str], sentence: str) -> Gate:
    name, op, bound = match["metric"], match["op"], match["bound"]
    if name in (CALIBRATION_ERROR, COVERAGE):
        return _of_share(name, op, bound)
    if name in _OTHER_WORDS:
        raise ValueError(f"{sentence!r} is not a gate; did you mean '{_OTHER_WORDS[name]}'?")
    if name not in METRICS and (hint := did_you_mean(name, (*METRICS, *_NOUNS))):
        raise ValueError(f"{name!r} is not a metric{hint}")
    condition = Condition.of(name, op, bound)
    return MetricGate(metric=condition.metric, op=condition.op, bound=condition.bound)


def _of_share(metric: str, op: str, bound: str) -> MetricGate:
    number, said = parse_bound(bound), metric.replace("_", " ")
    if not 0 <= number <= 1:
        likely = f"; did you mean {number:g}%?" if 1 < number <= 100 and "%" not in bound else ""
        raise ValueError(f"{said} lies from 0 to 1 and is never {op} {bound.strip()}{likely}")
    if metric == CALIBRATION_ERROR:
        _refuse_lower_bound(said, op, bound)
    return MetricGate(metric=metric, op=_op(op), bound=number)


def _refuse_lower_bound(noun: str, op: str, bound: str) -> None:
    if _op(op).startswith(">"):
        raise ValueError(f"'{noun} {op} {bound}' asks for much of what there should be little of; write '<= {bound}'")


def _beats(match: re.Match[str], sentence: str) -> Gate:
    allowed, reference = ("yardstick", "champion"), match["reference"]
    if reference not in allowed:
        hint = did_you_mean(reference, allowed)
        raise ValueError(f"{sentence!r} compares with {reference!r} (yardstick or champion){hint}")
    return BeatsGate(reference=cast(Literal["yardstick", "champion"], reference))


def _not_worse(match: re.Match[str], sentence: str) -> Gate:
    margin = parse_bound(match["margin"])
    if margin < 0:
        raise ValueError(f"{sentence!r} has a margin below 0; to ask for more than the champion write 'beats champion'")
    return NotWorseGate(margin=margin, metric=_named(match["metric"]))


def _named(metric: str | None) -> str | None:
    return None if metric is None else metric_name(metric).name if "@" not in metric else metric


def _predicted(match: re.Match[str], sentence: str) -> Gate:
    what = cast(Literal["rate", "mean"], match["what"])
    return PredictedGate(what=what, within=_share(match["within"], sentence))


def _rows(match: re.Match[str], sentence: str) -> Gate:
    if not _op(match["op"]).startswith(">"):
        raise ValueError(f"{sentence!r} asks for few rows; write 'rows >= {match['bound']}'")
    return MeasureGate(measure="rows", op=_op(match["op"]), bound=_count(match["bound"], sentence))


def _shares(match: re.Match[str], sentence: str) -> Gate:
    measure: Measure = "duplicates" if match["measure"].startswith("dup") else "contract violations"
    _refuse_lower_bound(match["measure"], match["op"], match["bound"])
    try:
        bound = parse_share(match["bound"] if "%" in match["bound"] else float(match["bound"]), allow_zero=True)
    except ValueError as error:
        raise ValueError(f"{sentence!r}: {error}") from None
    return MeasureGate(measure=measure, op=_op(match["op"]), bound=bound)


def _agreement(match: re.Match[str], sentence: str) -> Gate:
    _refuse_lower_bound("agreement", match["op"], match["bound"])
    return MeasureGate(measure="agreement", op=_op(match["op"]), bound=parse_bound(match["bound"]))


def _latency(match: re.Match[str], sentence: str) -> Gate:
    _refuse_lower_bound("latency", match["op"], match["bound"])
    number, unit = float(match["bound"]), match["unit"]
    if unit not in _LATENCY_US:
        raise ValueError(
            f"{sentence!r} has {'no unit' if not unit else f'the unit {unit!r}'}; a row takes microseconds: "
            f"'latency <= {number:g}us per row' (us, ms or s)"
        )
    return MeasureGate(measure="latency", op=_op(match["op"]), bound=round(number * _LATENCY_US[unit], 6))


def _bundle(match: re.Match[str], sentence: str) -> Gate:
    _refuse_lower_bound("bundle", match["op"], match["bound"])
    number, unit = float(match["bound"]), match["unit"]
    if unit not in _SIZE_BYTES:
        raise ValueError(
            f"{sentence!r} has {'no unit' if not unit else f'the unit {unit!r}'}: 'bundle <= {number:g}MB' "
            f"({', '.join(_SIZE_BYTES)})"
        )
    return MeasureGate(measure="bundle", op=_op(match["op"]), bound=round(number * _SIZE_BYTES[unit]))


def _usual(match: re.Match[str], sentence: str) -> Gate:
    what = cast(Literal["rows", "target rate", "target mean"], match["what"])
    return UsualGate(what=what, within=_share(match["within"], sentence))


def _target(match: re.Match[str], sentence: str) -> Gate:
    what = cast(Literal["target rate", "target mean"], match["what"])
    low, high = parse_bound(match["low"]), parse_bound(match["high"])
    if what == "target rate" and not (0 <= low <= 1 and 0 <= high <= 1):
        raise ValueError(f"{sentence!r}: a rate lies from 0% to 100%")
    if low >= high:
        raise ValueError(f"{sentence!r} has no room between {match['low']} and {match['high']}: the lower end is first")
    return TargetGate(what=what, low=low, high=high)


def _fresh(match: re.Match[str], sentence: str) -> Gate:
    try:
        return FreshGate(within=parse_duration(match["within"]))
    except ValueError as error:
        raise ValueError(f"{sentence!r}: {error}") from None


def _drift(match: re.Match[str], sentence: str) -> Gate:
    _refuse_lower_bound("drift", match["op"], match["bound"])
    bound = parse_bound(match["bound"])
    if bound <= 0 or (match["by"] == "ks" and bound > 1):
        raise ValueError(f"{sentence!r} has the bound {match['bound']} (above 0{', up to 1' if match['by'] else ''})")
    columns = tuple(name.strip() for name in (match["columns"] or "").split(",") if name.strip())
    by = cast(Literal["psi", "ks"], match["by"] or "psi")
    return DriftGate(op=_op(match["op"]), bound=bound, columns=columns, by=by)


def _stable(match: re.Match[str], sentence: str) -> Gate:
    within, seeds = parse_bound(match["within"]), int(match["seeds"])
    if within < 0 or not 2 <= seeds <= _MOST_SEEDS:
        raise ValueError(f"{sentence!r}: it takes a spread from 0 and 2 to {_MOST_SEEDS} seeds")
    return StableGate(within=within, seeds=seeds, metric=_named(match["metric"]))


def _own(match: re.Match[str], sentence: str) -> Gate:
    return OwnGate(file=match["file"], function=match["function"], before=match["before"] is not None)


_NUMBER: Final = r"\d*\.?\d+"
_FORMS: Final = tuple(
    _Form(pattern=re.compile(pattern), make=make)
    for pattern, make in (
        (r"beats\s+(?P<reference>\w+)", _beats),
        (rf"(?:(?P<metric>{METRIC}) )?not worse than champion by (?P<margin>{BOUND})", _not_worse),
        (rf"predicted (?P<what>rate|mean) within (?P<within>{_NUMBER} ?%?) of actual", _predicted),
        (rf"(?P<what>rows|target rate|target mean) within (?P<within>{_NUMBER} ?%?) of usual", _usual),
        (rf"(?P<what>target rate|target mean) between (?P<low>{BOUND}) and (?P<high>{BOUND})", _target),
        (r"newest row within (?P<within>.+)", _fresh),
        (rf"rows (?P<op>{OPERATOR}) (?P<bound>\S+)", _rows),
        (rf"(?P<measure>duplicates|contract violations) ?(?P<op>{OPERATOR}) ?(?P<bound>{_NUMBER} ?%?)", _shares),
        (
            rf"drift(?: of (?P<columns>.+?))?(?: by (?P<by>psi|ks))? ?(?P<op>{OPERATOR}) ?(?P<bound>{BOUND})",
            _drift,
        ),
        (rf"agreement ?(?P<op>{OPERATOR}) ?(?P<bound>{BOUND})", _agreement),
        (rf"latency ?(?P<op>{OPERATOR}) ?(?P<bound>{_NUMBER}) ?(?P<unit>[^\W\d]*)(?: (?:per|a) row)?", _latency),
        (rf"bundle ?(?P<op>{OPERATOR}) ?(?P<bound>{_NUMBER}) ?(?P<unit>[A-Za-z]*)", _bundle),
        (rf"(?:(?P<metric>{METRIC}) )?stable within (?P<within>{BOUND}) over (?P<seeds>\d+) seeds?", _stable),
        (
            rf"calibration error ?(?P<op>{OPERATOR}) ?(?P<bound>{BOUND})",
            lambda match, _: _of_share(CALIBRATION_ERROR, match["op"], match["bound"]),
        ),
        (rf"(?P<metric>{METRIC})\s*(?P<op>{OPERATOR})\s*(?P<bound>{BOUND})", _metric),
        (r"(?P<file>[A-Za-z_]\w*)\.(?P<function>[A-Za-z_]\w*)(?P<before> before training)?", _own),
    )
)
