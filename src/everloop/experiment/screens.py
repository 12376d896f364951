"""What `explore` shows on a terminal, in 80 columns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from everloop.experiment.columns import ColumnSummary
from everloop.experiment.exploration import Exploration
from everloop.experiment.finding import Finding, Weight
from everloop.experiment.overtime import Season

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
    for name, unit in (("days", timedelta(days=1)), ("hours", timedelta(hours=1)), ("minutes", timedelta(minutes=1))):
        if length >= 2 * unit:
            return f"{length / unit:.0f} {name}" if length >= 10 * unit else f"{length / unit:.1f} {name}"
    return f"{length.total_seconds():.0f} seconds"


def _head(seen: Exploration) -> Iterator[Text]:
    from rich.text import Text

    yield Text.assemble((seen.model, "bold"), f"  {seen.source}", overflow="ellipsis", no_wrap=True)
    line = f"{seen.rows:,} rows × {len(seen.columns)} columns"
    if seen.span is not None:
        line += f"   {seen.span.start:%Y-%m-%d %H:%M} … {seen.span.end:%Y-%m-%d %H:%M} ({_span(seen.span.length)})"
    yield Text(line)
    target = seen.target
    if target is not None and target.rate is None:
        yield Text(f"{target.column}: not looked at, since no row can be used")
    elif target is not None and target.rate is not None and target.numeric:
        spread = f"from {target.tenth:.4g} over {target.median:.4g} to {target.nine_tenths:.4g}"
        yield Text(f"{target.column}: mean {target.rate:.4g}; tenth, half and nine tenths of the rows {spread}")
    elif target is not None and target.rate is not None:
        yield Text(f"{target.column}: {target.positives:,} positives, {_percent(target.rate)} of the (weighted) rows")
    if seen.looked.streamed:
        yield Text(f"read in a stream; looked at closely: a seeded sample of {seen.looked.rows:,} rows", style="dim")


def _over_time(seen: Exploration) -> Iterator[Text]:
    from rich.text import Text

    numeric = seen.target is not None and seen.target.numeric
    if len(seen.periods) >= 2:
        most = max(period.rows for period in seen.periods)
        yield Text()
        yield Text.assemble(("volume  ", "bold"), sparkline([p.rows for p in seen.periods]), f" ≤ {most:,}")
        yield from _rates([period.rate for period in seen.periods], "target  ", numeric=numeric)
    for part in dict.fromkeys(season.part for season in seen.seasons):
        shown = [season for season in seen.seasons if season.part == part]
        line = f"{part:<8}{sparkline([season.rows for season in shown])}"
        yield Text.assemble(*_halves_bold(line), *_season_rates(shown, numeric=numeric))


def _halves_bold(line: str) -> tuple[tuple[str, str], str]:
    return (line[:8], "bold"), line[8:]


def _season_rates(shown: Sequence[Season], *, numeric: bool) -> Iterator[str]:
    rates = [season.rate for season in shown]
    known = [rate for rate in rates if rate is not None]
    if known:
        low, high = (f"{rate:.4g}" if numeric else _percent(rate) for rate in (min(known), max(known)))
        yield f"  {sparkline(rates)} {low} … {high}"


def _rates(rates: Sequence[float | None], name: str, *, numeric: bool) -> Iterator[Text]:
    from rich.text import Text

    known = [rate for rate in rates if rate is not None]
    if known:
        top = f"{max(known):.4g}" if numeric else _percent(max(known))
        yield Text.assemble((name, "bold"), sparkline(rates), f" ≤ {top}")


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


def _associations(seen: Exploration) -> Iterator[RenderableType]:
    from rich.text import Text

    if not seen.associations:
        return
    yield Text()
    yield Text("What tells of the target", style="bold")
    headers = (("feature", False), ("area alone", False), ("", True), ("bits", True))
    table = _table(*headers, ("shuffled", True), ("forest", True), ("moved", True))
    for found in seen.associations[:10]:
        bar = "█" * max(0, round(14 * (found.auc - 0.5) / 0.5))
        worth = seen.importance(found.feature)
        among = ("–", "–") if worth is None else (f"{worth.permutation:.3f}", f"{worth.forest:.3f}")
        moved = "–" if found.psi is None else f"{found.psi:.2f}"
        table.add_row(_cut(found.feature, 22), bar, f"{found.auc:.3f}", f"{found.information:.4f}", *among, moved)
    yield table
    left = len(seen.associations) - 10
    more = f"… and {left} more on the page and with --json. " if left > 0 else ""
    yield Text(more + seen.about_importances, style="dim")


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _end(value: str | None) -> str:
    """The least or the greatest value in ten characters: of a time its day, of a long number its first digits."""
    if value is None or len(value) <= 10:
        return "–" if value is None else value
    try:
        return f"{float(value.replace(',', '')):.4g}"
    except ValueError:
        return value[:10]


def _columns(columns: Sequence[ColumnSummary]) -> Iterator[RenderableType]:
    from rich.text import Text

    yield Text()
    yield Text("Columns", style="bold")
    headers = (("name", False), ("type", False), ("role", False), ("missing", True), ("distinct", True))
    table = _table(*headers, ("min", True), ("max", True))
    for column in columns[:_MOST_COLUMNS]:
        table.add_row(
            _cut(column.name, 20),
            _cut(column.type, 8),
            column.role,
            "–" if not column.missing else _percent(column.missing_fraction),
            f"{column.distinct:,}",
            *(_end(value) for value in (column.minimum, column.maximum)),
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
        *_over_time(seen),
        *_findings(seen.findings),
        *_associations(seen),
        *_columns(seen.columns),
    ]
    if seen.page is not None:
        parts += [Text(), Text(f"page: {seen.page}")]
    return Group(*parts)
