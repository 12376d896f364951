"""What this room's charts share: their colours, their width, and rows that stay in the chart's own document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import altair as alt

__all__ = ["BLUE", "FAINT", "GREY", "RED", "WIDTH", "Drawn", "inline"]

BLUE: Final = "#3b6ea5"
RED: Final = "#c8503c"
GREY: Final = "#9aa5b1"
FAINT: Final = "#d3d9e0"

WIDTH: Final = 640
"""Of a chart that stands alone in its line, in pixels."""

Drawn = alt.Chart | alt.LayerChart | alt.HConcatChart | alt.ConcatChart


def inline(rows: Sequence[Mapping[str, Any]]) -> alt.InlineData:
    """Rows that stay in the chart's own document, so that nothing is fetched."""
    return alt.InlineData(values=list(rows))
