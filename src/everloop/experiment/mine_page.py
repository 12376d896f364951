"""Someone's own model, and where a trial fails, as fragments that a notebook shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from everloop.pages import fragment
from everloop.stats import Interval

if TYPE_CHECKING:
    from everloop.experiment.mine import Mine
    from everloop.experiment.worst import Worst

__all__ = ["mine_fragment", "worst_fragment"]

_MINE: Final = """<h2>{{ mine.name }}: {{ mine.kind }}</h2>
<p class="lead fine">{{ mine.sentence }}</p>
<table><tr>{% for name in metrics %}<th class="n">{{ name }}</th>{% endfor %}<th class="n">threshold</th>
<th class="n">µs a row</th><th class="n">graph</th><th class="n">differs by</th></tr>
<tr>{% for value in metrics.values() %}<td class="n">{{ "%.3f" | format(value) }}</td>{% endfor %}
<td class="n">{{ "%.4g" | format(mine.trial.threshold) if mine.trial.threshold is not none else "–" }}</td>
<td class="n">{{ "%.1f" | format(mine.trial.us_per_row) }}</td>
<td class="n">{{ "%.0f kB" | format(mine.trial.graph_bytes / 1000) }}</td>
<td class="n">{{ "%.1g" | format(mine.brought.agreement) }}</td></tr></table>
<p class="by">It reads {{ mine.brought.features | length }} features. Differs by: its ONNX graph, on the rows compared.
Put it beside a search, <code>search(beside=[…])</code>, and ask for a trial that beats it, <code>best(beats=…)</code>.
</p>"""

_WORST: Final = """<h2>Where trial {{ worst.trial }} ({{ worst.learner }}) fails</h2>
<p class="lead{% if sure %} stop{% else %} fine{% endif %}">{{ worst.sentence }}</p>
<p class="by">{{ worst.metric }} is {{ said(worst.overall) }} on {{ "{:,}".format(worst.rows) }} rows
{%- if worst.positives != worst.rows %} with {{ "{:,}".format(worst.positives) }} positives{% endif %}.
{% for note in worst.notes %} {{ note[:1] | upper }}{{ note[1:] }}.{% endfor %}</p>
<table><tr><th></th><th>column</th><th>value</th><th class="n">rows</th><th class="n">positives</th>
<th class="n">{{ worst.metric }}, 95 %</th><th class="n">mean loss</th><th class="n">more than elsewhere, 95 %</th>
<th class="n">p, all parts considered</th></tr>
{% for one in worst.segments %}<tr><td>{{ "✗" if one.surely else "" }}</td><td>{{ one.column }}</td>
<td>{{ one.value }}</td><td class="n">{{ "{:,}".format(one.rows) }}</td>
<td class="n">{{ "{:,}".format(one.positives) }}</td>
<td class="n">{{ said(one.metric) if one.metric is not none else "–" }}</td>
<td class="n">{{ "%.3f" | format(one.loss) }}</td><td class="n">{{ one.more }}</td>
<td class="n">{{ "%.2g" | format(one.p) }}</td></tr>
{% endfor %}</table>"""


def _said(interval: Interval) -> str:
    return f"{interval:.3g}"


def mine_fragment(mine: Mine) -> str:
    """The estimator as a notebook shows it."""
    return fragment(_MINE, mine=mine, metrics=mine.trial.metrics)


def worst_fragment(worst: Worst) -> str:
    """The segments as a notebook shows them."""
    sure = any(one.surely for one in worst.segments)
    return fragment(_WORST, worst=worst, sure=sure, said=_said)
