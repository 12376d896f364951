"""Numbers and what they allow to be said: verdicts, intervals, distances, sequences that may be peeked at, budgets.

Pure functions over arrays, and frozen records. No other room may answer "is it worse?".
"""

from everloop.stats.interval import Interval, bootstrap, from_replicates, paired_bootstrap, wilson
from everloop.stats.verdict import Json, Outcome, Verdict, jsonable

__all__ = [
    "Interval",
    "Json",
    "Outcome",
    "Verdict",
    "bootstrap",
    "from_replicates",
    "jsonable",
    "paired_bootstrap",
    "wilson",
]
