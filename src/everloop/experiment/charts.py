"""Charts of an exploration, by Altair: the same for notebook and page. They hold counts, never rows."""

from __future__ import annotations

import json
from typing import Final

import altair as alt

from everloop.experiment.association import Association
from everloop.experiment.correlated import TOGETHER
from everloop.experiment.drawing import BLUE, GREY, RED, WIDTH, Drawn, inline
from everloop.experiment.exploration import Exploration
from everloop.experiment.overtime import Season

__all__ = [
    "MOST_DISTRIBUTIONS",
    "MOST_FEATURES",
    "association_chart",
    "charts",
    "classes_chart",
    "over_time_chart",
    "season_chart",
    "target_chart",
]

MOST_FEATURES: Final = 20
"""Features in the chart of what tells of the target."""

MOST_DISTRIBUTIONS: Final = 30
"""Features whose distributions are drawn."""

_MOST_NAMED: Final = 20
_LABEL_SIZE: Final = 9
_LETTER: Final = 4.8  # pixels that a letter of a label takes
_SMALL: Final = WIDTH // 3 - 40


def _rate_axis(seen: Exploration) -> tuple[str, alt.Axis]:
    """What the target's line is called, and how its numbers are written."""
    if seen.target is not None and seen.target.numeric:
        return f"mean {seen.target.column}", alt.Axis(format=".4~g")
    return "target rate", alt.Axis(format=".3~p")


