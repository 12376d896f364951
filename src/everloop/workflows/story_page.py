"""A run as one HTML page that fetches nothing: how it ended, a Gantt chart of its steps, what each read and gave."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from everloop.pages import chart_page, write_whole
from everloop.workflows.story import RunStory, StepStory

if TYPE_CHECKING:
    import altair as alt

__all__ = ["configured_from", "gantt_chart", "story_page", "write_story"]

_WIDTH: Final = 620
_COLOURS: Final = {
    "done": "#3b6ea5",
    "refused": "#c8503c",
    "failed": "#c8503c",
    "attempt": "#e3a08f",
    "kept": "#b8c4d0",
}
_LEGEND: Final = {
    "done": "ended well",
    "attempt": "an attempt that failed, and the wait after it",
    "refused": "refused",
    "failed": "failed",
    "kept": "kept from the run before",
}

_BODY: Final = """<h1>{{ run.workflow }} {{ run.model or "" }}: run {{ run.run }}</h1>
<p class="lead {{ lead }}">{{ sentence }}</p>
<table>{% for name, value in facts %}<tr><td>{{ name }}</td><td>{{ value }}</td></tr>
{% endfor %}</table>
{% for title, drawn in pictures %}<h2>{{ title }}</h2>
<div class="wide">{{ drawn }}</div>
{% endfor %}
{% if handovers %}<h2>Handed over</h2>
<ul>{% for one in handovers %}<li>{{ one.at.strftime("%Y-%m-%d %H:%M:%S") }} to {{ one.slot }}: {{ one.sentence }}</li>
{% endfor %}</ul>{% endif %}
<h2>Steps</h2>
{% for step in steps %}<h3>{{ step.step }}</h3>
<p class="by">{{ step.told }}</p>
{% if step.failures %}<ul>{% for one in step.failures %}<li class="stop">{{ one }}</li>{% endfor %}</ul>{% endif %}
{% for name, text in step.texts %}<details><summary>{{ name }}</summary><pre>{{ text }}</pre></details>
{% endfor %}
{% endfor %}
"""


def story_page(story: RunStory) -> str:
    """The page, complete."""
    run = story.run
    charts = {"Gantt chart": gantt_chart(story)} if story.steps else {}
    return chart_page(
        f"{run.workflow} {run.run}",
        _BODY,
        charts,
        run=run,
        lead={"finished": "fine", "refused": "stop", "failed": "stop"}.get(run.status, ""),
        sentence=run.sentence or f"The run is {run.status}.",
        facts=_facts(story),
        handovers=story.handovers,
        steps=[_step(step) for step in story.steps],
    )


def write_story(story: RunStory, out: Path) -> None:
    """Write the page to a file, whole or not at all."""
    write_whole(out, story_page(story))


def _facts(story: RunStory) -> list[tuple[str, str]]:
    run = story.run
    said = [
        ("status", run.status),
        ("spec", run.spec or "–"),
        ("asked for", f"by {story.asked_by}, {story.asked_at:%Y-%m-%d %H:%M:%S} UTC ({run.trigger or 'a person'})"),
        ("waited", f"{story.waited_s:.1f} s"),
    ]
    said += [("configured from", source)] if (source := configured_from(story)) else []
    said += [("asked for again", f"by {who}, {at:%Y-%m-%d %H:%M:%S} UTC") for who, at in story.folded]
    said += [("ran", "–" if story.seconds is None else f"{story.seconds:.1f} s"), ("worker", run.slot or "–")]
    return said + ([("retry of", story.retry_of)] if story.retry_of else [])


def configured_from(story: RunStory) -> str | None:
    """`ssm:/fraud-detection, version r4, written by ann`; None for a run of the model's own folder."""
    found = story.configured
    if found is None or found["store"] == "files":
        return None
    return f"{found['store']}, version {found['version']}" + (
        f", written by {found['modifier']}" if found["modifier"] else ""
    )


def _step(step: StepStory) -> dict[str, Any]:
    again = "" if step.attempts == 1 else f", {step.attempts} attempts"
    kept = f", kept from {step.kept_from}" if step.kept_from else ""
    names = (("read", step.inputs), ("gave", step.outputs))
    return {
        "step": step.step,
        "told": f"{step.status}, {step.seconds:.2f} s{again}{kept}",
        "failures": [one.sentence for one in step.failures],
        "texts": [(name, json.dumps(values, indent=1, ensure_ascii=False)) for name, values in names if values],
    }


def gantt_chart(story: RunStory) -> alt.Chart:
    """A bar per step from its beginning to its end, in seconds since the run began; failed attempts apart."""
    import altair as alt

    bars = [bar for step in story.steps for bar in _bars(story, step)]
    drawn = {name: colour for name, colour in _COLOURS.items() if any(bar["what"] == _LEGEND[name] for bar in bars)}
    colours = alt.Scale(domain=[_LEGEND[name] for name in drawn], range=list(drawn.values()))
    chart: alt.Chart = (
        alt.Chart(alt.InlineData(values=bars))
        .mark_bar(strokeWidth=1)
        .encode(
            x=alt.X("from:Q", title="seconds since the run began"),
            x2="to:Q",
            y=alt.Y("step:N", sort=[step.step for step in story.steps], title=None),
            color=alt.Color("what:N", scale=colours, legend=alt.Legend(title=None, orient="top", labelLimit=400)),
            stroke=alt.Stroke("what:N", scale=colours, legend=None),  # so that a short step is seen
            tooltip=["step:N", "what:N", alt.Tooltip("seconds:Q", format=".3~f"), "said:N"],
        )
        .properties(width=_WIDTH, height=alt.Step(20))
    )
    return chart


def _bars(story: RunStory, step: StepStory) -> list[dict[str, Any]]:
    if step.kept_from:
        return [_bar(step, "kept", 0.0, 0.0, said=f"kept from {step.kept_from}")]
    end_s = (step.ended - story.run.started_at).total_seconds()
    if step.status == "done":
        bars, at_s = [_bar(step, "done", end_s - step.seconds, end_s)], end_s - step.seconds
        failures = step.failures
    else:
        bars, at_s = [_bar(step, step.status, end_s - step.seconds, end_s)], end_s - step.seconds
        failures = step.failures[:-1]
    for one in reversed(failures):
        begun_s = at_s - one.seconds - one.waited_s
        bars.append(_bar(step, "attempt", begun_s, at_s, said=one.sentence))
        at_s = begun_s
    return bars


def _bar(step: StepStory, what: str, start_s: float, end_s: float, *, said: str = "") -> dict[str, Any]:
    begun_s = max(0.0, start_s)
    return {
        "step": step.step,
        "what": _LEGEND[what],
        "from": begun_s,
        "to": max(begun_s, end_s),
        "seconds": max(0.0, end_s - begun_s),
        "said": said,
    }
