"""What a study says to people: the report's headings and charts, the notebook's cells."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import polars as pl

from everloop.data import SCORE
from everloop.improvement.change import Change
from everloop.improvement.charts import days_chart, drift_chart
from everloop.improvement.drift import Drifted
from everloop.improvement.page import report_page
from everloop.improvement.study import ErrorStudy, InputStudy, Scene
from everloop.project import Cell

__all__ = ["error_cells", "error_report", "input_cells", "input_report"]


def _title(scene: Scene) -> str:
    return f"{scene.model.name}/v{scene.version.number}, alert {scene.alert.alert}: {scene.alert.check}"


def _since(change: Change | None) -> str:
    if change is None:
        return "no day stands out: the change is small, gradual, or older than the rows"
    spread = (
        "" if change.low == change.high else f"; {change.low:%Y-%m-%d} to {change.high:%Y-%m-%d} fit nearly as well"
    )
    return f"{change.at:%Y-%m-%d} (UTC){spread}"


def error_report(scene: Scene, study: ErrorStudy, *, beside: str) -> str:
    """The page of a study of errors."""
    return report_page(
        title=_title(scene),
        sentence=study.sentence,
        findings=_error_findings(scene, study),
        charts=_error_charts(scene, study),
        drifted=_shown(study.drifted),
        made_at=f"{scene.now:%Y-%m-%d %H:%M} UTC",
        beside=beside,
    )


def _error_findings(scene: Scene, study: ErrorStudy) -> list[tuple[str, str]]:
    found = [("The alert", f"{scene.alert.sentence} (evidence: {scene.alert.evidence_kind})")]
    found.append(("Since when", _since(study.examined.change)))
    if study.counts is not None:
        counts = study.counts
        found.append(
            (
                "Where",
                f"{study.examined.rule}. It holds {counts.coverage:.0%} of what went wrong since; of the rows inside, "
                f"{counts.precision:.0%} are what it looks for, {counts.lift:,.0f} times as many as among all rows. "
                f"{counts.rows_before:.1f} rows a day were inside before, {counts.rows_after:.1f} since.",
            )
        )
    if study.upcoming:
        found.append(
            ("Still to come", f"{study.upcoming:,} more such rows were answered; their outcome is not due yet")
        )
    found.append(("What it costs", study.cost.sentence))
    found.append(("What would repair it", study.repair.sentence))
    moved = ", ".join(item.column for item in study.drifted if item.column != SCORE)
    found.append(("Inputs", f"moved: {moved}" if moved else "no column moved by itself"))
    found += [("Scores", item.sentence) for item in study.drifted if item.column == SCORE]
    return found


def _shown(drifted: Iterable[Drifted]) -> list[dict[str, Any]]:
    """Columns that moved as people are shown them."""
    return [item.to_dict() | ({"column": "the score"} if item.column == SCORE else {}) for item in drifted]


def _error_charts(scene: Scene, study: ErrorStudy) -> list[tuple[str, Any]]:
    since = None if study.examined.change is None else study.since
    by_day = _recent(study.examined.by_day, study)
    charts: list[tuple[str, Any]] = []
    if study.examined.focus == "missed":
        share = by_day.with_columns(
            caught=pl.when(pl.col("positives") > 0).then(1 - pl.col("errors") / pl.col("positives"))
        )
        title = f"Share of {scene.subject}s caught, by day"
        charts.append((title, days_chart(share, "caught", title="caught", since=since, percent=True)))
    else:
        errors = study.examined.focus
        heading = f"{errors[0].upper()}{errors[1:]} by day"
        charts.append((heading, days_chart(by_day, "errors", title=errors, since=since)))
    if study.examined.rule is not None:
        hits = f"{scene.subject}s" if study.examined.focus == "missed" else study.examined.focus
        heading = f"{hits[0].upper()}{hits[1:]} inside the rule, by day: {study.examined.rule}"
        charts.append((heading, days_chart(study.examined.by_day, "inside", title=hits, since=since)))
    if study.drifted:
        charts.append(("How far columns moved", drift_chart(_shown(study.drifted))))
    return charts


def _recent(by_day: pl.DataFrame, study: ErrorStudy) -> pl.DataFrame:
    """Days that the champion was not fitted on: before them it looks better than it is."""
    day = study.fresh_from.replace(hour=0, minute=0, second=0, microsecond=0)
    return by_day.filter(pl.col("day") >= day)


def input_report(scene: Scene, study: InputStudy, *, beside: str) -> str:
    """The page of a study of inputs."""
    examined = study.examined
    due = scene.window_start + scene.model.outcome.delay
    found = [
        ("The alert", f"{scene.alert.sentence} (evidence: {scene.alert.evidence_kind})"),
        ("Since when", _since(examined.change)),
    ]
    if examined.segment is not None:
        found.append(("Where", examined.segment))
    if study.decided is not None:
        before, after = study.decided
        found.append(("Answers", f"{after:.3%} of the rows are called {scene.subject}, {before:.3%} before"))
    found.append(
        ("What it costs", f"not known before the outcomes of these rows are due, from {due:%Y-%m-%d %H:%M} on")
    )
    found.append(
        (
            "What would repair it",
            "where a unit changed or values went missing, the source; a retrain helps where the world is another one",
        )
    )
    charts: list[tuple[str, Any]] = []
    if examined.drifted:
        first = examined.drifted[0].column
        chart = days_chart(examined.by_day, "distance", title="distance", since=study.since)
        charts.append((f"Distance of {first} from the reference, by day", chart))
        charts.append(("How far columns moved", drift_chart(_shown(examined.drifted))))
    return report_page(
        title=_title(scene),
        sentence=study.sentence,
        findings=found,
        charts=charts,
        drifted=_shown(examined.drifted),
        made_at=f"{scene.now:%Y-%m-%d %H:%M} UTC",
        beside=beside,
    )


def _head(scene: Scene, sentence: str) -> Cell:
    return Cell(
        kind="markdown",
        text=f"# {_title(scene)}\n\n{scene.alert.sentence}\n\n**{sentence}**\n\n"
        f"Known at {scene.now:%Y-%m-%d %H:%M} UTC. The cells replay the investigation; change them and go on.",
    )


def error_cells(scene: Scene, study: ErrorStudy, *, rows: str) -> list[Cell]:
    """The notebook of a study of errors. rows: the path of the compared rows, from the notebook's folder."""
    focus, since = study.examined.focus, study.since.isoformat()
    cells = [
        _head(scene, study.sentence),
        Cell(
            kind="code",
            text="from datetime import datetime\n\nimport altair as alt\nimport polars as pl\n\n"
            "from everloop.improvement import Compared, days_chart, examine, find_rule, rule_counts\n\n"
            'alt.renderers.enable("svg")\n'
            f"compared = Compared.of(pl.read_parquet({rows!r}))\n"
            "compared.frame.head()",
        ),
        Cell(kind="markdown", text="## What the errors have in common, and since when"),
        Cell(
            kind="code",
            text="examined = examine(\n    compared,\n"
            f"    focus={focus!r},\n"
            f"    fresh_from=datetime.fromisoformat({study.fresh_from.isoformat()!r}),\n"
            f"    begin=datetime.fromisoformat({scene.window_start.isoformat()!r}),\n)\n"
            'print(examined.rule, "since", examined.change)',
        ),
        Cell(
            kind="code",
            text=f"since = datetime.fromisoformat({since!r})\n"
            'days_chart(examined.by_day, "errors", title="errors", since=since)',
        ),
    ]
    if study.examined.rule is None:
        return cells
    return [
        *cells,
        Cell(kind="code", text='days_chart(examined.by_day, "inside", title="inside the rule", since=since)'),
        Cell(
            kind="code",
            text="# rows that are not positive are a sample here: rows_before and rows_after are lower bounds\n"
            f"rule_counts(examined.rule, compared, compared.frame, focus={focus!r}, since=since)",
        ),
        Cell(kind="markdown", text="## Look at them"),
        Cell(
            kind="code",
            text="errors = compared.false_alarms if examined.focus == 'false alarms' else compared.missed\n"
            "compared.frame.filter(pl.Series(errors) & examined.rule.expression()).select(\n"
            '    "event_time", "__score", *examined.rule.columns\n).tail(20)',
        ),
        Cell(
            kind="code",
            text="# what is left once the rule's rows are taken away\n"
            "rest = errors & compared.since(since) & ~examined.rule.holds(compared.frame)\n"
            "print(int(rest.sum()), find_rule(compared.frame, compared.columns, rest, weight=compared.weight))",
        ),
    ]


