"""Pages that fetch nothing: one frame for all of this room's, with the scripts of its charts in it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, Protocol

from markupsafe import Markup

from everloop.pages.chart_scripts import chart_scripts

__all__ = [
    "STYLE",
    "Chart",
    "chart_fragment",
    "chart_page",
    "fragment",
    "html_page",
    "svg",
    "template",
]

STYLE: Final = """
.everloop { font: 15px/1.5 system-ui, sans-serif; color: #1f2933; }
.everloop h1 { font-size: 1.5rem; } .everloop h2 { font-size: 1.1rem; margin-top: 2rem; }
.everloop table { border-collapse: collapse; font-size: 13px; }
.everloop td, .everloop th { padding: 2px 10px 2px 0; text-align: left; }
.everloop td.n, .everloop th.n { text-align: right; font-variant-numeric: tabular-nums; }
.everloop tr:nth-child(even) { background: #f5f7fa; }
.everloop li.stop::marker { content: "✗ "; color: #c8503c; }
.everloop li.warn::marker { content: "! "; color: #b7791f; }
.everloop li.note::marker { content: "· "; } .everloop .by { color: #616e7c; font-size: 13px; }
.everloop p.lead { font-size: 1.1rem; padding-left: .8rem; border-left: 4px solid #9aa5b1; }
.everloop p.lead.stop { border-color: #c8503c; } .everloop p.lead.fine { border-color: #3b8a5a; }
.everloop .wide { overflow-x: auto; }
"""

_FRAME: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title>
<style>body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }{{ style }}</style>
{% if specs %}<script>{{ scripts }}</script>
{% endif %}</head>
<body class="everloop">
{{ body }}
<p class="by">Made by everloop.</p>
{% if specs %}<script>
const charts = {{ specs }};
charts.forEach((spec, at) => vegaEmbed("#chart" + at, spec, {actions: false}));
</script>
{% endif %}</body>
</html>
"""


class Chart(Protocol):
    """A chart of Altair's."""

    def to_dict(self) -> dict[str, Any]:
        """As Vega-Lite."""
        ...


def _in_script(value: object) -> str:
    # a `</script>` in a column's name must not end the script
    return json.dumps(value).replace("<", "\\u003c")


def template(text: str) -> Any:
    """A Jinja template whose values are escaped."""
    from jinja2 import Environment

    return Environment(autoescape=True).from_string(text)


def html_page(title: str, body: str, charts: Mapping[str, Chart]) -> str:
    """The page, complete: no address in it is fetched.

    body: HTML of our own, values escaped, with an element `chart0`, `chart1` … for each of the charts.
    """
    specs = [chart.to_dict() for chart in charts.values()]
    scripts = chart_scripts() if specs else ""
    # all are ours, and what they hold of the data is escaped, for HTML by the template and for a script above
    parts = {"scripts": scripts, "style": STYLE, "specs": _in_script(specs) if specs else "", "body": body}
    return str(template(_FRAME).render(title=title, **{name: Markup(part) for name, part in parts.items()}))  # noqa: S704


def chart_page(title: str, body: str, charts: Mapping[str, Chart], **values: object) -> str:
    """The page of the template `body`, which has the charts as `pictures`: pairs of a title and markup."""
    places = {name: f'<div id="chart{at}"></div>' for at, name in enumerate(charts)}
    return html_page(title, str(template(body).render(**values, pictures=_pictures(places))), charts)


def chart_fragment(body: str, charts: Mapping[str, Chart], **values: object) -> str:
    """The same for a notebook's output: charts as pictures, no script."""
    return fragment(body, **values, pictures=_pictures({title: svg(chart) for title, chart in charts.items()}))


def _pictures(drawn: Mapping[str, str]) -> list[tuple[str, Markup]]:
    # markup of our own: an empty place for a chart, or what drew it
    return [(title, Markup(markup)) for title, markup in drawn.items()]  # noqa: S704


def fragment(body: str, **values: object) -> str:
    """What a notebook shows: the template `body` with its values, escaped, in the style of the pages; no script."""
    return f'<style>{STYLE}</style><div class="everloop">{template(body).render(**values)}</div>'


def svg(chart: Chart) -> str:
    """The chart as a picture, for where no script runs."""
    import vl_convert

    return str(vl_convert.vegalite_to_svg(chart.to_dict()))
