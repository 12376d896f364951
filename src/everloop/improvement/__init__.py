"""Improvement, phase 4: an alert investigated, and answered with a proposal. It starts no run and moves no exposure.

`investigate` says what changed, where, since when, what it costs and what would repair it, in a report, a notebook and
a fact; `propose` writes the next spec, with its parent, its diff and its reason. The rest is what the notebooks replay.
"""

from everloop.improvement.change import Change, mean_change, rate_change
from everloop.improvement.charts import days_chart, drift_chart
from everloop.improvement.compared import Compared
from everloop.improvement.drift import Drifted, drifted_columns
from everloop.improvement.examine import Examined, RuleCounts, examine, rule_counts
from everloop.improvement.inputs import InputsExamined, examine_inputs
from everloop.improvement.investigate import investigate
from everloop.improvement.investigation import Investigation
from everloop.improvement.pattern import find_rule
from everloop.improvement.propose import Proposal, propose
from everloop.improvement.rule import Condition, Rule

__all__ = [
    "Change",
    "Compared",
    "Condition",
    "Drifted",
    "Examined",
    "InputsExamined",
    "Investigation",
    "Proposal",
    "Rule",
    "RuleCounts",
    "days_chart",
    "drift_chart",
    "drifted_columns",
    "examine",
    "examine_inputs",
    "find_rule",
    "investigate",
    "mean_change",
    "propose",
    "rate_change",
    "rule_counts",
]
