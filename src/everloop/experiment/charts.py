"""Charts of an exploration, by Altair: the same for notebook and page. They hold counts, never rows."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import altair as alt

from everloop.experiment.association import Association
from everloop.experiment.exploration import Exploration

__all__ = ["association_chart", "charts", "class_chart", "over_time_chart"]

_WIDTH = 640
_BLUE, _RED, _GREY = "#3b6ea5", "#c8503c", "#9aa5b1"


def _data(rows: list[dict[str, Any]]) -> alt.InlineData:
    """Rows that stay in the chart's own document."""
    return alt.InlineData(values=rows)


def over_time_chart(seen: Exploration) -> alt.LayerChart:
    """Volume as bars and the target's rate as a line over the same time."""
    rows = [{"time": p.start.isoformat(), "rows": p.rows, "rate": p.rate} for p in seen.periods]
    base = alt.Chart(_data(rows)).encode(x=alt.X("time:T", title=None, scale=alt.Scale(type="utc")))
    volume = base.mark_bar(color=_GREY, opacity=0.5).encode(y=alt.Y("rows:Q", title="rows"))
    rate = base.mark_line(color=_RED, point=alt.OverlayMarkDef(color=_RED)).encode(
        y=alt.Y("rate:Q", title="target rate", axis=alt.Axis(format="%"))
    )
    chart: alt.LayerChart = alt.layer(volume, rate).resolve_scale(y="independent").properties(width=_WIDTH, height=180)
    return chart


def association_chart(seen: Exploration, *, most: int = 20) -> alt.Chart:
    """The features that tell most of the target alone."""
    rows = [{"feature": a.feature, "auc": a.auc} for a in seen.associations[:most]]
    chart: alt.Chart = (
        alt.Chart(_data(rows))
        .mark_bar(color=_BLUE)
        .encode(
            x=alt.X("auc:Q", title="area under the ROC curve, alone", scale=alt.Scale(domain=[0.5, 1], clamp=True)),
            y=alt.Y("feature:N", sort=None, title=None),
            tooltip=["feature:N", alt.Tooltip("auc:Q", format=".3f")],
        )
        .properties(width=_WIDTH, height=alt.Step(16))
    )
    return chart


def _bin_names(association: Association, bins: int) -> list[str]:
    edges = association.histogram.edges
    if not edges:
        return [*(f"value {at + 1}" for at in range(bins - 1)), "missing"]
    texts = [f"{edge:.3g}" for edge in edges]
    inner = [f"{low} … {high}" for low, high in pairwise(texts)]
    return [f"< {texts[0]}", *inner, f"≥ {texts[-1]}", "missing"]


def class_chart(association: Association) -> alt.Chart:
    """How the two classes are spread over one feature's bins, each summing to one."""
    histogram = association.histogram
    names = _bin_names(association, len(histogram.negatives))
    rows = [
        {"bin": name, "class": label, "share": share}
        for label, shares in (("negative", histogram.negatives), ("positive", histogram.positives))
        for name, share in zip(names, shares, strict=True)
        if name != "missing" or histogram.negatives[-1] or histogram.positives[-1]
    ]
    colours = alt.Scale(domain=["negative", "positive"], range=[_GREY, _RED])
    chart: alt.Chart = (
        alt.Chart(_data(rows), title=association.feature)
        .mark_bar()
        .encode(
            x=alt.X("bin:N", sort=None, title=None, axis=alt.Axis(labelAngle=-60)),
            xOffset="class:N",
            y=alt.Y("share:Q", title="share of the class", axis=alt.Axis(format="%")),
            color=alt.Color("class:N", scale=colours, title=None),
        )
        .properties(width=_WIDTH, height=160)
    )
    return chart


def charts(seen: Exploration) -> dict[str, alt.Chart | alt.LayerChart]:
    """The page's charts by title, those that the data allows."""
    found: dict[str, alt.Chart | alt.LayerChart] = {}
    if len(seen.periods) > 1:
        found["Volume and target rate over time"] = over_time_chart(seen)
    if seen.associations:
        found["What tells of the target, each feature alone"] = association_chart(seen)
        for association in seen.associations[:4]:
            found[f"{association.feature}, by class"] = class_chart(association)
    return found
