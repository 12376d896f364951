"""What commands print: JSON or a table of at most 80 columns on stdout, talk on stderr."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["draw", "fields", "folded", "json_text", "lines", "say", "show", "table", "when", "width"]


def say(sentence: str) -> None:
    """Talk, for people: stderr. Folded between words on a terminal; elsewhere a line is a line."""
    print(
        folded(sentence, indent=2, whole_words=True) if sys.stderr.isatty() else sentence, file=sys.stderr, flush=True
    )


def folded(text: str, *, indent: int, whole_words: bool = False) -> str:
    """The text in lines of the terminal's width, cut between words; `indent` spaces begin each further one.

    whole_words: keep a word that is longer than a line, such as a path that someone will copy.
    """
    import textwrap

    wrapper = textwrap.TextWrapper(
        width=width(), subsequent_indent=" " * indent, break_long_words=not whole_words, break_on_hyphens=False
    )
    return "\n".join(wrapper.fill(line) for line in text.splitlines())


def lines(text: str) -> None:
    """Data, as it is: stdout."""
    sys.stdout.write(text if text.endswith("\n") else text + "\n")
    sys.stdout.flush()


def show(record: object) -> None:
    """One JSON document on stdout: numbers, text, lists and mappings; times as ISO 8601."""
    lines(json_text(record))


def json_text(record: object) -> str:
    """The same as text, in one line."""
    import json

    return json.dumps(record, default=_plain, ensure_ascii=False, allow_nan=False)


def _plain(value: Any) -> Any:
    """What JSON has no word for."""
    import msgspec

    if hasattr(value, "to_dict"):
        return value.to_dict()
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, datetime):
        return value.isoformat()
    return msgspec.to_builtins(value, enc_hook=str)


def when(at: datetime | None) -> str:
    """A time to the minute, or a dash."""
    return "–" if at is None else at.strftime("%Y-%m-%d %H:%M")


def width() -> int:
    """The columns to print in: the terminal's, 80 where there is none."""
    import shutil

    return min(shutil.get_terminal_size((80, 24)).columns, 120)


def table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, empty: str) -> None:
    """A plain table; where there is no row, the sentence `empty`, on stderr."""
    if not rows:
        say(empty)
        return
    from rich.table import Table

    drawn = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        numbers = all(isinstance(row[columns.index(column)], int | float) for row in rows)
        drawn.add_column(column, justify="right" if numbers else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*("–" if cell is None else str(cell) for cell in row))
    draw(drawn)


def fields(record: Mapping[str, object]) -> None:
    """Name and value, a line each."""
    from rich.table import Table

    drawn = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    drawn.add_column(style="bold", no_wrap=True)
    drawn.add_column(overflow="fold")
    for name, value in record.items():
        drawn.add_row(name, "–" if value is None else str(value))
    draw(drawn)


def draw(screen: RenderableType) -> None:
    """What a room has drawn for a terminal, on stdout; `price[usd]` or `[urgent]` in it is text and no markup."""
    from rich.console import Console

    Console(width=width(), highlight=False, markup=False, emoji=False).print(screen)
