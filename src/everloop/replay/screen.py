"""The last screen of a demo, 80 columns wide."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from everloop.replay.result import DemoResult
from everloop.replay.spans import Measured
from everloop.replay.story import shortened
from everloop.stats import Interval

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["SCREEN_WIDTH", "demo_screen"]

SCREEN_WIDTH: Final = 80
_ARMS: Final = (("everloop", "everloop"), ("weekly", "weekly, ungated"), ("never", "never retrained"))
_STORY_WIDTH: Final = 142


def demo_screen(result: DemoResult) -> RenderableType:
    """Everything a person should see once the demo is over."""
    from rich.console import Group
    from rich.text import Text

    parts: list[Any] = [Text(_title(result), style="bold"), Text(""), _numbers(result), Text("")]
    parts += [Text(line) for line in _verdict(result)]
    parts += [Text(""), _story(result), Text(""), _places(result), Text("")]
    parts += [Text("Try it on your own past predictions, no project needed:")]
    parts += [Text("  everloop check past.parquet --time t --score s --outcome fraud", style="bold")]
    return Group(*parts)


def _title(result: DemoResult) -> str:
    world = "with a hidden new fraud pattern" if result.drift else "in which nothing changes"
    return f"{result.plan.days} days {world} (seed {result.seed}), played in {_clock(result.seconds)}"


def _clock(seconds: float) -> str:
    return f"{int(seconds // 60)} min {int(seconds % 60):02d} s"


def _numbers(result: DemoResult) -> RenderableType:
    """Recall, with precision below it, of every arm in every span."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("")
    for span in result.spans:
        days = f"day {result.plan.day_of(span.start):.0f} to {result.plan.day_of(span.end):.0f}"
        table.add_column(f"{span.name}\n{days}", no_wrap=True)
    for name, shown in _ARMS:
        arm = result.arm(name)
        if arm is None:
            continue
        cells = [arm.spans.get(span.name) for span in result.spans]
        style = "bold" if name == "everloop" else ""
        table.add_row(
            f"{shown}: recall", *(_interval(None if cell is None else cell.recall) for cell in cells), style=style
        )
        table.add_row(
            "  precision", *(_interval(None if cell is None else cell.precision) for cell in cells), style="dim"
        )
    own = result.arm("everloop")
    assert own is not None
    table.add_row("frauds", *(_positives(own.spans.get(span.name)) for span in result.spans))
    return table


def _interval(interval: Interval | None) -> str:
    return "–" if interval is None else f"{interval.point:.2f} [{interval.low:.2f}, {interval.high:.2f}]"


def _positives(measured: Measured | None) -> str:
    return "–" if measured is None else f"{measured.positives:,} of {measured.rows:,}"


def _verdict(result: DemoResult) -> list[str]:
    lines = [
        "Recall and precision with 95 % intervals, of what customers were answered,",
        "from the traffic log and the outcomes that came a week later.",
    ]
    before, drifted = result.recall("everloop", "before"), result.recall("everloop", "drifted")
    if before is not None and drifted is not None:
        back = "" if result.recovered is None else f"; {result.recovered:.0%} of that came back"
        lines.append(f"The new pattern cost {before - drifted:.2f} of recall{back}.")
    lines.append(
        f"{result.acknowledged:,} rows answered in {result.requests:,} requests, "
        f"{result.failures:,} failed, {result.lost:,} lost."
    )
    history = result.history
    counted = (
        (len(history.alerts), "alert", "alerts"),
        (len(history.promotions), "promotion", "promotions"),
        (len(history.refusals), "refusal", "refusals"),
        (len(history.rollbacks), "rollback", "rollbacks"),
    )
    lines.append(", ".join(f"{count} {one if count == 1 else many}" for count, one, many in counted) + ".")
    return lines


def _story(result: DemoResult) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(justify="right", no_wrap=True)
    table.add_column(overflow="fold")
    before = ""
    for event in result.story:
        # of a rollout's steps the first one shown to customers is enough
        if event.kind == before == "rollout.moved":
            continue
        before = event.kind
        text = Text(shortened(event.text, _STORY_WIDTH), style="bold" if event.kind == "world" else "")
        table.add_row(f"day {result.plan.day_of(event.at):.0f}", text)
    return table


def _places(result: DemoResult) -> RenderableType:
    from rich.table import Table

    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, place in _named_places(result).items():
        table.add_row(name, place)
    return table


def _named_places(result: DemoResult) -> dict[str, str]:
    places = {"project": str(result.root)}
    proposals, investigations = result.history.of("proposal.made"), result.history.of("investigation.made")
    if proposals:
        spec = proposals[-1].payload["spec"]
        places["spec"] = f"{spec.rpartition('-s')[0]}/specs/{spec}.yaml"
    if investigations:
        made = investigations[-1].payload
        for name, key in (("report", "report_path"), ("notebook", "notebook_path")):
            if made.get(key):
                places[name] = made[key]
    places["chart"] = _below(result.chart, result.root)
    promoted = result.history.of("rollout.promoted")
    newest = promoted[-1].payload["version"] if promoted else 1
    places["audit"] = f"{result.facts:,} facts, the chain verifies: everloop audit list, everloop why v{newest}"
    return places


def _below(path: Path, root: Path) -> str:
    return os.path.relpath(path, root)
