"""The chart of the three arms: recall by week, with the change and the promotions."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from everloop.replay.spans import Flags, Span, Times, measured
from everloop.replay.story import History
from everloop.replay.world import WorldPlan

__all__ = ["draw_arms"]

_NAMES: Final = {"everloop": "everloop", "weekly": "retrained weekly, no gates", "never": "never retrained"}
_COLOURS: Final = {"everloop": "#3b6ea5", "weekly": "#d98f2b", "never": "#c8503c"}
_WIDTH: Final = 640
_HEIGHT: Final = 260
_SCALE: Final = 2.0
_SHORT: Final = timedelta(days=4)


def draw_arms(
    times: Times,
    truth: Flags,
    decisions: Mapping[str, Flags],
    plan: WorldPlan,
    history: History,
    *,
    folder: Path,
) -> Path:
    """Write `arms.svg` and `arms.png` into `folder`; the path of the SVG. It holds weekly sums, never rows."""
    import vl_convert

    folder.mkdir(parents=True, exist_ok=True)
    chart = _chart(_by_week(times, truth, decisions, plan), plan, history).to_dict()
    path = folder / "arms.svg"
    path.write_text(vl_convert.vegalite_to_svg(chart), encoding="utf-8")
    path.with_suffix(".png").write_bytes(vl_convert.vegalite_to_png(chart, scale=_SCALE))
    return path


def _by_week(times: Times, truth: Flags, decisions: Mapping[str, Flags], plan: WorldPlan) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    start = plan.opens_at
    while start < plan.closes_at:
        end = start + timedelta(days=7)
        # a rest of a few days goes with the week before it: alone it would be mostly noise
        span = Span(name="week", start=start, end=plan.closes_at if plan.closes_at - end < _SHORT else end)
        mine = span.among(times)
        middle = plan.day_of(span.start + (span.end - span.start) / 2)
        for name, decision in decisions.items():
            found = measured(truth[mine], decision[mine])
            if found.recall is not None:
                low, high = found.recall.low, found.recall.high
                rows.append(
                    {"arm": _NAMES[name], "day": middle, "recall": found.recall.point, "low": low, "high": high}
                )
        start = span.end
    return rows


def _chart(rows: list[dict[str, Any]], plan: WorldPlan, history: History) -> Any:
    import altair as alt

    drawn = [name for name in _NAMES if any(row["arm"] == _NAMES[name] for row in rows)]
    colours = alt.Scale(domain=[_NAMES[name] for name in drawn], range=[_COLOURS[name] for name in drawn])
    legend = alt.Legend(orient="bottom", title=None, labelLimit=300, symbolOpacity=1)
    base = alt.Chart(alt.InlineData(values=rows)).encode(
        x=alt.X("day:Q", title="day of traffic", scale=alt.Scale(domain=[0, plan.day_of(plan.closes_at)], nice=False)),
        color=alt.Color("arm:N", scale=colours, legend=legend),
    )
    low, high = alt.Scale(domain=[0.3, 1.0], clamp=True), "recall, by week"
    band = base.mark_area(opacity=0.12).encode(y=alt.Y("low:Q", scale=low, title=high), y2="high:Q")
    line = base.mark_line(point=True, strokeWidth=2).encode(y=alt.Y("recall:Q", scale=low, title=high))
    return alt.layer(band, line, *_marks(plan, history)).properties(width=_WIDTH, height=_HEIGHT)


def _marks(plan: WorldPlan, history: History) -> list[Any]:
    """Upright lines with their names: the hidden change, the first alert, every promotion."""
    import altair as alt

    marks = [] if plan.change_at is None else [(plan.day_of(plan.change_at), "new pattern")]
    marks += [(plan.day_of(fact.at), "alert") for fact in history.alerts[:1]]
    marks += [(plan.day_of(fact.at), f"v{fact.payload['version']} promoted") for fact in history.promotions]
    if not marks:
        return []
    data = alt.InlineData(values=[{"day": day, "what": what} for day, what in marks])
    rule = alt.Chart(data).mark_rule(strokeDash=[4, 3], color="#555").encode(x="day:Q")
    text = (
        alt.Chart(data)
        .mark_text(align="left", baseline="top", dx=4, angle=0, fontSize=10, color="#555")
        .encode(x="day:Q", y=alt.value(2), text="what:N")
    )
    return [rule, text]