def input_cells(scene: Scene, study: InputStudy, *, rows: str, baseline: str) -> list[Cell]:
    """The notebook of a study of inputs. rows, baseline: paths from the notebook's folder."""
    cells = [
        _head(scene, study.sentence),
        Cell(
            kind="code",
            text="from datetime import datetime\nfrom pathlib import Path\n\n"
            "import altair as alt\nimport polars as pl\n\n"
            "from everloop.data import Baseline\n"
            "from everloop.improvement import days_chart, drift_chart, examine_inputs\n\n"
            'alt.renderers.enable("svg")\n'
            f"baseline = Baseline.from_json(Path({baseline!r}).read_bytes())\n"
            f"rows = pl.read_parquet({rows!r})\nrows.tail()",
        ),
        Cell(kind="markdown", text="## Which columns moved, and since when"),
        Cell(
            kind="code",
            text=f"begin = datetime.fromisoformat({scene.window_start.isoformat()!r})\n"
            "examined = examine_inputs(baseline, rows, begin=begin)\n"
            "print(examined.change)\n"
            "pl.DataFrame([item.to_dict() for item in examined.drifted])",
        ),
    ]
    if not study.examined.drifted:
        return cells
    return [
        *cells,
        Cell(kind="code", text="drift_chart([item.to_dict() for item in examined.drifted])"),
        Cell(kind="code", text='days_chart(examined.by_day, "distance", title=examined.drifted[0].column)'),
        Cell(
            kind="code",
            text="moved = [item.column for item in examined.drifted]\n"
            'rows.group_by((pl.col("event_time") >= begin).alias("in the window"))'
            ".agg(pl.col(moved).null_count())",
        ),
    ]
