"""Phase 3: windows of traffic judged once each, with labels and without; alerts; two versions compared.

`Monitor(model, ledger=…, log=…, bundles=…, clock=…).judge(now)` judges what is due and writes it down;
`PairedComparison.look` and `paired_rows` are what a rollout decides on; `latest` is what a status shows.
"""

from everloop.monitoring.comparison import ALPHA, DEFAULT_MARGIN, Compared, PairedComparison, compare
from everloop.monitoring.monitor import Monitor
from everloop.monitoring.paired import PairedRows, paired_rows
from everloop.monitoring.report import Check, DueWindow, WindowReport
from everloop.monitoring.summary import MonitorSummary, WindowSummary, latest

__all__ = [
    "ALPHA",
    "DEFAULT_MARGIN",
    "Check",
    "Compared",
    "DueWindow",
    "Monitor",
    "MonitorSummary",
    "PairedComparison",
    "PairedRows",
    "WindowReport",
    "WindowSummary",
    "compare",
    "latest",
    "paired_rows",
]
