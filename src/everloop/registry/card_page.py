"""A version's card as one HTML page that fetches nothing: for who has to answer for it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from everloop.pages import Chart, chart_page, write_whole
from everloop.registry.card import VersionCard
from everloop.registry.lineage_picture import lineage_svg
from everloop.registry.removal import size_text

if TYPE_CHECKING:
    import altair as alt

__all__ = ["card_page", "made_of", "metrics_chart", "segments_chart", "write_card"]

_WIDTH: Final = 560
_COLOUR: Final = "#3b6ea5"
_FEW: Final = "#b8c4d0"
_FEW_POSITIVES: Final = 30

_BODY: Final = """<h1>{{ card.name }}{% if card.version.role %}, {{ card.version.role }}{% endif %}</h1>
<p class="lead {{ lead }}">{{ summary }}</p>
<h2>What it is for</h2>
{% if card.about.purpose %}<p>{{ card.about.purpose }}</p>
{% else %}<p class="by">Nobody has written it down: <code>about: {purpose: …}</code> in model.yaml.</p>{% endif %}
{% if card.about.not_for %}<p>Not for:</p>
<ul>{% for one in card.about.not_for %}<li class="stop">{{ one }}</li>{% endfor %}</ul>{% endif %}
{% if card.about.owner %}<p>Who answers for it: {{ card.about.owner }}.</p>{% endif %}
{% if card.then %}<p class="by">When it was registered, model.yaml said: {{ card.then.purpose or "nothing" }}</p>
{% endif %}
<h2>What not to expect of it</h2>
<ul>{% for one in card.limits %}<li class="warn">{{ one }}</li>
{% endfor %}</ul>
{% for title, drawn in pictures %}<h2>{{ title }}</h2>
<div class="wide">{{ drawn }}</div>
{% endfor %}
{% if metrics %}<h2>Performance on its test rows</h2>
<table><tr><th>metric</th><th class="n">value</th><th class="n">95 % interval</th></tr>
{% for name, value, interval in metrics %}
<tr><td>{{ name }}</td><td class="n">{{ value }}</td><td class="n">{{ interval }}</td></tr>{% endfor %}</table>
{% endif %}
{% if segments %}<h2>Per segment</h2>
<table><tr><th>segment</th><th>value</th><th class="n">rows</th><th class="n">{{ counted }}</th>
{% for name in told %}<th>{{ name }}</th>{% endfor %}</tr>
{% for one in segments %}<tr><td>{{ one.segment }}</td><td>{{ one.value }}</td><td class="n">{{ one.rows }}</td>
<td class="n">{{ one.positives }}</td>{% for value in one.metrics %}<td>{{ value }}</td>{% endfor %}</tr>
{% endfor %}</table>{% endif %}
<h2>Gates</h2>
<ul>{% for one in card.gates %}
<li class="{{ {'passed': 'note', 'failed': 'stop'}.get(one.outcome, 'warn') }}">{{ one.name }}: {{ one.outcome }}.
{{ one.sentence }}</li>{% else %}<li class="warn">none was asked</li>{% endfor %}</ul>
<h2>Lineage</h2>
<div class="wide">{{ picture }}</div>
<p class="by">Alerts, specs and versions in order of time. The green line joins those that answered; dashed, it went
back.{% if card.family.left_out %} {{ card.family.left_out }} further away are left out.{% endif %}</p>
<h2>How it was made</h2>
<table>{% for name, value in made %}<tr><th>{{ name }}</th><td>{{ value }}</td></tr>
{% endfor %}</table>
{% if files %}<h2>Data files</h2>
<table><tr><th>file</th><th class="n">bytes</th><th>method</th><th>fingerprint</th></tr>
{% for one in files %}<tr><td>{{ one.path }}</td><td class="n">{{ "{:,}".format(one.bytes) if one.bytes else "–" }}</td>
<td>{{ one.method }}</td><td><code>{{ one.fingerprint or one.note }}</code></td></tr>{% endfor %}</table>{% endif %}
"""


def card_page(card: VersionCard) -> str:
    """The page, complete."""
    charts: dict[str, Chart] = {}
    if _measured(card.version.metrics):
        charts["Performance with its intervals"] = metrics_chart(card)
    if card.segments:
        charts[f"{card.model.objective.metric} per segment"] = segments_chart(card)
    told = _told(card)
    return chart_page(
        card.name,
        _BODY,
        charts,
        card=card,
        lead="fine" if card.place.state == "here" else "stop",
        summary=_summary(card),
        metrics=_measured(card.version.metrics),
        told=told,
        counted="positives" if card.decides else "rows that count",
        segments=[_segment(one, told) for one in card.segments],
        picture=lineage_svg(card.family),
        made=made_of(card),
        files=(card.origin.get("sources") or {}).get("files") or [],
    )


def write_card(card: VersionCard, out: Path) -> None:
    """Write the page to a file, whole or not at all."""
    write_whole(out, card_page(card))


def _summary(card: VersionCard) -> str:
    version = card.version
    registered = f"registered on {version.at:%Y-%m-%d} from {version.spec}"
    approval = card.approval()
    approved = f", approved by {approval}" if approval else ""
    answered = ""
    if card.stints:
        last = card.stints[-1]
        answered = f"; it has answered since {last.start:%Y-%m-%d}"
        if last.end is not None:
            answered = f"; it answered until {last.end:%Y-%m-%d}"
    bundle = "" if card.place.state == "here" else f" Its bundle is {card.place.sentence}."
    return f"{version.name} was {registered}{approved}{answered}.{bundle}"


def _measured(metrics: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str, str]]:
    return [
        (name, f"{value['point']:.3f}", f"{value['low']:.3f} to {value['high']:.3f}")
        for name, value in metrics.items()
        if value["point"] is not None and value.get("low") is not None and value.get("high") is not None
    ]


def _told(card: VersionCard) -> list[str]:
    return list(dict.fromkeys(name for one in card.segments for name in one["metrics"]))


def _segment(line: Mapping[str, Any], told: list[str]) -> dict[str, Any]:
    metrics = {name: (value, interval) for name, value, interval in _measured(line["metrics"])}
    shown = ["{} [{}]".format(*metrics[name]) if name in metrics else "–" for name in told]
    names = ("segment", "value")
    said = {name: line[name] for name in names} | {"rows": f"{line['rows']:,}", "metrics": shown}
    return said | {"positives": "–" if line["positives"] is None else f"{line['positives']:,.0f}"}


def made_of(card: VersionCard) -> list[tuple[str, str]]:
    """Name and value of all that it was made from; what is not known is left out."""
    version, origin = card.version, card.origin
    code, environment = origin.get("code") or {}, origin.get("environment") or {}
    sources = origin.get("sources") or {}
    data = version.data or {}
    found: list[tuple[str, Any]] = [
        ("spec", f"{version.spec}, {version.spec_hash[:12]}"),
        ("parent", origin.get("parent")),
        ("reason", origin.get("reason")),
        ("learner", card.configuration.get("learner")),
        ("hyperparameters", _pairs(card.configuration.get("hyperparameters"))),
        ("objective", card.configuration.get("objective") or str(card.model.objective)),
        ("threshold", None if card.threshold is None else f"{card.threshold:.6g}"),
        ("approved by", card.approval()),
        ("run", f"{version.run}, asked for by {version.trigger}"),
        ("alert", version.record.get("alert")),
        ("rows", _rows(data, decides=card.decides)),
        ("time range", _range(data)),
        ("sha256 of the rows", data.get("hash")),
        ("files", _files(sources)),
        ("held against", None if origin.get("champion") is None else f"v{origin['champion']}"),
        ("commit", _commit(code)),
        ("everloop", code.get("everloop")),
        ("python", None if not environment else f"{environment['python']}, {environment['platform']}"),
        ("environment", _lock(environment)),
        ("bundle", f"{version.bundle}, {card.place.sentence}"),
        ("evidence", version.record.get("evidence_path")),
    ]
    return [(name, str(value)) for name, value in found if value not in (None, "")]


def _pairs(values: Mapping[str, Any] | None) -> str | None:
    return ", ".join(f"{name} {value}" for name, value in values.items()) if values else None


def _rows(data: Mapping[str, Any], *, decides: bool) -> str | None:
    if "rows" not in data:
        return None
    positives = f", {data['positives']:,.0f} positive" if decides and data.get("positives") is not None else ""
    return f"{data['rows']:,}{positives}, of {data['source']}"


def _range(data: Mapping[str, Any]) -> str | None:
    if not data.get("start") or not data.get("end"):
        return None
    start, end = (str(data[name])[:16].replace("T", " ") for name in ("start", "end"))
    return f"{start} to {end} UTC"


def _files(sources: Mapping[str, Any]) -> str | None:
    if not sources:
        return None
    more = f", {sources['count'] - len(sources['files']):,} of them only beside the bundle"
    shown = more if sources["count"] > len(sources["files"]) else ""
    return f"{sources['count']:,}, {size_text(sources['bytes'])}{shown}; all together {sources['hash'][:12]}"


def _commit(code: Mapping[str, Any]) -> str | None:
    if not code:
        return None
    if code["commit"] is None:
        return "none: the project is in no git repository"
    dirty = f", changed since: {', '.join(code['changed'][:3])}" if code["dirty"] else ", nothing changed since"
    return f"{code['commit'][:12]}{dirty}"


def _lock(environment: Mapping[str, Any]) -> str | None:
    if not environment:
        return None
    own = f"; {environment['lock_file']} {environment['lock_file_hash'][:12]}" if environment["lock_file"] else ""
    return f"{environment['packages']} packages, {environment['lock'][:12]}{own}"


def metrics_chart(card: VersionCard) -> alt.LayerChart:
    """Each metric of the task that is a share, with its interval; others would need an axis each."""
    values = [
        {"metric": name, "value": value["point"], "low": value["low"], "high": value["high"]}
        for name, value in card.version.metrics.items()
        if value["point"] is not None and value.get("low") is not None and value.get("high") is not None
    ]
    shares = [one for one in values if one["low"] >= 0 and one["high"] <= 1]
    return _intervals(shares or values, of="metric", few=False)


def segments_chart(card: VersionCard) -> alt.LayerChart:
    """The objective's metric for each value, with its interval; grey where too few positives stand behind it."""
    metric = card.model.objective.metric
    values = []
    for one in card.segments:
        value = one["metrics"].get(metric)
        if value is not None and value["low"] is not None:
            few = card.decides and (one["positives"] or 0) < _FEW_POSITIVES
            said = {"value": value["point"], "low": value["low"], "high": value["high"]}
            values.append({"of": f"{one['segment']} {one['value']}", "few": few} | said)
    return _intervals(values, of="of", few=True)


def _intervals(values: list[dict[str, Any]], *, of: str, few: bool) -> alt.LayerChart:
    import altair as alt

    order = [one[of] for one in values]
    data = alt.InlineData(values=values)
    row = alt.Y(f"{of}:N", sort=order, title=None, axis=alt.Axis(labelLimit=260))
    colour = alt.condition("datum.few", alt.value(_FEW), alt.value(_COLOUR)) if few else alt.value(_COLOUR)
    base = alt.Chart(data).encode(y=row, color=colour, tooltip=[f"{of}:N", "value:Q", "low:Q", "high:Q"])
    bars = base.mark_rule(strokeWidth=3).encode(x=alt.X("low:Q", title="value"), x2="high:Q")
    dots = base.mark_circle(size=90, opacity=1).encode(x="value:Q")
    # typed by Altair as any chart's properties
    return cast("alt.LayerChart", alt.layer(bars, dots).properties(width=_WIDTH, height=alt.Step(24)))
