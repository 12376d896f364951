"""An exploration as one HTML page that fetches nothing: the scripts of its charts are in it."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment

from everloop.experiment.charts import charts
from everloop.experiment.exploration import Exploration
from everloop.experiment.page_parts import chart_scripts, chart_values, write_whole

__all__ = ["exploration_page", "write_page"]

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ seen.model }}: what the data looks like</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1f2933; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
table { border-collapse: collapse; font-size: 13px; } td, th { padding: 2px 10px 2px 0; text-align: left; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; } tr:nth-child(even) { background: #f5f7fa; }
li.stop::marker { content: "✗ "; color: #c8503c; } li.warn::marker { content: "! "; color: #b7791f; }
li.note::marker { content: "· "; } p.by { color: #616e7c; font-size: 13px; }
</style>
<script>{{ scripts }}</script>
</head>
<body>
<h1>{{ seen.model }}: what the data looks like</h1>
<p>{{ "{:,}".format(seen.rows) }} rows × {{ seen.columns | length }} columns from <code>{{ seen.source }}</code>
{%- if seen.span %}, {{ seen.span.start.strftime("%Y-%m-%d %H:%M") }} to {{ seen.span.end.strftime("%Y-%m-%d %H:%M") }}
UTC{% endif %}.
{%- if seen.target %} {{ "{:,}".format(seen.target.positives) }} positives of <code>{{ seen.target.column }}</code>,
{{ "%.3g" | format(100 * seen.target.rate) }} % of the (weighted) rows.{% endif %}</p>
<h2>What looks wrong</h2>
{% if seen.findings %}<ul>
{% for finding in seen.findings %}<li class="{{ finding.weight }}">{{ finding.sentence }}</li>
{% endfor %}</ul>{% else %}<p>Nothing looks wrong.</p>{% endif %}
{% for title in titles %}<h2>{{ title }}</h2><div id="chart{{ loop.index0 }}"></div>
{% endfor %}
<h2>Columns</h2>
<table><tr><th>name</th><th>type</th><th>role</th><th class="n">missing</th><th class="n">distinct</th>
<th class="n">min</th><th class="n">median</th><th class="n">max</th></tr>
{% for column in seen.columns %}<tr><td>{{ column.name }}</td><td>{{ column.type }}</td><td>{{ column.role }}</td>
<td class="n">{{ "%.3g %%" | format(100 * column.missing_fraction) if column.missing else "–" }}</td>
<td class="n">{{ "{:,}".format(column.distinct) }}</td><td class="n">{{ column.minimum or "–" }}</td>
<td class="n">{{ column.median or "–" }}</td><td class="n">{{ column.maximum or "–" }}</td></tr>
{% endfor %}</table>
<p class="by">Made by everloop.</p>
<script>
const charts = {{ specs }};
charts.forEach((spec, at) => vegaEmbed("#chart" + at, spec, {actions: false}));
</script>
</body>
</html>
"""


def exploration_page(seen: Exploration) -> str:
    """The page, complete: no address in it is fetched."""
    drawn = charts(seen)
    specs = [chart.to_dict() for chart in drawn.values()]
    page = Environment(autoescape=True).from_string(_PAGE)
    scripts, values = chart_scripts(), chart_values(specs)
    return page.render(seen=seen, titles=list(drawn), scripts=scripts, specs=values)


def write_page(seen: Exploration, path: Path) -> None:
    """Write the page to `path`, whole or not at all."""
    write_whole(path, exploration_page(seen))