def over_time_chart(seen: Exploration) -> alt.LayerChart:
    """Volume as bars and the target's rate, or mean, as a line over the same time."""
    rows = [{"time": p.start.isoformat(), "rows": p.rows, "rate": p.rate} for p in seen.periods]
    title, axis = _rate_axis(seen)
    base = alt.Chart(inline(rows)).encode(
        x=alt.X("time:T", title=None, scale=alt.Scale(type="utc"), axis=alt.Axis(labelSeparation=6, tickCount=8))
    )
    volume = base.mark_bar(color=GREY, opacity=0.5).encode(y=alt.Y("rows:Q", title="rows"))
    rate = base.mark_line(color=RED, point=alt.OverlayMarkDef(color=RED)).encode(
        y=alt.Y("rate:Q", title=title, axis=axis)
    )
    chart: alt.LayerChart = alt.layer(volume, rate).resolve_scale(y="independent").properties(width=WIDTH, height=180)
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
        base = alt.Chart(inline(rows), title=part).encode(
            x=alt.X("at:N", sort=None, title=None, axis=alt.Axis(labelOverlap="greedy", labelSeparation=2))
        )
        volume = base.mark_bar(color=GREY, opacity=0.5).encode(
            y=alt.Y("share:Q", title="share of rows", axis=alt.Axis(format="%"))
        )
        line = base.mark_line(color=RED, point=alt.OverlayMarkDef(color=RED)).encode(
            y=alt.Y("rate:Q", title=title, axis=axis)
        )
        layered = alt.layer(volume, line).resolve_scale(y="independent")
        drawn.append(layered.properties(width=(WIDTH - 120 * (len(parts) - 1)) // len(parts), height=140))
    chart: alt.HConcatChart = alt.hconcat(*drawn)
    return chart


def association_chart(seen: Exploration, *, most: int = MOST_FEATURES) -> alt.HConcatChart:
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
    panels = [("auc", "area under the ROC curve, alone", alt.Scale(domain=[0.5, 1], clamp=True), BLUE)]
    panels.append(("information", "mutual information, bits", alt.Scale(), BLUE))
    if seen.importances:
        panels.append(("permutation", "lost when shuffled", alt.Scale(), RED))
        panels.append(("forest", "share in a random forest", alt.Scale(), RED))
    drawn = []
    for place, (field, title, scale, colour) in enumerate(panels):
        names = alt.Axis(labels=place == 0, ticks=False)
        drawn.append(
            alt.Chart(inline(rows))
            .mark_bar(color=colour)
            .encode(
                x=alt.X(f"{field}:Q", title=title, scale=scale),
                y=alt.Y("feature:N", sort=order, title=None, axis=names),
                tooltip=["feature:N", alt.Tooltip(f"{field}:Q", format=".4~f")],
            )
            .properties(width=(WIDTH - 20 * len(panels)) // len(panels), height=alt.Step(16))
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
    bars = alt.Chart(inline(rows)).encode(
        x=alt.X("rows:Q", title=None, axis=alt.Axis(format="~s", tickCount=6)),
        y=alt.Y("class:N", sort=None, title=None),
        tooltip=["class:N", alt.Tooltip("rows:Q", format=",")],
    )
    colours = alt.Scale(domain=["positive", "negative", "missing"], range=[RED, GREY, "#d9dee4"])
    chart: alt.Chart = bars.mark_bar().encode(color=alt.Color("class:N", scale=colours, legend=None))
    return chart.properties(width=WIDTH, height=alt.Step(22))


def target_chart(seen: Exploration) -> alt.Chart | None:
    """How often a numeric target has which value; None of two classes, or where no row is usable."""
    target = seen.target
    if target is None or not target.shares:
        return None
    rows = [
        {"low": low, "high": high, "share": share}
        for low, high, share in zip(target.edges[:-1], target.edges[1:], target.shares, strict=True)
    ]
    x = alt.X("low:Q", title=target.column, axis=alt.Axis(format=".4~g"), scale=alt.Scale(nice=False, zero=False))
    chart: alt.Chart = (
        alt.Chart(inline(rows))
        .mark_bar(color=BLUE, opacity=0.6)
        .encode(
            x=x,
            x2="high:Q",
            y=alt.Y("share:Q", title="share of rows", axis=alt.Axis(format=".2~%", tickCount=5)),
            y2=alt.datum(0),
            tooltip=[*(alt.Tooltip(f"{name}:Q", format=".4~g") for name in ("low", "high")), _SHARE],
        )
        .properties(width=WIDTH, height=160)
    )
    return chart


_SHARE: Final = alt.Tooltip("share:Q", format=".2%")


def classes_chart(seen: Exploration, *, most: int = MOST_DISTRIBUTIONS) -> alt.ConcatChart:
    """The strongest features' distributions, split by the target, three in a line.

    Of a numeric target the classes are the rows above and below its median.
    """
    numeric = seen.target is not None and seen.target.numeric
    low, high = ("low target", "high target") if numeric else ("negative", "positive")
    drawn = [_class_chart(found, low, high) for found in seen.associations[:most]]
    chart: alt.ConcatChart = alt.concat(*drawn, columns=3).resolve_scale(color="shared")
    return chart


def _class_chart(association: Association, low: str, high: str) -> alt.Chart:
    """One feature's bins, those that hold something, for each of the two classes."""
    histogram = association.histogram
    held = [at for at, shares in enumerate(zip(histogram.negatives, histogram.positives, strict=True)) if any(shares)]
    rows = [
        {"at": place, "bin": histogram.names[at], "class": label, "share": shares[at]}
        for label, shares in ((low, histogram.negatives), (high, histogram.positives))
        for place, at in enumerate(held)
    ]
    names = [histogram.names[at] for at in held]
    colours = alt.Scale(domain=[low, high], range=[GREY, RED])
    chart: alt.Chart = (
        alt.Chart(inline(rows), title=alt.Title(association.feature, fontSize=11, limit=_SMALL))
        .mark_bar(opacity=0.6)
        .encode(
            x=alt.X("at:O", title=None, axis=_bin_axis(names, each=histogram.values)),
            y=alt.Y("share:Q", title=None, stack=None, axis=alt.Axis(format="~%", tickCount=3)),
            color=alt.Color("class:N", scale=colours, title=None, legend=alt.Legend(orient="top")),
            tooltip=["bin:N", "class:N", _SHARE],
        )
        .properties(width=_SMALL, height=80)
    )
    return chart


def _bin_axis(names: list[str], *, each: bool) -> alt.Axis:
    """The names of few values, else those of the ends; that of the missing values in a line of its own."""
    missing = names[-1] == "missing"
    known = len(names) - missing
    if each and known <= _MOST_NAMED:
        return alt.Axis(
            labelExpr=f"{json.dumps(names)}[datum.value]",
            labelAngle=0 if max(map(len, names)) * len(names) * _LETTER <= _SMALL else -90,
            labelLimit=70,
            labelFontSize=_LABEL_SIZE,
            labelOverlap=False,
            ticks=False,
        )
    shown: list[str | list[str]] = [*names[:known], *([["", "missing"]] if missing else [])]
    return alt.Axis(
        values=sorted({0, known - 1, len(names) - 1}),
        labelExpr=f"{json.dumps(shown)}[datum.value]",
        labelAlign=alt.condition("datum.value == 0", alt.value("left"), alt.value("right")),
        labelAngle=0,
        labelLimit=80,
        labelFontSize=_LABEL_SIZE,
        labelOverlap=False,
    )


def group_chart(seen: Exploration) -> alt.LayerChart:
    """The groups of features that move together, a line each, from the loosest of their ties to the closest."""
    rows = [
        {"group": ", ".join(group.features[:8]), "least": group.least, "most": group.most} for group in seen.groups[:20]
    ]
    base = alt.Chart(inline(rows)).encode(
        y=alt.Y("group:N", sort=None, title=None, axis=alt.Axis(labelLimit=360)),
        tooltip=["group:N", *(alt.Tooltip(f"{name}:Q", format=".3f") for name in ("least", "most"))],
    )
    x = alt.X(
        "least:Q",
        title="correlation of ranks within the group",
        scale=alt.Scale(domain=[TOGETHER, 1], clamp=True),
        axis=alt.Axis(tickCount=5),
    )
    ties = base.mark_rule(color=BLUE, strokeWidth=2).encode(x=x, x2="most:Q")
    ends = [base.mark_point(color=BLUE, filled=True, opacity=1).encode(x=f"{end}:Q") for end in ("least", "most")]
    chart: alt.LayerChart = alt.LayerChart(layer=[ties, *ends], width=WIDTH - 360, height=alt.Step(18))
    return chart


def charts(seen: Exploration) -> dict[str, Drawn]:
    """The page's charts by title, those that the data allows."""
    found: dict[str, Drawn] = {}
    balance = balance_chart(seen)
    if balance is not None:
        found["Balance of the target"] = balance
    target = target_chart(seen)
    if target is not None:
        found["Distribution of the target"] = target
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
