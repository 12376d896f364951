"""An investigation as one HTML page without scripts, that fetches nothing: the findings first, then the charts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import Environment

from everloop.pages import svg

__all__ = ["report_page"]

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1f2933; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2rem; } svg { max-width: 100%; height: auto; }
table { border-collapse: collapse; font-size: 13px; } td, th { padding: 2px 12px 2px 0; text-align: left; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; } dt { font-weight: 600; } dd { margin: 0 0 .6em; }
p.lead { font-size: 1.1rem; } p.by { color: #616e7c; font-size: 13px; } code { background: #f5f7fa; padding: 0 3px; }
</style>
</head>
<body>
<h1>{{ title }}</h1>
<p class="lead">{{ sentence }}</p>
<dl>
{% for name, said in findings %}<dt>{{ name }}</dt><dd>{{ said }}</dd>
{% endfor %}</dl>
{% for title, drawing in drawings %}<h2>{{ title }}</h2>{{ drawing }}
{% endfor %}
{% if drifted %}<h2>Columns that moved</h2>
<table><tr><th>column</th><th class="n">distance</th><th class="n">usual</th><th>how</th></tr>
{% for item in drifted %}<tr><td>{{ item.column }}</td><td class="n">{{ "%.3f" | format(item.distance) }}</td>
<td class="n">{{ "%.3f" | format(item.usual) }}</td><td>{{ item.sentence }}</td></tr>
{% endfor %}</table>{% endif %}
<p class="by">Made by everloop at {{ made_at }} from what was known then. {{ beside }}</p>
</body>
</html>
"""


def report_page(
    *,
    title: str,
    sentence: str,
    findings: Sequence[tuple[str, str]],
    charts: Sequence[tuple[str, Any]],
    drifted: Sequence[Mapping[str, Any]],
    made_at: str,
    beside: str,
) -> str:
    """The page, complete. findings: a heading and a sentence each. charts: a heading and an Altair chart each."""
    from markupsafe import Markup

    # the drawings are ours, and vl-convert escapes what they hold of the data
    drawings = [(heading, Markup(svg(chart))) for heading, chart in charts]  # noqa: S704
    page = Environment(autoescape=True).from_string(_PAGE)
    return page.render(
        title=title,
        sentence=sentence,
        findings=findings,
        drawings=drawings,
        drifted=drifted,
        made_at=made_at,
        beside=beside,
    )
