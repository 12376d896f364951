"""A plan as one HTML page that fetches nothing: the verdict, days over shares, and what was assumed."""

from __future__ import annotations

from typing import Any, Final

import altair as alt

from everloop.experiment.drawing import BLUE, GREY, RED, WIDTH
from everloop.experiment.online_plan import OnlinePlan, cells, lasting, percent, plain
from everloop.pages import html_page, template

__all__ = ["online_chart", "online_page"]

_HEIGHT: Final = 340
_ONCE, _HALF, _MOST = "A/B judged once", "A/B any time, 1 in 2", "A/B any time, 9 in 10"
_PAIRED: Final = "paired, any time, 9 in 10"

_BODY: Final = """<h1>{{ plan.title }}</h1>
<p class="lead {{ "fine" if plan.enough else "stop" }}">{{ plan.sentence }}</p>
<h2>Days until the answer, by the share of {{ plan.volume.users }} that see the challenger</h2>
<div class="wide" id="chart0"></div>
<h2>What it takes</h2>
<table><tr><th>comparison</th><th class="n">{{ plan.baseline.counted }}, challenger</th><th class="n">champion</th>
<th class="n">rows in all</th><th class="n">takes</th></tr>
{% for row in needs %}<tr><td>{{ row[0] }}</td>{% for cell in row[1:] %}<td class="n">{{ cell }}</td>{% endfor %}</tr>
{% endfor %}</table>
{% for sentence in sentences %}<p>{{ sentence }}</p>
{% endfor %}
<h2>What it rests on</h2>
<table>{% for name, said in facts %}<tr><th>{{ name }}</th><td>{{ said }}</td></tr>
{% endfor %}</table>
<ul class="by">{% for note in plan.notes %}<li>{{ note }}</li>
{% endfor %}</ul>
"""


def online_chart(plan: OnlinePlan) -> alt.LayerChart:
    """Days over shares, both logarithmic; the limit and the asked share as dashed lines."""
    names = [_ONCE, _HALF, _MOST, *([] if plan.paired is None else [_PAIRED])]
    colours = alt.Scale(domain=names, range=[RED, GREY, "#52606d", BLUE][: len(names)])
    share = alt.X(
        "share:Q",
        title=f"share of {plan.volume.users} that see the challenger",
        scale=alt.Scale(type="log", nice=False),
        axis=alt.Axis(format="~%", values=[0.001, 0.01, 0.1, 0.5]),
    )
    days = alt.Y(
        "days:Q",
        title="days",
        scale=alt.Scale(type="log"),
        axis=alt.Axis(format="~s", values=[10**power for power in range(10)]),
    )
    tips = ["line:N", alt.Tooltip("share:Q", format=".2%"), alt.Tooltip("days:Q", format=",.1f")]
    lines = (
        alt.Chart(alt.InlineData(values=_lines(plan)))
        .mark_line()
        .encode(x=share, y=days, color=alt.Color("line:N", scale=colours, title=None), tooltip=tips)
    )
    asked = [{"share": plan.asked.share, "days": plan.arms.once.days, "line": _ONCE}]
    point = alt.Chart(alt.InlineData(values=asked)).mark_point(size=90, filled=True, color=RED)
    limit = alt.Chart(alt.InlineData(values=[{"days": plan.asked.days, "text": f"asked: {lasting(plan.asked.days)}"}]))
    named = limit.mark_text(align="left", dx=4, dy=-7, color="#52606d").encode(
        y="days:Q", x=alt.value(0), text="text:N"
    )
    at = alt.Chart(alt.InlineData(values=[{"share": plan.asked.share}])).mark_rule(strokeDash=[2, 3], color=GREY)
    rule = limit.mark_rule(strokeDash=[5, 4]).encode(y="days:Q")
    layers = rule, named, at.encode(x="share:Q"), lines, point.encode(x=share, y=days, tooltip=tips)
    chart: alt.LayerChart = alt.LayerChart(layer=layers, width=WIDTH, height=_HEIGHT)
    return chart


def _lines(plan: OnlinePlan) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    most = None if plan.paired is None else plan.paired.most
    for point in plan.curve:
        named = {_ONCE: point.once, _HALF: point.half, _MOST: point.most, _PAIRED: None if most is None else most.days}
        rows += [{"share": point.share, "days": days, "line": name} for name, days in named.items() if days is not None]
    return rows


def _needs(plan: OnlinePlan) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for name, course in ((f"A/B at {percent(plan.asked.share)}", plan.arms), ("paired", plan.paired)):
        if course is None:
            continue
        ways = (("judged once", course.once), ("any time, 1 in 2", course.half), ("any time, 9 in 10", course.most))
        rows += [(f"{name}, {way}", *cells(need)) for way, need in ways]
    return rows


def _facts(plan: OnlinePlan) -> list[tuple[str, str]]:
    base, seen, asked = plan.baseline, plan.volume, plan.asked
    users = "" if seen.users_per_day is None else f", {plain(seen.users_per_day)} users ({seen.entity})"
    counted = "" if base.counted == "rows" else f"; {plain(seen.rows_per_day * base.part)} {base.counted}"
    return [
        ("today", f"{base.metric} {plain(base.value)}: {base.origin}"),
        ("to see", f"{plain(plan.effect.absolute)}: {plan.effect.origin}"),
        ("traffic", f"{plain(seen.rows_per_day)} rows a day{users}{counted}"),
        ("source", f"{plan.source}, {lasting(seen.span_days)}"),
        ("level, power", f"{asked.level:g}, {asked.power:g}, two-sided"),
    ]  # fmt: skip


def online_page(plan: OnlinePlan) -> str:
    """The page, complete: no address in it is fetched."""
    courses = [plan.arms, *([] if plan.paired is None else [plan.paired])]
    body = template(_BODY).render(
        plan=plan, needs=_needs(plan), sentences=[course.sentence for course in courses], facts=_facts(plan)
    )
    return html_page(plan.title, body, {"days": online_chart(plan)})
