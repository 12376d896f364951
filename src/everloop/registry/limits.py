"""What should not be expected of a version, derived from what is known of it: one short sentence each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from everloop.bundle import Bundle
from everloop.ledger import Version
from everloop.project import Model, format_duration
from everloop.tasks import get_task

__all__ = ["limits_of"]

FEW_POSITIVES: Final = 30
"""As many as a gate needs to judge a metric at all."""
FEW_ROWS: Final = 200
WIDE: Final = 0.1
"""Half an interval's width above this share of what it stands around is called wide."""
_MOST_NAMED: Final = 5


def limits_of(version: Version, model: Model, bundle: Bundle | None, *, now: datetime) -> tuple[str, ...]:
    """The sentences, the weightiest first. bundle: None where it is not on this machine."""
    origin = version.record.get("origin") or {}
    decides = get_task(model.task).decides
    return (
        *_gates(version),
        *_data(version, model, origin, now),
        *_metrics(version, decides=decides),
        *_segments(version, model, decides=decides),
        *_columns(bundle),
        *_blocked(model),
        *_code(origin),
    )


def _gates(version: Version) -> Iterator[str]:
    verdicts = version.record.get("verdicts") or []
    if not verdicts:
        yield "No gate was asked before it was registered."
    for one in verdicts:
        if one["outcome"] != "passed":
            yield f"The gate {one['name']!r} was {one['outcome']}: {one['sentence']}."


def _data(version: Version, model: Model, origin: Mapping[str, Any], now: datetime) -> Iterator[str]:
    data = version.data
    if version.external:
        of = "" if data is None else f"; its traffic is held against {data['rows']:,} rows of {data['source']}"
        yield f"Something else made it and serves it: what it was fitted on is not known here{of}."
        return
    if data is None:
        yield "What it was fitted on is not on record."
        return
    start, end = _moment(data.get("start")), _moment(data.get("end"))
    if start is None or end is None:
        return
    yield f"It has seen {data['rows']:,} rows of {start:%Y-%m-%d} to {end:%Y-%m-%d}, and nothing before or after."
    window = _window(model, origin)
    age = now - end
    if window is not None and age - model.outcome.delay > window:
        days = format_duration(timedelta(days=age.days))
        yield f"Its newest row is {days} old, more than the {format_duration(window)} that its window spans."
    if (origin.get("sources") or {}).get("changed"):
        yield "A file of its source changed while the run read it, so the fingerprints may not be those of its rows."


def _window(model: Model, origin: Mapping[str, Any]) -> timedelta | None:
    seconds = origin.get("window_s")
    return model.train.window if seconds is None else timedelta(seconds=seconds)


def _moment(text: Any) -> datetime | None:
    if not text:
        return None
    at = datetime.fromisoformat(str(text))
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at


def _metrics(version: Version, *, decides: bool) -> Iterator[str]:
    wide = []
    counts = [int(value["positives"]) for value in version.metrics.values() if value.get("positives") is not None]
    for name, value in version.metrics.items():
        if value["point"] is None or value.get("low") is None or value.get("high") is None:
            continue
        half = (value["high"] - value["low"]) / 2
        if half > WIDE * abs(value["point"]):
            wide.append(f"{name} {value['point']:.3g} [{value['low']:.3g}, {value['high']:.3g}]")
    if wide:
        stands = f" It was judged on {counts[0]:,} positives." if decides and counts else ""
        more = "" if len(wide) <= _MOST_NAMED else f" and {len(wide) - _MOST_NAMED} more"
        yield f"Known only roughly: {', '.join(wide[:_MOST_NAMED])}{more}.{stands}"
    if decides and counts and counts[0] < FEW_POSITIVES:
        yield f"Only {counts[0]} positives were among its test rows; no number here is sure."


def _segments(version: Version, model: Model, *, decides: bool) -> Iterator[str]:
    lines = version.record.get("segments") or []
    if not model.data.segments:
        yield "Nobody asked how it does per segment (data.segments names none)."
        return
    if not lines:
        yield "How it does per segment was not measured."
    for name in model.data.segments:
        rare = [one for one in lines if one["segment"] == name and not one["rest"] and _few(one, decides=decides)]
        if rare:
            shown = ", ".join(_count(one, decides=decides) for one in rare[:_MOST_NAMED])
            more = f" and {len(rare) - _MOST_NAMED} more" if len(rare) > _MOST_NAMED else ""
            yield f"Too little was seen of {name} {shown}{more}; what is said of them is a hint."


def _few(line: Mapping[str, Any], *, decides: bool) -> bool:
    return bool(line["positives"] < FEW_POSITIVES if decides else line["rows"] < FEW_ROWS)


def _count(line: Mapping[str, Any], *, decides: bool) -> str:
    if decides:
        return f"{line['value']} ({line['positives']:.0f} positives)"
    return f"{line['value']} ({line['rows']:,} rows)"


def _columns(bundle: Bundle | None) -> Iterator[str]:
    if bundle is None:
        return
    read = set(bundle.features.columns)
    known = [column for column in bundle.contract.columns if column.categories is not None and column.name in read]
    if known:
        shown = ", ".join(f"{one.name} ({len(one.categories or ())})" for one in known[:_MOST_NAMED])
        more = f" and {len(known) - _MOST_NAMED} more" if len(known) > _MOST_NAMED else ""
        yield f"A value of {shown}{more} that it has not seen is answered as if it were missing."


def _blocked(model: Model) -> Iterator[str]:
    acts = model.outcome.acts
    if acts is not None:
        yield (
            f"Rows whose {acts.column} blocked them have no outcome of their own; "
            "it was fitted and judged on the others."
        )


def _code(origin: Mapping[str, Any]) -> Iterator[str]:
    code = origin.get("code") or {}
    if code.get("dirty"):
        yield f"It was made from code that no commit has: {', '.join(code['changed'][:3]) or 'changed files'}."
    elif origin and code.get("commit") is None:
        yield "The project was under no version control when it was made."
