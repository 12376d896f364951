"""A file check as a notebook shows it: the answer, the shares over time with the alerts on them, the windows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from everloop.monitoring.file_check import FileCheck, FileWindow
from everloop.monitoring.labelled import NEAR, SHARES
from everloop.project import format_duration

if TYPE_CHECKING:
    import altair as alt

__all__ = ["file_check_fragment", "shares_chart"]

_WIDTH: Final = 640
_MOST_LINES: Final = 40
_RED, _GREY = "#c8503c", "#9aa5b1"
_COLOURS: Final = {"recall": "#3b6ea5", "precision": "#b7791f", "accuracy": "#3b8a5a", NEAR: "#3b6ea5"}

_BODY: Final = """<style>
.everloop { font: 15px/1.5 system-ui, sans-serif; color: #1f2933; }
.everloop table { border-collapse: collapse; font-size: 13px; }
.everloop td, .everloop th { padding: 2px 10px 2px 0; text-align: left; }
.everloop td.n, .everloop th.n { text-align: right; font-variant-numeric: tabular-nums; }
.everloop p.lead { font-size: 1.1rem; padding-left: .8rem; border-left: 4px solid #3b8a5a; }
.everloop p.lead.stop { border-color: #c8503c; } .everloop .by { color: #616e7c; font-size: 13px; }
</style><div class="everloop">
<p class="lead{% if check.alerts %} stop{% endif %}">{{ check.sentence }}</p>
<p class="by">{{ "{:,}".format(check.rows) }} predictions
{%- if numeric %} of a number{% else %}, {{ "{:,}".format(check.positives) }} positives{% endif %},
{{ check.start.strftime("%Y-%m-%d") }} to {{ check.end.strftime("%Y-%m-%d") }};
{{ "near is within" if numeric else "threshold" }} {{ "%.4g" | format(check.threshold) }} ({{ check.threshold_from }}).
Reference until {{ check.reference_end.strftime("%Y-%m-%d") }}: {{ expected }}.
Windows of {{ every }}, outcomes {{ delay }} late, false
alarms {{ check.false_alarms }} over everything.</p>
{% for note in check.notes %}<p class="by">{{ note }}</p>{% endfor %}
{{ drawn }}
{% if check.alerts %}<table><tr><th>alert</th><th>check</th><th>evidence</th><th>what is seen</th>
<th>meanwhile</th></tr>
{% for alert in check.alerts %}<tr><td>{{ alert.at.strftime("%Y-%m-%d %H:%M") }} UTC</td><td>{{ alert.check }}</td>
<td>{{ alert.evidence_kind }}</td><td>{{ alert.sentence }}</td><td>{{ alert.until_alert }}, and
{{ "{:,.0f}".format(alert.until_end.excess) }} by the end</td></tr>
{% endfor %}</table>{% endif %}
<table><tr><th>window from</th><th class="n">rows</th>
<th class="n">{{ "mean error" if numeric else "positives" }}</th>{% for name in names %}
<th class="n">{{ name }}</th>{% endfor %}<th>failed</th></tr>
{% for one in windows %}<tr><td>{{ one.window.start.strftime("%Y-%m-%d %H:%M") }}</td>
<td class="n">{{ "{:,}".format(one.rows) }}</td>
<td class="n">{{ middle(one) }}</td>
{% for name in names %}<td class="n">{{ "%.2f" | format(one.shares[name].point) if name in one.shares else "–" }}</td>
{%- endfor %}<td>{{ failed(one) }}</td></tr>
{% endfor %}</table>
{% if left_out %}<p class="by">… and {{ left_out }} windows between them that raised no alert.</p>{% endif %}
</div>"""


def shares_chart(check: FileCheck) -> alt.LayerChart:
    """The shares of every window with their intervals; a line where an alert came."""
    import altair as alt

    rows = [
        {"at": one.window.start.isoformat(), "share": name, "low": of.low, "point": of.point, "high": of.high}
        for one in check.windows
        for name, of in one.shares.items()
    ]
    names = _names(check)
    x = alt.X("at:T", title=None, scale=alt.Scale(type="utc"))
    colour = alt.Color("share:N", title=None, scale=alt.Scale(domain=names, range=[_COLOURS[name] for name in names]))
    base = alt.Chart(alt.InlineData(values=rows)).encode(x=x, color=colour)
    bands: alt.Chart = base.mark_area(opacity=0.15).encode(
        y=alt.Y("low:Q", title=None, scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format="%")), y2="high:Q"
    )
    alerts: list[dict[str, Any]] = [{"at": alert.at.isoformat()} for alert in check.alerts]
    rules = alt.Chart(alt.InlineData(values=alerts)).mark_rule(color=_RED, strokeDash=[4, 3]).encode(x=x)
    layered: Any = alt.layer(bands, base.mark_line().encode(y="point:Q"), rules).properties(width=_WIDTH, height=180)
    chart: alt.LayerChart = layered
    return chart


def _names(check: FileCheck) -> list[str]:
    """The shares that a file like this has."""
    return [NEAR] if NEAR in check.expected else list(SHARES)


def _middle(one: FileWindow) -> str:
    """Of numbers how far off they were, else the positives."""
    if NEAR in one.counts:
        return "–" if one.mean_error is None else f"{one.mean_error:.4g}"
    return f"{one.positives:,}"


def file_check_fragment(check: FileCheck) -> str:
    """The check as HTML for a notebook's output, without a script."""
    import vl_convert
    from jinja2 import Environment
    from markupsafe import Markup

    raised = {alert.window for alert in check.alerts}
    step = -(-len(check.windows) // _MOST_LINES)
    shown = [one for place, one in enumerate(check.windows) if place % step == 0 or one.window in raised]
    drawn = vl_convert.vegalite_to_svg(shares_chart(check).to_dict())
    return str(
        Environment(autoescape=True)
        .from_string(_BODY)
        .render(
            check=check,
            names=_names(check),
            numeric=NEAR in check.expected,
            middle=_middle,
            windows=shown,
            left_out=len(check.windows) - len(shown),
            failed=lambda one: ", ".join(item.name for item in one.checks if item.verdict.is_failed),
            expected=", ".join(f"{name} {interval:.2f}" for name, interval in check.expected.items()),
            every=format_duration(check.every),
            delay=format_duration(check.delay),
            drawn=Markup(drawn),  # noqa: S704 our own picture; what it holds of the data are numbers and times
        )
    )
