"""Phase 1: explore the data, search learners and hyperparameters, rank the trials, hand the winner over as a spec.

`explore` → `search` → `write_winner` → `approve`; `kept_search` finds a search's trials again, and `trial_notebook`
makes a notebook of one; `plan_online` says what an experiment online would take.
The libraries that fit and draw load when they are called.
"""

from everloop.experiment.exploration import Exploration
from everloop.experiment.explore import explore
from everloop.experiment.feature_table import FeatureLine, FeatureTable, feature_table, feature_table_screen
from everloop.experiment.finding import Finding
from everloop.experiment.fold_judging import judge_fold
from everloop.experiment.foreign_run import ForeignRun, FromRun, spec_from_run
from everloop.experiment.hand_over import approve, import_approval
from everloop.experiment.judging import evaluated
from everloop.experiment.kept_search import KeptSearch, keep_frame, kept_search, kept_searches
from everloop.experiment.leaderboard import (
    DataUsed,
    Judged,
    Leaderboard,
    leaderboard_screen,
    settings_of,
    settings_text,
)
from everloop.experiment.mine import HeldAgainst, Mine, hold_against, judge_mine, take_mine
from everloop.experiment.online import plan_online
from everloop.experiment.online_plan import OnlinePlan
from everloop.experiment.online_screen import online_screen
from everloop.experiment.rows import SearchRows, load_search_rows
from everloop.experiment.screens import exploration_screen
from everloop.experiment.search import FIT_ROWS, TRIALS, Progress, search
from everloop.experiment.search_ended import note_search
from everloop.experiment.trial_curves import TrialCurves, trial_curves
from everloop.experiment.trial_notebook import trial_notebook, write_trial_notebook
from everloop.experiment.trial_store import TrialStore
from everloop.experiment.trials import FoldScore, Trial, combined
from everloop.experiment.unseen import unseen_rows
from everloop.experiment.winner import champion_spec, winner_spec, write_winner
from everloop.experiment.worst import Segment, Worst, worst_segments
from everloop.pages import fragment

__all__ = [
    "FIT_ROWS",
    "TRIALS",
    "DataUsed",
    "Exploration",
    "FeatureLine",
    "FeatureTable",
    "Finding",
    "FoldScore",
    "ForeignRun",
    "FromRun",
    "HeldAgainst",
    "Judged",
    "KeptSearch",
    "Leaderboard",
    "Mine",
    "OnlinePlan",
    "Progress",
    "SearchRows",
    "Segment",
    "Trial",
    "TrialCurves",
    "TrialStore",
    "Worst",
    "approve",
    "champion_spec",
    "combined",
    "evaluated",
    "exploration_screen",
    "explore",
    "feature_table",
    "feature_table_screen",
    "fragment",
    "hold_against",
    "import_approval",
    "judge_fold",
    "judge_mine",
    "keep_frame",
    "kept_search",
    "kept_searches",
    "leaderboard_screen",
    "load_search_rows",
    "note_search",
    "online_screen",
    "plan_online",
    "search",
    "settings_of",
    "settings_text",
    "spec_from_run",
    "take_mine",
    "trial_curves",
    "trial_notebook",
    "unseen_rows",
    "winner_spec",
    "worst_segments",
    "write_trial_notebook",
    "write_winner",
]
