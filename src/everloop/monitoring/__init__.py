"""Phase 3: windows of traffic judged once each, with labels and without; alerts; two versions compared.

`Monitor(model, ledger=…, log=…, bundles=…, clock=…).judge(now)` judges what is due and writes it down;
`PairedComparison.look` and `paired_rows` are what a rollout decides on; `latest` is what a status shows;
`check_file` judges a file of past predictions, or a frame of them, without a project.
"""

from everloop.monitoring.comparison import ALPHA, DEFAULT_MARGIN, Compared, PairedComparison, compare
from everloop.monitoring.external import of_external, parts_of_external
from everloop.monitoring.file_check import Cost, FileAlert, FileCheck, FileWindow, check_file
from everloop.monitoring.file_screen import file_check_screen
from everloop.monitoring.monitor import Monitor
from everloop.monitoring.paired import PairedRows, paired_rows
from everloop.monitoring.report import Check, DueWindow, WindowReport
from everloop.monitoring.summary import MonitorSummary, WindowSummary, latest

__all__ = [
    "ALPHA",
    "DEFAULT_MARGIN",
    "Check",
    "Compared",
    "Cost",
    "DueWindow",
    "FileAlert",
    "FileCheck",
    "FileWindow",
    "Monitor",
    "MonitorSummary",
    "PairedComparison",
    "PairedRows",
    "WindowReport",
    "WindowSummary",
    "check_file",
    "compare",
    "file_check_screen",
    "latest",
    "of_external",
    "paired_rows",
    "parts_of_external",
]
