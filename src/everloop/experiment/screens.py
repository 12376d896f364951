"""What `explore` shows on a terminal, in 80 columns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from everloop.experiment.association import Association
from everloop.experiment.columns import ColumnSummary
from everloop.experiment.exploration import Exploration
from everloop.experiment.finding import Finding, Weight
from everloop.experiment.overtime import Period

if TYPE_CHECKING:
    from rich.console import Group, RenderableType
    from rich.table import Table
    from rich.text import Text

__all__ = ["exploration_screen", "sparkline"]

_BLOCKS: Final = "▁▂▃▄▅▆▇█"
_MOST_COLUMNS: Final = 40
_MOST_OF_A_KIND: Final = 4
_MARK: Final[dict[Weight, tuple[str, str]]] = {
    "stop": ("✗", "bold red"),
    "warn": ("!", "bold yellow"),
    "note": ("·", "dim"),
}


def sparkline(values: Sequence[float | None], *, width: int = 60) -> str:
    """Numbers as a line of blocks at most `width` wide, from 0 to the greatest; a gap is a space."""
    if len(values) > width:
        step = len(values) / width
        groups = [values[int(i * step) : max(int(i * step) + 1, int((i + 1) * step))] for i in range(width)]
        values = [_mean([v for v in group if v is not None]) for group in groups]
    top = max((value for value in values if value is not None), default=0.0)
    if top <= 0:
        return "".join(" " if value is None else _BLOCKS[0] for value in values)
    return "".join(" " if v is None else _BLOCKS[min(7, int(8 * max(v, 0.0) / top))] for v in values)


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _table(*headers: tuple[str, bool]) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for header, right in headers:
        table.add_column(header, justify="right" if right else "left", no_wrap=True, overflow="ellipsis")
    return table


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def _span(length: timedelta) -> str:
    days = length / timedelta(days=1)
    return f"{days:.0f} days" if days >= 10 else f"{days:.1f} days"


def _head(seen: Exploration) -> Iterator[Text]:
    from rich.text import Text

    yield Text.assemble((seen.model, "bold"), f"  {seen.source}", overflow="ellipsis", no_wrap=True)
    line = f"{seen.rows:,} rows × {len(seen.columns)} columns"
    if seen.span is not None:
        line += f"   {seen.span.start:%Y-%m-%d %H:%M} … {seen.span.end:%Y-%m-%d %H:%M} ({_span(seen.span.length)})"
    yield Text(line)
    if seen.target is not None:
        target = seen.target
        yield Text(f"{target.column}: {target.positives:,} positives, {_percent(target.rate)} of the (weighted) rows")


def _over_time(periods: Sequence[Period]) -> Iterator[Text]:
    from rich.text import Text

    if len(periods) < 2:
        return
    rates = [period.rate for period in periods]
    most = max(period.rows for period in periods)
    yield Text()
    yield Text.assemble(("volume ", "bold"), sparkline([p.rows for p in periods]), f" ≤ {most:,}")
    if any(rate is not None for rate in rates):
        top = max(rate for rate in rates if rate is not None)
        yield Text.assemble(("target ", "bold"), sparkline(rates), f" ≤ {_percent(top)}")


def _grouped(findings: Iterable[Finding]) -> Iterator[Finding | tuple[Finding, int]]:
    """Findings, with many of one kind cut to the first few and how many more there are."""
    seen: dict[str, int] = {}
    kept = list(findings)
    total: dict[str, int] = {}
    for finding in kept:
        total[finding.kind] = total.get(finding.kind, 0) + 1
    for finding in kept:
        at = seen[finding.kind] = seen.get(finding.kind, 0) + 1
        if at <= _MOST_OF_A_KIND:
            yield finding
        if at == _MOST_OF_A_KIND + 1:
            yield finding, total[finding.kind] - _MOST_OF_A_KIND


def _findings(findings: Sequence[Finding]) -> Iterator[RenderableType]:
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    yield Text()
    if not findings:
        yield Text("Nothing looks wrong.", style="green")
        return
    yield Text("What looks wrong", style="bold")
    table = Table.grid(padding=(0, 1, 0, 0))
    table.add_column(width=1)
    table.add_column(overflow="fold")
    for item in _grouped(findings):
        finding, more = (item, None) if isinstance(item, Finding) else item
        mark, style = _MARK[finding.weight]
        sentence = finding.sentence if more is None else f"… and {more} more of this kind ({finding.kind})."
        table.add_row(Text(mark, style=style), Text(sentence))
    yield Padding(table, (0, 0, 0, 1))


def _associations(associations: Sequence[Association]) -> Iterator[RenderableType]:
    from rich.text import Text

    if not associations:
        return
    yield Text()
    yield Text("What tells of the target, each feature alone (0.5 nothing, 1 everything)", style="bold")
    table = _table(("feature", False), ("area under the curve", False), ("", True), ("moved", True))
    for found in associations[:10]:
        bar = "█" * max(0, round(40 * (found.auc - 0.5) / 0.5))
        table.add_row(found.feature[:24], bar, f"{found.auc:.3f}", "–" if found.psi is None else f"{found.psi:.2f}")
    yield table


def _columns(columns: Sequence[ColumnSummary]) -> Iterator[RenderableType]:
    from rich.text import Text

    yield Text()
    yield Text("Columns", style="bold")
    headers = (("name", False), ("type", False), ("role", False), ("missing", True), ("distinct", True))
    table = _table(*headers, ("min", True), ("max", True))
    for column in columns[:_MOST_COLUMNS]:
        table.add_row(
            column.name[:20],
            column.type[:8],
            column.role[:8],
            "–" if not column.missing else _percent(column.missing_fraction),
            f"{column.distinct:,}",
            *("–" if value is None else value[:10] for value in (column.minimum, column.maximum)),
        )
    yield table
    if len(columns) > _MOST_COLUMNS:
        yield Text(f"… and {len(columns) - _MOST_COLUMNS} more; --json has them all", style="dim")


def exploration_screen(seen: Exploration) -> Group:
    """The exploration for a terminal, 80 columns wide."""
    from rich.console import Group
    from rich.text import Text

    parts: list[RenderableType] = [
        *_head(seen),
        *_over_time(seen.periods),
        *_findings(seen.findings),
        *_associations(seen.associations),
        *_columns(seen.columns),
    ]
    if seen.page is not None:
        parts += [Text(), Text(f"page: {seen.page}")]
    return Group(*parts)
