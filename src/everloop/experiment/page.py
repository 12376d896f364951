"""An exploration as one HTML page that fetches nothing, and as the fragment that a notebook shows."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from everloop.experiment.charts import MOST_DISTRIBUTIONS, MOST_FEATURES, charts
from everloop.experiment.exploration import Exploration
from everloop.experiment.feature_table import FeatureTable
from everloop.pages import chart_fragment, chart_page, fragment, write_whole

__all__ = ["exploration_fragment", "exploration_page", "feature_fragment", "write_page"]

_BODY: Final = """<h1>{{ seen.model }}: what the data looks like</h1>
<p>{{ "{:,}".format(seen.rows) }} rows × {{ seen.columns | length }} columns from <code>{{ seen.source }}</code>
{%- if seen.span %}, {{ seen.span.start.strftime("%Y-%m-%d %H:%M") }} to {{ seen.span.end.strftime("%Y-%m-%d %H:%M") }}
UTC{% endif %}.
{%- if seen.target and seen.target.rate is none %} <code>{{ seen.target.column }}</code> was not looked at, since no row
can be used.
{%- elif seen.target and seen.target.numeric %} <code>{{ seen.target.column }}</code> has a (weighted) mean of
{{ "%.4g" | format(seen.target.rate) }}; four in five rows lie between {{ "%.4g" | format(seen.target.tenth) }} and
{{ "%.4g" | format(seen.target.nine_tenths) }}, half below {{ "%.4g" | format(seen.target.median) }}.
{%- elif seen.target %} {{ "{:,}".format(seen.target.positives) }} positives of <code>{{ seen.target.column }}</code>,
{{ "%.3g" | format(100 * seen.target.rate) }} % of the (weighted) rows.{% endif %}</p>
<h2>What looks wrong</h2>
{% if seen.findings %}<ul>
{% for finding in seen.findings %}<li class="{{ finding.weight }}">{{ finding.sentence }}</li>
{% endfor %}</ul>{% else %}<p>Nothing looks wrong.</p>{% endif %}
{% for title, drawn in pictures %}<h2>{{ title }}</h2>
{% if title in notes %}<p class="by">{{ notes[title] }}</p>{% endif %}
<div class="wide">{{ drawn }}</div>
{% endfor %}
{% if seen.associations %}<h2>Features</h2>
<table><tr><th>feature</th><th class="n">area alone</th><th class="n">bits</th><th class="n">lost when shuffled</th>
<th class="n">in a forest</th><th class="n">moved</th></tr>
{% for found in seen.associations %}{% set worth = seen.importance(found.feature) %}<tr><td>{{ found.feature }}</td>
<td class="n">{{ "%.3f" | format(found.auc) }}</td><td class="n">{{ "%.4f" | format(found.information) }}</td>
<td class="n">{{ "%.3f" | format(worth.permutation) if worth else "–" }}</td>
<td class="n">{{ "%.3f" | format(worth.forest) if worth else "–" }}</td>
<td class="n">{{ "%.2f" | format(found.psi) if found.psi is not none else "–" }}</td></tr>
{% endfor %}</table>{% endif %}
<h2>Columns</h2>
<div class="wide"><table><tr><th>name</th><th>type</th><th>role</th><th class="n">missing</th>
<th class="n">distinct</th><th class="n">min</th><th class="n">median</th><th class="n">max</th></tr>
{% for column in seen.columns %}<tr><td>{{ column.name }}</td><td>{{ column.type }}</td><td>{{ column.role }}</td>
<td class="n">{{ "%.3g %%" | format(100 * column.missing_fraction) if column.missing else "–" }}</td>
<td class="n">{{ "{:,}".format(column.distinct) }}</td><td class="n">{{ column.minimum or "–" }}</td>
<td class="n">{{ column.median or "–" }}</td><td class="n">{{ column.maximum or "–" }}</td></tr>
{% endfor %}</table></div>
"""


def _notes(seen: Exploration) -> dict[str, str]:
    """What a chart's reader should know, by its title."""
    looked, notes = seen.looked, {}
    sample = f"a seeded sample of {looked.rows:,} of the rows" if looked.streamed else f"all {looked.rows:,} rows"
    notes["What tells of the target"] = (
        f"{_strongest(seen, MOST_FEATURES)}Alone: the area under the ROC curve of the target's rate by bin, and the "
        f"mutual information, on {sample}. {seen.about_importances}"
    )
    shares = "Shares of each class over the feature's bins"
    if seen.target is not None and seen.target.numeric:
        shares = "Shares of the rows above and below the target's median over the feature's bins"
        notes["Distribution of the target"] = f"On {sample}; 1 in 200 at either end are counted in the outermost bars."
    notes["Distributions by the target"] = (
        f"{_strongest(seen, MOST_DISTRIBUTIONS)}{shares}, on {sample}. Bins of many values hold about as many rows."
    )
    return notes


def _strongest(seen: Exploration, most: int) -> str:
    """That not all features are drawn, where they are not."""
    of = len(seen.associations)
    return f"The {most} of {of} features that tell most alone; the table of features has all. " if of > most else ""


def exploration_page(seen: Exploration) -> str:
    """The page, complete: no address in it is fetched."""
    title = f"{seen.model}: what the data looks like"
    return chart_page(title, _BODY, charts(seen), seen=seen, notes=_notes(seen))


def exploration_fragment(seen: Exploration) -> str:
    """The same for a notebook's output: charts as pictures, no script."""
    return chart_fragment(_BODY, charts(seen), seen=seen, notes=_notes(seen))


def write_page(seen: Exploration, path: Path) -> None:
    """Write the page to `path`, whole or not at all."""
    write_whole(path, exploration_page(seen))


_FEATURES: Final = """<h2>{{ table.model }}: {{ table.features | length }} features on
{{ "{:,}".format(table.rows) }} rows</h2>
<table><tr><th>feature</th><th>expression</th><th class="n">µs per 1,000 rows</th><th class="n">missing</th>
<th class="n">area alone</th><th class="n">bits</th><th class="n">lost when shuffled</th><th class="n">in a forest</th>
<th class="n">moved</th></tr>
{% for line in table.features if line.row_wise %}<tr><td>{{ line.name }}</td>
<td><code>{{ line.expression }}</code></td>
<td class="n">{{ "%.0f" | format(line.us_per_1000) if line.derived else "–" }}</td>
<td class="n">{{ "%.3g %%" | format(100 * line.missing) if line.missing else "–" }}</td>
{% for value in (line.auc, line.information, line.permutation, line.forest, line.psi) -%}
<td class="n">{{ "%.3f" | format(value) if value is not none else "–" }}</td>{% endfor %}</tr>
{% endfor %}</table>
<ul>{% for sentence in table.sentences %}<li>{{ sentence }}</li>{% endfor %}</ul>
"""


def feature_fragment(table: FeatureTable) -> str:
    """The features as a notebook shows them."""
    return fragment(_FEATURES, table=table)
