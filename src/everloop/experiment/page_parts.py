"""What this room's HTML pages share: style, the charts' scripts, and writing a page whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from markupsafe import Markup

__all__ = ["chart_scripts", "chart_values", "write_whole"]


def chart_scripts() -> Markup:
    """Vega, Vega-Lite and Vega-Embed, for a `<script>` in the page, which then fetches nothing."""
    import vl_convert
    from markupsafe import Markup

    bundle = vl_convert.javascript_bundle()  # type: ignore[call-arg]  # its stubs forget the default
    return Markup(bundle.replace("</script>", "<\\/script>"))  # noqa: S704  # it is ours


def chart_values(specs: Sequence[dict[str, Any]]) -> Markup:
    """Charts as JSON inside a script, where a `</script>` in a column's name must not end it."""
    from markupsafe import Markup

    return Markup(json.dumps(list(specs)).replace("<", "\\u003c"))  # noqa: S704  # what it holds of the data is escaped


def write_whole(path: Path, page: str) -> None:
    """Write the page to `path`, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.draft")
    draft.write_text(page, encoding="utf-8")
    os.replace(draft, path)
