"""Charts of an exploration, by Altair: the same for notebook and page. They hold counts, never rows."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import altair as alt

from everloop.experiment.association import Association
from everloop.experiment.exploration import Exploration
from everloop.experiment.overtime import Season

__all__ = ["Drawn", "association_chart", "charts", "classes_chart", "over_time_chart", "season_chart"]

Drawn = alt.Chart | alt.LayerChart | alt.HConcatChart | alt.FacetChart

_WIDTH = 640
_BLUE, _RED, _GREY = "#3b6ea5", "#c8503c", "#9aa5b1"


def _data(rows: list[dict[str, Any]]) -> alt.InlineData:
    """Rows that stay in the chart's own document."""
    return alt.InlineData(values=rows)


def _rate_axis(seen: Exploration) -> tuple[str, alt.Axis]:
    """What the target's line is called, and how its numbers are written."""
    if seen.target is not None and seen.target.numeric:
        return f"mean {seen.target.column}", alt.Axis(format=".4~g")
    return "target rate", alt.Axis(format=".3~p")


def over_time_chart(seen: Exploration) -> alt.LayerChart:
    """Volume as bars and the target's rate, or mean, as a line over the same time."""
    rows = [{"time": p.start.isoformat(), "rows": p.rows, "rate": p.rate} for p in seen.periods]
    title, axis = _rate_axis(seen)
    base = alt.Chart(_data(rows)).encode(x=alt.X("time:T", title=None, scale=alt.Scale(type="utc")))
    volume = base.mark_bar(color=_GREY, opacity=0.5).encode(y=alt.Y("rows:Q", title="rows"))
    rate = base.mark_line(color=_RED, point=alt.OverlayMarkDef(color=_RED)).encode(
        y=alt.Y("rate:Q", title=title, axis=axis)
    )
    chart: alt.LayerChart = alt.layer(volume, rate).resolve_scale(y="independent").properties(width=_WIDTH, height=180)
    return chart


_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def _season_name(season: Season) -> str:
    if season.part == "weekday":
        return _WEEKDAYS[season.value - 1]
    return _MONTHS[season.value - 1] if season.part == "month" else f"{season.value:02}"


