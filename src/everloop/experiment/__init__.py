"""Phase 1: explore the data, search learners and hyperparameters, rank the trials, hand the winner over as a spec.

`explore` → `search` → `write_winner` → `approve`; `plan_online` says what an experiment online would take.
The libraries that fit and draw load when they are called.
"""

from everloop.experiment.exploration import Exploration
from everloop.experiment.explore import explore
from everloop.experiment.feature_table import FeatureLine, FeatureTable, feature_table, feature_table_screen
from everloop.experiment.finding import Finding
from everloop.experiment.hand_over import approve
from everloop.experiment.leaderboard import DataUsed, Judged, Leaderboard, leaderboard_screen
from everloop.experiment.online import plan_online
from everloop.experiment.online_plan import OnlinePlan
from everloop.experiment.online_screen import online_screen
from everloop.experiment.screens import exploration_screen
from everloop.experiment.search import FIT_ROWS, Progress, search
from everloop.experiment.trials import Trial
from everloop.experiment.winner import winner_spec, write_winner

__all__ = [
    "FIT_ROWS",
    "DataUsed",
    "Exploration",
    "FeatureLine",
    "FeatureTable",
    "Finding",
    "Judged",
    "Leaderboard",
    "OnlinePlan",
    "Progress",
    "Trial",
    "approve",
    "exploration_screen",
    "explore",
    "feature_table",
    "feature_table_screen",
    "leaderboard_screen",
    "online_screen",
    "plan_online",
    "search",
    "winner_spec",
    "write_winner",
]
