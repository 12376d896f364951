"""Pages that fetch nothing: their frame, their style, the scripts of their charts, and files that are written whole."""

from everloop.pages.chart_scripts import chart_scripts, prepare_scripts
from everloop.pages.html import Chart, chart_fragment, chart_page, fragment, html_page, svg, template
from everloop.pages.whole_file import drafted, write_whole

__all__ = [
    "Chart",
    "chart_fragment",
    "chart_page",
    "chart_scripts",
    "drafted",
    "fragment",
    "html_page",
    "prepare_scripts",
    "svg",
    "template",
    "write_whole",
]