def season_chart(seen: Exploration) -> alt.HConcatChart:
    """Volume and target by hour of the day, weekday and month, those that the span allows."""
    title, axis = _rate_axis(seen)
    parts = list(dict.fromkeys(season.part for season in seen.seasons))
    drawn = []
    for part in parts:
        rows = [
            {"at": _season_name(season), "share": season.share, "rate": season.rate}
            for season in seen.seasons
            if season.part == part
        ]
        base = alt.Chart(_data(rows), title=part).encode(x=alt.X("at:N", sort=None, title=None))
        volume = base.mark_bar(color=_GREY, opacity=0.5).encode(
            y=alt.Y("share:Q", title="share of rows", axis=alt.Axis(format="%"))
        )
        line = base.mark_line(color=_RED, point=alt.OverlayMarkDef(color=_RED)).encode(
            y=alt.Y("rate:Q", title=title, axis=axis)
        )
        layered = alt.layer(volume, line).resolve_scale(y="independent")
        drawn.append(layered.properties(width=(_WIDTH - 120 * (len(parts) - 1)) // len(parts), height=140))
    chart: alt.HConcatChart = alt.hconcat(*drawn)
    return chart


def association_chart(seen: Exploration, *, most: int = 20) -> alt.HConcatChart:
    """What the features tell of the target: each alone, two ways, and beside the others, two ways."""
    shown = seen.associations[:most]
    order = [found.feature for found in shown]
    rows = []
    for found in shown:
        importance = seen.importance(found.feature)
        rows.append(
            {
                "feature": found.feature,
                "auc": found.auc,
                "information": found.information,
                "permutation": None if importance is None else importance.permutation,
                "forest": None if importance is None else importance.forest,
            }
        )
    panels = [("auc", "area under the ROC curve, alone", alt.Scale(domain=[0.5, 1], clamp=True), _BLUE)]
    panels.append(("information", "mutual information, bits", alt.Scale(), _BLUE))
    if seen.importances:
        panels.append(("permutation", "lost when shuffled", alt.Scale(), _RED))
        panels.append(("forest", "share in a random forest", alt.Scale(), _RED))
    drawn = []
    for place, (field, title, scale, colour) in enumerate(panels):
        names = alt.Axis(labels=place == 0, ticks=False)
        drawn.append(
            alt.Chart(_data(rows))
            .mark_bar(color=colour)
            .encode(
                x=alt.X(f"{field}:Q", title=title, scale=scale),
                y=alt.Y("feature:N", sort=order, title=None, axis=names),
                tooltip=["feature:N", alt.Tooltip(f"{field}:Q", format=".4~f")],
            )
            .properties(width=(_WIDTH - 20 * len(panels)) // len(panels), height=alt.Step(16))
        )
    chart: alt.HConcatChart = alt.hconcat(*drawn)
    return chart


def balance_chart(seen: Exploration) -> alt.Chart | None:
    """How many rows there are of each class; None of a numeric target."""
    target = seen.target
    if target is None or target.numeric:
        return None
    known = target.rows - target.missing
    counted = [("positive", target.positives), ("negative", known - target.positives), ("missing", target.missing)]
    rows = [{"class": name, "rows": count} for name, count in counted if count]
    bars = alt.Chart(_data(rows)).encode(
        x=alt.X("rows:Q", title=None, axis=alt.Axis(format="~s")),
        y=alt.Y("class:N", sort=None, title=None),
        tooltip=["class:N", alt.Tooltip("rows:Q", format=",")],
    )
    colours = alt.Scale(domain=["positive", "negative", "missing"], range=[_RED, _GREY, "#d9dee4"])
    chart: alt.Chart = bars.mark_bar().encode(color=alt.Color("class:N", scale=colours, legend=None))
    return chart.properties(width=_WIDTH, height=alt.Step(22))


def _bin_names(association: Association, bins: int) -> list[str]:
    edges = association.histogram.edges
    if not edges:
        return [*(f"value {at + 1}" for at in range(bins - 1)), "missing"]
    texts = [f"{edge:.3g}" for edge in edges]
    inner = [f"{low} … {high}" for low, high in pairwise(texts)]
    return [f"< {texts[0]}", *inner, f"≥ {texts[-1]}", "missing"]


def classes_chart(seen: Exploration, *, most: int = 30) -> alt.FacetChart:
    """The strongest features' distributions, split by the target, three in a line.

    Of a numeric target the classes are the rows above and below its median.
    """
    numeric = seen.target is not None and seen.target.numeric
    low, high = ("low target", "high target") if numeric else ("negative", "positive")
    shown = seen.associations[:most]
    rows = [row for found in shown for row in _class_rows(found, low, high)]
    colours = alt.Scale(domain=[low, high], range=[_GREY, _RED])
    bars = (
        alt.Chart(_data(rows))
        .mark_bar(opacity=0.6)
        .encode(
            x=alt.X("at:O", title=None, axis=None),
            y=alt.Y("share:Q", title=None, stack=None, axis=alt.Axis(format="%", tickCount=3)),
            color=alt.Color("class:N", scale=colours, title=None, legend=alt.Legend(orient="top")),
            tooltip=["bin:N", "class:N", alt.Tooltip("share:Q", format=".2%")],
        )
        .properties(width=_WIDTH // 3 - 40, height=80)
    )
    facet = alt.Facet("feature:N", sort=[found.feature for found in shown], title=None)
    chart: alt.FacetChart = bars.facet(facet, columns=3).resolve_scale(x="independent", y="independent")
    return chart


def _class_rows(association: Association, low: str, high: str) -> list[dict[str, Any]]:
    """The bins of one feature that hold something, for each of the two classes."""
    histogram = association.histogram
    names = _bin_names(association, len(histogram.negatives))
    return [
        {"feature": association.feature, "at": at, "bin": name, "class": label, "share": share}
        for label, shares in ((low, histogram.negatives), (high, histogram.positives))
        for at, (name, share) in enumerate(zip(names, shares, strict=True))
        if histogram.negatives[at] or histogram.positives[at]
    ]


def group_chart(seen: Exploration) -> alt.Chart:
    """The groups of features that move together, a line each, with how closely."""
    rows = [
        {"group": ", ".join(group.features[:8]), "least": group.least, "most": group.most} for group in seen.groups[:20]
    ]
    chart: alt.Chart = (
        alt.Chart(_data(rows))
        .mark_bar(color=_BLUE, height=8)
        .encode(
            x=alt.X("least:Q", title="correlation of ranks within the group", scale=alt.Scale(zero=False)),
            x2="most:Q",
            y=alt.Y("group:N", sort=None, title=None, axis=alt.Axis(labelLimit=360)),
        )
        .properties(width=_WIDTH - 360, height=alt.Step(18))
    )
    return chart


def charts(seen: Exploration) -> dict[str, Drawn]:
    """The page's charts by title, those that the data allows."""
    found: dict[str, Drawn] = {}
    balance = balance_chart(seen)
    if balance is not None:
        found["Balance of the target"] = balance
    if len(seen.periods) > 1:
        found["Volume and target over time"] = over_time_chart(seen)
    if seen.seasons:
        found["Season"] = season_chart(seen)
    if seen.associations:
        found["What tells of the target"] = association_chart(seen)
        found["Distributions by the target"] = classes_chart(seen)
    if seen.groups:
        found["Features that move together"] = group_chart(seen)
    return found
