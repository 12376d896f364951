"""An investigation's charts, by Altair: the same functions for the report and the notebook. They hold daily sums."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import polars as pl

if TYPE_CHECKING:
    import altair as alt

__all__ = ["days_chart", "drift_chart"]

_WIDTH: Final = 640
_HEIGHT: Final = 170
_BLUE, _RED, _GREY = "#3b6ea5", "#c8503c", "#9aa5b1"


def days_chart(
    by_day: pl.DataFrame, column: str, *, title: str, since: datetime | None = None, percent: bool = False
) -> alt.Chart:
    """A column of a daily table as bars, the change as a line. by_day: with `day`."""
    import altair as alt

    rows = [
        {"day": day.isoformat(), "value": value, "part": "before" if since is None or day < since else "since"}
        for day, value in by_day.select("day", column).iter_rows()
        if value is not None
    ]
    colours = alt.Scale(domain=["before", "since"], range=[_GREY, _RED])
    shares = alt.Y("value:Q", title=title, axis=alt.Axis(format="%"), scale=alt.Scale(domain=[0, 1]))
    chart: alt.Chart = (
        alt.Chart(alt.InlineData(values=rows))
        .mark_bar(width={"band": 0.8})
        .encode(
            x=alt.X("utcyearmonthdate(day):O", title=None, axis=alt.Axis(format="%m-%d", labelOverlap=True)),
            y=shares if percent else alt.Y("value:Q", title=title),
            color=alt.Color("part:N", scale=colours, legend=None),
        )
        .properties(width=_WIDTH, height=_HEIGHT)
    )
    return chart


def drift_chart(drifted: Iterable[Mapping[str, Any]]) -> alt.Chart:
    """How far columns moved, beside how far they usually move. drifted: as `Drifted.to_dict` gives them."""
    import altair as alt

    rows = [
        {"column": item["column"], "distance": item[kind], "which": which}
        for item in drifted
        for kind, which in (("distance", "now"), ("usual", "usual"))
    ]
    colours = alt.Scale(domain=["now", "usual"], range=[_RED, _GREY])
    chart: alt.Chart = (
        alt.Chart(alt.InlineData(values=rows))
        .mark_bar()
        .encode(
            x=alt.X("distance:Q", title="distance from the reference", axis=alt.Axis(tickCount=6)),
            y=alt.Y("column:N", sort=None, title=None),
            yOffset="which:N",
            color=alt.Color("which:N", scale=colours, title=None),
        )
        .properties(width=_WIDTH, height=alt.Step(14))
    )
    return chart
