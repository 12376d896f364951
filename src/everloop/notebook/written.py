"""A spec that was written from a notebook: what production would train, and what is next."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from everloop.experiment import fragment, settings_text
from everloop.project import Spec

__all__ = ["WrittenSpec"]

_BODY: Final = """<p><b>{{ spec.name }}</b> is in <code>{{ shown }}</code>
{%- if not new %}, where it was before, with the reason it was written for{% endif %}.</p>
<table><tr><td>learner</td><td>{{ spec.learner }}</td></tr>
<tr><td>hyperparameters</td><td>{{ settings }}</td></tr>
<tr><td>features</td><td>{{ spec.features | length }}</td></tr>
{% if spec.threshold is not none %}<tr><td>threshold</td><td>{{ "%.4g" | format(spec.threshold) }}</td></tr>{% endif %}
{% for name, of in spec.expected.items() %}<tr><td>expected {{ name }}</td><td>{{ "%.3f" | format(of.point) }}
[{{ "%.3f" | format(of.low) }}, {{ "%.3f" | format(of.high) }}]</td></tr>
{% endfor %}<tr><td>parent</td><td>{{ spec.parent or "–" }}</td></tr>
<tr><td>reason</td><td>{{ spec.reason }}</td></tr></table>
<p>Next, whoever answers for it: <code>everloop approve {{ spec.name }} --by NAME</code></p>"""


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenSpec:
    """The spec and its file. new: whether it was written just now; else the same was there, and was left as it is."""

    spec: Spec
    path: Path
    shown: str
    new: bool

    @property
    def name(self) -> str:
        """Such as `fraud-s1`."""
        return self.spec.name

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        record = self.spec.model_dump(mode="json", by_alias=True)
        return {**record, "hash": self.spec.hash, "path": self.shown, "new": self.new}

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        settings = settings_text(self.spec.hyperparameters)
        return fragment(_BODY, spec=self.spec, shown=self.shown, new=self.new, settings=settings)
